"""From two sets of trials to a lower bound on mu, and what mu means.

The most powerful test between two Gaussians of one covariance is a threshold on the projection upon the line between
their means (Neyman and Pearson). A mechanism that is mu-GDP allows no test of errors (alpha, beta) with
Phi^-1(1 - beta) - Phi^-1(alpha) > mu (Dong, Roth, Su 2019). So any threshold whatever that was fixed before the trials
were seen, together with upper bounds on both errors, gives a lower bound on mu. It is set half-way between the two
means that the promised noise would give.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import log_ndtr, ndtr
from scipy.stats import beta

F = NDArray[np.float64]

ERROR = 1e-4
"""Of each Clopper-Pearson bound. Both must be off together for mu to be overstated, which is rarer by far."""
DELTA = 1e-6
_PHI = NormalDist()


def rate_upper(events: int, trials: int, error: float = ERROR) -> float:
    """Clopper-Pearson: what the rate does not pass, but with probability ``error``."""
    return 1.0 if events == trials else float(beta.ppf(1 - error, events + 1, trials - events))


@dataclass(frozen=True)
class Told:
    """How well two inputs were told apart.

    Attributes:
        lower: mu is at least this (at :data:`ERROR` a bound).
        estimate: the distance of the two means in pooled standard deviations: mu, if noise is Gaussian.
        error: the estimate's standard error.
    """

    lower: float
    estimate: float
    error: float


def tell_apart(before: F, after: F, threshold: float) -> Told:
    """Judge the trials of two sides.

    Args:
        before, after: shape (n,): the statistic of each trial. threshold: at or above it a trial is said to be "after".
    """
    false_positive = rate_upper(int((before >= threshold).sum()), before.size)
    false_negative = rate_upper(int((after < threshold).sum()), after.size)
    if max(false_positive, false_negative) >= 1:
        lower = 0.0
    else:
        lower = _PHI.inv_cdf(1 - false_negative) - _PHI.inv_cdf(false_positive)
    spread = math.sqrt((before.var(ddof=1) + after.var(ddof=1)) / 2)
    error = math.sqrt(1 / before.size + 1 / after.size)
    return Told(max(lower, 0.0), float((after.mean() - before.mean()) / spread), error)


def epsilon_of(mu: float, delta: float = DELTA) -> float:
    """The epsilon of mu-GDP at ``delta``: exact for a Gaussian, so never above what a conversion from rho states."""
    if mu <= 0:
        return 0.0

    def excess(epsilon: float) -> float:
        # exp(epsilon) Phi(-x) as one exponential: apart, one overflows and the other has no digits left.
        second = math.exp(epsilon + float(log_ndtr(-epsilon / mu - mu / 2)))
        return float(ndtr(-epsilon / mu + mu / 2)) - second - delta

    if excess(0.0) <= 0:
        return 0.0
    return float(brentq(excess, 0.0, mu * mu / 2 + mu * 8.0 + 1.0))
