"""What was simulated, as tables for a person, or as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from streams.alert_simulation.campaign import SPREAD_METRIC, Found, Simulation
from streams.alert_simulation.runs import RunLengths
from streams.alert_simulation.tasks import (
    AT_TOLERATED,
    CUSUM,
    CUSUM_EXACT,
    E_DETECTOR,
    GAPS,
    ONE,
    THREE,
    UNFAIR_WINDOWS,
    Level,
)

_DAY, _HOUR, _MINUTE = 86_400, 3_600, 60


def as_text(simulation: Simulation, console: Console) -> None:
    """Print it."""
    size, terms = simulation.size, simulation.terms
    console.print(
        f"seed {simulation.seed}; {size.runs} runs of each world ({size.runs_of(50)} with more than 5 detectors, "
        f"{size.table_runs} of real tables); ± is one standard error"
    )
    for table in _tables(simulation):
        console.print(table)
    console.print(
        "CUSUM, same run length: set for the e-detector's own windows to a false alarm where every gap is exactly the "
        "tolerated one, and told that gaps are Gaussian. CUSUM, exactly A: that has false alarms "
        f"{_longer(simulation)} times as often. A level's own A is too long to wait for without a gap: the promise, "
        f"which is one theorem for every A, was held against A = {terms.false_alarm_windows:,}."
    )
    console.print(
        "Worlds that bend what the promise takes for granted, tables with members who return too, are shown and not "
        "judged."
    )
    for promise in simulation.promises:
        console.print(f"{'holds' if promise.holds else 'DOES NOT HOLD'}: {promise.text}. Found: {promise.figures}")


def _longer(simulation: Simulation) -> str:
    """By how much longer than promised the e-detector's runs are at the tolerated gap."""
    at = [f for f in simulation.of("false alarms") if (f.task.row, f.task.rule_name) == (AT_TOLERATED, E_DETECTOR)]
    found = [one.lengths.per_alarm / one.task.false_alarm_windows for one in at]
    return f"{min(found):.1f}" if len(found) == 1 else f"{min(found):.1f} to {max(found):.1f}"


def _tables(simulation: Simulation) -> Iterator[Table]:
    a = simulation.terms.false_alarm_windows
    rules = (E_DETECTOR, CUSUM, ONE, THREE)
    table = _table(
        f"Windows to a false alarm of the level, promised: {a:,}",
        ("world", "K", *rules, "e-detector: mean run", "given up"),
    )
    found = {(f.task.row, f.task.detectors, f.task.rule_name): f.lengths for f in simulation.of("false alarms")}
    for row, k in dict.fromkeys((row, k) for row, k, _ in found):
        own = found[row, k, E_DETECTOR]
        mean = f"{'≥ ' if own.unfinished else ''}{_number(own.mean)} ± {_number(own.error)}"
        shown = (_per_alarm(found[row, k, rule]) for rule in rules)
        table.add_row(row, str(k), *shown, mean, f"{own.unfinished} of {own.windows.size}")
    yield table

    yield from _delays(simulation)

    table = _table(
        f"Windows until an alarm ends, after {UNFAIR_WINDOWS} windows with a gap: mean, and 9 in 10 within",
        ("then", *(f"gap was {gap:g} sigma beyond" for gap in (1.0, 2.0, 4.0))),
    )
    ended = simulation.of("ends")
    for row in dict.fromkeys(f.task.row for f in ended):
        table.add_row(row, *(f"{_delay(f.lengths)}, {_quantile(f.lengths)}" for f in ended if f.task.row == row))
    yield table

    yield from _real(simulation)


def _delays(simulation: Simulation) -> Iterator[Table]:
    gaps = [f"{gap:g} sigma" for gap in GAPS]
    found = simulation.of("delays")
    table = _table("Windows from a gap's beginning to its own alarm, by how far it is beyond the tolerated one",
                   ("K", "rule", *gaps))  # fmt: skip
    for k, rule in dict.fromkeys(
        (f.task.detectors, f.task.rule_name) for f in found if f.task.rule_name not in (ONE, THREE)
    ):
        table.add_row(str(k), rule, *_cells(found, k, rule))
    for rule in (ONE, THREE):
        table.add_row("any", rule, *_cells(found, found[0].task.detectors, rule))
    yield table

    levels = {level.name: level for level in simulation.terms.levels}
    if not levels:
        return
    k = max(simulation.terms.detectors)
    table = _table(f"The same at each level's own A, K = {k}: windows, and time", ("level", "A", "rule", *gaps))
    found = simulation.of("levels")
    for name, level in levels.items():
        for rule in (E_DETECTOR, CUSUM, CUSUM_EXACT):
            own = [f for f in found if f.task.row == name and f.task.rule_name == rule]
            cells = (f"{_delay(f.lengths)}\n{_time(f.lengths, level)}" for f in own)
            table.add_row(name, f"{level.false_alarm_windows:,}", rule, *cells)
    yield table


