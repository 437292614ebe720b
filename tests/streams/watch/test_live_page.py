"""The live page over real sockets: what it shows, and every way in which a post can be wrong."""

from __future__ import annotations

import asyncio
import http.client
import itertools
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from privacy import epsilon, parse_measurement, plan_noise
from streams.control import FOREVER_MS, Approved
from streams.errors import KafkaUnavailable
from streams.kafka.concern_topic import ConcernWriter
from streams.records.concern import Concern
from streams.settings import Settings
from streams.watch.connections import LIMITS, Limits
from streams.watch.http import MAX_FORM_BYTES, HealthServer
from streams.watch.live_page import LivePage
from streams.watch.pages import Shown
from streams.watch.routes import Request
from streams.watch.token_bucket import TokenBucket

NOW_MS = 1_764_072_000_000
HOSTILE = "<script>alert('x')</script>&\"'"
FORM = "application/x-www-form-urlencoded"
SPEC = """
id: {name}
revision: {revision}
purpose: "Does everyone see equally good jobs? {hostile}"
source: {{topic: rec-events, member: member_id, time: shown_at}}
cells: {{decision: {{field: recommended}}}}
windows: {{base: 10s, rollups: [1m]}}
reference: white
privacy: {{contribution_cap: 2, rho_member_day: 0.1, delta: 1.0e-9, rotation: {{days_in_30: 6, days_in_year: 20}}}}
review: {{owner: The fairness team, harm_considered: h, data_used: d, retention: r}}
expires: 2100-01-01T00:00:00Z
"""


def shown(
    name: str = "feed",
    revision: int = 1,
    *,
    from_ms: int = NOW_MS - 1000,
    until_ms: int = FOREVER_MS,
    revoked_at_ms: int | None = None,
    hostile: str = "",
) -> Shown:
    """An approved revision with its promise."""
    spec = parse_measurement(SPEC.format(name=name, revision=revision, hostile=hostile), origin="test")
    until_ms = min(until_ms, spec.expires_ms or FOREVER_MS)
    approved = Approved(spec, bytes([revision]) * 32, b"s" * 32, from_ms, until_ms, revision, revoked_at_ms)
    return Shown(approved, plan_noise(spec).statement())


@dataclass
class Site:
    """A running page, what it has written, and whether its Kafka is up."""

    server: HealthServer
    page: LivePage
    written: list[Concern] = field(default_factory=list)

    def ask(
        self, path: str, method: str = "GET", body: bytes | None = None, **headers: str
    ) -> tuple[int, http.client.HTTPMessage, str]:
        """One request through an ordinary client."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=20)
        try:
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body=body, headers=sent)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()
        finally:
            connection.close()

    def post(self, text: str = "Why so few?", measurement: str = "feed", **headers: str) -> tuple[int, str]:
        """The form, sent."""
        body = urlencode({"measurement": measurement, "text": text}).encode()
        status, _, page = self.ask("/concerns", "POST", body, **{"Content_Type": FORM} | headers)
        return status, page

    def raw(self, data: bytes, *, finish: bool = False, seconds: float = 20) -> bytes:
        """Bytes as they are; returns all that comes back. ``finish`` says that no more will be sent."""
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=seconds) as connection:
            connection.sendall(data)
            if finish:
                connection.shutdown(socket.SHUT_WR)
            found = b""
            while part := connection.recv(65_536):
                found += part
            return found


@pytest.fixture
def make_site() -> Iterator[Callable[..., Site]]:
    """Starts pages; 20 concerns at once, then one an hour."""
    sites: list[Site] = []

    def make(
        write: Callable[[Concern], None] | None = None,
        burst: int = 20,
        shows: tuple[Shown, ...] | None = (shown(),),
        limits: Limits = LIMITS,
    ) -> Site:
        written: list[Concern] = []
        page = LivePage(write or written.append, TokenBucket(1, burst), lambda: NOW_MS)
        if shows is not None:
            page.show(shows)
        server = HealthServer(
            "127.0.0.1",
            0,
            registry=CollectorRegistry(),
            healthy=lambda: None,
            ready=lambda: None,
            routes=page.routes,
            forms=page.forms,
            hosts=("pages.example",),
            limits=limits,
        )
        sites.append(Site(server, page, written))
        return sites[-1]

    yield make
    for site in sites:
        site.server.close()


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    return make_site()


class Outline(HTMLParser):
    """What a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        """Attributes of each element with a tag."""
        return [attributes for name, attributes in self.tags if name == tag]


