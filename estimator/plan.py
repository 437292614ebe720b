r"""What a measurement will be able to say, before a single row is counted: expected widths, and gaps that can be seen.

The expected table of a window is fed to the estimators themselves with the noise that the window will have, so that
what is planned is what will be published. It needs M / n, the mean of p p' over rows, and assumptions: rows fall into
score and rank bins in equal parts, decision and outcome are independent with one base rate (one half is where rates
vary most), and that is so in every group: there is no gap.

Smallest detectable gap: what a two-sided 5 % test finds with 80 % power, (1.96 + .84) standard errors. It is about the
truth: where x is independent of the proxy given race, the weighted estimator shows a gap of one group as
M_rr / n_r - M_sr / n_s of it (s the reference), so it must be that much larger to be seen; corrected and rectified show
it as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from estimator.cells import CellLayout
from estimator.corrected import POOL_SIGN
from estimator.disparity import Correction, Disparities, Disparity, disparities
from estimator.intervals import critical_value
from estimator.moments import Moments
from estimator.rates import F, NoiseVariance

SIGNIFICANCE = 0.05
POWER = 0.8
_LEAST_SHOWN = 0.01  # an estimator that shows less than this of a gap cannot be said to find it


@dataclass(frozen=True)
class Expected:
    """What to expect of one statistic of one group by one estimator.

    Attributes:
        metric, score_bin, group, estimator: as in ``Disparity``; pooled groups are named.
        half_width: of the value's interval. gap_half_width: of the gap's; None for the reference.
        shown: the part of a true gap that the estimator shows, if x is independent of the proxy given race.
        detectable_gap: the smallest true gap that will be found; None where none below 1 is, and for the reference.
        suppressed: why there will be no value, or None.
    """

    metric: str
    score_bin: str
    group: str
    estimator: str
    half_width: float | None
    gap_half_width: float | None
    shown: float
    detectable_gap: float | None
    suppressed: str | None


def cell_distribution(cells: CellLayout, base_rate: float) -> F:
    """The part of rows in each cell, under the module's assumptions: shape (cells,), sums to 1."""
    part = np.ones(cells.count)
    for name, size in cells.axes:
        axis = cells.axis(name)
        assert axis is not None  # it is an axis of these cells
        of_axis = np.array([1 - base_rate, base_rate]) if name in ("decision", "outcome") else np.full(size, 1 / size)
        part *= of_axis[axis]
    return part


@dataclass(frozen=True, eq=False)
class Plan:
    """What does not change from window to window.

    Attributes:
        cells: the layout. products: shape (k, k): the mean of p p' over rows that count; entries sum to 1.
        groups, reference: as for ``disparities``.
        base_rate: of decision and outcome. self_id_share: of rows whose member said a group.
        confidence: of the intervals.
    """

    cells: CellLayout
    products: F
    groups: tuple[str, ...]
    reference: str
    base_rate: float = 0.5
    self_id_share: float = 0.0
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not 0 < self.base_rate < 1:
            raise ValueError(f"expected a base rate between 0 and 1, got {self.base_rate}")
        if not 0 <= self.self_id_share <= 1:
            raise ValueError(f"expected a Self-ID share between 0 and 1, got {self.self_id_share}")
        if self.products.shape != 2 * (len(self.groups),) or abs(float(self.products.sum()) - 1) > 1e-6:
            raise ValueError(f"expected the mean of p p' of {len(self.groups)} groups, whose entries sum to 1")

    def window(
        self,
        rows: float,
        noise: NoiseVariance,
        *,
        moments: bool = True,
        rectifier: bool = False,
        correction: Correction | None = None,
        rows_per_member: float = 1.0,
    ) -> Disparities:
        """The disparities of the expected table of a window.

        Args:
            rows: that count. noise: of the window's channels. moments, rectifier: whether it has these channels.
            correction: of a longer window, for windows without a rectifier.
            rows_per_member: as for ``disparities``.
        """
        table = rows * np.outer(cell_distribution(self.cells, self.base_rate), self.products.sum(axis=1))
        return disparities(
            table,
            cells=self.cells,
            reference=self.reference,
            noise_variance=noise,
            moments=self._moments(rows, rectifier) if moments else None,
            # Where the proxy is calibrated, R - p is 0 in the mean.
            rectifier=np.zeros_like(table) if moments and rectifier else None,
            correction=correction,
            groups=self.groups,
            confidence=self.confidence,
            rows_per_member=rows_per_member,
        )

    def _moments(self, rows: float, rectifier: bool) -> Moments:
        said = rows * self.self_id_share if rectifier else 0.0
        # A calibrated proxy: E (R - p)^2 = E p (1 - p).
        squares = self.products.sum(axis=1) - np.diag(self.products)
        return Moments(rows * self.products, rows, said, said * squares)

    def expected(self, found: Disparities) -> list[Expected]:
        """Widths and detectable gaps of :meth:`window`'s disparities."""
        return [self._expected(disparity) for disparity in found.results]

    def _expected(self, disparity: Disparity) -> Expected:
        value, gap = disparity.value, disparity.gap
        shown = self._shown(disparity.group) if disparity.estimator == "weighted" else 1.0
        detectable = None
        gap_half_width = None if gap is None else (gap.upper - gap.lower) / 2
        if gap_half_width is not None and shown > _LEAST_SHOWN:
            errors = critical_value(1 - SIGNIFICANCE) + critical_value(2 * POWER - 1)
            smallest = errors * gap_half_width / critical_value(self.confidence) / shown
            detectable = smallest if smallest < 1 else None
        return Expected(
            metric=disparity.metric,
            score_bin=disparity.score_bin,
            group=disparity.group,
            estimator=disparity.estimator,
            half_width=None if value is None else (value.upper - value.lower) / 2,
            gap_half_width=gap_half_width,
            shown=shown,
            detectable_gap=detectable,
            suppressed=disparity.suppressed,
        )

    def _shown(self, group: str) -> float:
        """The part of a group's gap that the weighted estimator shows."""
        pool = [self.groups.index(name) for name in group.split(POOL_SIGN)]
        base = self.groups.index(self.reference)
        share = self.products.sum(axis=1)
        if base in pool or share[pool].sum() <= 0 or share[base] <= 0:
            return 1.0
        own = self.products[np.ix_(pool, pool)].sum() / share[pool].sum()
        return float(own - self.products[base, pool].sum() / share[base])
