"""The page's figures: PNG, the same bytes for the same numbers and the same matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.accuracy.coverage import HIGH, LOW
from bench.accuracy.tally import Coverage

ESTIMATORS = ("weighted", "corrected", "rectified")
COLOURS = {"weighted": "#7f7f7f", "corrected": "#1f77b4", "rectified": "#d95f02"}
_LEFT = 0.7
"""Where the axis of shares begins; what is less is drawn there."""
_SETTINGS: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.dpi": 100,
}


def _save(figure: Figure, path: Path) -> None:
    # Neither a date nor the drawing program's version, which would change the file and not the picture.
    figure.savefig(path, format="png", metadata={"Software": None}, bbox_inches="tight")
    plt.close(figure)


def coverage_by_world(groups: Mapping[tuple[str, str], Sequence[Coverage]], path: Path) -> None:
    """One row a setting, one dot an interval, for each estimator; the band is 93 to 97 %.

    Args:
        groups: (setting, estimator) -> what is judged.
    """
    settings = list(dict.fromkeys(setting for setting, _ in groups))
    with plt.rc_context(_SETTINGS):
        figure, axes = plt.subplots(1, 3, figsize=(9, 0.28 * len(settings) + 1.0), sharey=True)
        for axis, estimator in zip(axes, ESTIMATORS, strict=True):
            axis.axvspan(LOW, HIGH, color="#d9ead3", zorder=0)
            for row, setting in enumerate(settings):
                shares = [max(c.share, _LEFT) for c in groups.get((setting, estimator), ())]
                axis.plot(shares, [row] * len(shares), "|", color=COLOURS[estimator], markersize=7)
            axis.set_title(estimator)
            axis.set_xlim(_LEFT - 0.01, 1.01)
            axis.set_xticks([_LEFT, 0.8, 0.9, 0.95, 1.0], [f"{_LEFT} or less", "0.8", "0.9", "0.95", "1"])
            axis.set_xlabel("share of intervals that hold the truth")
        axes[0].set_yticks(range(len(settings)), settings)
        axes[0].set_ylim(len(settings) - 0.5, -0.5)
        _save(figure, path)


def peers(found: Mapping[str, Sequence[Coverage]], methods: Sequence[str], metric: str, path: Path) -> None:
    """Bias of the black-white gap with the spread of single windows, a panel a world."""
    with plt.rc_context(_SETTINGS):
        figure, axes = plt.subplots(1, len(found), figsize=(9, 2.6), sharey=True, sharex=True)
        for axis, (world, coverages) in zip(axes, found.items(), strict=True):
            axis.axvline(0, color="black", linewidth=0.8)
            for row, method in enumerate(methods):
                for c in coverages:
                    if c.key.estimator == method and c.key.metric == metric:
                        axis.errorbar(c.bias, row, xerr=1.96 * c.deviation, fmt="o", markersize=4,
                                      color=COLOURS.get(method, "#444444"))  # fmt: skip
            axis.set_title(world)
            axis.set_xlabel("estimated gap less the true one")
        axes[0].set_yticks(range(len(methods)), methods)
        axes[0].set_ylim(len(methods) - 0.5, -0.5)
        _save(figure, path)


def primaries(panels: dict[str, dict[str, list[tuple[str, float, float, float]]]], truth: Any, path: Path) -> None:
    """Estimates without noise beside the candidates' own answers.

    Args:
        panels: title -> estimator -> (group, estimate, lower, upper).
        truth: title -> group -> value.
    """
    with plt.rc_context(_SETTINGS):
        figure, axes = plt.subplots(1, len(panels), figsize=(9, 2.8))
        for axis, (title, by_estimator) in zip(axes, panels.items(), strict=True):
            groups = list(truth[title])
            for place, group in enumerate(groups):
                axis.plot([place - 0.35, place + 0.35], [truth[title][group]] * 2, color="black", linewidth=1.6)
            for offset, estimator in zip((-0.2, 0.0, 0.2), ESTIMATORS, strict=True):
                for group, value, lower, upper in by_estimator.get(estimator, []):
                    if group in groups:
                        axis.errorbar(
                            groups.index(group) + offset, value, yerr=[[value - lower], [upper - value]], fmt="o",
                            markersize=4, color=COLOURS[estimator],
                        )  # fmt: skip
            axis.set_xticks(range(len(groups)), groups)
            axis.set_ylim(0, None)
            axis.set_title(title)
        handles = [Line2D([], [], color=COLOURS[e], marker="o", markersize=4, label=e) for e in ESTIMATORS]
        handles.append(Line2D([], [], color="black", label="candidates' own answers"))
        figure.legend(handles=handles, loc="lower center", ncol=4, bbox_to_anchor=(0.5, -0.1), frameon=False)
        _save(figure, path)


def noise_cost(points: Sequence[Sequence[Any]], metric: str, rows: Sequence[int], rhos: Sequence[float],
               path: Path) -> None:  # fmt: skip
    """Half-width against epsilon (left, a shade a window length) and against rows (right, a shade an epsilon)."""
    styles: tuple[Any, ...] = (":", "--", "-")
    with plt.rc_context(_SETTINGS):
        figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True)
        for estimator in ESTIMATORS:
            mine = [p for p in points if (p[3], p[4]) == (estimator, metric)]
            for style, count in zip(styles, rows, strict=True):
                _line(left, [(p[1], p[5]) for p in mine if p[2] == count and p[1] is not None], estimator, style)
            for style, rho in zip(styles, rhos, strict=True):
                _line(right, [(p[2], p[5]) for p in mine if p[0] == rho], estimator, style)
        left.set_xlabel("epsilon of a member's day (delta 1e-9, replacement)")
        right.set_xlabel("rows of the window")
        left.set_ylabel("half-width of the black-white gap")
        for axis, labels in (
            (left, [f"{count:,} rows" for count in rows]),
            (right, [f"rho {rho}" for rho in rhos]),
        ):
            axis.set_xscale("log")
            axis.set_yscale("log")
            axis.grid(color="#eeeeee")
            handles = [Line2D([], [], color="black", linestyle=s, label=t) for s, t in zip(styles, labels, strict=True)]
            handles += [Line2D([], [], color=COLOURS[e], label=e) for e in ESTIMATORS]
            axis.legend(
                handles=handles, frameon=False, fontsize=8, loc="upper center", ncol=2, bbox_to_anchor=(0.5, -0.17)
            )
        _save(figure, path)


def _line(axis: Any, points: list[tuple[float, float | None]], estimator: str, style: str) -> None:
    shown = np.array(sorted((x, y) for x, y in points if y is not None))
    if shown.size:
        axis.plot(shown[:, 0], shown[:, 1], style, color=COLOURS[estimator])