# -- what it shows ----------------------------------------------------------------------------------------------------


def test_a_measurements_page_says_what_was_agreed(site: Site) -> None:
    """State, purpose, owner, end, levels, and each epsilon with period, relation and delta; and a link to the form."""
    site.page.show([shown(hostile=HOSTILE.replace('"', '\\"'))])
    status, headers, page = site.ask("/measurements/feed")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    for words in (
        "feed, revision 1",
        "active: it is counted now",
        "Does everyone see equally good jobs?",
        "The fairness team",
        "2100-01-01T00:00:00Z",
        "one result for every 10s, 1m",
        f"<td>a UTC day</td><td>{epsilon(0.1, 1e-9):.3g}</td>",
        f"<td>any 30 days</td><td>{epsilon(0.6, 1e-9):.3g}</td>",
        f"<td>any 365 days</td><td>{epsilon(2.0, 1e-9):.3g}</td>",
        "at delta 1e-09",
        "replaced by any others",
        "added or removed",
        'href="/concerns?measurement=feed"',
    ):
        assert words in page, words
    assert "&lt;script&gt;alert(&#x27;x&#x27;)" in page


def test_each_state_is_told() -> None:
    """Scheduled, active, revoked, expired and replaced; an old revision is shown only where nothing came after it."""
    entries = [
        shown("coming", from_ms=NOW_MS + 1000),
        shown("gone", until_ms=NOW_MS - 1),
        shown("stopped", revoked_at_ms=NOW_MS - 10),
        shown("two", 1, until_ms=NOW_MS - 500),
        shown("two", 2),
    ]
    page = LivePage(lambda _: None, TokenBucket(1, 1), lambda: NOW_MS)
    page.show(entries)
    text = page.routes["/"](Request("", http.client.HTTPMessage())).body.decode()
    assert "Revision 1 is scheduled: it begins" in text
    assert "Revision 1 is revoked: reviewers stopped it on 2025-11-25" in text
    assert "Revision 1 is replaced by a later revision" in text
    assert "Revision 2 is active" in text
    assert text.count("Revision 1 is") == 3


def test_nothing_is_approved_or_known_yet(make_site: Callable[..., Site]) -> None:
    """Without measurements the pages say so; before they are known, that this service is starting."""
    site = make_site()
    site.page.show([])
    assert "nothing is counted" in site.ask("/")[2]
    assert "<form" not in site.ask("/concerns")[2]
    site = make_site(shows=None)
    for path in ("/", "/concerns"):
        status, headers, _ = site.ask(path)
        assert (status, headers["Retry-After"]) == (503, "5")
    assert site.post()[0] == 503


def test_pages_stand_by_themselves(site: Site) -> None:
    """No script or style inside the page, no link elsewhere: what it names, this server serves; nothing is kept."""
    for path in ("/", "/concerns"):
        status, headers, text = site.ask(path)
        assert status == 200
        outline = Outline(text)
        assert {tag for tag, _ in outline.tags}.isdisjoint({"style", "img", "iframe", "object", "base"})
        assert not [a for _, a in outline.tags if any(name.startswith("on") or name == "style" for name in a)]
        assert re.findall(r"<script[^>]*>(.*?)</script>", text, re.DOTALL) == [""]
        assert all(str(a["href"]).startswith("/") or a["href"] == "#main" for a in outline.of("a"))
        for address in [*(a["href"] for a in outline.of("link")), *(a["src"] for a in outline.of("script"))]:
            assert str(address).startswith("/assets/")
            status, its, _ = site.ask(str(address))
            assert (status, its["X-Content-Type-Options"]) == (200, "nosniff")
            assert "max-age" in its["Cache-Control"]
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
        assert "unsafe" not in policy
        assert policy.endswith("frame-ancestors 'none'")
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == ("no-referrer" if path == "/" else "same-origin")
        assert headers["Cache-Control"] == "no-store"
        assert headers["Set-Cookie"] is None
        assert outline.of("html") == [{"lang": "en"}]
        assert len(outline.of("h1")) == len(outline.of("main")) == 1


