r"""Intervals for means, gaps and ratios from one noised table: sampling variance and privacy variance together.

Every estimator of this room gives a group's mean as a quotient of two noisy sums, t / n. For the true mean theta the
residual t - theta n has expectation 0 and a variance that is a quadratic in theta:

    V(theta) = B theta (1 - theta)  +  v0 - 2 v1 theta + v2 theta^2.

The first term is sampling of the group's own rows, in the form that knows that a rate of 0 or 1 does not vary; the
others hold noise, and the sampling of rows that are not the group's (`weighted`, `corrected` and `rectified` say what
each puts there).

The thetas with (t - theta n)^2 <= z^2 V(theta) lie between the roots of a quadratic a theta^2 - 2 b theta + c. Without
noise that is Wilson's (1927) score interval, which holds for rare events, where theta -+ z sd does not. Without
sampling variance it is Fieller's (1954), which holds for small denominators, where the delta method does not. Wilson's
coverage dips (to .84) at about .2 expected hits, so V is taken at the centre b / a, as Agresti and Coull (1998) do: the
half-width is z sqrt(V(b / a) / a), never less than the score interval's, and hardly more except near 0 and 1. Where the
interval is unbounded (n not far enough from 0) the ends are infinite, and the caller suppresses the value. t is brought
into [0, n] first: for theta in [0, 1] that only shrinks |t - theta n|, and the estimate lies in its interval.

Two groups are combined from their intervals by MOVER: Newcombe (1998) and, where the two means are correlated, Zou and
Donner (2008) for the difference; Donner and Zou (2012) for the ratio.
"""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True, eq=False)
class Variance:
    """V(theta) of the residuals t - theta n, for each group: arrays of one shape, float64.

    Attributes:
        binomial: B. constant, linear, square: v0, v1 and v2 (note the -2 before v1).
    """

    binomial: F
    constant: F
    linear: F
    square: F

    def split(self) -> list[Variance]:
        """The parts along the first axis."""
        return [Variance(*parts) for parts in zip(self.binomial, self.constant, self.linear, self.square, strict=True)]

    def of(self, groups: list[int]) -> Variance:
        """Of these groups alone, places in the last axis."""
        parts = (self.binomial, self.constant, self.linear, self.square)
        return Variance(*(part[..., groups] for part in parts))

    def at(self, theta: F) -> F:
        """V(theta), not below 0."""
        quadratic = self.constant - 2 * self.linear * theta + self.square * theta**2
        return np.asarray(np.maximum(self.binomial * theta * (1 - theta) + quadratic, 0.0))


def rate_interval(hits: F, total: F, variance: Variance, z: float) -> tuple[F, F, F]:
    """Means with their intervals.

    Args:
        hits, total: any common shape, float64: noised t and n, with n positive.
        variance: of the residuals.
        z: the critical value.

    Returns:
        (estimate, lower, upper), float64 of that shape. The estimate lies in [0, 1]; the ends may lie outside, and are
        infinite where the data say nothing.
    """
    inside = np.clip(hits, 0.0, total)
    squared = z * z
    a = total**2 + squared * (variance.binomial - variance.square)
    b = inside * total + squared * (variance.binomial / 2 - variance.linear)
    c = inside**2 - squared * variance.constant
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


def gap_interval(rate: tuple[F, F, F], reference: tuple[F, F, F], correlation: F | float = 0.0) -> tuple[F, F, F]:
    """Rate less the reference's, by MOVER.

    Args:
        rate, reference: (estimate, lower, upper) with ends in [0, 1], float64, shapes that broadcast.
        correlation: of the two estimates' errors, between -1 and 1.

    Returns:
        (estimate, lower, upper); the ends lie in [-1, 1].
    """
    (value, low, high), (base, base_low, base_high) = rate, reference
    gap = value - base
    below = _hypotenuse(value - low, base_high - base, correlation)
    above = _hypotenuse(high - value, base - base_low, correlation)
    return gap, np.maximum(gap - below, -1.0), np.minimum(gap + above, 1.0)


def _hypotenuse(one: F, other: F, correlation: F | float) -> F:
    """Length of the difference of two errors; never shorter than 0 by rounding."""
    return np.asarray(np.sqrt(np.maximum(one**2 + other**2 - 2 * correlation * one * other, 0.0)))


def ratio_interval(rate: tuple[F, F, F], reference: tuple[F, F, F], correlation: F | float = 0.0) -> tuple[F, F, F]:
    """Rate over the reference's, by MOVER: the ratios at which rate - ratio x reference may be 0.

    Args:
        rate, reference, correlation: as for :func:`gap_interval`.

    Returns:
        (estimate, lower, upper); all NaN where the upper end would pass ``MAX_RATIO``.
    """
    (value, low, high), (base, base_low, base_high) = rate, reference
    with np.errstate(divide="ignore", invalid="ignore"):
        lower_product = value * base - correlation * (value - low) * (base_high - base)
        upper_product = value * base - correlation * (high - value) * (base - base_low)
        low_term, base_low_term = low * (2 * value - low), base_low * (2 * base - base_low)
        lower_root = np.sqrt(np.maximum(lower_product**2 - low_term * base_high * (2 * base - base_high), 0.0))
        upper_root = np.sqrt(np.maximum(upper_product**2 - high * (2 * value - high) * base_low_term, 0.0))
        # Donner and Zou's lower end with its conjugate, which has no pole where base_high is twice base.
        lower = np.where(low > 0, low_term / (lower_product + lower_root), 0.0)
        upper = (upper_product + upper_root) / base_low_term
        estimate = value / base
    sound = (base > 0) & (base_low > 0) & (upper <= MAX_RATIO) & (lower >= 0)
    # The estimate lies between the ends by construction; minimum and maximum only take out rounding.
    ends = estimate, np.minimum(lower, estimate), np.maximum(upper, estimate)
    return np.where(sound, ends[0], np.nan), np.where(sound, ends[1], np.nan), np.where(sound, ends[2], np.nan)
