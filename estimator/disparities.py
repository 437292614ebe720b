"""Disparities from one noised table: for each statistic and group the rate, its gap and its ratio to the reference.

The *weighted* estimator, t_r / n_r. It understates gaps when outcome and race are correlated given the proxy (DESIGN
section 6); it is always shown, and says so by its name. Everything here is post-processing of noised numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from estimator.cells import CellLayout, Statistic
from estimator.groups import GROUPS
from estimator.intervals import critical_value, gap_interval, rate_interval, ratio_interval

MAX_HALF_WIDTH = 0.25
MIN_TOTAL_DEVIATIONS = 5.0
IMPLAUSIBLE_DEVIATIONS = 8.0

TOO_FEW_ROWS = "too_few_rows"
TOO_WIDE = "too_wide"
NOT_FINITE = "not_finite"
IMPLAUSIBLE_ENTRY = "implausible_entry"

F = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A number with its interval: all finite, and the number lies between the ends."""

    estimate: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Disparity:
    """One statistic of one group.

    Attributes:
        metric, score_bin, group, estimator: what it is.
        value: the rate. gap: rate less the reference's. ratio: rate over the reference's. None where suppressed, and
            for the reference's own gap and ratio, where the reference is suppressed, and (ratio only) where the
            reference's rate is too near to 0 to divide by.
        suppressed: why there is no value, or None.
    """

    metric: str
    score_bin: str
    group: str
    estimator: str
    value: Estimate | None
    gap: Estimate | None
    ratio: Estimate | None
    suppressed: str | None


def implausible(table: F, sigma_rows: float) -> str | None:
    """Why a table must be void, or None: an entry below -8 standard deviations of its noise cannot come about honestly.

    Args:
        table: shape (cells, k), float64, rows. sigma_rows: standard deviation of one entry's noise, rows.
    """
    if not np.isfinite(table).all():
        return NOT_FINITE
    # Half a row absorbs fixed-point rounding where the noise is tiny.
    return IMPLAUSIBLE_ENTRY if float(table.min()) < -(IMPLAUSIBLE_DEVIATIONS * sigma_rows + 0.5) else None


def weighted(
    table: F,
    layout: CellLayout,
    *,
    sigma_rows: float,
    reference: str,
    groups: tuple[str, ...] = GROUPS,
    confidence: float = 0.95,
    rows_per_member: int = 1,
) -> tuple[Disparity, ...]:
    """All statistics for all groups by the weighted estimator.

    Args:
        table: shape (cells, k), float64: noised sums of group probabilities, rows.
        layout: the cells.
        sigma_rows: standard deviation of the noise of one entry (both parties'), rows.
        reference: the group that others are compared with.
        groups: names of the table's columns.
        confidence: of the intervals.
        rows_per_member: the contribution cap c, which widens the sampling variance (``estimator.intervals``).

    Returns:
        For each statistic of the layout, in its order, the groups in their order.

    Raises:
        ValueError: the table has another shape or is not finite, sigma_rows is negative or not finite, the reference is
            no group, or the confidence or the cap is out of range.
    """
    if table.shape != (layout.count, len(groups)):
        raise ValueError(f"expected a table of shape ({layout.count}, {len(groups)}), got {table.shape}")
    if not np.isfinite(table).all():
        raise ValueError("expected a finite table; ask implausible() first, and void the window")
    if not 0 <= sigma_rows < math.inf:
        raise ValueError(f"expected sigma_rows, a standard deviation in rows, of 0 or more, got {sigma_rows}")
    if reference not in groups:
        raise ValueError(f"expected a reference out of {groups}, got {reference!r}")
    if rows_per_member < 1:
        raise ValueError(f"expected rows_per_member, the contribution cap, of 1 or more, got {rows_per_member}")
    z = critical_value(confidence)
    at = groups.index(reference)
    results: list[Disparity] = []
    for statistic in layout.statistics():
        results += _of_statistic(table, statistic, groups, at, sigma_rows, z, rows_per_member)
    return tuple(results)


def _of_statistic(
    table: F,
    statistic: Statistic,
    groups: tuple[str, ...],
    reference: int,
    sigma_rows: float,
    z: float,
    rows_per_member: int,
) -> list[Disparity]:
    numerator_cells, denominator_cells = int(statistic.numerator.sum()), int(statistic.denominator.sum())
    hits = table[statistic.numerator].sum(axis=0)
    total = table[statistic.denominator].sum(axis=0)
    enough = total > max(MIN_TOTAL_DEVIATIONS * sigma_rows * math.sqrt(denominator_cells), 1e-6)
    rate, lower, upper = rate_interval(
        np.where(enough, hits, 0.0),
        np.where(enough, total, 1.0),
        numerator_cells=numerator_cells,
        denominator_cells=denominator_cells,
        sigma_rows=sigma_rows,
        z=z,
        rows_per_member=rows_per_member,
    )
    # Judged before the ends are cut to [0, 1]: a rate at the border has no more behind it than one in the middle.
    shown = enough & (upper - lower <= 2 * MAX_HALF_WIDTH)
    values = rate, np.maximum(lower, 0.0), np.minimum(upper, 1.0)
    base = rate[reference], values[1][reference], values[2][reference]
    gaps, ratios = gap_interval(values, base), ratio_interval(values, base)
    results = []
    for group, name in enumerate(groups):
        reason = None if shown[group] else (TOO_FEW_ROWS if not enough[group] else TOO_WIDE)
        compared = shown[group] and shown[reference] and group != reference
        results.append(
            Disparity(
                metric=statistic.metric,
                score_bin=statistic.score_bin,
                group=name,
                estimator="weighted",
                value=_at(values, group) if shown[group] else None,
                gap=_at(gaps, group) if compared else None,
                ratio=_at(ratios, group) if compared else None,
                suppressed=reason,
            )
        )
    return results


def _at(interval: tuple[F, F, F], group: int) -> Estimate | None:
    """One group's numbers; None where there are none."""
    estimate, lower, upper = (float(end[group]) for end in interval)
    return Estimate(estimate, lower, upper) if math.isfinite(upper) else None
