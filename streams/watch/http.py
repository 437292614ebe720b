"""The small HTTP server of every role: /metrics, /healthz, /readyz, and what a role adds (``routes``).

It answers GET and HEAD. POST is answered only where a role hands in a form (publish does, for concerns); everywhere
else a request's body stays unread. A request must be complete within 10 s, however its bytes come, and be for a name
that is the server's own (``host_names``); of 200 connections the slowest gives way to the next (``connections``).
No address and no request is logged, kept or said again in an answer.
"""

from __future__ import annotations

import io
import logging
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

from prometheus_client import CollectorRegistry

from streams.watch.connections import LIMITS, DeadlineReader, DeadlineWriter, Limits
from streams.watch.exposition import Exposition
from streams.watch.host_names import WHY_NOT, HostNames
from streams.watch.listener import Listener
from streams.watch.routes import MAX_TARGET, Answer, BadPath, Found, Request, Route, Routes

log = logging.getLogger(__name__)

MAX_FORM_BYTES = 24_576
"""Of a form's body: 2,000 characters of 4 bytes, each byte written as %XX, and the names of the fields."""

_POLL_SECONDS = 5.0
"""Only where the system does not wake whoever waits for connections when their socket is shut (``Listener.end``)."""
_DRAIN_READS = 32
_TEXT = "text/plain; charset=utf-8"
_PROBES = ("/healthz", "/readyz")
_CROWDED = Answer(
    503, _TEXT, b"too many requests are being answered; try again in a few seconds\n", (("Retry-After", "5"),)
)


class _Refused(Exception):
    """A request whose body cannot be taken: the status and a sentence that says why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class HealthServer:
    """Serves one role.

    Args:
        host, port: where to listen; port 0 takes a free one, see :attr:`port`.
        registry: what /metrics shows.
        healthy, ready: why the role is not, or None.
        note: what /readyz says beside yes, such as that the worker stands by.
        guard: wraps what only operators may see (``streams.watch.access``).
        tls: where the server speaks TLS, says how with whoever connects now (``streams.watch.access``).
        routes: further paths or patterns (``routes``), for GET and HEAD.
        forms: those that answer POST, with a body of type application/x-www-form-urlencoded.
        hosts: names by which it is asked, beside localhost, where it listens on a loopback address.
        limits: how much a client may take.

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
        tls: Callable[[], ssl.SSLContext] | None = None,
        hosts: Iterable[str] = (),
        limits: Limits = LIMITS,
    ) -> None:
        def probe(question: Callable[[], str | None], remark: Callable[[], str | None] = lambda: None) -> Route:
            def answer(request: Request) -> Answer:
                reason = question()
                line = " ".join((reason or remark() or "ok").split())
                return Answer(503 if reason else 200, _TEXT, f"{line}\n".encode())

            return answer

        exposition = Exposition(registry)
        collecting = threading.Lock()

        def metrics(request: Request) -> Answer:
            with collecting:  # one at a time: two hundred scrapes at once would leave a role little to work with
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
            # Head and body go out in two writes: on a connection that is kept, the second would wait 40 ms for the
            # client's acknowledgement of the first.
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                self.rfile.close()
                self._raw = DeadlineReader(self.connection, limits)
                self.rfile = io.BufferedReader(self._raw)
                self.wfile = self._writer = DeadlineWriter(self.connection, limits)

            def handle_one_request(self) -> None:
                held.waits(self.connection)
                self._raw.begin()
                self._writer.begin()
                super().handle_one_request()

            def parse_request(self) -> bool:
                """As its parent; the request must be for this server."""
                if not super().parse_request():
                    return False
                held.asked(self.connection)
                named = self.headers.get_all("Host") or []
                if len(named) > 1 or (not named and self.request_version == "HTTP/1.1"):
                    self._refused(_Refused(400, "a request has one Host"))
                elif named and not own.take(named[0]):
                    self._refused(_Refused(421, WHY_NOT))
                else:
                    return True
                return False

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
                held.waits(self.connection)
                self._raw.allow(MAX_FORM_BYTES)
                try:
                    body: bytes = self.rfile.read(length)
                except TimeoutError:
                    raise _Refused(408, f"the form did not come within {limits.request_seconds:.0f} s") from None
                held.asked(self.connection)
                if len(body) < length:
                    raise _Refused(400, f"Content-Length says {length} bytes, {len(body)} came")
                return body

            def _drain(self) -> None:
                """Let go of a little of what still comes: a connection that is closed on it would lose the answer."""
                self.wfile.flush()
                self._raw.deadline = min(self._raw.deadline, time.monotonic() + limits.drain_seconds)
                self._raw.allow(_DRAIN_READS * MAX_FORM_BYTES)
                try:
                    self.connection.shutdown(socket.SHUT_WR)
                    for _ in range(_DRAIN_READS):
                        if not self.rfile.read1():
                            return
                except OSError:  # a time-out is one
                    return

            def _answer(self, found: Found, body: bytes = b"") -> None:
                if found.pattern not in _PROBES and held.is_spare(self.connection):
                    self._send(_CROWDED)
                    return
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
                held.waits(self.connection)
                self._writer.begin()
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
                        server.give_away(self.connection, answer.adopt)

            def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
                """A request that could not be read: a plain sentence that says nothing of it again."""
                self.close_connection = True
                if self.request_version == "HTTP/0.9":
                    self.request_version = "HTTP/1.0"  # else the answer had no status line
                self._send(Answer(code, _TEXT, f"{HTTPStatus(code).phrase.lower()}\n".encode()))
                self._drain()

            def log_message(self, format: str, *args: Any) -> None:
                """Scrapes are not worth a line each, and whoever asks is nobody's business."""

        self._server = server = Listener(host, port, Handler, tls, limits)
        held, own = server.connections, HostNames(str(server.server_address[0]), (host, *hosts))
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
        self._server.end()
        self._server.server_close()
        self._thread.join(timeout=5)


def _is_form(content_type: str) -> bool:
    """Whether this is the type of an HTML form's body, in UTF-8 where it names an encoding."""
    kind, *parameters = (part.strip().lower() for part in content_type.split(";"))
    return kind == "application/x-www-form-urlencoded" and all(
        part in ("", "charset=utf-8", 'charset="utf-8"') for part in parameters
    )
