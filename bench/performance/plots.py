"""The plots of docs/performance: SVG of a few kilobytes each, the same bytes for the same figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import FuncFormatter

from bench.performance.amounts import Figure
from bench.performance.scale_section import ROLES, Row, drained_rows, paced_rows, per_event
from streams.report.plots import image

COLOURS = {
    "seal": "#0072b2",
    "attach": "#d55e00",
    "a": "#009e73",
    "b": "#56b4e9",
    "publish": "#999999",
    "all": "#000000",
}
"""Okabe and Ito's: told apart by everybody."""
_MARKERS = {"seal": "o", "attach": "s", "a": "^", "b": "v", "publish": "d", "all": "*"}
_SIZE = (5.2, 3.4)
_THOUSAND = 1_000
_MILLION = 1_000_000


def scale(figures: Sequence[Figure], stages: Figure | None, folder: Path) -> list[Path]:
    """Draw cost against rate, partitions, measurements and batch fill; and against cells and members from ``stages``.

    Args:
        stages: ``asdict(bench.performance.stages.Found)``.

    Returns:
        What was written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []

    def keep(name: str, drawn: Drawing | None) -> None:
        if drawn is not None:
            path = folder / f"{name}.svg"
            path.write_bytes(image(drawn, ".svg"))
            written.append(path)

    for partitions in sorted({figure["partitions"] for figure in figures if figure["kind"] == "paced"}):
        rows = [row for row in paced_rows(figures) if row["partitions"] == partitions]
        title = f"All roles at a steady rate, {partitions} x {partitions} partitions"
        keep(f"scale-rate-{partitions}", _costs(rows, lambda row: float(row["rate"]), "events a second", title))
    for axis, words in (
        ("partitions", "partitions of source and of evenstream's topics"),
        ("measurements", "measurements of one source"),
        ("batch_rows", "rows a batch, in the mean"),
    ):
        rows = drained_rows(figures, axis)
        place: Callable[[Row], float] = (
            (lambda row: float(row["rows_a_batch"]))
            if axis == "batch_rows"
            else (lambda row, axis=axis: float(row[axis]))  # type: ignore[misc]
        )
        keep(
            f"scale-{axis.replace('_', '-')}", _costs(rows, place, words, "Each role alone, on a topic written before")
        )
    if stages is not None:
        keep("scale-cells", _cells(stages["stages"]))
        keep("scale-members", _members(stages["stores"]))
    return written


def _costs(rows: Sequence[Row], place: Callable[[Row], float], words: str, title: str) -> Drawing | None:
    """CPU an event, a line a role and one for all."""
    if len(rows) < 2:
        return None
    drawn, axes = _axes(title, words, "CPU microseconds an event")
    ordered = sorted(rows, key=place)
    for role in (*ROLES, "all"):
        _line(axes, [place(row) for row in ordered], [per_event(row, role) for row in ordered], role)
    _log(axes)
    axes.legend(frameon=False, fontsize=8, ncols=2)
    return drawn


def _cells(figures: Sequence[Figure]) -> Drawing | None:
    """CPU a row of the parties and `publish`, which cells are a matter of, and of the others, on arrays."""
    channels, rows = ("table+moments", 4_096)
    found: dict[tuple[str, int], float] = {}
    for one in figures:
        alike = (one["rows"], one["measurements"], one["members"], one["channels"], one["cap"])
        if ":" not in one["part"] and alike == (rows, 1, 100_000, channels, 24):
            key = one["stage"], one["cells"]
            found[key] = found.get(key, 0.0) + one["ns_per_row"] / _THOUSAND
    cells = sorted({number for _, number in found})
    if len(cells) < 2:
        return None
    drawn, axes = _axes("Stages on arrays, batches of 4,096 rows", "cells", "CPU microseconds a row")
    for role in ROLES:
        own = [(number, found[role, number]) for number in cells if (role, number) in found]
        _line(axes, [number for number, _ in own], [cost for _, cost in own], role)
    _log(axes)
    axes.legend(frameon=False, fontsize=8, ncols=2)
    return drawn


def _members(stores: Sequence[Figure]) -> Drawing | None:
    """Bytes a member and nanoseconds a lookup, by the store's size."""
    if len(stores) < 2:
        return None
    drawn, axes = _axes("attach's member store", "members", "bytes a member; nanoseconds a lookup")
    sizes = [one["members"] for one in stores]
    for key, words, colour, marker in (
        ("bytes_per_member", "bytes a member", COLOURS["attach"], "s"),
        ("ns_per_lookup", "nanoseconds a lookup", COLOURS["seal"], "o"),
    ):
        axes.plot(sizes, [one[key] for one in stores], marker=marker, color=colour, label=words, markersize=4)
    _log(axes)
    axes.legend(frameon=False, fontsize=8)
    return drawn


def _axes(title: str, across: str, up: str) -> tuple[Drawing, Any]:
    drawn = Drawing(figsize=_SIZE, layout="constrained")
    axes: Any = drawn.subplots()
    axes.set_title(title, fontsize=9)
    axes.set_xlabel(across, fontsize=9)
    axes.set_ylabel(up, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(linewidth=0.5, color="#dddddd")
    axes.set_axisbelow(True)
    return drawn, axes


def _line(axes: Any, across: Sequence[float], up: Sequence[float], role: str) -> None:
    width = 2.0 if role == "all" else 1.2
    axes.plot(across, up, marker=_MARKERS[role], color=COLOURS[role], label=role, linewidth=width, markersize=4)


def _log(axes: Any) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(_number))


def _number(value: float, position: int | None) -> str:
    if value >= _MILLION:
        return f"{value / _MILLION:g}M"
    return f"{value / _THOUSAND:g}k" if value >= _THOUSAND else f"{value:g}"
