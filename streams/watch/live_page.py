"""What the live page at `publish` answers, and how a concern comes in.

Anyone who reaches the port may post, without a session, so a post is judged by itself: its size and shape, whether
another site sent the visitor, what it says, and how many came lately from all people together. Thanks are said once
Kafka has the record; before that the text is handed back with the reason.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable
from email.message import Message
from urllib.parse import parse_qs, parse_qsl

from streams.errors import InputError, KafkaUnavailable
from streams.records.concern import Concern, new_concern
from streams.watch import page
from streams.watch.http import Answer, Request, Route
from streams.watch.token_bucket import TokenBucket

log = logging.getLogger(__name__)

_TEXT = "text/plain; charset=utf-8"
_FIELDS = ("measurement", "text")
_STARTING = "This service has just started and is reading what is published. Try again in a few seconds."


class LivePage:
    """Fed by `publish`, read by the HTTP server's threads.

    Args:
        write: makes a concern durable, or raises ``KafkaUnavailable``.
        bucket: how many concerns are taken.
        now_ms: epoch milliseconds.
    """

    def __init__(
        self,
        write: Callable[[Concern], None],
        bucket: TokenBucket,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._write = write
        self._bucket = bucket
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._shown: tuple[page.Shown, ...] | None = None

    def show(self, shown: Iterable[page.Shown]) -> None:
        """These are the approved revisions now."""
        found = tuple(shown)
        with self._lock:
            self._shown = found

    @property
    def routes(self) -> dict[str, Route]:
        """What answers GET."""
        return {"/": self._measurements, "/concerns": self._form}

    @property
    def forms(self) -> dict[str, Route]:
        """What answers POST."""
        return {"/concerns": self._post}

    def _view(self) -> tuple[page.Shown, ...] | None:
        with self._lock:
            return self._shown

    def _measurements(self, request: Request) -> Answer:
        shown = self._view()
        return page.unavailable(_STARTING) if shown is None else page.measurements(shown, self._now_ms())

    def _form(self, request: Request) -> Answer:
        shown = self._view()
        if shown is None:
            return page.unavailable(_STARTING)
        chosen = parse_qs(request.query, errors="replace").get("measurement", [""])[0] if request.query else ""
        return page.form(_names(shown), chosen)

    def _post(self, request: Request) -> Answer:
        if is_cross_site(request.headers):
            return Answer(403, _TEXT, b"another site sent this form; open /concerns here and write it there\n")
        try:
            fields = parse_form(request.body)
        except InputError as error:
            return Answer(400, _TEXT, f"{error}\n".encode())
        shown = self._view()
        names, (measurement, text) = _names(shown or ()), fields

        def back(status: int, problem: str, *headers: tuple[str, str]) -> Answer:
            return page.form(names, measurement, text, problem=problem, status=status, headers=headers)

        if shown is None:
            return back(503, _STARTING, ("Retry-After", "5"))
        if measurement not in names:
            return back(400, f"there is no such measurement; there are {', '.join(names) or 'none yet'}")
        try:
            concern = new_concern(measurement, text, "page", self._now_ms())
        except InputError as error:
            return back(400, str(error))
        wait_seconds = self._bucket.take()
        if wait_seconds > 0:
            problem = "many concerns came within a short time, from all people together. Please send yours again later"
            return back(429, problem, ("Retry-After", str(math.ceil(wait_seconds))))
        try:
            self._write(concern)
        except KafkaUnavailable as error:
            log.error("%s", error)
            problem = "it could not be stored just now. Your text is below; please send it again in a minute"
            return back(503, problem, ("Retry-After", "60"))
        return page.thanks(concern)


def _names(shown: Iterable[page.Shown]) -> list[str]:
    return sorted({entry.approved.measurement.id for entry in shown})


def is_cross_site(headers: Message) -> bool:
    """Whether a browser says that another site's page sent this request; clients that are no browsers say nothing."""
    site = headers.get("Sec-Fetch-Site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = headers.get("Origin")
    if origin is None:
        return False
    host = headers.get("Host", "").lower()
    return origin.lower() not in (f"http://{host}", f"https://{host}")


def parse_form(body: bytes) -> tuple[str, str]:
    """(measurement, text) of a form's body, or :class:`InputError`: exactly these fields, once each, in UTF-8."""
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=8
        )
    except ValueError:  # UnicodeDecodeError is one
        pairs = []
    found = dict(pairs)
    if len(pairs) != len(_FIELDS) or found.keys() != set(_FIELDS):
        raise InputError("expected the fields measurement and text of the form at /concerns, once each, in UTF-8")
    return found["measurement"], found["text"]
