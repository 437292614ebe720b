"""Which route answers which path, and what is no path at all."""

from __future__ import annotations

import pytest

from streams.watch.routes import Answer, BadPath, Request, Routes

ROUTES = Routes(
    {
        text: lambda request: Answer(200, "text/plain", b"")
        for text in (
            "/",
            "/alerts",
            "/measurements/{measurement}",
            "/measurements/{measurement}.json",
            "/measurements/{measurement}/{level}/{end}",
            "/measurements/{measurement}/{level}/last",
        )
    }
)


@pytest.mark.parametrize(
    ("path", "pattern", "parameters"),
    [
        ("/", "/", {}),
        ("/alerts", "/alerts", {}),
        ("/%61lerts", "/alerts", {}),
        ("/measurements/feed", "/measurements/{measurement}", {"measurement": "feed"}),
        ("/measurements/feed.json", "/measurements/{measurement}.json", {"measurement": "feed"}),
        ("/measurements/f%C3%A9%20%3Cb%3E", "/measurements/{measurement}", {"measurement": "fé <b>"}),
        ("/measurements/a+b", "/measurements/{measurement}", {"measurement": "a+b"}),
        ("/measurements/m/10s/5", "/measurements/{measurement}/{level}/{end}",
         {"measurement": "m", "level": "10s", "end": "5"}),
        ("/measurements/m/10s/last", "/measurements/{measurement}/{level}/last", {"measurement": "m", "level": "10s"}),
    ],
)  # fmt: skip
def test_a_path_finds_its_route(path: str, pattern: str, parameters: dict[str, str]) -> None:
    """Literal parts come before open ones, an ending before none; parameters are decoded."""
    found = ROUTES.find(path)
    assert found is not None
    assert (found.pattern, found.parameters) == (pattern, parameters)


@pytest.mark.parametrize(
    "path",
    [
        "", "*", "alerts", "http://x/alerts", "/alerts/", "/alerts.json", "/measurements/", "/measurements/.json",
        "/measurements/..", "/measurements/%2e%2e", "/measurements/.", "/measurements/a%2Fb", "/measurements/a%5Cb",
        "/measurements/a%00", "/measurements/%0d%0aX:1", "/measurements/%C2%85", "/measurements/" + "x" * 129,
        "/measurements/a/b/c/d", "/measurements//10s/5", "/measurements/m%2F10s%2F5", "/../alerts", "/./alerts",
    ],
)  # fmt: skip
def test_what_is_not_there_is_not_found(path: str) -> None:
    """Nothing is resolved, joined or guessed: dots, slashes in disguise and control characters find nothing."""
    assert ROUTES.find(path) is None


@pytest.mark.parametrize("path", ["/%", "/%4", "/%zz", "/measurements/%ff", "/measurements/%C3", "/\xe9", "/%C0%AF"])
def test_what_is_no_path_is_said_to_be_none(path: str) -> None:
    """Escapes that are none, and bytes that are no UTF-8."""
    with pytest.raises(BadPath):
        ROUTES.find(path)


def test_a_request_is_told_its_parameters() -> None:
    """What a route gets by default: nothing that came from anywhere."""
    request = Request("", __import__("email.message").message.Message())
    assert (request.path, dict(request.parameters), request.certified) == ("/", {}, False)
