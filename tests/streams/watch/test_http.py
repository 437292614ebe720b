"""The roles' HTTP server."""

from __future__ import annotations

import http.client
import re
import socket
import time
from collections.abc import Iterable, Iterator

import pytest
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from streams.watch.http import HealthServer
from streams.watch.routes import Answer, Request


class Role:
    """A role's answers, which a test may change."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        Gauge("evenstream_batches", "Batches", registry=self.registry).set(7)
        self.unhealthy: str | None = None
        self.unready: str | None = None


@pytest.fixture
def role() -> Role:
    return Role()


@pytest.fixture
def server(role: Role) -> Iterator[HealthServer]:
    def broken(request: Request) -> Answer:
        raise RuntimeError("a secret")

    server = HealthServer(
        "127.0.0.1",
        0,
        registry=role.registry,
        healthy=lambda: role.unhealthy,
        ready=lambda: role.unready,
        routes={"/windows": lambda _: Answer(200, "application/json", b"[]"), "/broken": broken},
    )
    yield server
    server.close()


def ask(
    server: HealthServer, path: str, method: str = "GET", accept: str = "", body: bytes | None = None
) -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    try:
        connection.request(method, path, body=body, headers={"Accept": accept})
        answer = connection.getresponse()
        return answer.status, answer.getheader("Content-Type", ""), answer.read()
    finally:
        connection.close()


def test_metrics_are_in_the_format_that_is_asked_for(server: HealthServer) -> None:
    """Prometheus' text is the default; OpenMetrics comes where the scraper accepts it."""
    status, kind, body = ask(server, "/metrics")
    assert (status, kind.split(";")[0]) == (200, "text/plain")
    assert b"evenstream_batches 7.0" in body
    _, kind, body = ask(server, "/metrics?x=1", accept="application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


def test_probes_say_why_on_one_line(server: HealthServer, role: Role) -> None:
    """A role that is well answers 200; one that is not answers 503 with its reason."""
    assert ask(server, "/healthz")[::2] == (200, b"ok\n")
    role.unhealthy, role.unready = "no turn for\n12 s", "waiting for a measurement"
    assert ask(server, "/healthz")[::2] == (503, b"no turn for 12 s\n")
    assert ask(server, "/readyz")[::2] == (503, b"waiting for a measurement\n")


def test_a_role_that_stands_by_is_ready_and_says_so(role: Role) -> None:
    """Having nothing to do is no fault: 200, with the reason; a fault still comes first."""
    note = ["standing by:\nshard 2 of 1"]
    server = HealthServer(
        "127.0.0.1", 0, registry=role.registry, healthy=lambda: None, ready=lambda: role.unready, note=lambda: note[0]
    )
    try:
        assert ask(server, "/readyz")[::2] == (200, b"standing by: shard 2 of 1\n")
        assert ask(server, "/healthz")[::2] == (200, b"ok\n")
        role.unready = "a partition is stopped"
        assert ask(server, "/readyz")[::2] == (503, b"a partition is stopped\n")
    finally:
        server.close()


def test_a_role_adds_paths(server: HealthServer) -> None:
    """A route of the role's own is answered, and a path that is not there names those that are."""
    assert ask(server, "/windows") == (200, "application/json", b"[]")
    status, _, body = ask(server, "/nothing")
    assert status == 404
    assert b"/windows" in body


def test_head_has_the_headers_only(server: HealthServer) -> None:
    """HEAD answers as GET does, without the body."""
    assert ask(server, "/metrics", "HEAD")[::2] == (200, b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_written(server: HealthServer, method: str) -> None:
    """Other methods are refused, and the server goes on."""
    assert ask(server, "/metrics", method, body=b"x" * 100)[0] == 405
    assert ask(server, "/healthz")[0] == 200


def test_a_mistake_of_ours_is_a_500_without_details(server: HealthServer) -> None:
    """An exception in what answers neither ends the server nor shows its text."""
    status, _, body = ask(server, "/broken")
    assert status == 500
    assert b"secret" not in body
    assert ask(server, "/healthz")[0] == 200


def test_a_collector_that_fails_is_a_500(server: HealthServer, role: Role) -> None:
    """A scrape that fails half-way is an error, never half of the metrics."""

    class Broken(Collector):
        def collect(self) -> Iterable[Metric]:
            raise RuntimeError("half-way")

        def describe(self) -> Iterable[Metric]:
            return ()

    role.registry.register(Broken())
    assert ask(server, "/metrics")[0] == 500


def test_a_taken_port_is_an_os_error(server: HealthServer, role: Role) -> None:
    """The second server on a port does not start."""
    with pytest.raises(OSError, match="in use"):
        HealthServer(
            "127.0.0.1", server.port, registry=role.registry, healthy=lambda: None, ready=lambda: None
        )  # fmt: skip


def test_close_frees_the_port(role: Role) -> None:
    """After close, the port is free for the next process."""
    first = HealthServer("127.0.0.1", 0, registry=role.registry, healthy=lambda: None, ready=lambda: None)
    port = first.port
    first.close()
    HealthServer("127.0.0.1", port, registry=role.registry, healthy=lambda: None, ready=lambda: None).close()


def test_close_waits_for_nobody(role: Role) -> None:
    """The listening thread sleeps until somebody connects; the end of its role wakes it."""
    idle = HealthServer("127.0.0.1", 0, registry=role.registry, healthy=lambda: None, ready=lambda: None)
    time.sleep(0.1)
    began = time.monotonic()
    idle.close()
    assert time.monotonic() - began < 1.0


def test_ipv6_is_listened_on(role: Role) -> None:
    """An address with colons is IPv6."""
    try:
        server = HealthServer("::1", 0, registry=role.registry, healthy=lambda: None, ready=lambda: None)
    except OSError:
        pytest.skip("this machine has no IPv6")
    server.close()


# -- requests that are wrong ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def one() -> Iterator[HealthServer]:
    """A server for many requests: ending one takes half a second."""
    windows = {"/windows": lambda _: Answer(200, "application/json", b"[]")}
    server = HealthServer(
        "127.0.0.1", 0, registry=CollectorRegistry(), healthy=lambda: None, ready=lambda: None, routes=windows
    )
    yield server
    server.close()


def raw(server: HealthServer, data: bytes) -> bytes:
    """Bytes as they are; all that comes back."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(data)
        found = b""
        try:
            while part := connection.recv(65_536):
                found += part
        except ConnectionResetError:
            pass
        return found


def get(target: str, *lines: str) -> bytes:
    """A GET as bytes, after which the connection is closed."""
    return "\r\n".join((f"GET {target} HTTP/1.1", "Host: localhost", "Connection: close", *lines, "", "")).encode(
        "latin-1"
    )


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (get("/healthz?" + "a" * 2000), 200),
        (get("/healthz?" + "a" * 2048), 414),
        (get("/" + "a" * 70_000), 414),
        (get("/%zz"), 400),
        (get("/%"), 400),
        (get("/caf\xe9"), 400),
        (get("/%ff"), 400),
        (get("/../metrics"), 404),
        (get("/%2e%2e/metrics"), 404),
        (get("/./metrics"), 404),
        (get("//metrics"), 200),
        (get("///etc/passwd"), 404),
        (get("/metrics/"), 404),
        (get("/metrics%00"), 404),
        (get("/metrics%0d%0aX: y"), 400),
        (get("http://x/metrics"), 404),
        (get("*"), 404),
        (get("/healthz#x"), 404),
        (get("/healthz", *[f"X-{n}: y" for n in range(90)]), 200),
        (get("/healthz", *[f"X-{n}: y" for n in range(200)]), 431),
        (get("/healthz", "X: " + "y" * 70_000), 431),
        (get("/healthz", *[f"X-{n}: {'y' * 500}" for n in range(90)]), 200),
        (get("/healthz", *[f"X-{n}: {'y' * 1500}" for n in range(90)]), 431),
        (get("/metrics", "Host: localhost"), 400),
        (b"GET /metrics HTTP/1.1\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.0\r\n\r\n", 200),
        (b"GET /metrics HTTP/1.1\r\nHost: rebound.example\r\n\r\n", 421),
        (b"GET /metrics HTTP/1.0\r\nHost: rebound.example\r\n\r\n", 421),
        (b"HEAD /healthz HTTP/1.1\r\nHost: rebound.example:9100\r\n\r\n", 421),
        (b"POST /metrics HTTP/1.1\r\nHost: rebound.example\r\n\r\n", 421),
        (get("/healthz").replace(b"HTTP/1.1", b"HTTP/9.9"), 505),
        (get("/healthz").replace(b"HTTP/1.1", b"HTTP/x"), 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"<script>alert(1)</script>\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (b"HEAD /%zz HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"OPTIONS /%zz HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"OPTIONS /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        (b"TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n", 501),
    ],
)
def test_a_request_that_is_wrong_gets_a_sentence(one: HealthServer, data: bytes, status: int) -> None:
    """A status, plain text, nothing of the request said again, and the server goes on."""
    answer = raw(one, data)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode()) or head.startswith(f"HTTP/1.0 {status} ".encode()), answer
    if status != 200:
        assert b"Content-Type: text/plain" in head
        assert b"nosniff" in head
        for said in (b"<script", b"passwd", b"zz", b"\xe9", b"x: y", b"rebound"):
            assert said not in body.lower()
    assert ask(one, "/healthz")[0] == 200


def test_a_server_for_others_is_asked_by_any_name(role: Role) -> None:
    """Probes and scrapers come with a pod's address; on a loopback address further names are the setting's."""
    for host, hosts, asked, status in (
        ("0.0.0.0", (), "10.1.2.3:9100", 200),
        ("127.0.0.1", (), "10.1.2.3:9100", 421),
        ("127.0.0.1", ("fair.example",), "fair.example", 200),
        ("localhost", (), "localhost", 200),
    ):
        server = HealthServer(
            host, 0, registry=role.registry, healthy=lambda: None, ready=lambda: None, hosts=hosts
        )  # fmt: skip
        try:
            answer = raw(server, f"GET /metrics HTTP/1.0\r\nHost: {asked}\r\n\r\n".encode())
        finally:
            server.close()
        assert f" {status} ".encode() in answer.split(b"\r\n")[0]


def test_requests_on_one_connection_are_answered_in_their_order(one: HealthServer) -> None:
    """However many are sent before the first answer is read; each has its own limits."""
    many = b"".join(
        f"GET /{'windows' if n % 2 else 'healthz'} HTTP/1.1\r\nHost: localhost\r\nX: {'y' * 4000}\r\n\r\n".encode()
        for n in range(40)
    )
    answer = raw(one, many + get("/nothing"))
    assert re.findall(rb"\r\n\r\n(ok|\[\]|not found)", answer) == [b"ok", b"[]"] * 20 + [b"not found"]


def test_no_answer_on_a_kept_connection_waits_for_an_acknowledgement(server: HealthServer) -> None:
    """Its body does not wait for the client's acknowledgement of its head, which comes 40 ms later, as it likes."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    took = []
    for _ in range(40):
        begun = time.monotonic()
        connection.request("GET", "/metrics")
        connection.getresponse().read()
        took.append(time.monotonic() - begun)
    connection.close()
    # A new connection acknowledges at once, up to some 16 times; whatever else the machine does, some others are quick.
    assert min(took[20:]) < 0.035


def test_a_body_of_a_get_is_no_next_request(one: HealthServer) -> None:
    """What comes behind it is not answered: a proxy in front may have taken it for a body."""
    hidden = b"GET /windows HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for line in (f"Content-Length: {len(hidden)}", "Transfer-Encoding: chunked"):
        request = f"GET /healthz HTTP/1.1\r\nHost: localhost\r\n{line}\r\n\r\n".encode() + hidden
        answer = raw(one, request)
        assert answer.count(b"HTTP/1.1 ") == 1
        assert b"Connection: close" in answer


def test_a_route_may_say_how_long_it_is_kept(role: Role) -> None:
    """A header of the answer's own takes the place of the server's; the others are there once."""
    kept = Answer(200, "text/css", b"", (("Cache-Control", "max-age=60"),))
    server = HealthServer(
        "127.0.0.1", 0, registry=role.registry, healthy=lambda: None, ready=lambda: None, routes={"/a": lambda _: kept}
    )
    try:
        head = raw(server, get("/a")).decode().lower()
        assert head.count("cache-control:") == head.count("x-content-type-options:") == 1
        assert "cache-control: max-age=60" in head
    finally:
        server.close()


def test_patterns_hand_over_their_parameters(role: Role) -> None:
    """Decoded, with the path as it came; a parameter is never more than one part of it."""
    seen: list[Request] = []

    def route(request: Request) -> Answer:
        seen.append(request)
        return Answer(200, "text/plain", b"")

    server = HealthServer(
        "127.0.0.1", 0, registry=role.registry, healthy=lambda: None, ready=lambda: None, routes={"/of/{name}": route}
    )
    try:
        assert ask(server, "/of/a%20b%3C?x=1")[0] == 200
        assert ask(server, "/of/a/b")[0] == ask(server, "/of/a%2Fb")[0] == ask(server, "/of/")[0] == 404
    finally:
        server.close()
    ((request),) = seen
    assert (dict(request.parameters), request.path, request.query) == ({"name": "a b<"}, "/of/a%20b%3C", "x=1")
