"""The small HTTP server of every role: /metrics, /healthz, /readyz, and what a role adds (``routes``).

It answers GET and HEAD. POST is answered only where a role hands in a form (publish does, for concerns); everywhere
else a request's body stays unread. A request must be complete within 10 s, however its bytes come, and no more than
200 connections are held at once. No address and no request is logged, kept or said again in an answer.
"""

from __future__ import annotations

import io
import logging
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry

from streams.watch.exposition import Exposition
from streams.watch.routes import MAX_TARGET, Answer, BadPath, Found, Request, Route, Routes

log = logging.getLogger(__name__)

MAX_FORM_BYTES = 24_576
"""Of a form's body: 2,000 characters of 4 bytes, each byte written as %XX, and the names of the fields."""

_REQUEST_SECONDS = 10.0
_CONNECTIONS = 200
_DRAIN_SECONDS = 1.0
_POLL_SECONDS = 0.1
_DRAIN_READS = 32
_TEXT = "text/plain; charset=utf-8"


class _Refused(Exception):
    """A request whose body cannot be taken: the status and a sentence that says why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class _DeadlineReader(io.RawIOBase):
    """A socket's bytes, until a deadline: a time-out for each read would let a sender hold a thread for ever."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.deadline = time.monotonic() + _REQUEST_SECONDS

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, host: str, port: int, handler: type[BaseHTTPRequestHandler], tls: ssl.SSLContext | None) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._busy = 0
        self._busy_lock = threading.Lock()
        self._tls = tls
        self._adopted: set[Any] = set()
        super().__init__((host, port), handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """As its parent, unless too many are being served: then the connection is closed."""
        with self._busy_lock:
            full = self._busy >= _CONNECTIONS
            self._busy += not full
        if full:
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """As its parent, and the connection counts no more."""
        try:
            if self._tls is not None:
                request.settimeout(_REQUEST_SECONDS)
                try:
                    request = self._tls.wrap_socket(request, server_side=True)
                except OSError:  # SSLError is one: whoever it is speaks no TLS, or has gone
                    self.shutdown_request(request)
                    return
            super().process_request_thread(request, client_address)
        finally:
            with self._busy_lock:
                self._busy -= 1

    def give_away(self, request: Any, adopt: Callable[[socket.socket], None]) -> None:
        """Somebody else closes this connection."""
        self._adopted.add(request)
        adopt(request)

    def shutdown_request(self, request: Any) -> None:
        """As its parent, unless the connection was given away."""
        if request in self._adopted:
            self._adopted.discard(request)
        else:
            super().shutdown_request(request)

    @property
    def crowded(self) -> bool:
        """Whether more than half of the connections are in use: then none is held for a request that may come."""
        return self._busy > _CONNECTIONS // 2

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nobody's mistake; an address is never logged."""
        log.debug("a connection ended early", exc_info=True)

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
        note: what /readyz says beside yes, such as that the worker stands by.
        guard: wraps what only operators may see (``streams.watch.access``).
        tls: where the server speaks TLS, how.
        routes: further paths or patterns (``routes``), for GET and HEAD.
        forms: those that answer POST, with a body of type application/x-www-form-urlencoded.

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
        forms: Mapping[str, Route] | None = None,
        note: Callable[[], str | None] = lambda: None,
        guard: Callable[[Route], Route] = lambda route: route,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        def probe(question: Callable[[], str | None], remark: Callable[[], str | None] = lambda: None) -> Route:
            def answer(request: Request) -> Answer:
                reason = question()
                line = " ".join((reason or remark() or "ok").split())
                return Answer(503 if reason else 200, _TEXT, f"{line}\n".encode())

            return answer

        exposition = Exposition(registry)

        def metrics(request: Request) -> Answer:
            return Answer(200, *exposition.answer(request.headers.get("Accept", "")))

        gets: dict[str, Route] = {
            "/healthz": probe(healthy),
            "/metrics": guard(metrics),
            "/readyz": probe(ready, note),
            **(routes or {}),
        }
        asked, posted = Routes(gets), Routes(forms or {})
        named = [pattern for pattern in asked.patterns if not pattern.startswith("/assets/")]

        def absent(request: Request) -> Answer:
            return Answer(404, _TEXT, f"not found; try {', '.join(named)}\n".encode())

        class Handler(BaseHTTPRequestHandler):
            server_version = "evenstream"
            sys_version = ""
            protocol_version = "HTTP/1.1"
            timeout = _REQUEST_SECONDS

            def setup(self) -> None:
                super().setup()
                self.rfile.close()
                self._raw = _DeadlineReader(self.connection)
                self.rfile = io.BufferedReader(self._raw)

            def handle_one_request(self) -> None:
                self._raw.deadline = time.monotonic() + _REQUEST_SECONDS
                super().handle_one_request()

            def do_GET(self) -> None:
                if self.headers.get_all("Transfer-Encoding") or self.headers.get("Content-Length", "0") != "0":
                    self.close_connection = True  # a body stays unread, and is no next request
                try:
                    self._answer(self._find(asked) or Found("", absent, {}))
                except _Refused as refused:
                    self._refused(refused)

            do_HEAD = do_GET

            def do_POST(self) -> None:
                self.close_connection = True  # what may follow the body is not looked at
                try:
                    found = self._find(posted)
                    if found is None:
                        self._refuse()
                        return
                    self._answer(found, self._form_body())
                except _Refused as refused:
                    self._refused(refused)

            def _find(self, among: Routes) -> Found | None:
                if len(self.path) > MAX_TARGET:
                    raise _Refused(414, f"the address has more than {MAX_TARGET} characters")
                try:
                    return among.find(self._path())
                except BadPath:
                    raise _Refused(400, "the path is not percent-encoded UTF-8") from None

            def _refused(self, refused: _Refused) -> None:
                self.close_connection = True
                self._send(Answer(refused.status, _TEXT, f"{refused}\n".encode()))
                self._drain()

            def _refuse(self) -> None:
                self.close_connection = True  # the request's body stays unread
                try:
                    takes_forms = self._find(posted) is not None
                except _Refused as refused:
                    self._refused(refused)
                    return
                allowed = "GET, HEAD, POST" if takes_forms else "GET, HEAD"
                only = allowed.replace(", ", " and ") if allowed.count(",") == 1 else "GET, HEAD and POST"
                self._send(Answer(405, _TEXT, f"only {only}\n".encode(), (("Allow", allowed),)))
                self._drain()

            do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _refuse

            def _path(self) -> str:
                return self.path.partition("?")[0]

            def _form_body(self) -> bytes:
                """The body, or why it is not taken. Its length comes first: nothing is read that is too long."""
                if self.headers.get_all("Transfer-Encoding"):
                    raise _Refused(411, "send the form's length as Content-Length; a transfer encoding is not taken")
                lengths = self.headers.get_all("Content-Length") or []
                if not lengths:
                    raise _Refused(411, "a form needs a Content-Length")
                if len(lengths) > 1 or re.fullmatch("[0-9]{1,9}", lengths[0].strip()) is None:
                    raise _Refused(400, "Content-Length is not one whole number")
                length = int(lengths[0])
                if length > MAX_FORM_BYTES:
                    raise _Refused(413, f"the form has {length} bytes, at most {MAX_FORM_BYTES} are taken")
                kinds = self.headers.get_all("Content-Type") or [""]
                if len(kinds) > 1 or not _is_form(kinds[0]):
                    raise _Refused(415, "send the form as application/x-www-form-urlencoded in UTF-8")
                try:
                    body: bytes = self.rfile.read(length)
                except TimeoutError:
                    raise _Refused(408, f"the form did not come within {_REQUEST_SECONDS:.0f} s") from None
                if len(body) < length:
                    raise _Refused(400, f"Content-Length says {length} bytes, {len(body)} came")
                return body

            def _drain(self) -> None:
                """Let go of a little of what still comes: a connection that is closed on it would lose the answer."""
                self.wfile.flush()
                self._raw.deadline = min(self._raw.deadline, time.monotonic() + _DRAIN_SECONDS)
                try:
                    self.connection.shutdown(socket.SHUT_WR)
                    for _ in range(_DRAIN_READS):
                        if not self.rfile.read1():
                            return
                except OSError:  # a time-out is one
                    return

            def _answer(self, found: Found, body: bytes = b"") -> None:
                path, _, query = self.path.partition("?")
                try:
                    answer = found.route(Request(query, self.headers, body, path, found.parameters, self._certified()))
                except Exception:  # what answers is a role's own code: its mistake must not look like a dead role
                    log.exception("%s could not be answered", found.pattern or "a path")
                    answer = Answer(500, _TEXT, b"an internal error; see the role's log\n")
                self._send(answer)

            def _certified(self) -> bool:
                return isinstance(self.connection, ssl.SSLSocket) and bool(self.connection.getpeercert())

            def _send(self, answer: Answer) -> None:
                if answer.adopt is not None or held.crowded:
                    self.close_connection = True
                self.connection.settimeout(_REQUEST_SECONDS)
                self.send_response(answer.status)
                if self.close_connection:
                    self.send_header("Connection", "close")
                self.send_header("Content-Type", answer.content_type)
                if answer.adopt is None:
                    self.send_header("Content-Length", str(len(answer.body)))
                for name, value in {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}.items():
                    if name not in dict(answer.headers):
                        self.send_header(name, value)
                for name, value in answer.headers:
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer.body)
                    if answer.adopt is not None:
                        held.give_away(self.connection, answer.adopt)

            def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
                """A request that could not be read: a plain sentence that says nothing of it again."""
                self.close_connection = True
                if self.request_version == "HTTP/0.9":
                    self.request_version = "HTTP/1.0"  # else the answer had no status line
                self._send(Answer(code, _TEXT, f"{HTTPStatus(code).phrase.lower()}\n".encode()))
                self._drain()

            def log_message(self, format: str, *args: Any) -> None:
                """Scrapes are not worth a line each, and whoever asks is nobody's business."""

        self._server = held = _Server(host, port, Handler, tls)
        # How long ending takes: it is looked for so often.
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_SECONDS,), name="http", daemon=True
        )
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


def _is_form(content_type: str) -> bool:
    """Whether this is the type of an HTML form's body, in UTF-8 where it names an encoding."""
    kind, *parameters = (part.strip().lower() for part in content_type.split(";"))
    return kind == "application/x-www-form-urlencoded" and all(
        part in ("", "charset=utf-8", 'charset="utf-8"') for part in parameters
    )
