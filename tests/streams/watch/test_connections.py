"""Clients that hang, over real sockets: whoever asks and reads is served."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client import CollectorRegistry

from streams.watch.connections import Connections, Limits
from streams.watch.http import HealthServer
from streams.watch.routes import Answer, Request

BIG = b"x" * (16 << 20)
"""More than the system takes for a client that does not read."""


class Role:
    """A server, one of whose routes waits, and one whose answer is long."""

    def __init__(self, limits: Limits) -> None:
        self.go_on = threading.Event()
        self.slow = threading.Semaphore(0)
        self.opened: list[socket.socket] = []
        self.server = HealthServer(
            "127.0.0.1", 0, registry=CollectorRegistry(), healthy=lambda: None, ready=lambda: None, limits=limits,
            routes={"/slow": self._slow, "/big": lambda _: Answer(200, "text/plain", BIG)},
        )  # fmt: skip

    def _slow(self, request: Request) -> Answer:
        self.slow.release()
        self.go_on.wait(20)
        return Answer(200, "text/plain", b"done")

    @property
    def held(self) -> int:
        return self.server._server.connections.count

    def open(self, data: bytes = b"") -> socket.socket:
        """A connection that has been taken, and has sent something."""
        connection = socket.create_connection(("127.0.0.1", self.server.port), timeout=10)
        self.opened.append(connection)
        connection.sendall(data)
        return connection

    def get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def close(self) -> None:
        self.go_on.set()
        for connection in self.opened:
            connection.close()
        self.server.close()


@pytest.fixture
def start() -> Iterator[Callable[..., Role]]:
    roles: list[Role] = []

    def make(**limits: float) -> Role:
        roles.append(Role(Limits(**limits)))  # type: ignore[arg-type]
        return roles[-1]

    yield make
    for role in roles:
        role.close()


def wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def read_until(connection: socket.socket, end: bytes) -> None:
    found = b""
    while end not in found:
        part = connection.recv(1000)
        assert part, found
        found += part


def is_closed(connection: socket.socket) -> bool:
    """Whether its end comes, now or within a moment."""
    connection.settimeout(0.1)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def test_two_hundred_silent_connections_shut_nobody_out(start: Callable[..., Role]) -> None:
    """Probes and scrapes are answered as before; who was silent for longest has given way, the others not."""
    role = start()
    silent = [role.open(b"" if n % 2 else b"GET /metrics HTTP/1.1\r\nHost: loc") for n in range(200)]
    wait(lambda: role.held == 200)
    for path in ("/healthz", "/metrics", "/readyz"):
        assert role.get(path)[0] == 200
    assert is_closed(silent[0])
    assert not is_closed(silent[4])  # of three requests, each made room for at most one
    assert not is_closed(silent[-1])


def test_a_request_that_is_being_answered_is_not_given_up(start: Callable[..., Role]) -> None:
    """It is our turn then; whoever has yet to ask gives way, however late it came."""
    role = start(connections=2)
    asked = role.open(b"GET /slow HTTP/1.0\r\n\r\n")
    role.slow.acquire(timeout=10)
    silent = role.open()
    wait(lambda: role.held == 2)
    assert role.get("/healthz")[0] == 200
    assert is_closed(silent)
    role.go_on.set()
    asked.settimeout(10)
    assert b"200 OK" in asked.recv(1000)


def test_while_all_are_being_answered_probes_are(start: Callable[..., Role]) -> None:
    """Nobody can give way; a few more are held, and told to come again unless they probe."""
    role = start(connections=3, spare=2)
    with ThreadPoolExecutor(3) as pool:
        slow = [pool.submit(role.get, "/slow") for _ in range(3)]
        for _ in range(3):
            role.slow.acquire(timeout=10)
        silent = [role.open() for _ in range(2)]
        wait(lambda: role.held == 5)
        assert role.get("/healthz") == role.get("/readyz") == (200, b"ok\n")
        assert is_closed(silent[0])
        status, said = role.get("/metrics")
        assert status == 503
        assert b"try again" in said
        role.go_on.set()
        assert [future.result() for future in slow] == [(200, b"done")] * 3
    silent[1].close()
    wait(lambda: role.held == 0)
    assert role.get("/metrics")[0] == 200


def test_a_client_that_does_not_read_is_given_up(start: Callable[..., Role]) -> None:
    """After a while, or as soon as others need its place."""
    role = start(answer_seconds=0.3)
    role.open(b"GET /big HTTP/1.0\r\n\r\n")
    wait(lambda: role.held == 1)
    wait(lambda: role.held == 0)

    role = start(connections=2)
    for _ in range(2):
        role.open(b"GET /big HTTP/1.0\r\n\r\n")
    wait(lambda: role.held == 2 and len(role.server._server.connections._waiting) == 2)
    begun = time.monotonic()
    assert role.get("/healthz")[0] == 200
    assert time.monotonic() - begun < 5


def test_a_client_that_reads_slowly_but_in_time_has_all(start: Callable[..., Role]) -> None:
    """Each piece that it takes is followed by the next."""
    connection = start().open(b"GET /big HTTP/1.0\r\n\r\n")
    count = 0
    while part := connection.recv(1 << 20):
        count += len(part)
    assert len(BIG) < count < len(BIG) + 1000


def test_silence_ends_sooner_than_a_slow_request(start: Callable[..., Role]) -> None:
    """A connection's first byte must come soon; after it the request has the time of every request."""
    role = start(first_byte_seconds=0.15, request_seconds=20)
    silent, begun, asked = role.open(), role.open(b"G"), role.open(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    read_until(asked, b"ok\n")
    wait(lambda: role.held == 2)
    assert is_closed(silent)
    assert not is_closed(begun)
    asked.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    read_until(asked, b"ok\n")


def test_threads_are_bounded() -> None:
    """Even where those that gave way have not seen it yet; each place is given back once."""
    connections = Connections(Limits(connections=2, spare=1))
    pairs = [socket.socketpair() for _ in range(8)]
    try:
        taken = [connections.enter(ours) for ours, _ in pairs]
        assert taken == [True] * 5 + [False] * 3
        assert connections.count < 3
        for _ in range(5):
            connections.thread_ended()
        newest = pairs[4][0]
        assert connections.leave(newest)
        assert not connections.leave(newest)
        assert not connections.becomes(newest, pairs[5][0])
        connections.waits(newest)
        assert connections.enter(pairs[6][0])
    finally:
        for pair in pairs:
            for each in pair:
                each.close()
