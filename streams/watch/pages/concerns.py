"""The form for a concern, and how one comes in.

Anyone who reaches the port may post, without a session, so a post is judged by itself: its size and shape, whether
another site sent the visitor, what it says, and how many came lately from all people together. Thanks are said once
Kafka has the record; before that the text is handed back with the reason.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from email.message import Message
from html import escape
from urllib.parse import parse_qsl

from streams.errors import InputError, KafkaUnavailable
from streams.plain_text import NOT_TEXT
from streams.records.concern import MAX_TEXT, Concern, new_concern
from streams.report import page
from streams.watch.open_concerns import OpenCounts
from streams.watch.pages.registry import STARTING, Page, Pages, Params
from streams.watch.pages.site import Shown, Site, Snapshot
from streams.watch.routes import Answer, Request, Route
from streams.watch.token_bucket import TokenBucket

log = logging.getLogger(__name__)

TITLE = "Raise a concern"
_TEXT = "text/plain; charset=utf-8"
_FIELDS = ("measurement", "text")


def form(
    names: Sequence[str],
    chosen: str = "",
    text: str = "",
    *,
    problem: str | None = None,
) -> list[str]:
    """The form for a concern, as HTML; with a problem, what it is, and the text as it was written."""
    parts = []
    if problem is not None:
        parts.append(f'<p class="notice" role="alert">Not sent: {escape(problem)}</p>')
    parts += [
        page.paragraph(
            "If something about a measurement worries you, say so here. The reviewers who approve measurements read "
            "it, and may answer it or close it in the public log of decisions."
        ),
        page.paragraph(
            "What is kept: the measurement, today's date and your text, and nothing about you: no name, address, "
            "account or cookie. Write nothing by which you could be recognised; others will read it.",
            "promise",
        ),
    ]
    if not names:
        parts.append(page.paragraph("No measurement is approved, so there is none to raise a concern about.", "notice"))
        return parts
    options = "".join(
        f'<option value="{escape(name)}"{" selected" if name == chosen else ""}>{escape(name)}</option>'
        for name in names
    )
    parts += [
        '<form method="post" action="/concerns">',
        '<label for="measurement">Which measurement is it about?</label>',
        f'<select id="measurement" name="measurement" required>{options}</select>',
        '<label for="text">What should be looked at?</label>',
        f'<p id="hint">Plain text, at most {MAX_TEXT:,} characters.</p>',
        # A browser drops one line feed after the tag: without this one, it would be the text's own.
        f'<textarea id="text" name="text" rows="8" maxlength="{MAX_TEXT}" required aria-describedby="hint">\n'
        f"{escape(_showable(text))}</textarea>",
        '<p><button type="submit">Send this concern</button></p>',
        "</form>",
    ]
    return parts


def _showable(text: str) -> str:
    return NOT_TEXT.sub("", text.replace("\r\n", "\n"))


def thanks(concern: Concern) -> list[str]:
    """What is said when a concern is durable."""
    return [
        page.paragraph("Thank you. Your concern is with the reviewers.", "promise"),
        f"<p>It is kept as <code>{escape(concern.id)}</code>. Write that down if you want to find an answer later: "
        "nobody here can tell who you are, so nobody can write to you.</p>",
        f"<dl><dt>Measurement</dt><dd>{escape(concern.measurement)}</dd><dt>Day</dt><dd>{escape(concern.day)}</dd></dl>",
    ]


def render(snapshot: Snapshot, params: Params) -> Iterable[str]:
    """The page with the form, and how many concerns are open."""
    yield from form(_names(snapshot.shown), params.get("measurement", ""))
    counts = snapshot.of(OpenCounts)
    if counts is not None and counts.by_measurement:
        rows = [(name, f"{count:,}") for name, count in counts.by_measurement.items()]
        yield page.table(("Measurement", "Open concerns"), rows, "What no reviewer has closed yet", row_headings=True)


def data(snapshot: Snapshot, params: Params) -> object:
    """What the form takes."""
    counts = snapshot.of(OpenCounts)
    return {
        "measurements": _names(snapshot.shown),
        "most_characters": MAX_TEXT,
        "open": None if counts is None else dict(counts.by_measurement),
    }


def canonical(snapshot: Snapshot, params: Params) -> Params:
    """Without the name of a measurement that there is not."""
    known = _names(snapshot.shown)
    return {name: value for name, value in params.items() if value in known}


PAGES = (
    Page(
        "/concerns",
        TITLE,
        render,
        data,
        nav=TITLE,
        query=frozenset({"measurement"}),
        canonical=canonical,
        form=True,
        live=False,  # nobody wants what they write to be replaced
    ),
)


class ConcernPost:
    """Takes the form in.

    Args:
        write: makes a concern durable, or raises ``KafkaUnavailable``.
        bucket: how many concerns are taken.
    """

    def __init__(self, site: Site, pages: Pages, write: Callable[[Concern], None], bucket: TokenBucket) -> None:
        self._site = site
        self._pages = pages
        self._write = write
        self._bucket = bucket

    @property
    def forms(self) -> dict[str, Route]:
        """What answers POST."""
        return {"/concerns": self._post}

    def _post(self, request: Request) -> Answer:
        if is_cross_site(request.headers):
            return Answer(403, _TEXT, b"another site sent this form; open /concerns here and write it there\n")
        try:
            fields = parse_form(request.body)
        except InputError as error:
            return Answer(400, _TEXT, f"{error}\n".encode())
        snapshot = self._site.snapshot()
        names, (measurement, text) = _names(() if snapshot is None else snapshot.shown), fields

        def back(status: int, problem: str, *headers: tuple[str, str]) -> Answer:
            return self._pages.answer(
                status, TITLE, form(names, measurement, text, problem=problem), headers, form=True
            )

        if snapshot is None:
            return back(503, STARTING, ("Retry-After", "5"))
        if measurement not in names:
            return back(400, f"there is no such measurement; there are {', '.join(names) or 'none yet'}")
        try:
            concern = new_concern(measurement, text, "page", self._site.now_ms())
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
        return self._pages.answer(200, "Your concern was received", thanks(concern))


def _names(shown: Iterable[Shown]) -> list[str]:
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
