r"""By how many standard deviations a group's rate lies beyond what is tolerated: what detectors gather as evidence.

A published gap is no input for evidence that is added up over many windows. It is a quotient, cut to what a rate can
be, and shown only where its interval is narrow, which depends on the noise: where a group is small, the mean of the
gaps that are shown is off, and window after window adds the same error. The contrast of sums is not. With t hits in n
rows of the group, u hits in m rows of the reference, and tau tolerated,

    above = (t m - n (u + tau m)) / sd,        below = -(t m - n (u - tau m)) / sd.

Noise is independent from group to group (`weighted`), so the mean of a product is the product of the means, and the
numerator's is N M (gap - tau), with N and M the true rows: 0 at the tolerated gap, below it within, whatever the noise
and however few the rows. Nothing is divided, cut or suppressed: a window that says next to nothing enters as next to
nothing. Given the reference's sums it is linear in the group's, so noise makes it Gaussian.

Its variance, with e_r = t - theta n the residuals of ``estimator.rates`` about theta = (u + tau m) / m, that is taken
to be everyone's tolerated rate:

    sd^2 = m^2 V_r(theta) + (n^2 + Var n) V_w(u / m),        V_r, V_w: variance of the residuals.

At the tolerated rate, not at the group's own estimate, since for rows that are hit less often than theta the mean of
exp(x - theta) is less. A covariance of the two residuals (`rectified`) is taken in where it widens. The variance
depends on n as well, which has some of the same noise: with noise of 14 rows an entry that was seen to move the mean by
a hundredth of sd at most, and what a bet of 1 wins by 1.5 %. Where the reference's rate is all but 0 and nothing is
tolerated, sampling is hardly allowed for; noise is to be the larger part there, as it is in a small group.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from estimator.intervals import Variance

F = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Residuals:
    """One statistic's sums and how the residuals t - theta n vary: arrays of shape (..., groups), float64.

    Attributes:
        hits, total: t and n, rows, as noised: neither cut nor suppressed.
        total_variance: of ``total`` by noise. variance: of the residuals.
        covariance: shape (groups, groups): of the residuals at the estimates; None where leaving it out only widens.
        rows_per_member: no standard deviation is taken to be less than what one member's rows can make.
    """

    hits: F
    total: F
    total_variance: F
    variance: Variance
    covariance: F | None
    rows_per_member: float

    def excess(self, reference: int, tolerated: float) -> tuple[F, F]:
        """(above, below), standard deviations, each of shape (..., groups); the reference's own mean nothing.

        Args:
            reference: its place. tolerated: tau, ratio.
        """
        return self._beyond(reference, tolerated), -self._beyond(reference, -tolerated)

    def _beyond(self, reference: int, tolerated: float) -> F:
        at = [reference]
        rows, own_hits = self.total[..., at], self.hits[..., at]
        hits = own_hits + tolerated * rows
        own = self.variance.binomial * np.maximum(hits * (rows - hits), 0.0) + np.maximum(
            self.variance.constant * rows**2 - 2 * self.variance.linear * rows * hits + self.variance.square * hits**2,
            0.0,
        )
        rate = np.clip(own_hits / np.where(rows > 0, rows, np.inf), 0.0, 1.0)
        others = self.variance.at(rate * np.ones_like(self.total))[..., at]
        variance = own + (self.total**2 + self.total_variance) * others
        if self.covariance is not None:
            variance = variance + np.maximum(-2 * rows * self.total * self.covariance[:, reference], 0.0)
        least = np.maximum(np.abs(rows), 1.0) * self.rows_per_member
        return np.asarray((self.hits * rows - self.total * hits) / np.maximum(np.sqrt(variance), least))
