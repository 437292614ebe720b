"""The live page at `publish`, as HTML: which measurements there are, and the form for a concern.

Every page stands by itself: no script, no external resource, nothing that remembers a visitor. All text is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import quote

from privacy import PrivacyStatement
from privacy.decisions import Forecast
from privacy.limits import PERIOD_NAMES
from streams.control import FOREVER_MS, Approved
from streams.plain_text import NOT_TEXT
from streams.records.concern import MAX_TEXT, Concern
from streams.report import page
from streams.report.numbers import moment, shown_epsilon
from streams.watch.http import Answer

HTML = "text/html; charset=utf-8"
_STYLE = """
main { overflow-wrap: break-word; }
nav a { display: inline-block; padding: .4rem 1rem .4rem 0; }
a { color: #00458c; } a:focus, button:focus, select:focus, textarea:focus { outline: 3px solid #00458c;
  outline-offset: 2px; }
dl { max-width: 46rem; } dt { font-weight: 600; margin-top: .5rem; } dd { margin: 0; }
label { display: block; font-weight: 600; margin-top: 1rem; }
select, textarea { box-sizing: border-box; width: 100%; max-width: 46rem; font: inherit; padding: .4rem;
  border: 1px solid #555; background: #fff; color: inherit; }
button { font: inherit; font-weight: 600; margin-top: 1rem; padding: .6rem 1.2rem; border: 2px solid #1a1a1a;
  background: #fff; color: inherit; }
code { overflow-wrap: anywhere; }
"""
_POLICY = (
    f"default-src 'none'; style-src {page.style_source(_STYLE)}; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)


@dataclass(frozen=True)
class Shown:
    """An approved revision and what it promises."""

    approved: Approved
    statement: PrivacyStatement


def answer(
    status: int, title: str, parts: Iterable[str], headers: tuple[tuple[str, str], ...] = (), *, form: bool = False
) -> Answer:
    """A page as an answer, with the headers that keep it by itself.

    Args:
        form: the page holds a form. Under ``no-referrer`` browsers say ``Origin: null`` when it is sent, as a
            stranger's page may; under ``same-origin`` they say where it was, and no other site hears of it either.
    """
    links = '<nav aria-label="Pages"><a href="/">Measurements</a><a href="/concerns">Raise a concern</a></nav>'
    body = page.page(title, [links, "<main>", *parts, "</main>"], _STYLE)
    own = (
        ("Content-Security-Policy", _POLICY),
        ("Referrer-Policy", "same-origin" if form else "no-referrer"),
        ("X-Frame-Options", "DENY"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
    )
    return Answer(status, HTML, body.encode("utf-8", "replace"), (*own, *headers))


# -- measurements -----------------------------------------------------------------------------------------------------


def state(approved: Approved, now_ms: int) -> str:
    """Whether a revision is counted now, in words."""
    counts = "is counted now"
    if approved.measurement.source.arrival == "record_time":
        counts = "counts a replayed log, by the log's own times"
    return {
        "scheduled": f"scheduled: it begins {moment(approved.from_ms)}",
        "active": f"active: it {counts}",
        "expired": "expired",
        "superseded": "replaced by a later revision",
        "revoked": f"revoked: reviewers stopped it on {moment(approved.revoked_at_ms or 0)}",
    }[approved.state(now_ms)]


def in_view(shown: Sequence[Shown], now_ms: int) -> list[Shown]:
    """Of each measurement the revisions that are not over, else its last one; by name and revision."""
    by_name: dict[str, list[Shown]] = {}
    for entry in sorted(shown, key=lambda entry: (entry.approved.measurement.id, entry.approved.measurement.revision)):
        by_name.setdefault(entry.approved.measurement.id, []).append(entry)
    return [
        entry
        for entries in by_name.values()
        for entry in ([e for e in entries if _goes_on(e.approved, now_ms)] or entries[-1:])
    ]


def _goes_on(approved: Approved, now_ms: int) -> bool:
    return now_ms < approved.until_ms or approved.state(now_ms) == "active"


def measurements(shown: Sequence[Shown], now_ms: int) -> Answer:
    """The page of all measurements."""
    parts = [
        page.paragraph(
            "Here recommendations are compared by group: does the recommender treat people of every group equally "
            "well? Nobody is assigned a race, and only sums over many people, with random noise added, are published."
        )
    ]
    found = in_view(shown, now_ms)
    for entry in found:
        parts += _measurement(entry, now_ms)
    if not found:
        parts.append(page.paragraph("No measurement is approved: nothing is counted.", "notice"))
    return answer(200, "What is measured here", parts)


def _measurement(shown: Shown, now_ms: int) -> Iterator[str]:
    spec = shown.approved.measurement
    yield f'<section aria-labelledby="{spec.id}-{spec.revision}">'
    yield f'<h2 id="{spec.id}-{spec.revision}">{escape(spec.id)}, revision {spec.revision}</h2>'
    expires = spec.expires_ms
    facts = (
        ("State", state(shown.approved, now_ms)),
        ("Purpose", spec.purpose),
        ("Owner", "the terms do not say" if spec.review is None else spec.review.owner),
        ("Begins", moment(shown.approved.from_ms)),
        ("Ends", "no end is set" if expires is None or expires >= FOREVER_MS else moment(expires)),
        ("Groups", f"{', '.join(spec.group_names)}; each is compared with {spec.reference}"),
        ("Levels", f"one result for every {', '.join(level.name for level in spec.levels)}"),
    )
    yield "<dl>" + "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in facts) + "</dl>"
    yield from _cost(shown)
    yield f'<p><a href="/concerns?measurement={quote(spec.id)}">Raise a concern about {escape(spec.id)}</a></p>'
    yield "</section>"


def _cost(shown: Shown) -> Iterator[str]:
    cost, promise = Forecast.of(shown.approved.measurement), shown.statement
    epsilons = (cost.epsilon_member_day, cost.epsilon_30_days, cost.epsilon_year)
    rows = [(name, _epsilon(value)) for name, value in zip(PERIOD_NAMES.values(), epsilons, strict=True)]
    yield page.table(("Period", "Epsilon, at most"), rows, f"What it costs a member, at delta {cost.delta:g}")
    yield page.paragraph(
        "Epsilon and delta say how much of what is published may change if the member's group probabilities and "
        f"Self-ID were replaced by any others; smaller is better. If {promise.unit} were added or removed, epsilon "
        f"would be {_epsilon(promise.epsilon_add_remove)}, at the same delta."
    )


def _epsilon(value: float | None) -> str:
    return shown_epsilon(value) + (": this is test noise and protects nobody" if value is None else "")


# -- concerns ---------------------------------------------------------------------------------------------------------


def form(
    names: Sequence[str],
    chosen: str = "",
    text: str = "",
    *,
    problem: str | None = None,
    status: int = 200,
    headers: tuple[tuple[str, str], ...] = (),
) -> Answer:
    """The form for a concern; with a problem, what it is, and the text as it was written."""
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
        return answer(status, "Raise a concern", parts, headers)
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
    return answer(status, "Raise a concern", parts, headers, form=True)


def _showable(text: str) -> str:
    return NOT_TEXT.sub("", text.replace("\r\n", "\n"))


def thanks(concern: Concern) -> Answer:
    """What is said when a concern is durable."""
    parts = [
        page.paragraph("Thank you. Your concern is with the reviewers.", "promise"),
        f"<p>It is kept as <code>{escape(concern.id)}</code>. Write that down if you want to find an answer later: "
        "nobody here can tell who you are, so nobody can write to you.</p>",
        f"<dl><dt>Measurement</dt><dd>{escape(concern.measurement)}</dd><dt>Day</dt><dd>{escape(concern.day)}</dd></dl>",
    ]
    return answer(200, "Your concern was received", parts)


def unavailable(why: str) -> Answer:
    """The page cannot say anything yet."""
    return answer(503, "Not ready yet", [page.paragraph(why, "notice")], (("Retry-After", "5"),))
