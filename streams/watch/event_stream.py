"""Server-sent events (WHATWG HTML, section 9.2): an open page hears that something changed, and fetches it again.

An event says what changed and which version is shown since; it carries no number, so nothing is to be kept from anyone
and nothing is lost with a connection: whoever comes back hears the version that is there now. One thread serves all
streams and waits for none. A stream that does not take what it is sent, or sends something itself, is closed; where
there are as many as may be, the oldest gives way to the next. Its browser comes back.
"""

from __future__ import annotations

import json
import logging
import secrets
import selectors
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from streams.watch.routes import Answer, Request

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 15.0
_MOST_UNSENT = 16_384
"""Bytes; beyond them a stream's reader is too slow."""

_SEND_BUFFER = 16_384
_MOST_COMING = 64
"""Streams beyond those that may be, until the oldest have given way."""

_RETRY_MS = (2000, 8000)
"""After how long a browser comes back: not all at once, when publish has been started again."""

_NOT_NOW = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_HEADERS = (("Cross-Origin-Resource-Policy", "same-origin"), ("X-Accel-Buffering", "no"))


@dataclass(eq=False)
class _Stream:
    connection: socket.socket
    unsent: bytes = b""


class EventStreams:
    """The open streams.

    Args:
        most: streams at once; 0 for none.
        version: what is shown now.
    """

    def __init__(self, most: int, version: Callable[[], str]) -> None:
        self._most = most
        self._version = version
        self._waiting: deque[bytes] = deque(maxlen=4096)
        self._come: deque[socket.socket] = deque()
        self._lock = threading.Lock()
        self._count = 0
        self._thread: threading.Thread | None = None
        self._over = False
        self._bell, self._ring = socket.socketpair()
        self._bell.setblocking(False)
        self._ring.setblocking(False)

    @property
    def count(self) -> int:
        """Streams that are open."""
        return self._count

    def publish(self, event: str, version: str, subject: str) -> None:
        """Tell every stream; returns at once."""
        if self._count:
            self._waiting.append(message(event, version, subject))
            self._wake()

    def route(self, request: Request) -> Answer:
        """What answers /events."""
        with self._lock:
            if self._is_full():
                busy = b"there are as many open streams as publish.page_streams allows; reload the page instead\n"
                return Answer(503, "text/plain; charset=utf-8", busy, (("Retry-After", "60"),))
        return Answer(200, "text/event-stream", b"", _HEADERS, self._adopt)

    def close(self) -> None:
        """End all streams, and the thread."""
        with self._lock:
            self._over = True
            thread = self._thread
        self._wake()
        if thread is not None:
            thread.join(timeout=5)

    def _adopt(self, connection: socket.socket) -> None:
        """Take over a connection whose headers are sent."""
        with self._lock:
            if self._is_full():
                connection.close()
                return
            self._count += 1
            self._come.append(connection)
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="events", daemon=True)
                self._thread.start()
        self._wake()

    def _is_full(self) -> bool:
        return self._over or self._most == 0 or self._count >= self._most + _MOST_COMING

    def _wake(self) -> None:
        try:
            self._ring.send(b"x")
        except OSError:  # it is full: the thread will wake anyway
            return

    # -- the thread -----------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        streams: dict[_Stream, None] = {}  # the oldest first
        with selectors.DefaultSelector() as selector:
            selector.register(self._bell, selectors.EVENT_READ, None)
            beat = time.monotonic() + HEARTBEAT_SECONDS
            while not self._over:
                for key, events in selector.select(max(0.0, beat - time.monotonic())):
                    if key.data is None:
                        self._hush()
                    elif events & selectors.EVENT_READ and not _listens(key.data):
                        self._drop(selector, streams, key.data)
                    elif events & selectors.EVENT_WRITE:
                        self._send(selector, streams, key.data, b"")
                while self._come:
                    self._greet(selector, streams, self._come.popleft())
                while self._waiting:
                    self._all(selector, streams, self._waiting.popleft())
                if time.monotonic() >= beat:
                    beat = time.monotonic() + HEARTBEAT_SECONDS
                    self._all(selector, streams, b":\n\n")
            for stream in list(streams):
                self._drop(selector, streams, stream)

    def _hush(self) -> None:
        try:
            while self._bell.recv(1024):
                pass
        except BlockingIOError:
            return

    def _greet(self, selector: selectors.BaseSelector, streams: dict[_Stream, None], connection: socket.socket) -> None:
        stream = _Stream(connection)
        try:
            connection.setblocking(False)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
            selector.register(connection, selectors.EVENT_READ, stream)
        except (OSError, ValueError):  # it has gone already
            connection.close()
            self._count -= 1
            return
        if len(streams) >= self._most:
            self._drop(selector, streams, next(iter(streams)))
        streams[stream] = None
        retry = _RETRY_MS[0] + secrets.randbelow(_RETRY_MS[1] - _RETRY_MS[0])
        self._send(selector, streams, stream, f"retry: {retry}\n".encode() + message("hello", self._version(), ""))

    def _all(self, selector: selectors.BaseSelector, streams: dict[_Stream, None], text: bytes) -> None:
        for stream in list(streams):
            self._send(selector, streams, stream, text)

    def _send(
        self, selector: selectors.BaseSelector, streams: dict[_Stream, None], stream: _Stream, text: bytes
    ) -> None:
        had = bool(stream.unsent)
        stream.unsent += text
        try:
            while stream.unsent:
                stream.unsent = stream.unsent[stream.connection.send(stream.unsent) :]
        except _NOT_NOW:
            if len(stream.unsent) > _MOST_UNSENT:
                self._drop(selector, streams, stream)
                return
        except OSError:
            self._drop(selector, streams, stream)
            return
        if had != bool(stream.unsent):
            waits = selectors.EVENT_WRITE if stream.unsent else 0
            selector.modify(stream.connection, selectors.EVENT_READ | waits, stream)

    def _drop(self, selector: selectors.BaseSelector, streams: dict[_Stream, None], stream: _Stream) -> None:
        if stream not in streams:
            return
        del streams[stream]
        selector.unregister(stream.connection)
        stream.connection.close()
        with self._lock:
            self._count -= 1


def message(event: str, version: str, subject: str) -> bytes:
    """One event."""
    return f"event: {event}\nid: {version}\ndata: {json.dumps({'subject': subject})}\n\n".encode()


def _listens(stream: _Stream) -> bool:
    """Whether a stream whose connection has something to read is still there and silent.

    A browser sends nothing any more. What it sends would be read for as long as it likes, at our cost.
    """
    try:
        stream.connection.recv(1024)
    except _NOT_NOW:
        return True
    except OSError:
        return False
    return False
