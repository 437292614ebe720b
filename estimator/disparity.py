"""Disparities from one noised table: for each statistic and group the value, its gap and its ratio to the reference.

By up to three estimators (DESIGN section 6): `weighted` needs the table alone, `corrected` the moments as well, and
`rectified` the rectifier of the same window or the correction of an earlier, longer one. Everything here is
post-processing of noised numbers: whoever has one published record can repeat it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from estimator import agreement
from estimator.agreement import Agreement
from estimator.cells import CellLayout, Statistic
from estimator.corrected import POOL_SIGN, corrected_rates, pool
from estimator.excess import Residuals
from estimator.groups import GROUPS
from estimator.intervals import critical_value, gap_interval, ratio_interval
from estimator.moments import NOT_FINITE, Moments, implausibly_low
from estimator.rates import F, NoiseVariance, Rates, Reading
from estimator.rectified import Shift, rectified_rates, rectifier_of, shift_of, shifted_rates
from estimator.weighted import all_weighted_rates, purity_of

TOO_FEW_ROWS = "too_few_rows"
TOO_WIDE = "too_wide"
NOT_SEPARABLE = "not_separable"
TOO_FEW_SELF_ID = "too_few_self_id"
NO_CORRECTION = "no_correction"

IMPLAUSIBLE_ENTRY = "implausible_entry"


@dataclass(frozen=True)
class Estimate:
    """A number with its interval: all finite, and the number lies between the ends."""

    estimate: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Excess:
    """By how many standard deviations a group's rate lies beyond what is tolerated (``estimator.excess``).

    Attributes:
        above, below: the reference's rate; negative where it lies within.
    """

    above: float
    below: float


@dataclass(frozen=True)
class Disparity:
    """One statistic of one group by one estimator.

    Attributes:
        metric, score_bin, group, estimator: what it is. A group that `corrected` had to pool is written with the others
            of its pool, "native+multiple".
        value: the mean. gap: value less the reference's. ratio: value over the reference's. None where suppressed, and
            for the reference's own gap and ratio, where the reference is suppressed, and (ratio only) where the
            reference's value is too near to 0 to divide by.
        suppressed: why there is no value, or None: "too_few_rows" (the total is below 5 deviations of its noise),
            "too_wide" (the half-width is above .25), "not_separable" (M cannot tell any groups apart),
            "too_few_self_id", "no_correction" (no long window that says anything of the group has been published yet).
        excess: what a detector takes in, whether or not the value is suppressed; None where no tolerated gaps were
            given, for the reference, and where there are no sums.
    """

    metric: str
    score_bin: str
    group: str
    estimator: str
    value: Estimate | None
    gap: Estimate | None
    ratio: Estimate | None
    suppressed: str | None
    excess: Excess | None = None


@dataclass(frozen=True)
class Correction:
    """What rectifying changes, learned in one long window: by (metric, score bin). Empty: nothing was learned."""

    shifts: Mapping[tuple[str, str], Shift] = field(default_factory=dict)


@dataclass(frozen=True)
class Disparities:
    """Everything that one table says.

    Attributes:
        results: by estimator, statistic and group, in the order of the layout's statistics and of the groups.
        pools: the groups of `corrected`, for the next window; None without it, or where it separates nothing.
        agreement: whether corrected and rectified agree; None where both are not there.
        correction: for shorter windows that begin after this one; None without a rectifier.
    """

    results: tuple[Disparity, ...]
    pools: tuple[str, ...] | None = None
    agreement: Agreement | None = None
    correction: Correction | None = None


def implausible(table: F, sigma_rows: float) -> str | None:
    """Why a table must be void, or None: an entry below -8 standard deviations of its noise cannot come about honestly.

    Args:
        table: shape (cells, k), float64, rows. sigma_rows: standard deviation of one entry's noise, rows.
    """
    if not np.isfinite(table).all():
        return NOT_FINITE
    return IMPLAUSIBLE_ENTRY if implausibly_low(float(table.min()), sigma_rows) else None


def disparities(
    table: F,
    *,
    cells: CellLayout,
    reference: str,
    noise_variance: NoiseVariance,
    moments: Moments | None = None,
    rectifier: F | None = None,
    correction: Correction | None = None,
    pools: tuple[str, ...] | None = None,
    groups: tuple[str, ...] = GROUPS,
    confidence: float = 0.95,
    rows_per_member: float = 1.0,
    statistics: Sequence[Statistic] | None = None,
    tolerated: Mapping[str, float] | None = None,
) -> Disparities:
    """All statistics for all groups, by every estimator for which the data are there.

    Args:
        table: shape (cells, k), float64: noised sums of race probabilities, rows.
        cells: the layout of the first axis.
        reference: the group that others are compared with.
        noise_variance: of one published entry of each channel, rows squared.
        moments: noised, of the same window: then there is `corrected`.
        rectifier: shape (cells, k), float64: noised sums of R - p over the rows of members who said their group, rows,
            of the same window; needs ``moments``. Then there is `rectified`, the check, and a correction.
        correction: of an earlier, longer window, instead of ``rectifier``: then there is `rectified`, shifted by it.
        pools: groups of `corrected` in the window before, kept while they are separate (``estimator.corrected``); or
            those of a published record, to repeat it.
        groups: names of the second axis.
        confidence: of the intervals.
        rows_per_member: at most so many rows of a member are in the window (the contribution cap, or less): rows of one
            member are not independent, and the sampling variance is that many times as large at most.
        statistics: others than those of ``cells``, over the same cells.
        tolerated: by metric, the gap that is tolerated, ratio: what excess there is beyond it, by the estimators that
            detectors watch.

    Raises:
        ValueError: shapes do not fit, something is not finite, the reference is no group, or the confidence or
            ``rows_per_member`` is out of range.
    """
    _check(table, cells, groups, reference, rows_per_member, moments, rectifier, correction)
    reading = Reading(table, groups, noise_variance, rows_per_member, critical_value(confidence))
    compared = _Comparison(groups, reference, tolerated or {})
    statistics = tuple(cells.statistics() if statistics is None else statistics)
    by_weighting = all_weighted_rates(reading, statistics)
    results = compared.of("weighted", statistics, by_weighting)
    pooled, names, purity, by_correcting = None, None, np.ones(len(groups)), []
    if moments is not None:
        purity = purity_of(moments, noise_variance)
        pooled = pool(
            groups, moments, noise_variance, cells=cells.count, rows_per_member=rows_per_member, earlier=pools
        )
        if pooled is not None:
            names = pooled.groups
            by_correcting = [corrected_rates(reading, statistic, pooled) for statistic in statistics]
        results += compared.of("corrected", statistics, by_correcting, NOT_SEPARABLE)
    if correction is not None:
        shifted = _shifted(reading, statistics, correction, purity)
        return Disparities(results + compared.of("rectified", statistics, shifted, NO_CORRECTION), names)
    if rectifier is None or moments is None:
        return Disparities(results, names)
    prepared = rectifier_of(rectifier, moments, noise_variance)
    by_rectifying = [] if prepared is None else [rectified_rates(reading, each, prepared) for each in statistics]
    results += compared.of("rectified", statistics, by_rectifying, TOO_FEW_SELF_ID)
    if prepared is None:
        return Disparities(results, names, None, Correction())
    shifts = {
        (statistic.metric, statistic.score_bin): shift_of(reading, statistic, prepared, weighted, rectified)
        for statistic, weighted, rectified in zip(statistics, by_weighting, by_rectifying, strict=True)
    }
    differences = [
        difference
        for statistic, corrected, rectified in zip(statistics, by_correcting, by_rectifying, strict=False)
        if pooled is not None
        for difference in agreement.differences(reading, statistic, pooled, corrected, rectified)
    ]
    return Disparities(results, names, agreement.judge(differences), Correction(shifts))


def _shifted(
    reading: Reading, statistics: Sequence[Statistic], correction: Correction, purity: F
) -> list[Rates | None]:
    shifts = [correction.shifts.get((statistic.metric, statistic.score_bin)) for statistic in statistics]
    return [
        None if shift is None else shifted_rates(weighted, shift, reading.z)
        for shift, weighted in zip(shifts, all_weighted_rates(reading, statistics, purity), strict=True)
    ]


def _check(
    table: F,
    cells: CellLayout,
    groups: tuple[str, ...],
    reference: str,
    rows_per_member: float,
    moments: Moments | None,
    rectifier: F | None,
    correction: Correction | None,
) -> None:
    shape = (cells.count, len(groups))
    for name, array in (("table", table), ("rectifier", rectifier)):
        if array is None:
            continue
        if array.shape != shape:
            raise ValueError(f"expected a {name} of shape {shape}, got {array.shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"expected a finite {name}; ask implausible() first, and void the window")
    if moments is not None:
        products, squares = moments.products, moments.residual_squares
        if products.shape != 2 * shape[1:] or squares.shape != shape[1:]:
            raise ValueError(f"expected moments of {len(groups)} groups, got shapes {products.shape}, {squares.shape}")
        if not np.isfinite([*products.ravel(), moments.rows, moments.self_id_rows, *squares]).all():
            raise ValueError("expected finite moments")
    if rectifier is not None and moments is None:
        raise ValueError("a rectifier needs the moments of the same window, which hold the share of Self-ID rows")
    if rectifier is not None and correction is not None:
        raise ValueError("give the window's own rectifier, or an earlier window's correction, not both")
    if reference not in groups:
        raise ValueError(f"expected a reference out of {groups}, got {reference!r}")
    if not 1 <= rows_per_member < math.inf:
        raise ValueError(f"expected rows_per_member, the contribution cap, of 1 or more, got {rows_per_member}")


@dataclass(frozen=True)
class _Comparison:
    """Rates to disparities: against the reference, or suppressed."""

    groups: tuple[str, ...]
    reference: str
    tolerated: Mapping[str, float]

    def of(
        self,
        estimator: str,
        statistics: tuple[Statistic, ...],
        rates: Sequence[Rates | None],
        missing: str = "",
    ) -> tuple[Disparity, ...]:
        """All groups of all statistics; where there are no rates, suppressed as ``missing`` says."""
        results: list[Disparity] = []
        all_rates = rates or [None] * len(statistics)
        excesses = self._excesses(statistics, all_rates) if estimator != "corrected" else {}
        for place, (statistic, found) in enumerate(zip(statistics, all_rates, strict=True)):
            if found is None:
                results += _nothing(statistic.metric, statistic.score_bin, self.groups, estimator, missing)
            else:
                results += self._compared(statistic, estimator, found, excesses.get(place))
        return tuple(results)

    def _excesses(self, statistics: tuple[Statistic, ...], rates: Sequence[Rates | None]) -> dict[int, tuple[F, F]]:
        """(above, below) by the place of each statistic that a detector watches: all of them are of the same groups."""
        places, tolerated, residuals = [], [], []
        for place, (statistic, found) in enumerate(zip(statistics, rates, strict=True)):
            gap = self.tolerated.get(statistic.metric)
            if gap is not None and found is not None and found.residuals is not None:
                places.append(place)
                tolerated.append(gap)
                residuals.append(found.residuals)
        if not places:
            return {}
        at = self.groups.index(self.reference)
        above, below = Residuals.stacked(residuals).excess(at, np.array(tolerated)[:, np.newaxis])
        return dict(zip(places, zip(above, below, strict=True), strict=True))

    def _compared(
        self, statistic: Statistic, estimator: str, rates: Rates, excess: tuple[F, F] | None
    ) -> list[Disparity]:
        at = next(q for q, group in enumerate(rates.groups) if self.reference in group.split(POOL_SIGN))
        shown: list[bool] = rates.shown.tolist()
        values = rates.estimate, np.maximum(rates.lower, 0.0), np.minimum(rates.upper, 1.0)
        gaps = ratios = values
        if shown[at]:  # without traffic the reference says nothing, and nothing is compared with it
            base, correlation = (values[0][at], values[1][at], values[2][at]), rates.correlation(at)
            gaps, ratios = gap_interval(values, base, correlation), ratio_interval(values, base, correlation)
        above, below = ([], []) if excess is None else (excess[0].tolist(), excess[1].tolist())
        results = []
        for q, group in enumerate(rates.groups):
            reason = None if shown[q] else _reason(rates, q)
            compared = shown[q] and shown[at] and q != at
            results.append(
                Disparity(
                    metric=statistic.metric,
                    score_bin=statistic.score_bin,
                    group=group,
                    estimator=estimator,
                    value=_at(values, q) if shown[q] else None,
                    gap=_at(gaps, q) if compared else None,
                    ratio=_at(ratios, q) if compared else None,
                    suppressed=reason,
                    excess=None if excess is None or q == at else Excess(above[q], below[q]),
                )
            )
        return results


@lru_cache(maxsize=4096)
def _nothing(
    metric: str, score_bin: str, groups: tuple[str, ...], estimator: str, reason: str
) -> tuple[Disparity, ...]:
    return tuple(Disparity(metric, score_bin, group, estimator, None, None, None, reason) for group in groups)


def _at(interval: tuple[F, F, F], group: int) -> Estimate | None:
    """One group's numbers; None where there are none."""
    estimate, lower, upper = (float(end[group]) for end in interval)
    return Estimate(estimate, lower, upper) if math.isfinite(upper) else None


def _reason(rates: Rates, group: int) -> str:
    """Why a group is not shown."""
    if not rates.enough[group]:
        return TOO_FEW_ROWS
    uncorrected = rates.uncorrected is not None and rates.uncorrected[group]
    return NO_CORRECTION if uncorrected else TOO_WIDE
