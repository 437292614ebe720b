"""The connections of the roles' HTTP server: how many are held, for how long, and which one gives way.

At any moment a connection waits either for us, while its request is being answered, or for its client, which has yet
to send a request or to read the answer. Where as many are held as may be, the one that has waited for its client for
longest gives way to the newcomer: however many hang, whoever asks and reads is served. Only when all of them wait for
us is there nobody to give way; then a few more are held, and of those probes alone are answered.
"""

from __future__ import annotations

import http.client
import io
import socket
import threading
import time
from dataclasses import dataclass
from typing import Any

_READ_BYTES = 8192
"""What is read at once, and so may come of the next request with the one before."""


@dataclass(frozen=True)
class Limits:
    """How much a client may take of a server.

    Attributes:
        connections: that are held at once.
        spare: held beyond those while all of them are being answered, for probes.
        first_byte_seconds: until something comes of a connection's first request.
        request_seconds: until a request is complete, or another one after an answer.
        answer_seconds: until an answer has been read.
        drain_seconds: for what still comes of a request that was refused.
        header_bytes: of a request's first line and headers.
    """

    connections: int = 200
    spare: int = 32
    first_byte_seconds: float = 3.0
    request_seconds: float = 10.0
    answer_seconds: float = 10.0
    drain_seconds: float = 1.0
    header_bytes: int = 65_536


LIMITS = Limits()


class Connections:
    """Those that are held. Thread-safe.

    Args:
        limits: how many there may be.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._held: dict[socket.socket, bool] = {}
        """Each, and whether it came when there were enough."""

        self._waiting: dict[socket.socket, None] = {}
        """Those that wait for their clients, the longest first."""

        self._threads = 0

    @property
    def count(self) -> int:
        """How many are held."""
        return len(self._held)

    @property
    def crowded(self) -> bool:
        """Whether more than half of the connections are in use: then none is held for a request that may come."""
        return len(self._held) > self._limits.connections // 2

    def enter(self, connection: socket.socket) -> bool:
        """Hold one more, for which a thread begins; False where there is no place for it."""
        most, spare = self._limits.connections, self._limits.spare
        with self._lock:
            longest = next(iter(self._waiting), None)
            if (
                longest is not None
                and len(self._held) >= most
                and (len(self._held) >= most + spare or not self._held[longest])
            ):
                self._give_way(longest)
            # Threads of those that gave way need a moment to see it.
            if len(self._held) >= most + spare or self._threads >= 2 * most + spare:
                return False
            self._held[connection] = len(self._held) >= most
            self._waiting[connection] = None
            self._threads += 1
            return True

    def _give_way(self, connection: socket.socket) -> None:
        del self._held[connection], self._waiting[connection]
        try:
            # Its thread reads the end and closes it. SSLSocket's own shutdown would let that thread go on in plain.
            socket.socket.shutdown(connection, socket.SHUT_RDWR)
        except OSError:  # its client has gone already
            return

    def becomes(self, connection: socket.socket, other: socket.socket) -> bool:
        """The same, under TLS; False where it has given way."""
        with self._lock:
            if connection not in self._held:
                return False
            self._held[other] = self._held.pop(connection)
            self._waiting.pop(connection, None)
            self._waiting[other] = None
            return True

    def waits(self, connection: socket.socket) -> None:
        """From now on it is its client's turn, unless it was before."""
        with self._lock:
            if connection in self._held:
                self._waiting.setdefault(connection)

    def asked(self, connection: socket.socket) -> None:
        """From now on it is our turn."""
        with self._lock:
            self._waiting.pop(connection, None)

    def is_spare(self, connection: socket.socket) -> bool:
        """Whether there are too many, and this is one of the last."""
        with self._lock:
            return self._held.get(connection, False) and len(self._held) > self._limits.connections

    def leave(self, connection: socket.socket) -> bool:
        """It is held no more, and may be closed; False where it had given way."""
        with self._lock:
            self._waiting.pop(connection, None)
            return self._held.pop(connection, None) is not None

    def thread_ended(self) -> None:
        """One of those that began with :meth:`enter`."""
        with self._lock:
            self._threads -= 1


class TooManyBytes(http.client.HTTPException):
    """A request's headers are too long: ``http.server`` answers 431."""


class DeadlineReader(io.RawIOBase):
    """A connection's bytes, until a deadline: a time-out for each read would let a sender hold a thread for ever."""

    def __init__(self, connection: socket.socket, limits: Limits) -> None:
        self._connection = connection
        self._limits = limits
        self._first_byte = limits.first_byte_seconds
        self.begin()

    def begin(self) -> None:
        """A request may come now."""
        now = time.monotonic()
        self.deadline = now + self._limits.request_seconds
        self._sooner = now + self._first_byte
        self.allow(self._limits.header_bytes)

    def allow(self, count: int) -> None:
        """So many bytes may come, and what is read ahead."""
        self._left = count + _READ_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._left <= 0:
            raise TooManyBytes
        left = min(self.deadline, self._sooner) - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        count = self._connection.recv_into(buffer)
        self._left -= count
        self._first_byte, self._sooner = self._limits.request_seconds, self.deadline
        return count


class DeadlineWriter(io.BufferedIOBase):
    """A connection's answers, until a deadline: under TLS each record would have a time-out of its own."""

    def __init__(self, connection: socket.socket, limits: Limits) -> None:
        self._connection = connection
        self._limits = limits
        self.begin()

    def begin(self) -> None:
        """Something is to be sent now."""
        self._deadline = time.monotonic() + self._limits.answer_seconds

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        with memoryview(data) as view:
            sent = 0
            while sent < len(view):
                left = self._deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                self._connection.settimeout(left)
                sent += self._connection.send(view[sent:])
            return sent
