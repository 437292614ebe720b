"""Reviews: which alarms people are to look at, by when, and what they decided."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import escape

from privacy.dispositions import CAUSES, DECISIONS
from streams.report import alarms, page
from streams.report.numbers import moment
from streams.review_book import Alarm, Review
from streams.watch.pages import words
from streams.watch.pages.base import definitions, link, path_of, rich_table
from streams.watch.pages.glossary import term
from streams.watch.pages.registry import Page, PageNotFound, Params
from streams.watch.pages.site import Snapshot

_READING = "Alarms, and what reviewers decided about them, are still being read."
_NAMES = ("measurement", "level", "metric", "score_bin", "group", "since_ms")


@dataclass(frozen=True)
class ReviewsShown:
    """Every review, open ones first."""

    reviews: tuple[Review, ...]


def path(alarm: Alarm) -> str:
    """Where the page of an alarm's review is: the alarm's id is its path."""
    return path_of("reviews", *alarm.id.split("/"))


def render(snapshot: Snapshot, params: Params) -> Iterable[str]:
    """The list of all."""
    yield (
        f"<p>An {term('alarm')} opens a {term('review')}: {term('reviewer', 'reviewers')} look at it and sign what "
        f"they decided, by a deadline. {alarms.NOTHING_CHANGES}: neither the alarm nor what is decided does.</p>"
    )
    shown = snapshot.of(ReviewsShown)
    if shown is None:
        yield page.paragraph(_READING, "notice")
        return
    waiting = [review for review in shown.reviews if review.is_open]
    late = sum(review.state(snapshot.now_ms) == "overdue" for review in waiting)
    yield page.paragraph(_summary(len(waiting), late, bool(shown.reviews)), "lead")
    if shown.reviews:
        rows = [_row(review, snapshot.now_ms) for review in shown.reviews]
        yield rich_table(("Alarm", "Measurement", "Level", "Since", "Review"), rows, "Reviews, open ones first")


def _row(review: Review, now_ms: int) -> tuple[str, ...]:
    alarm = review.alarm
    return (
        link(path(alarm), _name(alarm)),
        escape(alarm.measurement),
        escape(alarm.level),
        escape(moment(alarm.since_ms)),
        escape(alarms.state_in_words(review, now_ms)),
    )


def _name(alarm: Alarm) -> str:
    return f"{words.capital(words.group(alarm.group))}: {words.metric(alarm.metric, alarm.score_bin)}"


def _summary(waiting: int, late: int, any_at_all: bool) -> str:
    if not any_at_all:
        return "No alarm has opened a review."
    if not waiting:
        return "No review is open: everything was decided."
    told = f"{waiting} review{'s are' if waiting > 1 else ' is'} open"
    return told + (f", {late} of them past the deadline." if late else ".")


def data(snapshot: Snapshot, params: Params) -> object:
    """The same as JSON; null while it is still being read."""
    shown = snapshot.of(ReviewsShown)
    return {"reviews": None if shown is None else [alarms.as_json(review, snapshot.now_ms) for review in shown.reviews]}


# -- one review -------------------------------------------------------------------------------------------------------


def _find(snapshot: Snapshot, params: Params) -> Review:
    shown = snapshot.of(ReviewsShown)
    if shown is None:
        raise PageNotFound(_READING)
    name = "/".join(params[part] for part in _NAMES)
    for review in shown.reviews:
        if review.alarm.id == name:
            return review
    raise PageNotFound(f"There is no alarm {name}; the page Reviews names all.")


def render_one(snapshot: Snapshot, params: Params) -> Iterable[str]:
    """One alarm, and what was decided."""
    review = _find(snapshot, params)
    alarm = review.alarm
    what = words.alarm(alarm.metric, alarm.score_bin, alarm.group, alarm.since_ms, alarm.level)
    yield page.paragraph(f"{what} It is measured by {alarm.measurement}.", "lead")
    yield page.paragraph(f"Its review is {alarms.state_in_words(review, snapshot.now_ms)}.", _weight(review))
    facts = [
        ("Alarm", f"<code>{escape(alarm.id)}</code>"),
        ("How much", escape(alarms.gap_in_words(alarm))),
        ("Measured", escape(words.question(alarm.metric) or alarm.metric)),
        ("Compared with", escape(words.members(alarm.reference)) if alarm.reference else "not known any more"),
        ("Decide by", escape("no deadline" if review.deadline_ms is None else moment(review.deadline_ms))),
        (
            "What it means",
            f"The {term('evidence')} of a {term('gap')} beyond the {term('tolerated gap')} passed its "
            f"{term('threshold')}. Some alarms are {term('false alarm', 'false alarms')}.",
        ),
    ]
    if any(shown.approved.measurement.id == alarm.measurement for shown in snapshot.shown):
        facts.append(("See", link(path_of("measurements", alarm.measurement), f"the measurement {alarm.measurement}")))
    yield definitions(facts)
    yield page.heading("What was decided")
    yield from _decided(review)
    if review.is_open:
        yield page.heading("To decide")
        yield from _how(review)


def _weight(review: Review) -> str | None:
    return "alarm" if review.is_open else None


def _decided(review: Review) -> Iterator[str]:
    if not review.dispositions:
        yield page.paragraph("Nothing yet.")
        return
    rows = [
        (
            alarms.signed_in_words(signed),
            signed.key_id,
            signed.disposition.cause,
            signed.disposition.decision,
            signed.disposition.reason or "-",
            signed.disposition.follow_up,
        )
        for signed in review.dispositions
    ]
    columns = ("Signed", "Reviewer", "Cause", "Decision", "What was found", "Follow-up")
    yield rich_table(columns, [[escape(cell) for cell in row] for row in rows], "Dispositions, oldest first")
    if len(rows) > 1:
        yield page.paragraph("The last one stands that was not signed before the alarm.")
    if review.is_disputed:
        yield page.paragraph(
            "The last word takes the place of another reviewer's, who had decided otherwise.",
            "notice",
        )


def _how(review: Review) -> Iterator[str]:
    yield page.paragraph(f"{alarms.NOTHING_CHANGES}. A reviewer signs what was decided with:")
    yield f"<pre><code>{escape(alarms.command(review))}</code></pre>"
    for title, known in (("Causes", CAUSES), ("Decisions", DECISIONS)):
        items = "".join(f"<li><code>{escape(word)}</code>: {escape(said)}</li>" for word, said in known.items())
        yield f"<h3>{title}</h3><ul>{items}</ul>"


def data_one(snapshot: Snapshot, params: Params) -> object:
    """The same as JSON."""
    return alarms.as_json(_find(snapshot, params), snapshot.now_ms)


def title_one(snapshot: Snapshot, params: Params) -> str:
    """Whose review it is."""
    return f"Review: {words.group(params['group'])}, {words.metric(params['metric'], params['score_bin'])}"


PAGES = (
    Page("/reviews", "Reviews", render, data, nav="Reviews"),
    Page("/reviews/" + "/".join(f"{{{name}}}" for name in _NAMES), title_one, render_one, data_one),
)
