"""Server-sent events over real sockets: what comes, who is too slow, how many there may be, and how it ends."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator

import pytest
from prometheus_client import CollectorRegistry

from streams.watch import event_stream
from streams.watch.connections import LIMITS, Limits
from streams.watch.event_stream import EventStreams, message
from streams.watch.http import HealthServer

ASK = b"GET /events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"


class Site:
    """A server with a stream of events."""

    def __init__(self, most: int = 256, limits: Limits = LIMITS) -> None:
        self.events = EventStreams(most, lambda: "v1")
        self.server = HealthServer(
            "127.0.0.1", 0, registry=CollectorRegistry(), healthy=lambda: None, ready=lambda: None,
            routes={"/events": self.events.route}, limits=limits,
        )  # fmt: skip
        self.open: list[socket.socket] = []

    def listen(self) -> socket.socket:
        """One open page."""
        connection = socket.create_connection(("127.0.0.1", self.server.port), timeout=10)
        self.open.append(connection)
        connection.sendall(ASK)
        return connection

    def close(self) -> None:
        for connection in self.open:
            connection.close()
        self.events.close()
        self.server.close()


@pytest.fixture
def make_site() -> Iterator[Callable[..., Site]]:
    sites: list[Site] = []

    def make(most: int = 256, limits: Limits = LIMITS) -> Site:
        sites.append(Site(most, limits))
        return sites[-1]

    yield make
    for site in sites:
        site.close()


def read_until(connection: socket.socket, end: bytes) -> bytes:
    """What comes until some bytes have."""
    found = b""
    while end not in found:
        part = connection.recv(65_536)
        assert part, found
        found += part
    return found


def wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_open_page_hears_of_each_change(make_site: Callable[..., Site]) -> None:
    """First the version that is there, then each event with its id; no length, no end, and nothing is kept."""
    site = make_site()
    connection = site.listen()
    first = read_until(connection, b"data: ").decode()
    assert first.startswith("HTTP/1.1 200 ")
    for words in (
        "Content-Type: text/event-stream\r\n",
        "Cache-Control: no-store\r\n",
        "X-Content-Type-Options: nosniff",
        "\r\n\r\nretry: ",
        "event: hello\nid: v1\n",
    ):
        assert words in first
    assert "Content-Length" not in first
    site.events.publish("window", "v2", 'feed/10s\n"')
    assert b"id: v2\n" in read_until(connection, b"feed/10s")
    site.events.publish("change", "v3", "measurements")
    assert b'event: change\nid: v3\ndata: {"subject": "measurements"}\n\n' in read_until(connection, b"\n\n")


def test_an_event_is_of_whole_lines() -> None:
    """A subject cannot write a line of its own."""
    text = message("window", "v", "a\nid: 7\n\n").decode()
    assert text.count("\n") == 4
    assert text.endswith("\n\n")


def test_a_quiet_stream_is_kept_alive(make_site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch) -> None:
    """A comment comes now and then: proxies close what is silent."""
    monkeypatch.setattr(event_stream, "HEARTBEAT_SECONDS", 0.05)
    connection = make_site().listen()
    assert b"\n:\n\n" in read_until(connection, b"\n:\n\n")


def test_streams_do_not_use_up_connections(make_site: Callable[..., Site]) -> None:
    """More open pages than connections: others are still answered, each hears, and who goes is forgotten."""
    site = make_site(limits=Limits(connections=8))
    pages = [site.listen() for _ in range(1)]
    for _ in range(39):
        wait(lambda: site.events.count == len(pages))
        pages.append(site.listen())
    for page in pages:
        read_until(page, b"hello")
    with socket.create_connection(("127.0.0.1", site.server.port), timeout=10) as probe:
        probe.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert b" 200 " in probe.recv(100)
    site.events.publish("window", "v2", "feed/10s")
    for page in pages:
        assert b"id: v2" in read_until(page, b"feed/10s")
    for page in pages[:30]:
        page.close()
    wait(lambda: site.events.count == 10)


def test_the_oldest_stream_gives_way(make_site: Callable[..., Site]) -> None:
    """Whoever holds as many as there may be keeps nobody out; none at all is taken where the setting says 0."""
    site = make_site(2)
    pages = []
    for _ in range(3):
        pages.append(site.listen())
        read_until(pages[-1], b"hello")
    assert pages[0].recv(1000) in (b"", b"\n")
    wait(lambda: site.events.count == 2)
    site.events.publish("window", "v2", "feed/10s")
    for page in pages[1:]:
        assert b"id: v2" in read_until(page, b"feed/10s")
    assert b" 503 " in read_until(make_site(0).listen(), b"page_streams")


def test_a_stream_that_sends_is_dropped(make_site: Callable[..., Site]) -> None:
    """A browser sends nothing once it listens; to read what is sent would cost as much as its sender likes."""
    site = make_site()
    quiet, loud = site.listen(), site.listen()
    for page in (quiet, loud):
        read_until(page, b"hello")
    loud.sendall(b"x")
    wait(lambda: site.events.count == 1)
    site.events.publish("window", "v2", "feed/10s")
    assert b"id: v2" in read_until(quiet, b"feed/10s")


def test_a_reader_that_is_too_slow_is_dropped_and_holds_nobody(make_site: Callable[..., Site]) -> None:
    """One stops reading; the others hear each event at once, and it is closed after a bounded number of bytes."""
    site = make_site()
    slow, quick = site.listen(), site.listen()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    read_until(quick, b"hello")
    wait(lambda: site.events.count == 2)
    begun, number = time.monotonic(), 0
    while site.events.count == 2:
        assert number < 20_000
        for _ in range(20):
            number += 1
            site.events.publish("window", f"v{number}", "x" * 1000)
        assert f"id: v{number}\n".encode() in read_until(quick, f"id: v{number}\n".encode())
    assert time.monotonic() - begun < 20
    site.events.publish("window", "last", "")
    read_until(quick, b"id: last")


def test_head_and_a_client_that_has_gone_leave_nothing(make_site: Callable[..., Site]) -> None:
    """HEAD answers the headers and ends; a page that closes before it is greeted is not counted."""
    site = make_site()
    with socket.create_connection(("127.0.0.1", site.server.port), timeout=10) as probe:
        probe.sendall(ASK.replace(b"GET", b"HEAD"))
        assert b"text/event-stream" in probe.recv(1000)
        assert probe.recv(1000) == b""
    for _ in range(5):
        site.listen().close()
    wait(lambda: site.events.count == 0)


def test_it_ends_with_the_server(make_site: Callable[..., Site]) -> None:
    """Each open page sees the end, the thread is gone, and nobody is taken any more."""
    site = make_site()
    page = site.listen()
    read_until(page, b"hello")
    site.events.close()
    assert page.recv(1000) in (b"", b"\n")
    thread = site.events._thread
    assert thread is not None
    assert not thread.is_alive()
    assert b" 503 " in site.listen().recv(1000)
