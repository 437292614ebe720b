"""One measurement: what its newest window says, how its gaps went, what was gathered against them, and its terms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from streams.report import page
from streams.report.numbers import moment
from streams.watch.pages import words
from streams.watch.pages.alerts import notice
from streams.watch.pages.base import choices, link, path_of, rich_table
from streams.watch.pages.choice import Choice, canonical, choice
from streams.watch.pages.pictures import Pictures, drawn, picture
from streams.watch.pages.registry import Page, Params
from streams.watch.pages.site import Snapshot
from streams.watch.pages.strip import legend, strip
from streams.watch.pages.terms import described, in_view, terms
from streams.watch.shown_record import Result, ShownRecord
from streams.watch.window_history import ShownWindow

_STRIP = 60
_LISTED = 20


# -- HTML -------------------------------------------------------------------------------------------------------------


def render(snapshot: Snapshot, params: Params) -> Iterator[str]:
    """The page."""
    found = choice(snapshot, params)
    now_ms = snapshot.now_ms
    yield page.paragraph(found.level.current.measurement.purpose, "lead")
    yield from notice(found.alarms)
    if not found.alarms and found.level.newest is not None:
        yield page.paragraph("No alarm stands.")
    yield from _chooser(found)
    yield page.heading(f"The newest window of {found.level.name}")
    yield from _newest(found, now_ms)
    if found.record is not None:
        yield from _sentences(found, found.record)
        yield from _history(found, found.record, snapshot.of(Pictures) is not None)
        yield from _tables(found, found.record)
    yield page.heading("What was agreed")
    for entry in in_view(found.entries, now_ms):
        yield from terms(entry, now_ms)


def _chooser(found: Choice) -> Iterator[str]:
    yield '<nav aria-label="What is shown">'
    yield choices("Level", ((one.name, found.address(level=one.name), one is found.level) for one in found.levels))
    metrics = dict.fromkeys(metric for metric, _ in found.statistics)
    if metrics:
        metric, score_bin = found.statistic
        yield choices("Metric", ((words.metric(one), found.address(metric=one), one == metric) for one in metrics))
        bins = [one for name, one in found.statistics if name == metric]
        if len(bins) > 1:
            yield choices("Score bin", ((one, found.address(bin=one), one == score_bin) for one in bins))
        yield choices(
            "Estimator", ((one, found.address(estimator=one), one == found.estimator) for one in found.estimators)
        )
        yield choices(
            "Group",
            ((words.group(one), found.address(group=one), one == found.group) for one in found.groups),
        )
    yield "</nav>"


def _newest(found: Choice, now_ms: int) -> Iterator[str]:
    newest = found.level.newest
    if newest is None:
        yield f'<p class="lead">{escape(found.level.headline(now_ms))}</p>'
        return
    if newest.status != "published":
        yield page.paragraph(words.window(newest.status, newest.reason), "notice")
        if found.record is not None:
            yield page.paragraph(
                f"What follows is of the last window that says something, to {moment(found.record.window.end_ms)}."
            )
    fresh = found.level.freshness(now_ms)
    if fresh is not None:
        yield page.paragraph(fresh)


def _sentences(found: Choice, record: ShownRecord) -> Iterator[str]:
    metric, score_bin = found.statistic
    asked = words.question(metric)
    yield page.heading(words.metric(metric, score_bin), 3)
    if asked is not None:
        yield page.paragraph(f"The question is: {asked}?", "quiet")
    results = found.results()
    items = []
    for result in results:
        if result.group not in found.groups:
            continue
        text = words.finding(result, words.reference_of(results, result, record.reference), record.reference,
                             record.confidence)  # fmt: skip
        if found.estimator == (record.detection.estimator if record.detection else None):
            text += " " + words.evidence(result.log_evidence, record.detection, result.group)
        items.append(f"<li>{escape(text)}</li>")
    yield f"<ul>{''.join(items)}</ul>"
    yield page.paragraph(words.by_chance(record.confidence), "quiet")
    if record.detection is not None:
        tolerated = words.tolerated(record.detection, metric)
        if tolerated is not None:
            yield page.paragraph(tolerated)
        yield page.paragraph(words.promise(record.detection, found.level.length_ms))
    if record.checks is not None and record.checks.estimators == "disagree":
        yield page.paragraph(
            "The estimators disagree in this window by more than chance allows: rely on the rectified one.", "notice"
        )


def _history(found: Choice, record: ShownRecord, with_pictures: bool) -> Iterator[str]:
    metric, score_bin = found.statistic
    windows = found.level.windows
    name = words.metric(metric, score_bin)
    yield page.heading(f"Over the last windows of {found.level.name}")
    yield strip(windows[-_STRIP:], f"Last windows of {found.name}, {found.level.name}")
    yield legend()
    if with_pictures and windows:
        shown = drawn(windows)
        where = (found.name, found.level.name, metric, score_bin, found.estimator)
        yield picture(
            "gaps",
            where,
            shown,
            f"{name}: the gap of each group to {words.members(record.reference)} over the last {len(shown)} windows, "
            "with its interval as a band; dashed lines bound what is tolerated. The table below has the newest.",
        )
        if record.detection is not None:
            yield picture(
                "evidence",
                where,
                shown,
                f"{name}: the evidence gathered for each group over the last windows, on a logarithmic scale; a dashed "
                "line is where an alarm begins.",
            )
    yield _windows(found, windows[-_LISTED:])


def _windows(found: Choice, windows: Sequence[ShownWindow]) -> str:
    rows = []
    for window in reversed(windows):
        address = path_of("measurements", found.name, found.level.name, window.end_ms)
        said = "" if window.reason is None else f": {words.reason(window.reason)}"
        result = _result_of(found, window)
        rows.append(
            (
                link(address, moment(window.end_ms)),
                escape(words.STATUS[window.status][0] + said),
                escape(words.interval(None if result is None else result.value)),
                escape(words.interval(None if result is None else result.gap, gap=True)),
                escape(_evidence(result)),
                escape("yes" if result is not None and result.alarm else "no" if result is not None else ""),
            )
        )
    caption = (
        f"{words.metric(*found.statistic)}, {words.members(found.group)}, {found.estimator}: the last {len(windows)} "
        "windows, the newest first"
    )
    return rich_table(("Window to", "Status", "Value", "Gap", "Log evidence", "Alarm"), rows, caption)


def _result_of(found: Choice, window: ShownWindow) -> Result | None:
    if window.status != "published":
        return None
    return next(
        (
            r
            for r in window.record().results
            if (r.metric, r.score_bin) == found.statistic and (r.group, r.estimator) == (found.group, found.estimator)
        ),
        None,
    )


def _evidence(result: Result | None) -> str:
    return "\N{EN DASH}" if result is None or result.log_evidence is None else f"{result.log_evidence:.2f}"


def _tables(found: Choice, record: ShownRecord) -> Iterator[str]:
    yield page.heading("In numbers")
    yield page.paragraph(
        f"The window to {moment(record.window.end_ms)}; intervals at {100 * record.confidence:g} %. "
        f"{_estimator_in_words(found.estimator)}"
    )
    yield rich_table(
        ("Group", "Value", f"Gap to {words.group(record.reference)}", "Ratio", "Not shown because"),
        (
            (
                escape(words.capital(words.group(r.group))),
                escape(words.interval(r.value)),
                escape(words.interval(r.gap, gap=True)),
                escape(words.quotient(r.ratio)),
                escape(words.unknown(r.suppressed)),
            )
            for r in found.results()
        ),
        f"{words.metric(*found.statistic)}, {found.estimator}",
    )
    yield page.heading("The estimators side by side", 3)
    yield page.paragraph("Where they differ much, what is measured has to do with name or place, not race alone.")
    yield rich_table(
        ("Estimator", *(words.capital(words.group(name)) for name in _all_groups(found))),
        (
            (
                f'{escape(one)}<br><span class="quiet">{escape(words.estimator(one))}</span>',
                *(escape(_gap_in(found.results(one), name)) for name in _all_groups(found)),
            )
            for one in found.estimators
        ),
        f"Gaps in {words.metric(*found.statistic).lower()}, by estimator",
    )
    yield page.heading("Every metric", 3)
    yield rich_table(
        ("Metric", *(words.capital(words.group(name)) for name in found.groups)),
        (
            (
                link(found.address(metric=metric, bin=score_bin), words.metric(metric, score_bin)),
                *(escape(_gap_in(_statistic_results(record, metric, score_bin, found.estimator), name))
                  for name in found.groups),
            )
            for metric, score_bin in found.statistics
        ),
        f"Gaps to {words.members(record.reference)}, {found.estimator}",
    )  # fmt: skip
    yield from why_not(record)


def why_not(record: ShownRecord) -> Iterator[str]:
    """What the words mean that stand in tables where a value is not shown."""
    text = words.in_full(r.suppressed for r in record.results)
    if text:
        yield page.paragraph(text, "quiet")


def _estimator_in_words(estimator: str) -> str:
    """What an estimator does, as a sentence."""
    return f"Estimator {estimator}: {words.estimator(estimator)[:1].lower() + words.estimator(estimator)[1:]}."


def _all_groups(found: Choice) -> list[str]:
    """The groups of all estimators: a pool of one is none of another."""
    names = [r.group for one in found.estimators for r in found.results(one) if r.gap is not None or r.suppressed]
    return list(dict.fromkeys(names))


def _gap_in(results: Iterable[Result], group: str) -> str:
    result = next((r for r in results if r.group == group), None)
    if result is None:
        return ""
    return words.interval(result.gap, gap=True) if result.gap is not None else words.briefly_unknown(result.suppressed)


def _statistic_results(record: ShownRecord, metric: str, score_bin: str, estimator: str) -> list[Result]:
    return [r for r in record.results if (r.metric, r.score_bin, r.estimator) == (metric, score_bin, estimator)]


# -- JSON -------------------------------------------------------------------------------------------------------------


def data(snapshot: Snapshot, params: Params) -> object:
    """The same as JSON."""
    found = choice(snapshot, params)
    metric, score_bin = found.statistic
    results = found.results()
    record = found.record
    return {
        "measurement": found.name,
        "revisions": [described(entry, snapshot.now_ms) for entry in in_view(found.entries, snapshot.now_ms)],
        "alarms": [alarm.id for alarm in found.alarms],
        "levels": [level.name for level in found.levels],
        "chosen": {
            "level": found.level.name,
            "metric": metric,
            "score_bin": score_bin,
            "estimator": found.estimator,
            "group": found.group,
        },
        "says": [
            words.finding(r, words.reference_of(results, r, record.reference), record.reference, record.confidence)
            for r in results
            if record is not None and r.group in found.groups
        ],
        "freshness": found.level.freshness(snapshot.now_ms),
        "window": None if record is None else {"start_ms": record.window.start_ms, "end_ms": record.window.end_ms},
        "reference": None if record is None else record.reference,
        "confidence": None if record is None else record.confidence,
        "detection": None if record is None else record.detection,
        "results": [] if record is None else record.results,
        "windows": [
            {"end_ms": w.end_ms, "status": w.status, "reason": w.reason, "alarms": [a.id for a in w.alarms or ()]}
            for w in found.level.windows
        ],
    }


def _title(snapshot: Snapshot, params: Params) -> str:
    return params["measurement"]


PAGES = (
    Page(
        "/measurements/{measurement}",
        _title,
        render,
        data,
        query=frozenset({"level", "metric", "bin", "estimator", "group"}),
        canonical=canonical,
    ),
)
