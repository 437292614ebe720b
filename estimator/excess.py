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

Its variance, with e_r = t - theta n the residuals of ``estimator.rates`` about a rate theta:

    sd^2 = m^2 V_r(rho + tau) + (n^2 + Var n) V_w(rho),        V_r, V_w: variance of the residuals,

where rho is the reference's rate and rho + tau everyone's tolerated one: not the group's own estimate, since for rows
that are hit less often than the tolerated rate the mean of exp(x - theta) is less. For rho there are two estimates,
and the one that gives the larger variance is taken: u / m, and what both groups together say, (u + t - tau n) / (m +
n). With u / m alone, few hits of the reference would by chance make the excess large and its standard deviation small
at once: at a rate of .02 in 250 rows the mean of the excess was a quarter, and a promise of 500 windows came to 43. A
group whose total is within 5 standard deviations of noise says nothing about rho.

A covariance of the two residuals (`rectified`) is taken in where it widens. The variance depends on n as well, which
has some of the same noise: with noise of 14 rows an entry that was seen to move the mean by a hundredth of sd at most,
and what a bet of 1 wins by 1.5 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from estimator.intervals import Variance
from estimator.stacking import stacked

F = NDArray[np.float64]

_SPEAKS = 5.0
"""Standard deviations of noise that a total must exceed for its rate to be taken for one."""


@dataclass(frozen=True, eq=False)
class Residuals:
    """One statistic's sums and how the residuals t - theta n vary: arrays of shape (..., groups), float64.

    Attributes:
        hits, total: t and n, rows, as noised: neither cut nor suppressed.
        total_variance: of ``total`` by noise. variance: of the residuals.
        covariance: shape (..., groups, groups): of the residuals at the estimates; None where leaving it out only
            widens.
        rows_per_member: no standard deviation is taken to be less than what one member's rows can make.
    """

    hits: F
    total: F
    total_variance: F
    variance: Variance
    covariance: F | None
    rows_per_member: float

    @classmethod
    def stacked(cls, residuals: Sequence[Residuals]) -> Residuals:
        """Those of several statistics of one window and estimator, as one of shape (statistics, groups)."""
        covariances = [each.covariance for each in residuals if each.covariance is not None]
        return cls(
            hits=np.array([each.hits for each in residuals]),
            total=np.array([each.total for each in residuals]),
            total_variance=np.array([each.total_variance for each in residuals]),
            variance=stacked([each.variance for each in residuals]),
            covariance=np.array(covariances) if covariances else None,
            rows_per_member=residuals[0].rows_per_member,
        )

    def split(self) -> list[Residuals]:
        """Of several statistics, shape (statistics, groups), without a covariance: each one's."""
        parts = zip(self.hits, self.total, self.total_variance, self.variance.split(), strict=True)
        return [Residuals(*part, covariance=None, rows_per_member=self.rows_per_member) for part in parts]

    def excess(self, reference: int, tolerated: F | float) -> tuple[F, F]:
        """(above, below), standard deviations, each of shape (..., groups); the reference's own mean nothing.

        Args:
            reference: its place. tolerated: tau, ratio; of several statistics an array of shape (..., 1).
        """
        tau = np.broadcast_to(tolerated, (*self.total.shape[:-1], 1))
        above, below = self._beyond(reference, np.array([tau, -tau]))
        return above, -below

    def _beyond(self, reference: int, tolerated: F) -> F:
        at = [reference]
        rows, hits = self.total[..., at], self.hits[..., at] + tolerated * self.total[..., at]
        own, others = np.zeros(()), np.zeros(())
        for rate in self._reference_rates(reference, tolerated):
            own = np.maximum(own, self.variance.at(np.clip(rate + tolerated, 0.0, 1.0)))
            others = np.maximum(others, self.variance.of(at).at(rate))
        variance = rows**2 * own + (self.total**2 + self.total_variance) * others
        if self.covariance is not None:
            variance = variance + np.maximum(-2 * rows * self.total * self.covariance[..., reference], 0.0)
        least = np.maximum(np.abs(rows), 1.0) * self.rows_per_member
        return np.asarray((self.hits * rows - self.total * hits) / np.maximum(np.sqrt(variance), least))

    def _reference_rates(self, reference: int, tolerated: F) -> tuple[F, F]:
        """The reference's rate by itself, and together with each group if that is tolerated: within [0, 1]."""
        at = [reference]
        rows, hits = np.maximum(self.total[..., at], 0.0), np.clip(self.hits[..., at], 0.0, self.total[..., at])
        speaks = self.total > _SPEAKS * np.sqrt(self.total_variance)
        theirs = np.where(speaks, self.total, 0.0)
        together = hits + np.where(speaks, np.clip(self.hits, 0.0, self.total), 0.0) - tolerated * theirs
        alone = np.clip(hits / np.where(rows > 0, rows, np.inf), 0.0, 1.0) * np.ones_like(theirs)
        return alone, np.clip(together / np.where(rows > 0, rows + theirs, np.inf), 0.0, 1.0)
