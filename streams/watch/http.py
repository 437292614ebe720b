"""The small HTTP server of every role: /metrics, /healthz, /readyz, and what a role adds.

It answers GET and HEAD, holds no secret and reads no request body.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

log = logging.getLogger(__name__)

Route = Callable[[], tuple[int, str, bytes]]
"""Answers a path: (status, content type, body)."""

_TEXT = "text/plain; charset=utf-8"


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, host: str, port: int, handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), handler)

    def server_bind(self) -> None:
        """As its parent, without asking DNS for the host's full name: that can take seconds, and nobody reads it."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])


class HealthServer:
    """Serves one role.

    Args:
        host, port: where to listen; port 0 takes a free one, see :attr:`port`.
        registry: what /metrics shows.
        healthy, ready: why the role is not, or None.
        routes: further paths.

    Raises:
        OSError: the port is taken.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        registry: CollectorRegistry,
        healthy: Callable[[], str | None],
        ready: Callable[[], str | None],
        routes: Mapping[str, Route] | None = None,
    ) -> None:
        def probe(question: Callable[[], str | None]) -> Route:
            def answer() -> tuple[int, str, bytes]:
                reason = question()
                line = " ".join(reason.split()) if reason else "ok"
                return (503 if reason else 200), _TEXT, f"{line}\n".encode()

            return answer

        table: dict[str, Route] = {"/healthz": probe(healthy), "/readyz": probe(ready), **(routes or {})}

        def respond(path: str, accept: str) -> tuple[int, str, bytes]:
            if path == "/metrics":
                encode, content_type = choose_encoder(accept)
                return 200, content_type, encode(registry)
            if path in table:
                return table[path]()
            known = ", ".join(sorted(("/metrics", *table)))
            return 404, _TEXT, f"not found; try {known}\n".encode()

        class Handler(BaseHTTPRequestHandler):
            server_version = "evenstream"
            sys_version = ""
            protocol_version = "HTTP/1.1"
            timeout = 10

            def do_GET(self) -> None:
                self._answer(with_body=True)

            def do_HEAD(self) -> None:
                self._answer(with_body=False)

            def _answer(self, *, with_body: bool) -> None:
                path = self.path.partition("?")[0]
                try:
                    status, content_type, body = respond(path, self.headers.get("Accept", ""))
                except Exception:  # what answers is a role's own code: its mistake must not look like a dead role
                    log.exception("%s could not be answered", path)
                    status, content_type, body = 500, _TEXT, b"an internal error; see the role's log\n"
                self._send(status, content_type, body, with_body=with_body)

            def _refuse(self) -> None:
                self.close_connection = True  # the request's body stays unread
                self._send(405, _TEXT, b"only GET and HEAD\n", with_body=True)

            do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _refuse

            def _send(self, status: int, content_type: str, body: bytes, *, with_body: bool) -> None:
                self.send_response(status)
                if status == 405:
                    self.send_header("Allow", "GET, HEAD")
                    self.send_header("Connection", "close")
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("X-Content-Type-Options", "nosniff")
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                if with_body:
                    self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Scrapes are not worth a line each."""

        self._server = _Server(host, port, Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="http", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)
