"""A plan, as text, JSON, a page or a plot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from estimator.plan import Expected
from streams.planning import MeasurementPlan, PlannedLevel, days_share
from streams.report import page, plots
from streams.report.numbers import reason, width

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CELLS = (
    "A cell holds the half-width of the gap's interval, and after the slash the smallest true gap that a two-sided 5 % "
    "test finds with 80 % power (a dash: none). The reference has the half-width of its value. "
    "The weighted estimator shows only a part of a gap, so a larger one is needed for it to be seen."
)


def title(plan: MeasurementPlan) -> str:
    """What was planned."""
    return f"Plan of {plan.measurement.id}, revision {plan.measurement.revision}"


def assumptions(plan: MeasurementPlan) -> str:
    """All that is taken for granted, in words."""
    taken, terms = plan.assumptions, plan.measurement.privacy
    return (
        f"Assumed: {taken.rate:,g} rows a second, all day; {taken.events_per_member_day:g} a day of each member who "
        f"has any (so {taken.rate * 86_400 / taken.events_per_member_day:,.0f} members a day), of which "
        f"{100 * plan.counted_share:.3g} % count (contribution_cap {terms.contribution_cap}, "
        f"cap_rule {terms.cap_rule}{_rotation(plan)}); base rate {taken.base_rate:g} of decision and outcome in every "
        f"group, score and rank bins equally full; {100 * taken.self_id_share:.3g} % of rows with a "
        f"Self-ID{_unused(plan)}; members: {taken.members}. "
        f"Intervals are {100 * plan.confidence:g} %, and widened by the cap as `publish` does."
    )


def _rotation(plan: MeasurementPlan) -> str:
    if days_share(plan.measurement) == 1:
        return ""
    terms = plan.measurement.privacy
    return f", on {terms.days_in_30} days in 30 and {terms.days_in_year} in a year"


def _unused(plan: MeasurementPlan) -> str:
    idle = plan.assumptions.self_id_share > 0 and "rectifier" not in plan.measurement.channels
    return " (of no use: channel_shares has no rectifier)" if idle else ""


def metric_of(plan: MeasurementPlan, metric: str | None) -> tuple[str, str]:
    """The statistic that tables and plots show: (metric, score bin); of a metric with score bins the first."""
    known = list(dict.fromkeys((one.metric, one.score_bin) for one in plan.levels[0].expected))
    found = [statistic for statistic in known if metric in (None, statistic[0])]
    return found[0] if found else ("", "")


def metrics(plan: MeasurementPlan) -> list[str]:
    """Names of the metrics that the plan has."""
    return list(dict.fromkeys(one.metric for one in plan.levels[0].expected))


def _of(level: PlannedLevel, statistic: tuple[str, str], estimator: str) -> dict[str, Expected]:
    """Expectations by group; those of a pool under each of its groups."""
    chosen = [e for e in level.expected if (e.metric, e.score_bin) == statistic and e.estimator == estimator]
    return {group: one for one in chosen for group in one.group.split("+")}


def _estimators(plan: MeasurementPlan) -> list[str]:
    return list(dict.fromkeys(one.estimator for level in plan.levels for one in level.expected))


def _cell(one: Expected | None, group: str, reference: str) -> str:
    if one is None:
        return ""
    pooled = " (pooled)" if one.group != group else ""
    if one.suppressed is not None:
        return reason(one.suppressed) + pooled
    if group != reference and reference in one.group.split("+"):
        return "pooled with the reference"
    if one.gap_half_width is None:
        return f"±{width(one.half_width)}{pooled}"
    return f"±{width(one.gap_half_width)} / {width(one.detectable_gap)}{pooled}"


def _tables(plan: MeasurementPlan, statistic: tuple[str, str]) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """(caption, columns, rows) for each level and estimator: groups down, epsilons across."""
    for name in (level.name for level in plan.measurement.levels):
        levels = [level for level in plan.levels if level.level == name]
        columns = ["group", *(_epsilon(level) for level in levels)]
        for estimator in _estimators(plan):
            found = [_of(level, statistic, estimator) for level in levels]
            if any(found):
                rows = [
                    [g, *(_cell(of_level.get(g), g, plan.measurement.reference) for of_level in found)]
                    for g in plan.measurement.group_names
                ]
                yield f"{name}, {estimator}: {levels[0].rows:,.0f} rows a window that count", columns, rows


def _epsilon(level: PlannedLevel) -> str:
    shown = "no promise" if level.epsilon is None else f"epsilon {level.epsilon:.3g}"
    return f"{shown} (spec)" if level.of_spec else shown


def _named(statistic: tuple[str, str]) -> str:
    metric, score_bin = statistic
    return metric if score_bin == "all" else f"{metric}, score bin {score_bin} (all bins alike)"


def as_text(plan: MeasurementPlan, console: Console, metric: str | None) -> None:
    """Print it for one statistic."""
    statistic = metric_of(plan, metric)
    for line in (title(plan), assumptions(plan), _CELLS, _delta(plan), f"Shown: {_named(statistic)}"):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for caption, columns, rows in _tables(plan, statistic):
        shown = Table(title=caption, title_justify="left", title_style="bold")
        for column in columns:
            shown.add_column(column)
        for row in rows:
            shown.add_row(*row)
        console.print(shown)


def _delta(plan: MeasurementPlan) -> str:
    return (
        f"Each epsilon is of one member's rows of one UTC day, on replacing the member's group probabilities, at delta "
        f"{plan.measurement.privacy.delta:g}, all levels and channels together."
    )


def as_json(plan: MeasurementPlan) -> dict[str, Any]:
    """Everything, as JSON has it: all statistics."""
    return {
        "measurement": plan.measurement.id,
        "revision": plan.measurement.revision,
        "reference": plan.measurement.reference,
        "groups": list(plan.measurement.group_names),
        "confidence": plan.confidence,
        "delta": plan.measurement.privacy.delta,
        "unit": "one member's rows of one UTC day",
        "relation": "replace",
        "assumptions": asdict(plan.assumptions) | {"counted_share": plan.counted_share},
        "levels": [asdict(level) for level in plan.levels],
    }


def width_figure(plan: MeasurementPlan, metric: str | None) -> Figure:
    """Half-width of the gap against window length at the spec's epsilon."""
    statistic = metric_of(plan, metric)
    panels: dict[str, dict[str, Sequence[tuple[float, float]]]] = {}
    for estimator in _estimators(plan):
        lines: dict[str, Sequence[tuple[float, float]]] = {}
        for group in plan.measurement.group_names:
            points = []
            for level in plan.curve:
                one = _of(level, statistic, estimator).get(group)
                if one is not None and one.gap_half_width is not None:
                    points.append((level.seconds, one.gap_half_width))
            if points:
                lines[group] = points
        if lines:
            panels[estimator] = lines
    return plots.widths(panels, {level.name: level.length_ms / 1000 for level in plan.measurement.levels})


