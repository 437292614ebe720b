"""An audit, as text, JSON or a page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.table import Table

from estimator import Disparity
from streams.audit import Audit, AuditedWindow
from streams.report import page, plots
from streams.report.numbers import NOT_PRIVATE, interval, moment, promise, reason

_COLUMNS = ("group", "estimator", "value", "gap", "note")


def statement(audit: Audit) -> str:
    """The promise, or that there is none."""
    return NOT_PRIVATE if audit.statement is None else promise(audit.statement, "This run")


def counted(audit: Audit) -> list[tuple[str, str]]:
    """What became of the log, in exact numbers."""
    tally = audit.tally
    found = [("events in the file", tally.events), ("rows that the measurement takes", tally.rows)]
    found += [(f"refused: {why}", count) for why, count in tally.refused.items()]
    found += [
        ("rows of members who are not in the members file", tally.unknown),
        ("rows of members who opted out", tally.opted_out),
        ("rows over the contribution cap", tally.over_cap),
        ("rows that count", tally.counted),
        ("members with rows that count", tally.members),
        ("rows that count whose member said a group", tally.self_id_rows),
    ]
    return [(name, f"{count:,}") for name, count in found]


def title(audit: Audit) -> str:
    """What was audited."""
    return f"Audit of {audit.measurement.id}, revision {audit.measurement.revision}"


def _statistics(window: AuditedWindow) -> Iterator[tuple[str, list[Disparity]]]:
    """Results by statistic, in the order of the layout; within one by group, then by estimator."""
    results = list(window.disparities.results)
    order = list(dict.fromkeys((result.metric, result.score_bin) for result in results))
    results.sort(key=lambda result: order.index((result.metric, result.score_bin)))
    for (metric, score_bin), found in groupby(results, key=lambda result: (result.metric, result.score_bin)):
        yield metric if score_bin == "all" else f"{metric}, score bin {score_bin}", list(found)


def _lines(audit: Audit, results: list[Disparity]) -> Iterator[tuple[str, ...]]:
    groups = audit.measurement.group_names
    estimators = list(dict.fromkeys(result.estimator for result in results))
    results = sorted(results, key=lambda r: (groups.index(r.group.split("+")[0]), estimators.index(r.estimator)))
    for result in results:
        note = "reference" if audit.measurement.reference in result.group.split("+") else reason(result.suppressed)
        if result.suppressed is not None:
            note = reason(result.suppressed)
        yield result.group, result.estimator, interval(result.value), interval(result.gap, signed=True), note


def _when(audit: Audit, window: AuditedWindow) -> str:
    what = "the whole file" if audit.level is None else f"window of {audit.level}"
    return f"{what}, {moment(window.start_ms)} to {moment(window.end_ms)}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _agreement(window: AuditedWindow) -> str | None:
    agreement = window.disparities.agreement
    if agreement is None:
        return None
    largest = agreement.largest
    where = f"{largest.metric} of {largest.group}: {largest.deviations:+.1f} standard deviations of at most "
    verdict = "agree" if agreement.agree else "DISAGREE: names or places matter by themselves; trust rectified only"
    return f"corrected and rectified {verdict} (largest difference, {where}{agreement.limit:.1f})"


def as_text(audit: Audit, console: Console) -> None:
    """Print it; exact counts only beside exact figures."""
    console.print(f"{title(audit)}\n{statement(audit)}\n", markup=False, highlight=False, soft_wrap=True)
    if audit.statement is None:
        for name, count in counted(audit):
            console.print(f"{count:>12}  {name}", markup=False, highlight=False)
    for window in audit.windows:
        console.print(f"\n{_when(audit, window)}", markup=False, highlight=False)
        if window.void is not None:
            console.print(f"void: {window.void}", markup=False, highlight=False)
        for name, results in _statistics(window):
            shown = Table(title=name, title_justify="left", title_style="bold")
            for column in _COLUMNS:
                shown.add_column(column, no_wrap=True)
            for line in _lines(audit, results):
                shown.add_row(*line)
            console.print(shown)
        agreement = _agreement(window)
        if agreement:
            console.print(agreement, markup=False, highlight=False, soft_wrap=True)


def as_json(audit: Audit) -> dict[str, Any]:
    """Everything, as JSON has it; exact counts only beside exact figures."""
    return {
        "measurement": audit.measurement.id,
        "revision": audit.measurement.revision,
        "reference": audit.measurement.reference,
        "groups": list(audit.measurement.group_names),
        "confidence": audit.confidence,
        "level": audit.level,
        "private": audit.statement is not None,
        "statement": statement(audit),
        "privacy": None if audit.statement is None else _privacy(audit),
        "counted": asdict(audit.tally) if audit.statement is None else None,
        "windows": [
            {
                "start": moment(window.start_ms),
                "end": moment(window.end_ms),
                "void": window.void,
                "results": [asdict(result) for result in window.disparities.results],
                "agreement": asdict(window.disparities.agreement) if window.disparities.agreement else None,
            }
            for window in audit.windows
        ],
    }


def _privacy(audit: Audit) -> dict[str, Any]:
    promised = audit.statement
    assert promised is not None  # whoever asks has looked
    names = ("unit", "period", "relation", "epsilon", "delta", "rho")
    return {name: getattr(promised, name) for name in names} | {"noise_sigma_rows": dict(audit.sigma_rows)}


def as_page(audit: Audit) -> str:
    """One HTML page; plots where there is one window."""
    parts = [
        page.paragraph(statement(audit), "notice" if audit.statement is None else "promise"),
        page.paragraph(audit.measurement.purpose),
        page.paragraph(
            f"Intervals are {100 * audit.confidence:g} %, for sampling"
            f"{'' if audit.statement is None else ' and privacy noise together'}. The weighted estimator "
            "understates gaps; corrected holds where the outcome is independent of names and places given the group, "
            "rectified where those who said their group are like the others."
        ),
    ]
    if audit.statement is None:
        parts += [page.heading("What was counted"), page.table(("rows", "count"), counted(audit))]
    for window in audit.windows:
        parts += _section(audit, window)
    return page.page(title(audit), parts)


def _section(audit: Audit, window: AuditedWindow) -> Iterator[str]:
    yield page.heading(_sentence(_when(audit, window)))
    if window.void is not None:
        yield page.paragraph(f"Void: {window.void}", "notice")
    agreement = _agreement(window)
    if agreement:
        yield page.paragraph(_sentence(agreement))
    for name, results in _statistics(window):
        yield page.heading(name, level=3)
        if len(audit.windows) == 1:
            yield page.figure(_plot(audit, name, results), f"{name}: value and gap of each group, by each estimator")
        yield page.table(_COLUMNS, _lines(audit, results))


def _plot(audit: Audit, name: str, results: list[Disparity]) -> str:
    values = [_bar(r.group, r.estimator, r.value) for r in results if r.value is not None]
    gaps = [_bar(r.group, r.estimator, r.gap) for r in results if r.gap is not None]
    return plots.svg(plots.intervals(audit.measurement.group_names, values, gaps), name)


def _bar(group: str, estimator: str, value: Any) -> plots.Bar:
    return plots.Bar(group, estimator, value.estimate, value.lower, value.upper)