def _cells(found: Sequence[Found], k: int, rule: str) -> Iterator[str]:
    return (_delay(f.lengths) for f in found if (f.task.detectors, f.task.rule_name) == (k, rule))


def _real(simulation: Simulation) -> Iterator[Table]:
    if not simulation.terms.real_tables:
        return
    table = _table(
        f"Real tables: how the gaps in {SPREAD_METRIC} vary",
        (
            "world",
            "group",
            "shown in",
            "sigma by its interval",
            "true deviation / sigma",
            "a run's mean is off by / sigma",
        ),
    )
    for text, spreads in simulation.spreads:
        for one in spreads:
            numbers = ("-" if math.isnan(n) else f"{n:.3f}" for n in (one.sigma, one.deviation, one.pool))
            table.add_row(text, one.group, f"{one.shown:.0%}", *numbers)
    yield table

    table = _table(
        "The demo's traffic, 45 detectors, a false alarm in 30 days, .02 tolerated: windows until the alarm on black "
        "members' recommendation rate, by how many points theirs is lower",
        ("level, rows a window", "rule", "5 points", "10 points", "15 points"),
    )
    found = simulation.of("points")
    for row, rule in dict.fromkeys((f.task.row, f.task.rule_name) for f in found):
        table.add_row(row, rule, *(_delay(f.lengths) for f in found if (f.task.row, f.task.rule_name) == (row, rule)))
    yield table


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _per_alarm(lengths: RunLengths) -> str:
    if not lengths.ended.any():
        return f"≥ {_number(lengths.per_alarm)}"
    return f"{_number(lengths.per_alarm)} ± {_number(lengths.per_alarm_error)}"


def _delay(lengths: RunLengths) -> str:
    """Mean with its error; where runs were given up a lower bound, with their number."""
    shown = f"{_number(lengths.mean)} ± {_number(lengths.error)}"
    return f"≥ {shown} ({lengths.unfinished} given up)" if lengths.unfinished else shown


def _quantile(lengths: RunLengths) -> str:
    found = lengths.quantile(0.9)
    return f"over {lengths.horizon:,}" if found is None else _number(found)


def _time(lengths: RunLengths, level: Level) -> str:
    seconds = lengths.mean * level.seconds
    for unit, length in (("d", _DAY), ("h", _HOUR), ("min", _MINUTE)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


def as_json(simulation: Simulation) -> dict[str, Any]:
    """Everything, with null where there is no number."""
    return {
        "terms": asdict(simulation.terms),
        "size": asdict(simulation.size),
        "seed": simulation.seed,
        "figures": [_figures(one) for one in simulation.found],
        "spreads": [
            {"world": text, **{name: _finite(value) for name, value in asdict(one).items()}}
            for text, spreads in simulation.spreads
            for one in spreads
        ],
        "promises": [asdict(promise) for promise in simulation.promises],
    }


def _figures(one: Found) -> dict[str, Any]:
    task, lengths = one.task, one.lengths
    return {
        "section": task.section,
        "row": task.row,
        "rule": task.rule_name,
        "detectors": task.detectors,
        "false_alarm_windows": task.false_alarm_windows,
        "gap": task.gap,
        "promised": task.promised,
        "runs": int(lengths.windows.size),
        "given_up": lengths.unfinished,
        "horizon_windows": lengths.horizon,
        "mean_windows": _finite(lengths.mean),
        "mean_error": _finite(lengths.error),
        "windows_per_alarm": _finite(lengths.per_alarm),
        "windows_per_alarm_error": _finite(lengths.per_alarm_error),
        "median_windows": lengths.quantile(0.5),
        "nine_in_ten_windows": lengths.quantile(0.9),
    }


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
