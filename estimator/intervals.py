r"""Intervals for rates, gaps and ratios from one noised table: sampling variance and privacy variance together.

A group with weights p has t = sum p x over the k_t numerator cells and n = sum p over the k_n denominator cells, each
entry noised on its own with standard deviation s. For the true rate theta, the residual t - theta n has mean 0 and

    V(theta) = c n theta (1 - theta)  +  s^2 [k_t (1 - theta)^2 + (k_n - k_t) theta^2].

* Sampling. Var = sum p^2 (x - theta)^2 <= sum p (x - theta)^2 = n theta (1 - theta), because p^2 <= p. The table does
  not hold sum p^2, so the bound is used: intervals are wider than they need to be where p is far from 0 and 1. Rows of
  one member are not independent; with at most c rows each, Cauchy-Schwarz gives at most c times the variance.
* Privacy. A numerator entry's noise enters t and n, hence with 1 - theta; another denominator entry's with -theta.

The thetas with (t - theta n)^2 <= z^2 V(theta) lie between the roots of a quadratic a theta^2 - 2 b theta + c. Without
noise that is Wilson's (1927) score interval, which holds for rare events, where theta -+ z sd does not. Without
sampling variance it is Fieller's (1954), which holds for small denominators, where the delta method does not. Wilson's
coverage dips (to .84) at about .2 expected hits, so V is taken at the centre b / a, as Agresti and Coull (1998) do: the
half-width is z sqrt(V(b / a) / a), never less than the score interval's, and hardly more except near 0 and 1. Where the
interval is unbounded (n not far enough from 0) the ends are infinite, and the caller suppresses the value. t is brought
into [0, n] first: for theta in [0, 1] that only shrinks |t - theta n|, and the estimate lies in its interval.

Two groups r and s are combined from their intervals by MOVER: Newcombe (1998) for the difference, Donner and Zou (2012)
for the ratio, as if the two rates were uncorrelated. That is conservative. Noise of different groups is independent.
The sampling covariance of single rows is sum p_r p_s (x - theta_r)(x - theta_s) / (n_r n_s), and no term is negative: a
row with x = 1 gives (1 - theta_r)(1 - theta_s), one with x = 0 gives theta_r theta_s. So leaving it out only widens
the variance of a gap, V_r + V_s - 2 cov. For members with several rows the same holds: with g_i a row's influence on
the gap, the variance is sum over members (sum g_i)^2 <= c sum g_i^2 <= c (V_r + V_s).
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

F = NDArray[np.float64]

MAX_RATIO = 100.0
"""Where the upper end of a ratio lies above this, the reference's rate is too near to 0 to divide by."""


def critical_value(confidence: float) -> float:
    """Two-sided normal quantile: 1.96 for .95. ValueError unless 0 < confidence < 1."""
    if not 0 < confidence < 1:
        raise ValueError(f"expected a confidence between 0 and 1, for example .95, got {confidence}")
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def rate_interval(
    hits: F,
    total: F,
    *,
    numerator_cells: int,
    denominator_cells: int,
    sigma_rows: float,
    z: float,
    rows_per_member: int,
) -> tuple[F, F, F]:
    """Rates with their intervals.

    Args:
        hits, total: any common shape, float64, rows: noised t and n, with n positive.
        numerator_cells, denominator_cells: k_t and k_n.
        sigma_rows: standard deviation of the noise of one table entry, rows.
        z: the critical value.
        rows_per_member: the contribution cap c.

    Returns:
        (estimate, lower, upper), float64 of that shape. The estimate lies in [0, 1]; the ends may lie outside, and are
        infinite where the data say nothing.
    """
    inside = np.clip(hits, 0.0, total)
    sampling, privacy = z * z * rows_per_member * total, (z * sigma_rows) ** 2
    a = total**2 + sampling - privacy * denominator_cells
    b = inside * total + sampling / 2 - privacy * numerator_cells
    c = inside**2 - privacy * numerator_cells
    bounded = a > 0
    safe = np.where(bounded, a, 1.0)
    # b^2 - a c is not negative where a > 0, since theta = t / n fulfils the inequality; rounding may say otherwise. The
    # other term makes of it a z^2 V at the centre, of which the score interval is short by the residual there.
    score = np.maximum(b * b - a * c, 0.0)
    root = np.sqrt(score + safe * (inside - b / safe * total) ** 2)
    estimate = inside / total
    # The estimate is inside by construction; minimum and maximum only take out rounding.
    lower = np.where(bounded, np.minimum((b - root) / safe, estimate), -np.inf)
    upper = np.where(bounded, np.maximum((b + root) / safe, estimate), np.inf)
    return estimate, lower, upper


def gap_interval(rate: tuple[F, F, F], reference: tuple[F, F, F]) -> tuple[F, F, F]:
    """Rate less the reference's, by MOVER.

    Args:
        rate, reference: (estimate, lower, upper) with ends in [0, 1], float64, shapes that broadcast.

    Returns:
        (estimate, lower, upper); the ends lie in [-1, 1].
    """
    (value, low, high), (base, base_low, base_high) = rate, reference
    gap = value - base
    return gap, gap - np.hypot(value - low, base_high - base), gap + np.hypot(high - value, base - base_low)


def ratio_interval(rate: tuple[F, F, F], reference: tuple[F, F, F]) -> tuple[F, F, F]:
    """Rate over the reference's, by MOVER.

    Args:
        rate, reference: as for :func:`gap_interval`.

    Returns:
        (estimate, lower, upper); all NaN where the upper end would pass ``MAX_RATIO``.
    """
    (value, low, high), (base, base_low, base_high) = rate, reference
    with np.errstate(divide="ignore", invalid="ignore"):
        product = value * base
        low_term, base_low_term = low * (2 * value - low), base_low * (2 * base - base_low)
        lower_root = np.sqrt(np.maximum(product**2 - low_term * base_high * (2 * base - base_high), 0.0))
        upper_root = np.sqrt(np.maximum(product**2 - high * (2 * value - high) * base_low_term, 0.0))
        # Donner and Zou's lower end with its conjugate, which has no pole where base_high is twice base.
        lower = np.where(low > 0, low_term / (product + lower_root), 0.0)
        upper = (product + upper_root) / base_low_term
        estimate = value / base
    sound = (base > 0) & (base_low > 0) & (upper <= MAX_RATIO)
    # The estimate lies between the ends by construction; minimum and maximum only take out rounding.
    ends = estimate, np.minimum(lower, estimate), np.maximum(upper, estimate)
    return np.where(sound, ends[0], np.nan), np.where(sound, ends[1], np.nan), np.where(sound, ends[2], np.nan)
