"""The page of alarms: which stand, which have ended in the windows that are kept, and what to do about one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from streams.alarm_name import AlarmName
from streams.report import page
from streams.report.alarms import as_json, disposition_in_words, state_in_words
from streams.report.numbers import moment
from streams.review_book import Review
from streams.watch.pages import words
from streams.watch.pages.alarms import AlarmSpan, all_spans
from streams.watch.pages.base import link, path_of, rich_table
from streams.watch.pages.registry import Page, Params
from streams.watch.pages.reviews import ReviewsShown
from streams.watch.pages.site import Snapshot

_TOLD = 3
RUNBOOK = "EvenstreamUnequalTreatment.md"


@dataclass(frozen=True)
class Runbooks:
    """Under which address the runbooks are published; None where pages can only name their files."""

    url: str | None = None

    def shown(self, name: str) -> str:
        """HTML that leads to a runbook, or says where it is."""
        if self.url is None:
            return f"<code>docs/runbooks/{escape(name)}</code>"
        return f'<a href="{escape(self.url + name)}" rel="noreferrer">{escape(name.removesuffix(".md"))}</a>'


def review_path(alarm: AlarmName) -> str:
    """Where its review is."""
    return path_of("reviews", *alarm.id.split("/"))


def render(snapshot: Snapshot, params: Params) -> Iterator[str]:
    """The page."""
    found = all_spans(snapshot)
    runbooks = snapshot.of(Runbooks) or Runbooks()
    reviews = _reviews(snapshot)
    stand = [span for span in found if span.ended_ms is None]
    over = [span for span in reversed(found) if span.ended_ms is not None]
    yield page.paragraph(_lead(len(stand)), "alarm" if stand else "promise")
    yield page.paragraph(
        "An alarm says that the evidence of a gap beyond what the measurement's reviewers tolerate has passed what its "
        "terms ask. It may begin with any window; the terms say how rare false alarms are, and none is excluded. "
        f"{words.NOT_AUTOMATIC} Each opens a review, which people close with their signatures."
    )
    yield from _table(
        "Alarms that stand",
        ("Review", "What to do"),
        [_row(span, reviews, snapshot.now_ms, runbooks) for span in stand],
    )
    yield from _table(
        "Alarms that have ended",
        ("Ended", "Review"),
        [_row(span, reviews, snapshot.now_ms, None) for span in over],
        "Of the windows that are kept here; older ones are in the log of decisions, by their reviews.",
    )
    yield page.heading("Other alerts")
    yield (
        "<p>Whether the service itself works (windows that are late or void, a role that is down, a budget that runs "
        "out) is for Prometheus to tell. Each of its alerts has a runbook: "
        f"{runbooks.shown('') if runbooks.url is None else link_out(runbooks.url)}.</p>"
    )


def link_out(url: str) -> str:
    """A link to another site."""
    return f'<a href="{escape(url)}" rel="noreferrer">runbooks</a>'


def _lead(count: int) -> str:
    if not count:
        return "No alarm stands."
    return "One alarm stands." if count == 1 else f"{count} alarms stand."


def _table(title: str, last: tuple[str, str], rows: Sequence[tuple[str, ...]], note: str = "") -> Iterator[str]:
    """A section of alarms; ``last``: the names of the columns by which the two differ."""
    yield page.heading(title)
    if note:
        yield page.paragraph(note)
    if rows:
        yield rich_table(("Measurement", "Level", "What", "Group", "Since", *last), rows, title)
    else:
        yield page.paragraph("None.")


def _row(span: AlarmSpan, reviews: Mapping[str, Review], now_ms: int, runbooks: Runbooks | None) -> tuple[str, ...]:
    alarm = span.alarm
    chosen = {"level": alarm.level, "metric": alarm.metric, "bin": alarm.score_bin, "group": alarm.group}
    cells = (
        link(path_of("measurements", alarm.measurement, query=chosen), alarm.measurement),
        escape(alarm.level),
        escape(words.metric(alarm.metric, alarm.score_bin)),
        escape(words.capital(words.group(alarm.group))),
        escape(moment(alarm.since_ms)),
    )
    review = _review(alarm, reviews, now_ms)
    if runbooks is not None:
        return (*cells, review, runbooks.shown(RUNBOOK))
    return (*cells, escape(moment(span.ended_ms or 0)), review)


def _reviews(snapshot: Snapshot) -> Mapping[str, Review]:
    """The reviews by their alarms' ids, as far as they were read."""
    shown = snapshot.of(ReviewsShown)
    return {} if shown is None else {review.alarm.id: review for review in shown.reviews}


def _review(alarm: AlarmName, reviews: Mapping[str, Review], now_ms: int) -> str:
    """How its review stands, and what was decided last."""
    found = reviews.get(alarm.id)
    if found is None:
        return link(review_path(alarm), "its review")
    state = link(review_path(alarm), state_in_words(found, now_ms))
    said = [escape(disposition_in_words(signed)) for signed in [found.standing] if signed is not None]
    return "<br>".join([state, *said])


def data(snapshot: Snapshot, params: Params) -> object:
    """The same as JSON."""
    found, reviews = all_spans(snapshot), _reviews(snapshot)
    described = [_described(span, reviews.get(span.alarm.id), snapshot.now_ms) for span in found]
    return {
        "standing": [alarm for alarm in described if alarm["ended_ms"] is None],
        "ended": [alarm for alarm in described if alarm["ended_ms"] is not None],
    }


def _described(span: AlarmSpan, review: Review | None, now_ms: int) -> dict[str, object]:
    alarm = span.alarm
    return {
        "id": alarm.id,
        "measurement": alarm.measurement,
        "level": alarm.level,
        "metric": alarm.metric,
        "score_bin": alarm.score_bin,
        "group": alarm.group,
        "since_ms": alarm.since_ms,
        "last_ms": span.last_ms,
        "ended_ms": span.ended_ms,
        "review": None if review is None else as_json(review, now_ms),
    }


def notice(alarms: Sequence[AlarmName]) -> Iterator[str]:
    """What is said of the alarms of a measurement, where any stands."""
    if not alarms:
        return
    told = [
        f"{escape(words.alarm(alarm.metric, alarm.score_bin, alarm.group, alarm.since_ms, alarm.level))} "
        f"{link(review_path(alarm), 'Its review')}."
        for alarm in alarms[:_TOLD]
    ]
    if len(alarms) == 1:
        yield f'<p class="alarm">{told[0]}</p>'
        return
    more = len(alarms) - len(told)
    if more:
        told.append(f"{more:,} more: {link('/alerts', 'all alarms')}.")
    items = "".join(f"<li>{text}</li>" for text in told)
    yield f'<div class="alarm"><p>{escape(_lead(len(alarms)))}</p><ul>{items}</ul></div>'


PAGES = (Page("/alerts", "Alarms", render, data, nav="Alarms"),)
