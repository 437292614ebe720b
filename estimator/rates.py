"""What every estimator starts from and ends with: sums over a statistic's cells, and rates with their intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from estimator.cells import Statistic
from estimator.excess import Residuals
from estimator.intervals import Variance, rate_interval

F = NDArray[np.float64]

MAX_HALF_WIDTH = 0.25
"""An interval with a larger half-width says nothing."""

MIN_TOTAL_DEVIATIONS = 5.0
"""Below this many standard deviations of its noise a group's total says nothing."""


@dataclass(frozen=True)
class NoiseVariance:
    """Variance of the noise of one published entry (both parties'), by channel, rows squared.

    Attributes:
        table: of a table entry. rectifier: of a rectifier entry. moments: of an entry of the moments vector: of M's
            diagonal and the two counts; half of it off M's diagonal (``estimator.moments``).
    """

    table: float
    moments: float = 0.0
    rectifier: float = 0.0

    def __post_init__(self) -> None:
        for name in ("table", "moments", "rectifier"):
            value = getattr(self, name)
            if not 0 <= value < np.inf:
                raise ValueError(f"expected a noise variance of 0 or more for {name}, in rows squared, got {value}")


@dataclass(frozen=True, eq=False)
class Reading:
    """A table, and what is needed to read it.

    Attributes:
        table: shape (cells, groups), float64, rows. groups: names of its columns.
        noise: of its entries and of the other channels'.
        rows_per_member: c: at most so many rows of one member are in it; sampling varies so many times as much at most.
        z: critical value of the intervals.
    """

    table: F
    groups: tuple[str, ...]
    noise: NoiseVariance
    rows_per_member: float
    z: float


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums over a statistic's cells, by group: arrays of shape (groups,), in rows or rows a row.

    Attributes:
        hits: sum of worth. squares: sum of squared worth. total: rows of the denominator.
    """

    hits: F
    squares: F
    total: F

    @classmethod
    def of(cls, statistic: Statistic, table: F) -> Sums:
        """From a table of shape (cells, groups)."""
        worth = statistic.worth
        return cls(worth @ table, worth**2 @ table, table[statistic.denominator].sum(axis=0))

    def possible(self, most: F | float) -> Sums:
        """The nearest sums that rows could have: noise may have made hits exceed the total, or either negative.

        Args:
            most: the largest total there can be.
        """
        total = np.clip(self.total, 0.0, most)
        hits = np.clip(self.hits, 0.0, total)
        least = hits**2 / np.where(total > 0, total, 1.0)
        return Sums(hits, np.clip(self.squares, least, hits), total)

    def residual(self, theta: F) -> F:
        """Sum of worth - theta over the rows: for ``theta`` of shape (groups,), each group about its own."""
        return np.asarray(self.hits - theta * self.total)

    def cross(self, theta: F) -> F:
        """Sum over the rows of each group r of (worth - theta_r)(worth - theta_s): shape (groups, groups), [r, s]."""
        return about(self.squares[:, None], self.hits[:, None], self.total[:, None], theta)


def about(squares: F | float, hits: F | float, total: F | float, theta: F) -> F:
    """squares - (theta_r + theta_s) hits + theta_r theta_s total: shape (groups, groups)."""
    return np.asarray(squares - np.add.outer(theta, theta) * hits + np.outer(theta, theta) * total)


def dispersion(sums: Sums) -> float:
    """Variance of a row's worth over that of a yes or no with the same mean: 1 for rates, less for exposure.

    Taken from all groups together, since it varies little and a small group's is all noise.
    """
    hits, squares, total = (float(np.sum(part)) for part in (sums.hits, sums.squares, sums.total))
    if not 0 < hits < total:
        return 1.0
    return min(max((squares - hits**2 / total) / (hits * (1 - hits / total)), 0.0), 1.0)


@dataclass(frozen=True, eq=False)
class Rates:
    """One statistic by one estimator.

    Attributes:
        groups: names; a pool is written "native+multiple".
        estimate, lower, upper: shape (groups,); the ends may lie outside [0, 1] and may be infinite.
        enough: shape (groups,), bool: whether the total is far enough from 0 to be divided by.
        total: shape (groups,): what the estimates are divided by, rows (`corrected`: their share of the group's).
        covariance: shape (groups, groups): of the estimates' errors, by the delta method; None where leaving it out
            widens every gap (``weighted``).
        uncorrected: shape (groups,), bool: where an earlier window's correction, by which they are rectified, is
            missing; None where there is nothing to be corrected.
        residuals: what the estimates were made of; None where they were shifted afterwards.
    """

    groups: tuple[str, ...]
    estimate: F
    lower: F
    upper: F
    enough: NDArray[np.bool_]
    total: F
    covariance: F | None
    uncorrected: NDArray[np.bool_] | None = None
    residuals: Residuals | None = None

    @property
    def shown(self) -> NDArray[np.bool_]:
        """Shape (groups,): where there is something to say.

        Judged before the ends are cut to [0, 1]: a rate at the border has no more behind it than one in the middle.
        """
        known = self.enough if self.uncorrected is None else self.enough & ~self.uncorrected
        return known & (self.upper - self.lower <= 2 * MAX_HALF_WIDTH)

    def split(self) -> list[Rates]:
        """Of several statistics, arrays of shape (statistics, groups) without a covariance: each one's."""
        parts = zip(self.estimate, self.lower, self.upper, self.enough, self.total, strict=True)
        residuals = [None] * len(self.total) if self.residuals is None else self.residuals.split()
        return [
            Rates(self.groups, *part, covariance=None, residuals=left)
            for part, left in zip(parts, residuals, strict=True)
        ]

    def correlation(self, reference: int) -> F:
        """Correlation of each group's error with the reference's: shape (groups,); 0 where one of them has no error."""
        if self.covariance is None:
            return np.zeros(len(self.groups))
        deviation = np.sqrt(np.maximum(np.diag(self.covariance), 0.0))
        most = deviation * deviation[reference]
        shared = np.clip(self.covariance[:, reference], -most, most)
        return np.asarray(np.divide(shared, most, out=np.zeros_like(most), where=most > 0))


def rates_of(
    groups: tuple[str, ...],
    sums: Sums,
    total_variance: F,
    variance: Variance,
    z: float,
    covariance: F | None,
    rows_per_member: float,
) -> Rates:
    """Rates of sums whose residuals have this variance.

    Args:
        total_variance: shape (groups,): privacy variance of ``sums.total``.
        covariance: of the residuals t - theta n at the estimates, or None. rows_per_member: as of the reading.
    """
    enough = sums.total > np.maximum(MIN_TOTAL_DEVIATIONS * np.sqrt(total_variance), 1e-9)
    total = np.where(enough, sums.total, 1.0)
    parts = variance.binomial, variance.constant, variance.linear, variance.square
    known = Variance(*(np.where(enough, part, 0.0) for part in parts))
    estimate, lower, upper = rate_interval(np.where(enough, sums.hits, 0.0), total, known, z)
    scaled = None if covariance is None else covariance / np.outer(total, total)
    residuals = Residuals(sums.hits, sums.total, total_variance, variance, covariance, rows_per_member)
    return Rates(groups, estimate, lower, upper, enough, sums.total, scaled, residuals=residuals)