def test_every_field_has_a_label(site: Site) -> None:
    """Select and text area are named for who cannot see them; the measurement of the link is chosen."""
    site.page.show([shown("a"), shown("feed")])
    outline = Outline(site.ask("/concerns?measurement=feed")[2])
    fields = [*outline.of("select"), *outline.of("textarea")]
    assert {f["id"] for f in fields} == {label["for"] for label in outline.of("label")}
    assert [o["value"] for o in outline.of("option") if "selected" in o] == ["feed"]
    for query in ("?measurement=%ff", "?measurement", "?" + "&" * 100, "?measurement=" + HOSTILE.replace(" ", "")):
        assert site.ask("/concerns" + query)[0] == 200


# -- a concern comes in -----------------------------------------------------------------------------------------------


def test_a_concern_is_written_before_thanks_are_said(site: Site) -> None:
    """The record has the measurement, the day and the text; the page shows the concern's id."""
    status, page = site.post("Why so few?\r\nReally.", Sec_Fetch_Site="same-origin", User_Agent="me", Cookie="a=b")
    (concern,) = site.written
    assert status == 200
    assert concern.id in page
    assert (concern.measurement, concern.day, concern.text, concern.source) == (
        "feed",
        "2025-11-25",
        "Why so few?\nReally.",
        "page",
    )


def test_the_longest_text_in_any_script_fits(site: Site) -> None:
    """2,000 characters of four bytes, percent-encoded, are within the body's limit; one more is refused."""
    assert site.post("\N{GRINNING FACE}" * 2000)[0] == 200
    assert site.post("x" * 2001)[0] == 400
    assert len(site.written) == 1


@pytest.mark.parametrize(
    ("text", "said"), [("", "is empty"), ("a\x1b[2J", "control character U+001B"), ("x" * 2001, "at most 2,000")]
)
def test_a_text_that_is_none_comes_back(site: Site, text: str, said: str) -> None:
    """The form is shown again with the reason."""
    status, page = site.post(text)
    assert status == 400
    assert said in page
    assert "\x1b" not in page
    assert site.written == []


def test_hostile_text_is_shown_as_text(site: Site) -> None:
    """What comes back in a form, or in its error, is escaped everywhere."""
    status, page = site.post(f"</textarea>{HOSTILE}", f'"><b>{HOSTILE}')
    assert status == 400
    assert "there is no such measurement; there are feed" in page
    assert "&lt;/textarea&gt;&lt;script&gt;" in page
    assert page.count("<script") == 1  # its own
    assert "<b>" not in page


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
        ({"Sec_Fetch_Site": "same-origin", "Origin": "null"}, 200),
        ({"Origin": "https://elsewhere.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://pages.example", "Host": "pages.example"}, 200),
        ({"Origin": "https://pages.example", "Host": "pages.example"}, 200),
        ({"Origin": "https://pages.example.evil", "Host": "pages.example"}, 403),
        ({}, 200),
    ],
)
def test_other_sites_cannot_send_a_visitors_form(site: Site, headers: dict[str, str], status: int) -> None:
    """What a browser says of where the form was decides; a client that says nothing is no browser."""
    assert site.post(**headers)[0] == status
    assert len(site.written) == (status == 200)


