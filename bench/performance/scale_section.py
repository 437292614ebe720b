"""The part of docs/performance.md that tells how cost grows, written from a campaign's figures alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any

from bench.performance.amounts import Figure
from bench.performance.scale_fit import fit, label

Row = dict[str, Any]
"""A point, its repetitions brought together by their medians."""

ROLES = ("seal", "attach", "a", "b", "publish")
_MICRO = 1e6


def drained_rows(figures: Sequence[Figure], axis: str) -> list[Row]:
    """Points of one axis, with the one that all axes share, rising along it."""
    chosen = [f for f in figures if f["kind"] == "drained" and f["axis"] in (axis, "base")]
    return sorted((_drained(same) for same in _alike(chosen)), key=lambda row: float(row[axis]))


def paced_rows(figures: Sequence[Figure]) -> list[Row]:
    """Points at a steady rate, rising by partitions and rate; those at rest are none of them."""
    chosen = [f for f in figures if f["kind"] == "paced" and f["measurements"]]
    rows = [_paced(same) for same in _alike(chosen)]
    return sorted(rows, key=lambda row: (row["partitions"], row["asked_rate"]))


def per_event(row: Row, role: str) -> float:
    """CPU microseconds an event of a role, or of "all"."""
    return sum(row["cost"].values()) if role == "all" else float(row["cost"][role])


def _alike(figures: Sequence[Figure]) -> Iterator[list[Figure]]:
    for name in dict.fromkeys(map(label, figures)):
        yield [figure for figure in figures if label(figure) == name]


def _middle(figures: Sequence[Figure], of: Callable[[Figure], float]) -> float:
    return float(median(map(of, figures)))


def _drained(same: Sequence[Figure]) -> Row:
    first = same[0]
    rows = first["events"] * first["measurements"]

    def role_value(role: str, key: str) -> float:
        return _middle(same, lambda figure: figure["roles"][role][key])

    batches = role_value("seal", "batches")
    return {
        **{key: first[key] for key in ("partitions", "measurements", "batch_rows", "cells", "events")},
        "label": label(first),
        "cost": {role: _MICRO * role_value(role, "own_cpu_seconds") / first["events"] for role in ROLES},
        "rate": {role: first["events"] / role_value(role, "own_seconds") for role in ROLES},
        "batches": batches,
        "rows_a_batch": rows / batches,
        "transactions": {role: role_value(role, "transactions") for role in ROLES},
        "wire": {
            name: _middle(same, lambda figure, name=name: figure["topics"][name]["value_bytes"]) / rows  # type: ignore[misc]
            for name in ("sealed", "shares")
        },
        "disk": {
            name: _middle(same, lambda figure, name=name: figure["topics"][name]["log_bytes"]) / rows  # type: ignore[misc]
            for name in first["topics"]
            if all(figure["topics"][name]["log_bytes"] is not None for figure in same)
        },
    }


def _paced(same: Sequence[Figure]) -> Row:
    first = same[0]
    rate = _middle(same, lambda figure: figure["rate"])

    def a_second(role: str, key: str) -> float:
        return _middle(same, lambda figure: figure["roles"][role][key] / figure["roles"][role]["seconds"])

    cores = {role: a_second(role, "cpu_seconds") for role in ROLES}
    return {
        **{key: first[key] for key in ("partitions", "measurements", "asked_rate")},
        "label": label(first),
        "rate": rate,
        "cores": cores,
        "cost": {role: _MICRO * cores[role] / rate for role in ROLES},
        "batches": a_second("seal", "batches"),
        "punctuations": a_second("seal", "punctuations"),
        "transactions": {role: a_second(role, "transactions") for role in ROLES},
    }


# -- text -------------------------------------------------------------------------------------------------------------


def section(figures: Sequence[Figure], stages: Figure | None) -> str:
    """See ``scale.section``."""
    parts = ["## How cost grows", _drained_text(figures), _paced_text(figures)]
    if stages is not None:
        parts.append(_stages_text(stages))
    return "\n\n".join([*(part for part in parts if part), _model_text(figures)]) + "\n"


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    marks = ["---", *("---:" for _ in head[1:])]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, marks, *lines))


def _number(value: float) -> str:
    """Three digits, and no exponent."""
    if value >= 100 or value == 0:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def _drained_text(figures: Sequence[Figure]) -> str:
    drained = [figure for figure in figures if figure["kind"] == "drained"]
    if not drained:
        return ""
    parts = [
        "### At capacity: topics that were written before",
        "Each role alone meets all of it at once. CPU is microseconds an *event* of the source, whatever the number of "
        "measurements, from the first record to the last that the role writes; bytes are of a *row*, of which an event "
        "has one for each measurement: what is sent as values on `sealed` and `shares`, punctuation included, and the "
        "segments of these and of the state topics on the broker's disk. Several runs of a point: medians.",
    ]
    for axis, words in (
        ("partitions", "partitions"),
        ("measurements", "measurements"),
        ("batch_rows", "most rows a batch"),
    ):
        rows = drained_rows(figures, axis)
        if len(rows) > 1:
            parts.append(_table(_drained_head(words), [_drained_line(row, axis) for row in rows]))
    return "\n\n".join(parts)


def _drained_head(words: str) -> list[str]:
    return [
        words, "events", "batches", "rows a batch", *(f"{role}, us" for role in ROLES), "all, us",
        "transactions of seal, attach, a", "events/s of seal, attach, a", "bytes a row on sealed, shares",
        "on disk, with states",
    ]  # fmt: skip


def _drained_line(row: Row, axis: str) -> list[str]:
    disk = sum(size for name, size in row["disk"].items() if name != "events")
    three = ("seal", "attach", "a")
    return [
        f"{row[axis]:,}",
        f"{row['events']:,}",
        f"{row['batches']:,.0f}",
        _number(row["rows_a_batch"]),
        *(_number(per_event(row, role)) for role in (*ROLES, "all")),
        ", ".join(f"{row['transactions'][role]:,.0f}" for role in three),
        ", ".join(_number(row["rate"][role]) for role in three),
        ", ".join(_number(row["wire"][name]) for name in ("sealed", "shares")),
        _number(disk) if row["disk"] else "-",
    ]


def _paced_text(figures: Sequence[Figure]) -> str:
    rows = paced_rows(figures)
    if not rows:
        return ""
    head = [
        "partitions", "events/s asked", "events/s", *(f"{role}, us" for role in ROLES), "all, us", "cores of all",
        "batches/s", "punctuations/s", "transactions/s of seal, attach, a",
    ]  # fmt: skip
    lines = [
        [
            str(row["partitions"]),
            f"{row['asked_rate']:,.0f}",
            _number(row["rate"]),
            *(_number(per_event(row, role)) for role in (*ROLES, "all")),
            _number(sum(row["cores"].values())),
            _number(row["batches"]),
            _number(row["punctuations"]),
            ", ".join(_number(row["transactions"][role]) for role in ("seal", "attach", "a")),
        ]
        for row in rows
    ]
    return "\n\n".join(
        [
            "### At a steady rate: all roles at work",
            "Windows of 1 s, live events. Nothing is taken off: being there is a part of what an event costs. Where "
            "fewer events came than were asked for, that is what this machine carries with the writer and the broker "
            "beside it.",
            _table(head, lines),
            _low_rates(rows, figures),
        ]
    )


def _low_rates(rows: Sequence[Row], figures: Sequence[Figure]) -> str:
    """What few events cost, and where that goes."""
    least = min(row["asked_rate"] for row in rows)
    told = []
    for row in (row for row in rows if row["asked_rate"] == least):
        resting = [
            sum(part["cpu_seconds"] / part["seconds"] for part in figure["roles"].values())
            for figure in figures
            if figure["kind"] == "paced" and not figure["measurements"] and figure["partitions"] == row["partitions"]
        ]
        rest = f" (at rest {100 * median(resting):.1f} %)" if resting else ""
        told.append(
            f"with {row['partitions']} x {row['partitions']} partitions {row['batches']:,.0f} batches a second of "
            f"{row['rate'] / row['batches'] if row['batches'] else 0.0:.1f} rows and {row['punctuations']:,.0f} "
            f"punctuations, {100 * sum(row['cores'].values()):.1f} % of a core in all{rest}"
        )
    return (
        f"Few events: a batch holds the rows of one measurement, source partition, partition and window, so at "
        f"{least:,.0f} events a second most slots have one row or none, and the envelopes cost what the rows do not: "
        + "; ".join(told)
        + "."
    )


def _stages_text(stages: Figure) -> str:
    stores = stages["stores"]
    cells: dict[int, dict[str, float]] = {}
    for one in stages["stages"]:
        alike = (one["rows"], one["measurements"], one["members"], one["channels"], one["cap"])
        if ":" not in one["part"] and alike == (4_096, 1, 100_000, "table+moments", 24):
            of = cells.setdefault(one["cells"], {})
            of[one["stage"]] = of.get(one["stage"], 0.0) + one["ns_per_row"]
    parts = ["### Cells and members: on arrays, without Kafka"]
    if cells:
        lines = [[str(n), *(_number(costs.get(role, 0.0)) for role in ROLES)] for n, costs in sorted(cells.items())]
        parts += [
            "CPU nanoseconds a row in batches of 4,096, one window a batch:",
            _table(["cells", *ROLES], lines),
        ]
    lines = [
        [
            f"{one['members']:,}",
            f"{one['bytes_per_member']:.1f}",
            f"{one['peak_bytes_per_member']:.1f}",
            f"{one['load_seconds']:.2f}",
            f"{one['ns_per_lookup']:.0f}",
            f"{one['lookups_per_second']:,.0f}",
        ]
        for one in stores
    ]
    head = [
        "members in the store",
        "bytes each",
        "at most, while it grows",
        "load, s",
        "ns a lookup",
        "lookups a second",
    ]
    return "\n\n".join([*parts, _table(head, lines)])


def _model_text(figures: Sequence[Figure]) -> str:
    found = fit(figures)
    names = list(dict.fromkeys(name for costs in found["cpu"].values() for name in costs))
    constants = [
        [name, *(f"{_MICRO * costs[name]:.3g}" if name in costs else "" for costs in found["cpu"].values())]
        for name in names
    ]
    parts = [
        "### The model of cost",
        "CPU of a role = the sum, over what it has to do, of the amount times what one costs "
        "([streams/sizing](../streams/sizing/constants.py)). Fitted to all points by non-negative least squares of the "
        "relative error; microseconds each (of `idle`, a second):",
        _table(["", *found["cpu"]], constants),
    ]
    if found["held_out"]:
        parts += [
            "Each point left out once, with its repetitions, and predicted by what was fitted to the others: predicted "
            "CPU over measured, less 1.",
            _errors(found["held_out"]),
            f"Median of the absolute errors: {_medians(found['median_error'])}.",
        ]
    if found["planned"]:
        parts += [
            "The same for the whole model as `evenstream plan` uses it, which predicts how many batches, transactions "
            "and windows there are as well, from the rate and the partitions alone: predicted cores over measured, "
            "less 1.",
            _errors(found["planned"]),
            f"Median of the absolute errors: {_medians(found['planned_median_error'])}.",
        ]
    return "\n\n".join(parts)


def _errors(compared: Sequence[Figure]) -> str:
    lines = []
    for point in dict.fromkeys(one["point"] for one in compared):
        line = [point]
        for role in ROLES:
            errors = [one["error"] for one in compared if (one["point"], one["role"]) == (point, role)]
            line.append(f"{100 * median(errors):+.0f} %" if errors else "-")
        lines.append(line)
    return _table(["left out", *ROLES], lines)


def _medians(errors: dict[str, float]) -> str:
    return ", ".join(f"{role} {100 * error:.0f} %" for role, error in errors.items())
