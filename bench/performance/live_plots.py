"""The plots of the live campaigns: PNG, from the figures only, the same bytes for the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

_SETTINGS: Any = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "figure.dpi": 100}
_STYLES = {4: "-", 16: "--"}


def _save(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Neither a date nor the drawing program's version, which would change the file and not the picture.
    figure.savefig(path, format="png", metadata={"Software": None}, bbox_inches="tight")
    plt.close(figure)
    return path


def shares_by_delay(delays: Sequence[dict[str, Any]], path: Path) -> Path:
    """Share of windows that were seen within a time, one line a case of ``latency``."""
    with plt.rc_context(_SETTINGS):
        figure, axes = plt.subplots(figsize=(6.4, 3.4))
        for case in delays:
            sorted_ms = np.sort(case["delays_ms"])
            share = np.arange(1, sorted_ms.size + 1) / sorted_ms.size
            label = f"{case['partitions']} partitions, {case['load']:.0%} load"
            axes.step(sorted_ms, share, where="post", label=label, linestyle=_STYLES.get(case["partitions"], ":"))
        axes.set_xscale("log")
        axes.set_xlabel("ms from a window's end plus lateness until /metrics shows it")
        axes.set_ylabel("share of windows")
        axes.axvline(500, color="#999999", linewidth=0.8)
        axes.grid(alpha=0.3, which="both")
        axes.legend(frameon=False)
        return _save(figure, path)


def delay_over_time(figure_of: dict[str, Any], path: Path) -> Path:
    """Delay of each window by when it ended, of one figure of ``standstill``; 0 is when `attach` went on."""
    end_ms, delay_ms = np.array(figure_of["delays_ms"], dtype=float).T
    with plt.rc_context(_SETTINGS):
        figure, axes = plt.subplots(figsize=(6.4, 2.8))
        axes.axvspan(-figure_of["hold_seconds"], 0, color="#f4cccc", label="attach stands still")
        axes.plot(end_ms / 1000, delay_ms / 1000, ".-", markersize=3, linewidth=0.8)
        axes.set_xlabel("end of the window, s after attach went on")
        axes.set_ylabel("delay, s")
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
        return _save(figure, path)


def memory_over_time(course: dict[str, Any], phases: Sequence[dict[str, Any]], path: Path) -> Path:
    """Resident size by role over the campaign, with its phases."""
    seconds, *sizes = np.array(course["seconds_mb"], dtype=float).T
    with plt.rc_context(_SETTINGS):
        figure, axes = plt.subplots(figsize=(6.4, 3.4))
        for role, size in zip(course["roles"], sizes, strict=True):
            axes.plot(seconds, size, label=role, linewidth=1.2)
        top = axes.get_ylim()[1]
        for number, phase in enumerate(phases):
            axes.axvspan(
                phase["begun"],
                phase["begun"] + phase["seconds"],
                color="#eeeeee" if number % 2 else "#ffffff",
                zorder=0,
            )
            axes.text(phase["begun"], top, phase["phase"], fontsize=6, rotation=30, ha="left", va="bottom")
        axes.set_ylim(0, top)
        axes.set_xlabel("s")
        axes.set_ylabel("resident, MB")
        axes.legend(frameon=False, ncols=5, fontsize=7)
        return _save(figure, path)
