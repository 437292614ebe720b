r"""The weighted estimator, t_r / n_r: every row counts for each group as much as its race probability says.

It estimates E[p_r x] / E[p_r], which is the group's mean only when x is independent of race given the proxy; it
understates gaps when they are correlated (DESIGN section 6). It needs the table alone, so it is always shown.

* Sampling. Var = sum p^2 (x - theta)^2 <= sum p (x - theta)^2 = n theta (1 - theta), because p^2 <= p. The table does
  not hold sum p^2, so the bound is used: intervals are wider than they need to be where p is far from 0 and 1. Rows of
  one member are not independent; with at most c rows each, Cauchy-Schwarz gives at most c times the variance.
* Privacy. An entry's noise e enters t - theta n as (worth - theta) e.
* Gaps. Noise of different groups is independent. The sampling covariance of single rows is
  sum p_r p_s (x - theta_r)(x - theta_s) / (n_r n_s), and no term is negative: a row with x = 1 gives
  (1 - theta_r)(1 - theta_s), one with x = 0 gives theta_r theta_s. So leaving it out only widens the variance of a gap,
  V_r + V_s - 2 cov. For members with several rows the same holds: with g_i a row's influence on the gap, the variance
  is sum over members (sum g_i)^2 <= c sum g_i^2 <= c (V_r + V_s). (For position exposure the covariance is positive in
  sum, not term by term: rows of different groups have the same mean worth to first order.)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from estimator.cells import Statistic
from estimator.intervals import Variance
from estimator.moments import Moments
from estimator.rates import F, NoiseVariance, Rates, Reading, Sums, dispersion, rates_of
from estimator.stacking import stacked


def weighted_rates(reading: Reading, statistic: Statistic, purity: F | float = 1.0) -> Rates:
    """One statistic; ``purity`` as for :func:`all_weighted_rates`."""
    return all_weighted_rates(reading, (statistic,), purity)[0]


def all_weighted_rates(reading: Reading, statistics: Sequence[Statistic], purity: F | float = 1.0) -> list[Rates]:
    """Several statistics of one table at once: they are the same numbers as one by one, and many fewer steps.

    Args:
        purity: shape (groups,): sum p^2 / sum p of the rows, about (:func:`purity_of`); 1 is the bound.
    """
    each = [Sums.of(statistic, reading.table) for statistic in statistics]
    sums = stacked(each)
    constant, linear, square = reading.noise.table * np.array([each.noise_terms for each in statistics]).T
    dispersions = np.array([dispersion(part) for part in each])[:, np.newaxis]
    ones = np.ones(len(reading.groups))
    variance = Variance(
        binomial=reading.rows_per_member * purity * dispersions * np.maximum(sums.total, 0.0),
        constant=np.multiply.outer(constant, ones),
        linear=np.multiply.outer(linear, ones),
        square=np.multiply.outer(square, ones),
    )
    rates = rates_of(reading.groups, sums, variance.square, variance, reading.z, None, reading.rows_per_member)
    return rates.split()


def purity_of(moments: Moments, noise: NoiseVariance) -> F:
    """Sum p^2 / sum p of each group over a window: shape (groups,), at most 1, one deviation of M's noise upwards.

    Of all its rows: those of one score bin may be a little purer.
    """
    own = np.diag(moments.products) + noise.moments**0.5
    return np.asarray(np.clip(own / np.maximum(moments.products.sum(axis=1), 1e-9), 0.0, 1.0))
