"""The live page's charts, by matplotlib: gaps with their intervals, and evidence against its threshold.

Colours are Okabe and Ito's, in each theme those with enough contrast on its ground; a marker and a line style say the
same a second time. Only ``chart_process`` loads this.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import matplotlib as mpl
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from streams.report.plots import svg
from streams.watch.chart_request import Drawing, Wanted
from streams.watch.group_words import capital
from streams.watch.group_words import group as group_label
from streams.watch.shown_record import Result, ShownRecord, read

_MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*")
_LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), "-", "--")


@dataclass(frozen=True)
class _Theme:
    ground: str
    text: str
    grid: str
    limit: str
    alarm: str
    colours: tuple[str, ...]


_THEMES = {
    "light": _Theme(
        "#ffffff", "#1a1a1a", "#dddddd", "#505050", "#b34700",
        ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#1a1a1a", "#7a6000", "#2b7fb0", "#505050"),
    ),
    "dark": _Theme(
        "#14171a", "#ececec", "#343a40", "#b5b9be", "#ff9d5c",
        ("#56b4e9", "#e69f00", "#2fc296", "#e39ac4", "#f0e442", "#ececec", "#7cc4f2", "#b5b9be"),
    ),
}  # fmt: skip

_MARKED = 40
_WIDTH, _NARROW = 9.2, 3.6
"""Inches, of 100 pixels."""


def draw(drawing: Drawing) -> bytes:
    """A picture as SVG."""
    records = [record for packed in drawing.windows if (record := read(zlib.decompress(packed))) is not None]
    wanted, theme = drawing.wanted, _THEMES[drawing.wanted.theme.removesuffix("-narrow")]
    width = _NARROW if drawing.wanted.theme.endswith("-narrow") else _WIDTH
    colours: dict[Any, Any] = {
        "axes.edgecolor": theme.text,
        "axes.facecolor": theme.ground,
        "axes.labelcolor": theme.text,
        "figure.facecolor": theme.ground,
        "font.size": 10,
        "grid.color": theme.grid,
        "savefig.facecolor": theme.ground,
        "text.color": theme.text,
        "xtick.color": theme.text,
        "ytick.color": theme.text,
        "svg.fonttype": "none",
    }
    with mpl.rc_context(colours):
        made = (_gaps if wanted.kind == "gaps" else _evidence)(records, wanted, theme, width)
        return svg(made, "/".join(wanted.__struct_fields__)).encode()


def _of(record: ShownRecord, wanted: Wanted) -> list[Result]:
    return [
        r
        for r in record.results
        if (r.metric, r.score_bin, r.estimator) == (wanted.metric, wanted.score_bin, wanted.estimator)
    ]


def _time(record: ShownRecord) -> datetime:
    return datetime.fromtimestamp(record.window.end_ms / 1000, UTC)


def _groups(records: Sequence[ShownRecord], wanted: Wanted) -> list[str]:
    """The groups that are compared, in the order in which they first come; at most eight."""
    found = dict.fromkeys(
        r.group for record in records for r in _of(record, wanted) if record.reference not in r.group.split("+")
    )
    return list(found)[:8]


def _axes(count: int, height: float, width: float) -> tuple[Figure, list[Any]]:
    columns = 1 if count == 1 or width == _NARROW else 2
    rows = math.ceil(max(count, 1) / columns)
    made = Figure(figsize=(width, height * rows + 0.4), dpi=100, layout="constrained")
    axes = list(made.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(linewidth=0.8)
        axis.set_axisbelow(True)
    for axis in axes[max(count, 1) :]:
        axis.set_visible(False)
    return made, axes


def _dates(axis: Any, records: Sequence[ShownRecord]) -> None:
    locator = AutoDateLocator(  # type: ignore[no-untyped-call]
        tz=UTC, minticks=3, maxticks=6
    )
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=UTC))  # type: ignore[no-untyped-call]
    if records:
        length = records[-1].window.end_ms - records[-1].window.start_ms
        first, last = (at / 1000 for at in (records[0].window.end_ms, records[-1].window.end_ms))
        axis.set_xlim(*(datetime.fromtimestamp(at, UTC) for at in (first - length / 1000, last + length / 1000)))


def _gaps(records: Sequence[ShownRecord], wanted: Wanted, theme: _Theme, width: float) -> Figure:
    groups = _groups(records, wanted)
    made, axes = _axes(len(groups), 2.1 if width == _WIDTH else 1.7, width)
    percent = FuncFormatter(lambda value, _: f"{100 * value:g}")
    for place, (group, axis) in enumerate(zip(groups, axes, strict=False)):
        colour = theme.colours[place]
        if not _band(axis, records, wanted, group, colour, _MARKERS[place]):
            axis.text(0.5, 0.72, "no value in these windows", transform=axis.transAxes, ha="center", color=theme.text)
        axis.axhline(0, color=theme.text, linewidth=0.9)
        for tolerated in _tolerated(records, wanted):
            for side in (tolerated, -tolerated):
                axis.axhline(side, color=theme.limit, linewidth=1, linestyle="--")
        _without_numbers(axis, records, theme)
        axis.set_title(capital(group_label(group)), loc="left", fontsize=10)
        axis.yaxis.set_major_formatter(percent)
        _dates(axis, records)
    made.supylabel("gap, percentage points", fontsize=10)
    return made


def _tolerated(records: Sequence[ShownRecord], wanted: Wanted) -> list[float]:
    """The newest that is known."""
    known = [r.detection.tolerated_gaps.get(wanted.metric) for r in records if r.detection is not None]
    return [gap for gap in known[-1:] if gap is not None]


def _band(axis: Any, records: Sequence[ShownRecord], wanted: Wanted, group: str, colour: str, marker: str) -> bool:
    """Estimates as a line with its band; a window without a value interrupts both. Whether there is any."""
    gaps = [next((r.gap for r in _of(record, wanted) if r.group == group), None) for record in records]
    times = [_time(record) for record in records]
    nothing = math.nan
    estimates = [nothing if gap is None else gap.estimate for gap in gaps]
    lower = [nothing if gap is None else gap.lower for gap in gaps]
    upper = [nothing if gap is None else gap.upper for gap in gaps]
    axis.fill_between(times, lower, upper, color=colour, alpha=0.28, linewidth=0)
    # A window between two that have no value has no width as a band; all these bars are one path.
    bars = [(at, end) for at, *ends in zip(times, lower, upper, strict=True) for end in (*ends, nothing)]
    axis.plot(*zip(*bars, strict=True), color=colour, alpha=0.45, linewidth=1)
    axis.plot(times, estimates, color=colour, marker=marker, markersize=3.5, linewidth=1.3, markevery=_every(records))
    return any(gap is not None for gap in gaps)


def _every(records: Sequence[ShownRecord]) -> int:
    """Which points are marked: with many windows a few will do, and each costs its reader a line of the picture."""
    return max(1, len(records) // _MARKED)


def _without_numbers(axis: Any, records: Sequence[ShownRecord], theme: _Theme) -> None:
    """Windows that say nothing, at the panel's lower edge: a cross is void, a circle suppressed, a dash withdrawn."""
    for status, marker in (("void", "x"), ("suppressed", "o"), ("withdrawn", "_")):
        times = [_time(record) for record in records if record.status == status]
        if times:
            axis.plot(times, [0.03] * len(times), linestyle="", marker=marker, markersize=5, color=theme.limit,
                      fillstyle="none", transform=axis.get_xaxis_transform())  # fmt: skip