def test_a_flood_is_held_back_without_remembering_anyone(make_site: Callable[..., Site]) -> None:
    """Forty at once: as many as the burst are taken, the others hear when to come back, and get their text again."""
    site = make_site(burst=5)
    with ThreadPoolExecutor(20) as pool:
        statuses = sorted(status for status, _ in pool.map(lambda n: site.post(f"text {n}"), range(40)))
    assert statuses == [200] * 5 + [429] * 35
    assert len(site.written) == 5
    body = urlencode({"measurement": "feed", "text": "mine & yours"}).encode()
    status, headers, page = site.ask("/concerns", "POST", body, Content_Type=FORM)
    assert status == 429
    assert 3000 < int(headers["Retry-After"]) <= 3600
    assert "mine &amp; yours" in page
    assert site.ask("/healthz")[0] == 200


def test_a_refused_text_takes_no_token(make_site: Callable[..., Site]) -> None:
    """What would not be written anyway does not use up what others may say."""
    site = make_site(burst=1)
    for text in ("", "\x1b", "x" * 3000):
        assert site.post(text)[0] == 400
    assert site.post()[0] == 200


def test_kafka_down_loses_no_text(make_site: Callable[..., Site], make_settings: Callable[..., Settings]) -> None:
    """Without an acknowledgement there are no thanks: 503, and the text is shown again."""
    settings = make_settings(
        "127.0.0.1:1", 'kafka.producer_properties={"message.timeout.ms": "300", "socket.timeout.ms": "200"}'
    )
    site = make_site(ConcernWriter(settings).write)
    body = urlencode({"measurement": "feed", "text": "keep <me>"}).encode()
    status, headers, page = site.ask("/concerns", "POST", body, Content_Type=FORM)
    assert (status, headers["Retry-After"]) == (503, "60")
    assert "keep &lt;me&gt;" in page
    assert "it could not be stored" in page
    with pytest.raises(KafkaUnavailable, match="try again later"):
        ConcernWriter(settings).write(Concern(1, "0" * 32, "feed", "2025-11-25", "x", "page"))


# -- requests that are wrong ------------------------------------------------------------------------------------------

GOOD = b"measurement=feed&text=hello"


def head(*lines: str) -> bytes:
    """A POST's request line and headers."""
    return "\r\n".join(("POST /concerns HTTP/1.1", "Host: localhost", *lines, "", "")).encode()


TYPE = f"Content-Type: {FORM}"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (head(TYPE) + GOOD, 411),
        (head(TYPE, "Transfer-Encoding: chunked") + b"1b\r\n" + GOOD + b"\r\n0\r\n\r\n", 411),
        (head(TYPE, "Transfer-Encoding: chunked", "Content-Length: 27") + GOOD, 411),
        (head(TYPE, "Content-Length: 27", "Content-Length: 27") + GOOD, 400),
        (head(TYPE, "Content-Length: -1") + GOOD, 400),
        (head(TYPE, "Content-Length: +27") + GOOD, 400),
        (head(TYPE, "Content-Length: 0x1b") + GOOD, 400),
        (head(TYPE, "Content-Length: 27.0") + GOOD, 400),
        (head(TYPE, "Content-Length: \u0662") + GOOD, 400),
        (head(TYPE, f"Content-Length: {MAX_FORM_BYTES + 1}"), 413),
        (head(TYPE, f"Content-Length: {MAX_FORM_BYTES + 1}") + b"x" * (MAX_FORM_BYTES + 1), 413),
        (head(TYPE, "Content-Length: 999999999999999999") + GOOD, 400),
        (head("Content-Length: 27") + GOOD, 415),
        (head("Content-Type: application/json", "Content-Length: 27") + GOOD, 415),
        (head("Content-Type: multipart/form-data; boundary=x", "Content-Length: 27") + GOOD, 415),
        (head(f"{TYPE}; charset=utf-16", "Content-Length: 27") + GOOD, 415),
        (head(TYPE, "Content-Type: text/plain", "Content-Length: 27") + GOOD, 415),
        (head(f"{TYPE}; charset=UTF-8", "Content-Length: 27") + GOOD, 200),
        (head(TYPE, "Content-Length: 0"), 400),
        (head(TYPE, "Content-Length: 8") + b"\xff\xfe\xff\xfe\xff\xfe\xff\xfe", 400),
        (head(TYPE, "Content-Length: 28") + b"measurement=feed&text=%ff%fe", 400),
        (head(TYPE, "Content-Length: 11") + b"measurement", 400),
        (head(TYPE, "Content-Length: 27") + b"measurement=feed&other=hell", 400),
        (head(TYPE, "Content-Length: 34") + GOOD + b"&text=x", 400),
        (head(TYPE, "Content-Length: 400") + b"a=1&" * 100, 400),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 27\r\n\r\n" + GOOD, 405),
        (b"PUT /concerns HTTP/1.1\r\nHost: localhost\r\nContent-Length: 27\r\n\r\n" + GOOD, 405),
        (b"POST /none HTTP/1.1\r\nHost: localhost\r\nContent-Length: 27\r\n\r\n" + GOOD, 405),
        (b"BREW /concerns HTTP/1.1\r\nHost: localhost\r\n\r\n", 501),
        (b"nonsense\r\n\r\n", 400),
        (b"POST /concerns HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
        (b"POST /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
    ],
)
def test_a_request_that_is_wrong_gets_its_status(site: Site, data: bytes, status: int) -> None:
    """Missing, doubled, signed, huge and lying lengths, other types and fields: a status and a plain sentence."""
    answer = site.raw(data)
    assert f" {status} ".encode() in answer.split(b"\r\n")[0], answer[:200]
    assert len(site.written) == (status == 200)
    assert site.ask("/healthz")[0] == 200


