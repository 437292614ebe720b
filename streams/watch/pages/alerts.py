"""The page of alarms: which stand, which have ended in the windows that are kept, and what to do about one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import escape

from streams.report import page
from streams.report.numbers import moment
from streams.watch.pages import words
from streams.watch.pages.alarms import AlarmSpan, all_spans
from streams.watch.pages.base import link, path_of, rich_table
from streams.watch.pages.registry import Page, Params
from streams.watch.pages.site import Snapshot
from streams.watch.shown_record import Alarm

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


def review_path(alarm: Alarm) -> str:
    """Where its review is."""
    return path_of("reviews", *alarm.id.split("/"))


def render(snapshot: Snapshot, params: Params) -> Iterator[str]:
    """The page."""
    found = all_spans(snapshot)
    runbooks = snapshot.of(Runbooks) or Runbooks()
    stand = [span for span in found if span.ended_ms is None]
    over = [span for span in reversed(found) if span.ended_ms is not None]
    yield page.paragraph(_lead(len(stand)), "alarm" if stand else "promise")
    yield page.paragraph(
        "An alarm says that over many windows a gap is beyond what the measurement's reviewers tolerate, and not by "
        f"chance. {words.NOT_AUTOMATIC} Each opens a review, which people close with their signatures."
    )
    yield page.heading("Alarms that stand")
    if stand:
        yield rich_table(
            ("Measurement", "Level", "What", "Group", "Since", "Review", "What to do"),
            (_row(span, runbooks) for span in stand),
            "Alarms that stand",
        )
    else:
        yield page.paragraph("None.")
    yield page.heading("Alarms that have ended")
    yield page.paragraph("Of the windows that are kept here; older ones are in the log of decisions, by their reviews.")
    if over:
        yield rich_table(
            ("Measurement", "Level", "What", "Group", "Since", "Ended", "Review"),
            (_row(span, None) for span in over),
            "Alarms that have ended",
        )
    else:
        yield page.paragraph("None.")
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


def _row(span: AlarmSpan, runbooks: Runbooks | None) -> tuple[str, ...]:
    alarm = span.alarm
    chosen = {"level": alarm.level, "metric": alarm.metric, "bin": alarm.score_bin, "group": alarm.group}
    cells = (
        link(path_of("measurements", alarm.measurement, query=chosen), alarm.measurement),
        escape(alarm.level),
        escape(words.metric(alarm.metric, alarm.score_bin)),
        escape(words.capital(words.group(alarm.group))),
        escape(moment(alarm.since_ms)),
    )
    review = link(review_path(alarm), "its review")
    if runbooks is not None:
        return (*cells, review, runbooks.shown(RUNBOOK))
    return (*cells, escape(moment(span.ended_ms or 0)), review)


def data(snapshot: Snapshot, params: Params) -> object:
    """The same as JSON."""
    found = all_spans(snapshot)
    return {
        "standing": [_described(span) for span in found if span.ended_ms is None],
        "ended": [_described(span) for span in found if span.ended_ms is not None],
    }


def _described(span: AlarmSpan) -> dict[str, object]:
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
    }


def notices(alarms: Iterable[Alarm]) -> Iterator[str]:
    """The alarms of a measurement, in one notice."""
    found = [
        (words.alarm(a.metric, a.score_bin, a.group, a.since_ms, a.level), link(review_path(a), "Its review"))
        for a in alarms
    ]
    if len(found) == 1:
        yield from (f'<p class="alarm">{escape(text)} {review}.</p>' for text, review in found)
    elif found:
        items = "".join(f"<li>{escape(text)} {review}.</li>" for text, review in found)
        yield f'<div class="alarm"><p>{len(found)} alarms stand.</p><ul>{items}</ul></div>'


PAGES = (Page("/alerts", "Alarms", render, data, nav="Alarms"),)
