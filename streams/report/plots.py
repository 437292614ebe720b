"""Plots, by matplotlib, which is an optional extra: loaded when a plot is asked for.

Colours are Okabe and Ito's, which people with any colour vision tell apart; markers say the same a second time. SVG is
deterministic: ids by a fixed salt, no date; it names no external resource, and text stays text.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from streams.errors import PrerequisiteMissing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ESTIMATORS = {"weighted": ("#0072b2", "o"), "corrected": ("#d55e00", "s"), "rectified": ("#009e73", "D")}
_COLOURS = ("#000000", "#e69f00", "#56b4e9", "#009e73", "#d55e00", "#cc79a7", "#0072b2", "#999933")
_MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*")


@dataclass(frozen=True)
class Bar:
    """One interval: estimate, lower and upper end."""

    label: str
    estimator: str
    estimate: float
    lower: float
    upper: float


def require_matplotlib() -> Any:
    """The module ``matplotlib`` (PrerequisiteMissing where it is not installed)."""
    try:
        import matplotlib
    except ModuleNotFoundError:
        raise PrerequisiteMissing(
            "plots need matplotlib, which is not installed: pip install 'evenstream[plots]'"
        ) from None
    return matplotlib


def _figure(width: float, height: float, panels: int, **options: Any) -> tuple[Figure, Sequence[Any]]:
    require_matplotlib()
    from matplotlib.figure import Figure  # without pyplot: no display, no state

    made = Figure(figsize=(width, height), layout="constrained")
    axes = made.subplots(1, panels, squeeze=False, **options)[0]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(color="#e4e4e4", linewidth=0.8)
        axis.set_axisbelow(True)
    return made, list(axes)


def intervals(groups: Sequence[str], values: Sequence[Bar], gaps: Sequence[Bar]) -> Figure:
    """Values and gaps with their intervals, a row for each group, a mark for each estimator.

    Args:
        groups: rows, from top to bottom; a bar's label may name several, joined by "+": it stands in the first's row.
    """
    made, (left, right) = _figure(9.5, 0.62 * len(groups) + 1.5, 2, sharey=True)
    for axis, bars, label in ((left, values, "value"), (right, gaps, "gap to the reference")):
        for bar in bars:
            colour, marker = _ESTIMATORS.get(bar.estimator, ("#444444", "x"))
            offset = list(_ESTIMATORS).index(bar.estimator) if bar.estimator in _ESTIMATORS else 0
            row = groups.index(bar.label.split("+")[0]) + (offset - 1) * 0.22
            axis.plot([bar.lower, bar.upper], [row, row], color=colour, linewidth=2, solid_capstyle="butt")
            axis.plot(
                [bar.estimate], [row], marker=marker, color=colour, markersize=6, linestyle="", label=bar.estimator
            )
            if "+" in bar.label:
                axis.annotate(bar.label, (bar.upper, row), (4, -3), textcoords="offset points", fontsize=7)
        axis.set_xlabel(label)
    right.axvline(0, color="#444444", linewidth=1)
    left.set_yticks(range(len(groups)), list(groups))
    left.set_ylim(len(groups) - 0.5, -0.5)
    named = dict(zip(*reversed(left.get_legend_handles_labels()), strict=True))
    if named:
        made.legend(named.values(), named.keys(), loc="outside upper left", ncols=len(named), frameon=False)
    return made


def widths(panels: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]], marks: Mapping[str, float]) -> Figure:
    """Half-width of the gap's interval against window length: a panel an estimator, a line a group.

    Args:
        panels: by estimator and group, (seconds, half-width) in rising order.
        marks: levels of the measurement and their length in seconds: dotted lines.
    """
    count = max(len(panels), 1)
    made, axes = _figure(max(4.6 * count, 7.0), 4.6, count, sharey=True)
    groups = list(dict.fromkeys(group for lines in panels.values() for group in lines))
    points = [point for lines in panels.values() for line in lines.values() for point in line]
    for axis, (estimator, lines) in zip(axes, panels.items(), strict=False):
        _lines(axis, lines, groups, marks)
        axis.set_title(estimator, loc="left", fontsize=11)
        _label_seconds(axis, [seconds for seconds, _ in points])
        _label_widths(axis, [width for _, width in points])
    axes[0].set_ylabel("half-width of the gap's interval")
    named = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    if named:
        made.legend(
            named.values(), named.keys(), loc="outside upper left", ncols=min(len(named), 3 + 2 * count), frameon=False
        )
    return made


def _lines(
    axis: Any, lines: Mapping[str, Sequence[tuple[float, float]]], groups: Sequence[str], marks: Mapping[str, float]
) -> None:
    """One panel of :func:`widths`."""
    for name, seconds in marks.items():
        axis.axvline(seconds, color="#888888", linewidth=1, linestyle=":")
        axis.annotate(name, (seconds, 1), (2, -8), xycoords=("data", "axes fraction"),
                      textcoords="offset points", fontsize=8, color="#555555")  # fmt: skip
    for group, line in lines.items():
        place = groups.index(group)
        axis.plot(*zip(*line, strict=True), color=_COLOURS[place % 8], marker=_MARKERS[place % 8],
                  markersize=5, linewidth=1.6, label=group)  # fmt: skip
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("window length")
    axis.minorticks_off()


def _label_seconds(axis: Any, seconds: Sequence[float]) -> None:
    ticks = {10: "10s", 60: "1m", 600: "10m", 3600: "1h", 6 * 3600: "6h", 86_400: "1d"}
    inside = {at: text for at, text in ticks.items() if seconds and min(seconds) <= at <= max(seconds)}
    axis.set_xticks(list(inside), list(inside.values()))
    if seconds:
        axis.set_xlim(min(seconds) / 1.5, max(seconds) * 1.5)  # the same in each panel, whatever is suppressed there


def _label_widths(axis: Any, values: Sequence[float]) -> None:
    if not values:
        return
    exponents = range(math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))) + 1)
    inside = [
        factor * 10.0**e for e in exponents for factor in (1, 2, 5)
        if min(values) / 1.6 <= factor * 10.0**e <= max(values) * 1.6
    ]  # fmt: skip
    axis.set_yticks(inside, [f"{value:g}" for value in inside])


def svg(made: Figure, salt: str) -> str:
    """Inline SVG.

    Args:
        salt: another one for each figure of a page: ids must differ.
    """
    matplotlib = require_matplotlib()
    out = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": f"evenstream/{salt}", "svg.fonttype": "none"}):
        made.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    # What describes the format is no part of the picture, and names addresses.
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # Ids that are not hashed (figure_1, axes_1) would be there once for each figure of a page.
    text = re.sub(r' id="[a-z]+[0-9a-z.]*_[0-9]+"', "", text)
    return text.replace("<svg ", '<svg role="img" ', 1)


def image(made: Figure, suffix: str) -> bytes:
    """A file's content: ``.svg`` or ``.png``."""
    if suffix == ".svg":
        return ('<?xml version="1.0" encoding="utf-8"?>\n' + svg(made, "file")).encode()
    out = io.BytesIO()
    made.savefig(out, format="png", dpi=150, metadata={"Software": None})
    return out.getvalue()
