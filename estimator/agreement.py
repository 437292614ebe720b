r"""A check of Hausman's (1978) type: do the corrected and the rectified estimates agree?

Both are unbiased when x is independent of the proxy given race; only the rectified one is when it is not. So where they
differ by more than their errors allow, the corrected (and the weighted) estimates of this measurement are not to be
relied on. The difference's variance is V_c + V_r - 2 Cov, with Cov worked out, not taken to be V_c: the corrected
estimator is not fully efficient, and both share the table's noise.

Cov of the two residuals, for one group: every row has R^ = R in the mean, and sum R_r beta-weight_r = 1 for the least
squares weights, so the sampling part is that of a rate known for everyone, c theta (1 - theta) / n; the noise of a
table column enters one with 1 / n and the other with B_rr / n'.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from estimator.cells import Statistic
from estimator.corrected import Pooled
from estimator.intervals import critical_value
from estimator.rates import Rates, Reading, Sums, dispersion

SIGNIFICANCE = 0.01
"""Of the whole check: how often it may flag a window whose estimates differ by chance alone."""


@dataclass(frozen=True)
class Difference:
    """Corrected less rectified, for one statistic and group, in standard deviations of the difference."""

    metric: str
    score_bin: str
    group: str
    deviations: float


@dataclass(frozen=True)
class Agreement:
    """The outcome over all statistics and groups of a window.

    Attributes:
        agree: whether no difference passes the limit. largest: the largest difference.
        limit: deviations, such that chance passes it in at most ``SIGNIFICANCE`` of windows (Bonferroni).
        comparisons: how many differences were looked at.
    """

    agree: bool
    largest: Difference
    limit: float
    comparisons: int


def judge(differences: list[Difference]) -> Agreement | None:
    """The outcome; None where nothing could be compared."""
    if not differences:
        return None
    limit = critical_value(1 - SIGNIFICANCE / len(differences))
    largest = max(differences, key=lambda difference: abs(difference.deviations))
    return Agreement(abs(largest.deviations) <= limit, largest, limit, len(differences))


def differences(
    reading: Reading, statistic: Statistic, pooled: Pooled, corrected: Rates, rectified: Rates
) -> list[Difference]:
    """Differences for one statistic, for groups that both estimators have by themselves and show."""
    dispersed = dispersion(Sums.of(statistic, reading.table))
    terms = reading.noise.table * statistic.noise_terms
    found = []
    for q, name in enumerate(corrected.groups):
        if name not in rectified.groups:
            continue
        k = rectified.groups.index(name)
        if not (corrected.shown[q] and rectified.shown[k]):
            continue
        one, other = float(corrected.estimate[q]), float(rectified.estimate[k])
        noised = float(terms @ np.array([1.0, -(one + other), one * other]))
        shared = reading.rows_per_member * dispersed * one * (1 - one) / rectified.total[k]
        shared += pooled.inverse[q, q] * noised / (corrected.total[q] * rectified.total[k])
        # Deviations towards each other, by the intervals: an estimate near 0 has hardly any of its own, and more above.
        if one > other:
            own = corrected.estimate[q] - corrected.lower[q], rectified.upper[k] - rectified.estimate[k]
        else:
            own = corrected.upper[q] - corrected.estimate[q], rectified.estimate[k] - rectified.lower[k]
        first, second = (float(width) / reading.z for width in own)
        # However much they share, the difference's deviation is at least that of the deviations (Cauchy and Schwarz).
        variance = max(first**2 + second**2 - 2 * shared, (first - second) ** 2, 1e-300)
        found.append(Difference(statistic.metric, statistic.score_bin, name, float((one - other) / np.sqrt(variance))))
    return found