def _evidence(records: Sequence[ShownRecord], wanted: Wanted, theme: _Theme, width: float) -> Figure:
    groups = _groups(records, wanted)
    made, (axis, *_) = _axes(1, 3.4, width)
    times = [_time(record) for record in records]
    for place, group in enumerate(groups):
        found = [next((r.log_evidence for r in _of(record, wanted) if r.group == group), None) for record in records]
        known = [(at, value) for at, value in zip(times, found, strict=True) if value is not None]
        if known:
            axis.plot(*zip(*known, strict=True), color=theme.colours[place], marker=_MARKERS[place], markersize=3.5,
                      markevery=_every(records), linewidth=1.4, linestyle=_LINES[place],
                      label=capital(group_label(group)))  # fmt: skip
    thresholds = [record.detection.log_threshold for record in records if record.detection is not None]
    for threshold in thresholds[-1:]:
        axis.axhline(threshold, color=theme.alarm, linewidth=1.4, linestyle="--")
        axis.annotate("alarm", (0, threshold), (3, 3), xycoords=("axes fraction", "data"),
                      textcoords="offset points", color=theme.alarm, fontsize=9)  # fmt: skip
    axis.set_ylim(bottom=min(0.0, axis.get_ylim()[0]))
    axis.set_ylabel("evidence (natural logarithm)")
    _dates(axis, records)
    if axis.get_legend_handles_labels()[0]:
        made.legend(loc="outside upper left", ncols=4 if width == _WIDTH else 2, frameon=False)
    return made
