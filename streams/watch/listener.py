"""What listens for the roles' HTTP server: a thread for each connection that there is a place for, under TLS or not."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from streams.watch.connections import Connections, Limits

log = logging.getLogger(__name__)


class Listener(ThreadingHTTPServer):
    """Listens at once.

    Args:
        host, port, handler: as for its parent.
        tls: says how TLS is spoken with whoever connects now; None where it is not.
        limits: how many connections are held.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        host: str,
        port: int,
        handler: type[BaseHTTPRequestHandler],
        tls: Callable[[], ssl.SSLContext] | None,
        limits: Limits,
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.connections = Connections(limits)
        self._limits = limits
        self._tls = tls
        self._adopted: set[Any] = set()
        super().__init__((host, port), handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """As its parent, where there is a place for it."""
        if not self.connections.enter(request):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread has begun
            self.connections.thread_ended()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """As its parent, under TLS where that is spoken."""
        try:
            if self._tls is not None:
                try:
                    request = self._shake_hands(self._tls(), request)
                except OSError:  # SSLError is one: whoever it is speaks no TLS, or has gone
                    self.shutdown_request(request)
                    return
            super().process_request_thread(request, client_address)
        finally:
            self.connections.thread_ended()

    def _shake_hands(self, tls: ssl.SSLContext, request: socket.socket) -> ssl.SSLSocket:
        request.settimeout(self._limits.request_seconds)
        # It is another object from now on, which must be known while its client may let us wait.
        wrapped = tls.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
        try:
            if not self.connections.becomes(request, wrapped):
                raise ConnectionAbortedError
            wrapped.do_handshake()
        except OSError:
            self.shutdown_request(wrapped)
            raise
        return wrapped

    def give_away(self, request: Any, adopt: Callable[[socket.socket], None]) -> None:
        """Somebody else closes this connection."""
        if self.connections.leave(request):
            self._adopted.add(request)
            adopt(request)

    def shutdown_request(self, request: Any) -> None:
        """As its parent, unless the connection was given away."""
        self.connections.leave(request)  # first: what is closed must not be shut down, its number may be another's
        if request in self._adopted:
            self._adopted.discard(request)
        else:
            super().shutdown_request(request)

    def end(self) -> None:
        """Serve no more, and return when that is so: its thread sleeps until somebody connects, so it is woken."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.shutdown()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nobody's mistake; an address is never logged."""
        log.debug("a connection ended early", exc_info=True)

    def server_bind(self) -> None:
        """As its parent, without asking DNS for the host's full name: that can take seconds, and nobody reads it."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
