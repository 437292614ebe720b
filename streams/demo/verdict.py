"""Whether the demo showed what it promises: conditions, each with its figures."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from estimator import CellLayout, Estimate, NoiseVariance, disparities
from estimator.recompute import pools_of
from streams.demo.alarm_watch import ALERT, Firing
from streams.records.metric import FairnessMetric, Result

CONFIDENCE = 0.9999
UNFAIR_BELOW = -0.02


@dataclass(frozen=True)
class Condition:
    """One condition: whether it holds, and the figures."""

    holds: bool
    text: str


def result_of(window: FairnessMetric, metric: str, group: str, estimator: str = "weighted") -> Result:
    """One result of a window, over all score bins; of a pool, where the estimator had to pool the group."""
    return next(
        r
        for r in window.results
        if (r.metric, r.score_bin, r.estimator) == (metric, "all", estimator) and group in r.group.split("+")
    )


def wide_gap(window: FairnessMetric, group: str, estimator: str) -> Estimate | None:
    """The gap in recommendation rate with its 99.99 % interval, from what was published (post-processing)."""
    if window.table is None or window.moments is None or window.rows_per_member is None or window.privacy is None:
        return None
    noise = window.privacy
    found = disparities(
        np.array(window.table.values),
        cells=CellLayout(window.table.axes),
        reference=window.reference,
        noise_variance=NoiseVariance(noise.noise_sigma_rows**2, (noise.noise_sigma_rows_moments or 0.0) ** 2),
        moments=window.moments.moments(),
        groups=window.table.groups,
        # As published, where they follow from the windows before: worked out afresh, chance may pool others.
        pools=pools_of(window.model_dump(mode="json")),
        confidence=CONFIDENCE,
        rows_per_member=window.rows_per_member,
    )
    of_group = ("recommendation_rate", estimator, group)
    return next((d.gap for d in found.results if (d.metric, d.estimator, d.group) == of_group), None)


def judge(
    fair: FairnessMetric | None,
    unfair: FairnessMetric | None,
    windows: list[FairnessMetric],
    expected: dict[int, int],
    true_gap: float,
) -> list[Condition]:
    """Judge the simulated feed.

    Args:
        fair, unfair: the two minutes' roll-ups; None where one was not published.
        windows: everything that was published.
        expected: window end of each roll-up -> rows that were sent and count.
        true_gap: black less white recommendation rate of the unfair minute's rows that count.
    """
    conditions = []
    for window, name in ((unfair, "unfair"), (fair, "fair")):
        gap = None if window is None else wide_gap(window, "black", "weighted")
        if gap is None:
            conditions.append(Condition(False, f"the {name} minute has no published black-white gap"))
            continue
        shown = f"{name} minute: the black-white gap's 99.99 % interval [{gap.lower:+.3f}, {gap.upper:+.3f}]"
        if name == "unfair":
            conditions.append(Condition(gap.upper < UNFAIR_BELOW, f"{shown} lies below {UNFAIR_BELOW}"))
        else:
            conditions.append(Condition(gap.lower <= 0 <= gap.upper, f"{shown} contains 0"))
    corrected = None if unfair is None else wide_gap(unfair, "black", "corrected")
    if corrected is None:
        conditions.append(Condition(False, "the unfair minute has no corrected black-white gap"))
    else:
        shown = f"unfair minute: the corrected gap's 99.99 % interval [{corrected.lower:+.3f}, {corrected.upper:+.3f}]"
        holds = corrected.lower <= true_gap <= corrected.upper
        conditions.append(Condition(holds, f"{shown} contains the truth, {true_gap:+.3f}"))
    for window in (fair, unfair):
        if window is None or window.table is None or window.privacy is None:
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


def judge_alarms(firings: list[Firing], measurement: str, turn: float) -> Condition:
    """Whether the alert fired for what turned unfair, and not before it did.

    Args:
        firings: what was seen on /metrics. measurement: the simulated feed's. turn: Unix time of the turn.
    """
    ours = [f for f in firings if f.labels["measurement"] == measurement]
    early = [f for f in ours if f.since < turn]
    if early:
        return Condition(False, f"{ALERT} fired while the recommender was fair: {early[0].what}")
    expected = [
        f for f in ours if (f.labels["metric"], f.labels["group"], f.until) == ("recommendation_rate", "black", None)
    ]
    if not expected:
        return Condition(False, f"{ALERT} does not fire for the black members' recommendation rate")
    first = expected[0]
    return Condition(
        True,
        f"{ALERT} fired for nothing while the recommender was fair, and for {first.what} "
        f"{first.since - turn:.0f} s after it turned unfair",
    )