def as_page(plans: Sequence[MeasurementPlan], metric: str | None, further: Sequence[str] = ()) -> str:
    """One HTML page of one plan or several.

    Args:
        further: parts that follow, HTML.
    """
    if len(plans) == 1:
        return page.page(title(plans[0]), [*_parts(plans[0], metric), *further])
    parts = [part for plan in plans for part in (page.heading(title(plan)), *_parts(plan, metric))]
    return page.page(f"Plan of {len(plans)} measurements", [*parts, *further])


def _parts(plan: MeasurementPlan, metric: str | None) -> list[str]:
    statistic = metric_of(plan, metric)
    caption = (
        f"{_named(statistic)}: half-width of each group's gap against window length, at the spec's epsilon. Other "
        "lengths have the noise of the level that is next in length; a group that is suppressed has no point."
    )
    parts = [
        page.paragraph(plan.measurement.purpose),
        page.paragraph(assumptions(plan)),
        page.paragraph(_delta(plan)),
        page.heading(f"Width by window length: {_named(statistic)}"),
        page.figure(plots.svg(width_figure(plan, metric), f"widths-{plan.measurement.id}"), caption),
        page.heading("Levels of the measurement"),
        page.paragraph(_CELLS),
    ]
    parts += [page.table(columns, rows, caption) for caption, columns, rows in _tables(plan, statistic)]
    return parts
