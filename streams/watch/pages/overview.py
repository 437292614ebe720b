"""The first page: of each measurement what it says now, in words, whether an alarm stands, and what it costs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape

from streams.report import page
from streams.watch.pages import words
from streams.watch.pages.alarms import AlarmSpan, all_spans, standing
from streams.watch.pages.alerts import notice
from streams.watch.pages.base import link, path_of
from streams.watch.pages.costs import cost_of
from streams.watch.pages.levels import LevelView, first_choice, levels_of
from streams.watch.pages.registry import Page, Params
from streams.watch.pages.site import Shown, Snapshot
from streams.watch.pages.strip import kind, legend, strip
from streams.watch.pages.terms import in_view, state
from streams.watch.window_history import ShownWindow

_WINDOWS = 30

WHAT = (
    "Here recommendations are compared by group: does the recommender treat people of every group equally well? Nobody "
    "is assigned a race, and of what anyone was shown or did only sums over many people, with random noise added, are "
    "published."
)


def render(snapshot: Snapshot, params: Params) -> Iterator[str]:
    """The page."""
    yield page.paragraph(WHAT, "lead")
    found = all_spans(snapshot)
    measurements = snapshot.measurements()
    if not measurements:
        yield page.paragraph("No measurement is approved: nothing is counted.", "notice")
        return
    for name in _order(measurements, found):
        yield from _measurement(snapshot, name, measurements[name], found)
    yield legend()


def _order(names: Iterable[str], found: list[AlarmSpan]) -> list[str]:
    """Those with an alarm that stands come first."""
    alarmed = {alarm.measurement for alarm in standing(found)}
    return sorted(names, key=lambda name: name not in alarmed)


def _measurement(snapshot: Snapshot, name: str, entries: list[Shown], found: list[AlarmSpan]) -> Iterator[str]:
    now_ms = snapshot.now_ms
    alarms = [alarm for alarm in standing(found) if alarm.measurement == name]
    levels = levels_of(snapshot, entries)
    chosen = first_choice(levels, frozenset(alarm.level for alarm in alarms))
    yield f'<section aria-labelledby="m-{escape(name)}">'
    yield f'<h2 id="m-{escape(name)}">{link(path_of("measurements", name), name)}</h2>'
    yield page.paragraph(chosen.current.measurement.purpose, "quiet")
    for entry in in_view(entries, now_ms):
        approved = entry.approved
        if len(entries) > 1 or approved.state(now_ms) != "active":
            revision = f"Revision {approved.measurement.revision} is {state(approved, now_ms)}."
            yield page.paragraph(revision, "notice" if approved.revoked else None)
    yield from _level(chosen, now_ms, "lead")
    yield from notice(alarms)
    if not alarms and chosen.newest is not None and not _says_so(chosen.newest):
        yield page.paragraph("No alarm stands.")
    current = next(entry for entry in entries if entry.approved is chosen.current)
    yield f"<p>{escape(words.cost(cost_of(current)))} {link('/budgets', 'Budgets')}.</p>"
    for level in levels:
        if level is not chosen and level.newest is not None:
            yield from _level(level, now_ms)
    yield f"<p>{link(path_of('measurements', name), f'All that {name} says')}</p>"
    yield "</section>"


def _says_so(window: ShownWindow) -> bool:
    """Whether its headline says already that no alarm stands."""
    return window.status == "published" and window.alarms is not None


def _level(level: LevelView, now_ms: int, kind: str | None = None) -> Iterator[str]:
    yield page.paragraph(level.headline(now_ms), kind)
    if level.newest is None:
        return
    fresh = level.freshness(now_ms)
    yield f'<p class="quiet">In windows of {escape(words.duration(level.length_ms / 1000))}. {escape(fresh or "")}</p>'
    yield strip(level.windows[-_WINDOWS:], f"Last windows of {level.measurement}, {level.name}")


def data(snapshot: Snapshot, params: Params) -> object:
    """The same as JSON."""
    found = all_spans(snapshot)
    return {
        "measurements": [
            {
                "measurement": name,
                "purpose": entries[-1].approved.measurement.purpose,
                "revisions": [
                    {"revision": e.approved.measurement.revision, "state": e.approved.state(snapshot.now_ms)}
                    for e in in_view(entries, snapshot.now_ms)
                ],
                "alarms": [alarm.id for alarm in standing(found) if alarm.measurement == name],
                "levels": [_level_data(level, snapshot.now_ms) for level in levels_of(snapshot, entries)],
            }
            for name, entries in snapshot.measurements().items()
        ]
    }


def _level_data(level: LevelView, now_ms: int) -> dict[str, object]:
    return {
        "level": level.name,
        "length_ms": level.length_ms,
        "says": level.headline(now_ms),
        "freshness": level.freshness(now_ms),
        "newest_end_ms": None if level.newest is None else level.newest.end_ms,
        "windows": [
            {"end_ms": w.end_ms, "status": w.status, "reason": w.reason, "alarm": kind(w) == "alarm"}
            for w in level.windows[-_WINDOWS:]
        ],
    }


PAGES = (Page("/", "How equally are people treated?", render, data, nav="Overview"),)
