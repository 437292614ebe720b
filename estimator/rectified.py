r"""The rectified estimator: the weighted sums, with the proxy's error taken out as Self-ID shows it.

    [sum p_r x + (1/f) sum_L (R_r - p_r) x] / [sum p_r + (1/f) sum_L (R_r - p_r)],

with L the rows of members who said their group (R, which sums to 1) and f their share of all rows. It needs no
assumption about x and the proxy, only that the rows in L are representative (the difference estimator of survey
sampling, Särndal et al. 1992; prediction-powered inference, Angelopoulos et al. 2023). It is noisy: it is learned over
the long level, and applied to shorter windows as a correction, with its uncertainty carried (:class:`Shift`).

Variance of the residual sum over rows of R^ y, with y = worth - theta and R^ the rectified mass:

* Sampling: what it would be if everyone had said a group, n theta (1 - theta), and the price of asking only a share f:
  (1/f - 1) sum (R_r - p_r)^2 y^2. Its mass, sum (R_r - p_r)^2, is measured (a moment). A part 1 - M_rr / n_r of it is
  taken to lie in rows of the group that p missed, where y^2 is about theta (1 - theta), the rest in rows of other
  groups k in proportion M_rk. All of it times c, the rows a member may have.
* Noise of the table, s^2 an entry, and of the rectifier, u^2 / f^2.
* Noise of f: a change of 1/f moves every entry by its rectifier sum.

Errors of different groups are correlated: a row that p gave to r and that is of s brings r down and s up;
sum (R_r - p_r)(R_s - p_s) is about -M_rs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from estimator.cells import Statistic
from estimator.intervals import Variance
from estimator.moments import Moments
from estimator.rates import F, NoiseVariance, Rates, Reading, Sums, dispersion, rates_of

MIN_SELF_ID_DEVIATIONS = 5.0
MIN_SELF_ID_ROWS = 30.0
"""With fewer Self-ID rows than this, or than so many deviations of their noise, there is nothing to rectify by."""
_LEAST = 1e-9


@dataclass(frozen=True, eq=False)
class Rectifier:
    """A long window's rectifier, ready to use.

    Attributes:
        sums: shape (cells, k): sum over L of R - p.
        inverse_share: 1/f. share_variance: variance of 1/f by its noise.
        missed: shape (k,): sum of (R_r - p_r)^2 over all rows. own_part: shape (k,): the part of it in the group's own.
        mixture: shape (k, k): whose rows the rest is in; rows sum to 1, the diagonal is 0.
        products: M, shape (k, k).
    """

    sums: F
    inverse_share: float
    share_variance: float
    missed: F
    own_part: F
    mixture: F
    products: F


def rectifier_of(sums: F, moments: Moments, noise: NoiseVariance) -> Rectifier | None:
    """Prepare a rectifier; None where too few rows have a Self-ID.

    Args:
        sums: shape (cells, k), float64, rows.
    """
    share = moments.self_id_share
    least = max(MIN_SELF_ID_DEVIATIONS * noise.moments**0.5, MIN_SELF_ID_ROWS)
    if share <= 0 or moments.self_id_rows < least:
        return None
    products = np.maximum(moments.products, 0.0)
    claimed = np.maximum(products.sum(axis=1), _LEAST)
    others = products - np.diag(np.diag(products))
    return Rectifier(
        sums=sums,
        inverse_share=1 / share,
        share_variance=noise.moments * (1 + share**2) / moments.rows**2 / share**4,
        missed=np.maximum(moments.residual_squares, 0.0) / share,
        own_part=np.clip(1 - np.diag(products) / claimed, 0.0, 1.0),
        mixture=others / np.maximum(others.sum(axis=1, keepdims=True), _LEAST),
        products=products,
    )


@dataclass(frozen=True, eq=False)
class _Window:
    """One statistic over the rectifier's window: rectified sums, the rectifier's own, rectified rows of each group."""

    rectifier: Rectifier
    statistic: Statistic
    full: Sums
    shift: Sums
    rows: F
    rows_per_member: float

    @classmethod
    def of(cls, reading: Reading, statistic: Statistic, rectifier: Rectifier) -> _Window:
        rectified = reading.table + rectifier.inverse_share * rectifier.sums
        rows = np.maximum(rectified.sum(axis=0), _LEAST)
        full, shift = Sums.of(statistic, rectified), Sums.of(statistic, rectifier.sums)
        return cls(rectifier, statistic, full, shift, rows, reading.rows_per_member)

    @property
    def theta(self) -> F:
        return np.clip(self.full.hits / np.where(self.full.total > 0, self.full.total, 1.0), 0.0, 1.0)

    def variance(self, entry: float, asked: float, everyone: float) -> Variance:
        """Of the residuals.

        Args:
            entry: variance of the noise of one entry, rows squared.
            asked: how often the price of asking only some is paid. everyone: 1 where the rows themselves vary, else 0.
        """
        rectifier, full, shift = self.rectifier, self.full, self.shift
        mass = self.rows_per_member * asked * rectifier.missed
        own, false = mass * rectifier.own_part, mass * (1 - rectifier.own_part)
        part = np.clip(full.total / self.rows, 0.0, 1.0)
        possible = full.possible(self.rows)
        squares, hits, total = (
            false * (rectifier.mixture @ (value / self.rows))
            for value in (possible.squares, possible.hits, possible.total)
        )
        noised = entry * self.statistic.noise_terms
        of_share = rectifier.share_variance
        whole = everyone * self.rows_per_member * np.maximum(full.total, 0.0)
        return Variance(
            binomial=dispersion(full) * (own * part + whole),
            constant=squares + noised[0] + of_share * shift.hits**2,
            linear=hits + noised[1] + of_share * shift.hits * shift.total,
            square=total + noised[2] + of_share * shift.total**2,
        )

    def covariance(self, variance: Variance, asked: float) -> F:
        """Of the residuals at the estimates: shape (k, k)."""
        theta, rectifier = self.theta, self.rectifier
        each = self.full.possible(self.rows).cross(theta) / self.rows[:, None]
        swapped = self.rows_per_member * asked * rectifier.products * (each + each.T) / 2
        moved = self.shift.residual(theta)
        result = rectifier.share_variance * np.outer(moved, moved) - swapped
        np.fill_diagonal(result, variance.at(theta))
        return result


def rectified_rates(reading: Reading, statistic: Statistic, rectifier: Rectifier) -> Rates:
    """One statistic over the window of the rectifier."""
    window, noise = _Window.of(reading, statistic, rectifier), reading.noise
    asked = rectifier.inverse_share - 1
    entry = noise.table + noise.rectifier * rectifier.inverse_share**2
    variance = window.variance(entry, asked, 1.0)
    total_variance = entry * statistic.noise_terms[2] + rectifier.share_variance * window.shift.total**2
    covariance, most = window.covariance(variance, asked), reading.rows_per_member
    return rates_of(reading.groups, window.full, total_variance, variance, reading.z, covariance, most)


@dataclass(frozen=True, eq=False)
class Shift:
    """What rectifying changes in one statistic: rectified less weighted, over a long window.

    Attributes:
        value: shape (k,). below, above: shape (k,): its deviations to either side; errors of a quotient are skewed.
        covariance: shape (k, k), of its errors. known: shape (k,), bool: whether the long window says anything.
    """

    value: F
    below: F
    above: F
    covariance: F
    known: NDArray[np.bool_]


def shift_of(reading: Reading, statistic: Statistic, rectifier: Rectifier, weighted: Rates, rectified: Rates) -> Shift:
    """The correction of one statistic; ``weighted`` and ``rectified`` are its rates over the same window."""
    window, noise, table = _Window.of(reading, statistic, rectifier), reading.noise, reading.table
    known = weighted.enough & rectified.shown
    variance = window.variance(noise.rectifier * rectifier.inverse_share**2, rectifier.inverse_share, 0.0)
    total, plain = np.where(known, window.full.total, 1.0), Sums.of(statistic, table)
    plain_total = np.where(known, plain.total, 1.0)
    covariance = window.covariance(variance, rectifier.inverse_share) / np.outer(total, total)
    # The table enters both rates: what is left of its noise and its sampling is of second order, and carried as well.
    worth, inside = statistic.worth[:, None], statistic.denominator[:, None].astype(np.float64)
    left = (worth - rectified.estimate * inside) / total - (worth - weighted.estimate * inside) / plain_total
    entries = noise.table + reading.rows_per_member * np.maximum(table, 0.0)
    covariance[np.diag_indices_from(covariance)] += (left**2 * entries).sum(axis=0)
    assert rectified.covariance is not None
    # As skewed as the rectified rate, of which it is most of the error; as wide where that has none to scale by.
    own, whole = np.diag(covariance), np.diag(rectified.covariance)
    ratio = np.divide(own, whole, out=np.ones_like(own), where=known & (whole > _LEAST**2))
    part = np.where(known, np.sqrt(ratio) / reading.z, 0.0)
    lower, upper = (np.where(known, end, rectified.estimate) for end in (rectified.lower, rectified.upper))
    return Shift(
        # Of the quotients as they are: estimates are cut to [0, 1], which would bias the difference of small rates.
        value=np.where(known, window.full.hits / total - plain.hits / plain_total, 0.0),
        below=part * (rectified.estimate - lower),
        above=part * (upper - rectified.estimate),
        covariance=covariance,
        known=known,
    )


def shifted_rates(weighted: Rates, shift: Shift, z: float) -> Rates:
    """Rates of a shorter window, rectified by an earlier long window's correction.

    The two windows' errors are independent, but for members who are in both; the proxy's bias is taken to be the same.
    Give ``weighted`` with the window's own purity: its bound would add to the correction's variance.
    """
    # From the estimate that is shown, as in `rate_interval`: a correction beyond 0 or 1 must not look certain.
    estimate = np.clip(weighted.estimate + shift.value, 0.0, 1.0)
    lower = estimate - np.hypot(weighted.estimate - weighted.lower, z * shift.below)
    upper = estimate + np.hypot(weighted.upper - weighted.estimate, z * shift.above)
    own = ((weighted.upper - weighted.lower) / (2 * z)) ** 2
    covariance = shift.covariance + np.diag(np.where(np.isfinite(own), own, 0.0))
    return Rates(
        groups=weighted.groups,
        estimate=estimate,
        lower=lower,
        upper=upper,
        enough=weighted.enough,
        total=weighted.total,
        covariance=covariance,
        uncorrected=~shift.known,
    )
