"""The small HTTP server of every role: /metrics, /healthz, /readyz, and what a role adds.

It answers GET and HEAD, holds no secret and reads no request body.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

Route = Callable[[], tuple[int, str, bytes]]
"""Answers a path: (status, content type, body)."""


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
                return (503 if reason else 200), "text/plain; charset=utf-8", f"{reason or 'ok'}\n".encode()

            return answer

        table: dict[str, Route] = {"/healthz": probe(healthy), "/readyz": probe(ready), **(routes or {})}

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
                if path == "/metrics":
                    encode, content_type = choose_encoder(self.headers.get("Accept", ""))
                    status, body = 200, encode(registry)
                elif path in table:
                    status, content_type, body = table[path]()
                else:
                    known = ", ".join(sorted(("/metrics", *table)))
                    status, content_type, body = 404, "text/plain; charset=utf-8", f"not found; try {known}\n".encode()
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("X-Content-Type-Options", "nosniff")
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                if with_body:
                    self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Scrapes are not worth a line each."""

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
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
