"""Whether the demo showed what it promises: four conditions, each with its figures."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from estimator import CellLayout, Estimate, NoiseVariance, disparities
from streams.records.metric import FairnessMetric, Result

CONFIDENCE = 0.9999
UNFAIR_BELOW = -0.02


@dataclass(frozen=True)
class Condition:
    """One condition: whether it holds, and the figures."""

    holds: bool
    text: str


def result_of(window: FairnessMetric, metric: str, group: str, score_bin: str = "all") -> Result:
    """One result of a window."""
    return next(r for r in window.results if (r.metric, r.group, r.score_bin) == (metric, group, score_bin))


def wide_gap(window: FairnessMetric, group: str, rows_per_member: int) -> Estimate | None:
    """The gap in recommendation rate with its 99.99 % interval, from the published table (post-processing)."""
    if window.table is None:
        return None
    found = disparities(
        np.array(window.table.values),
        cells=CellLayout(window.table.axes),
        reference=window.reference,
        noise_variance=NoiseVariance(window.privacy.noise_sigma_rows**2),
        groups=window.table.groups,
        confidence=CONFIDENCE,
        rows_per_member=rows_per_member,
    )
    return next(d.gap for d in found.results if (d.metric, d.group) == ("recommendation_rate", group))


def judge(
    fair: FairnessMetric | None,
    unfair: FairnessMetric | None,
    windows: list[FairnessMetric],
    expected: dict[int, int],
    rows_per_member: int,
) -> list[Condition]:
    """Judge the simulated feed.

    Args:
        fair, unfair: the two minutes' roll-ups; None where one was not published.
        windows: everything that was published.
        expected: window end of each roll-up -> rows that were sent and count.
        rows_per_member: the contribution cap.
    """
    conditions = []
    for window, name in ((unfair, "unfair"), (fair, "fair")):
        gap = None if window is None else wide_gap(window, "black", rows_per_member)
        if gap is None:
            conditions.append(Condition(False, f"the {name} minute has no published black-white gap"))
            continue
        shown = f"{name} minute: the black-white gap's 99.99 % interval [{gap.lower:+.3f}, {gap.upper:+.3f}]"
        if name == "unfair":
            conditions.append(Condition(gap.upper < UNFAIR_BELOW, f"{shown} lies below {UNFAIR_BELOW}"))
        else:
            conditions.append(Condition(gap.lower <= 0 <= gap.upper, f"{shown} contains 0"))
    for window in (fair, unfair):
        if window is None or window.table is None:
            continue
        cells = CellLayout(window.table.axes).count
        total = sum(map(sum, window.table.values))
        spread = window.privacy.noise_sigma_rows * math.sqrt(cells * len(window.table.groups))
        sent = expected[window.window.end_ms]
        conditions.append(
            Condition(
                abs(total - sent) <= 4.5 * spread,
                f"noised total {total:,.0f} agrees with {sent:,} rows sent that count (noise: {spread:.0f} rows)",
            )
        )
    void = [w for w in windows if w.status == "void"]
    conditions.append(Condition(not void, f"{len(windows)} windows published, {len(void)} void"))
    return conditions