def test_a_length_that_is_too_long_for_what_comes(site: Site) -> None:
    """A client that stops early hears so, and nothing is written."""
    answer = site.raw(head(TYPE, "Content-Length: 500") + GOOD, finish=True)
    assert b" 400 " in answer.split(b"\r\n")[0]
    assert b"says 500 bytes, 27 came" in answer
    assert site.written == []


def test_a_length_that_is_too_short_cuts_the_text(site: Site) -> None:
    """What follows the body is not read as another request."""
    answer = site.raw(head(TYPE, "Content-Length: 27") + GOOD + b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert [concern.text for concern in site.written] == ["hello"]


def test_slow_bytes_end_in_time(make_site: Callable[..., Site]) -> None:
    """A body, or headers, of which a byte comes now and then are given up; others are served meanwhile."""
    site = make_site(limits=Limits(request_seconds=0.6))

    def trickle(data: bytes) -> tuple[float, bytes]:
        begun = time.monotonic()
        with socket.create_connection(("127.0.0.1", site.server.port), timeout=20) as connection:
            connection.sendall(data)
            connection.settimeout(0.2)
            while time.monotonic() - begun < 10:
                try:
                    found = connection.recv(65_536)
                except TimeoutError:
                    connection.sendall(b"a")
                    continue
                except OSError:
                    found = b""
                return time.monotonic() - begun, found
        return time.monotonic() - begun, b"never"

    with ThreadPoolExecutor(8) as pool:
        slow = [pool.submit(trickle, head(TYPE, "Content-Length: 500")) for _ in range(4)]
        slow += [pool.submit(trickle, b"POST /concerns HTTP/1.1\r\nX: ") for _ in range(3)]
        assert site.post()[0] == 200
        found = [future.result() for future in slow]
    assert all(seconds < 6 for seconds, _ in found)
    assert all(b" 408 " in answer.split(b"\r\n")[0] for _, answer in found[:4])
    assert all(answer == b"" for _, answer in found[4:])
    assert len(site.written) == 1


def test_other_roles_still_refuse_posts() -> None:
    """A server without a form refuses POST on every path, and the page's paths do not exist."""
    server = HealthServer("127.0.0.1", 0, registry=CollectorRegistry(), healthy=lambda: None, ready=lambda: None)
    other = Site(server, LivePage(lambda _: None, TokenBucket(1, 1)))
    try:
        assert other.post()[0] == 405
        assert other.ask("/")[0] == other.ask("/concerns")[0] == 404
    finally:
        server.close()


# -- in a browser -----------------------------------------------------------------------------------------------------


@pytest.fixture
def chromium(tmp_path: Path) -> list[str]:
    """Chromium's command line, as wide as a small telephone."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    return [found, "--headless", "--no-sandbox", "--disable-gpu", profile, "--window-size=360,1400"]


def test_a_browser_renders_it(site: Site, chromium: list[str], tmp_path: Path) -> None:
    """Chromium renders the page with its style, under the page's own policy."""
    picture = tmp_path / "page.png"
    address = f"http://127.0.0.1:{site.server.port}/"
    subprocess.run([*chromium, f"--screenshot={picture}", address], capture_output=True, timeout=100, check=True)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 5_000


def test_a_browser_sends_it_by_keyboard(site: Site, chromium: list[str]) -> None:
    """Tab to the text, write, tab to the button, Enter: the browser's own headers pass, and thanks come back.

    At 360 pixels nothing is wider than the page, and the style is in force although the policy allows no other.
    """
    browser = subprocess.Popen(
        [*chromium, "--remote-debugging-port=0", "about:blank"], stderr=subprocess.PIPE, text=True
    )
    try:
        assert browser.stderr is not None
        lines = iter(browser.stderr.readline, "")
        debugging = next(m[1] for line in lines if (m := re.search(r"DevTools listening on ws://([^/]+)/", line)))
        seen = asyncio.run(_send_by_keyboard(debugging, f"http://127.0.0.1:{site.server.port}/concerns"))
    finally:
        browser.terminate()
        browser.communicate(timeout=20)
    assert seen["width"] <= 360
    assert seen["button"] == "600"
    (concern,) = site.written
    assert concern.text == "Why so few?"
    assert concern.id in seen["page"]


async def _send_by_keyboard(debugging: str, address: str) -> dict[str, Any]:
    """Drives a page by Chrome's DevTools protocol."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60)) as session:
        async with session.get(f"http://{debugging}/json/list") as answer:
            (target, *_) = [t for t in await answer.json(content_type=None) if t["type"] == "page"]
        async with session.ws_connect(target["webSocketDebuggerUrl"]) as socket_:
            numbers = itertools.count(1)

            async def do(method: str, **parameters: Any) -> Any:
                number = next(numbers)
                await socket_.send_json({"id": number, "method": method, "params": parameters})
                while (found := await socket_.receive_json()).get("id") != number:
                    pass
                return found["result"]

            async def value(expression: str) -> Any:
                return (await do("Runtime.evaluate", expression=expression, returnByValue=True))["result"].get("value")

            async def until(expression: str) -> None:
                for _ in range(200):
                    if await value(expression):
                        return
                    await asyncio.sleep(0.05)
                pytest.fail(f"never: {expression}")

            async def press(key: str, code: int, text: str = "") -> None:
                for kind in ("keyDown", "keyUp"):
                    await do(
                        "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, text=text
                    )

            await do("Emulation.setDeviceMetricsOverride", width=360, height=800, deviceScaleFactor=1, mobile=True)
            await do("Page.navigate", url=address)
            await until("document.readyState === 'complete' && !!document.querySelector('textarea')")
            seen = {
                "width": await value("document.documentElement.scrollWidth"),
                "button": await value("getComputedStyle(document.querySelector('button')).fontWeight"),
            }
            for wanted in ("TEXTAREA", "BUTTON"):
                for _ in range(40):  # past the links of the navigation
                    if await value("document.activeElement.tagName") == wanted:
                        break
                    await press("Tab", 9)
                if wanted == "TEXTAREA":
                    await do("Input.insertText", text="Why so few?")
            await press("Enter", 13, "\r")
            await until("document.title.includes('received')")
            return seen | {"page": await value("document.body.innerText")}
