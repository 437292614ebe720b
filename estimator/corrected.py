r"""The corrected estimator: M^-1 t / M^-1 n, with M = sum p p'.

If x is independent of surname and place given race, E[x | p] = sum_r p_r theta_r, so least squares of a row's cell on
its race probabilities, A = T M^-1 (cells x groups), estimates every group's distribution over the cells without the
weighted estimator's bias; a rate is a quotient of two sums of A. Where the assumption fails (place matters by itself),
it may be further off than the weighted one, which is what the check against `rectified` is for.

Pooling. Groups that M cannot separate, given its noise, are pooled (their probabilities added) and named, before any
outcome is looked at: first with one another, the smallest first; the last unclear one with the smallest other, if both
are small and clear together, else with the largest, which that changes least.

Variance of the residual beta_r(theta) = (A_hits - theta A_total)_r, with B = M^-1, b = beta(theta) by group, pools of
d members and D = diag(d):

* Sampling: c [B S B]_rr with S = sum p p' Var(y | p), y = worth - theta. A row's group is not known, so Var(y | p)
  holds the spread between the groups' means as well: sum_k p_k E_k[y^2] - (sum_k p_k E_k[y])^2. The rows that weigh in
  group r are of groups k in proportion pi_k = M_rk / n_r, and the mean of a square is at least the square of the mean:
  at most c B_rr [sum_k pi_k E_k[y^2] - (sum_k pi_k E_k[y])^2]. That is within some per cent for gaps of a few tenths,
  and up to twice as much for gaps near 1 and a sharp proxy.
* Noise of the table, variance s^2 an entry: s^2 (B D B)_rr (sum worth^2 - 2 theta sum worth + theta^2 cells).
* Noise of M, variance u^2 on its diagonal and u^2 / 2 off it: beta moves by -B E b, and Cov(E b) =
  (u^2 / 2) (b'D b D + D b b' D) for the pooled matrix.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from estimator.cells import Statistic
from estimator.intervals import Variance
from estimator.moments import Moments
from estimator.rates import F, NoiseVariance, Rates, Reading, Sums, about, dispersion, rates_of

POOL_SIGN = "+"
MAX_DEVIATION = 0.125
"""A group is separate where a rate of one half over all rows would be known to this standard deviation."""
SPLIT_MARGIN = 0.8
"""Of that deviation: what the parts of an earlier pool must stay below to be split."""
SMALL = 0.05
"""Groups that together are no larger part of all rows are pooled with one another rather than with a large one."""
MIN_EIGENVALUE_DEVIATIONS = 8.0
"""M's smallest eigenvalue must be this many deviations of its noise: nearer to 0, its inverse is mostly noise."""


@dataclass(frozen=True, eq=False)
class Pooled:
    """Groups as far as M can separate them.

    Attributes:
        groups: names of the q pools, in the order of their first members. members: shape (q, k), 0 or 1.
        inverse: of the pooled M, shape (q, q).
        mixture: shape (q, q): pi, whose rows sum to 1.
    """

    groups: tuple[str, ...]
    members: F
    inverse: F
    mixture: F

    @property
    def sizes(self) -> F:
        """d: groups in each pool."""
        return np.asarray(self.members.sum(axis=1))

    @property
    def spread(self) -> F:
        """B D B: what noise on the table's columns does to the pools' coefficients."""
        return np.asarray((self.inverse * self.sizes) @ self.inverse)


def pool(
    groups: tuple[str, ...],
    moments: Moments,
    noise: NoiseVariance,
    *,
    cells: int,
    rows_per_member: float,
    earlier: tuple[str, ...] | None = None,
) -> Pooled | None:
    """Pool what M cannot separate; None where not even two pools are left.

    Args:
        cells: entries of a column of the table, each of which brings its noise.
        earlier: names of the pools of the window before. They are kept while they are separate, and split again only
            where the parts are so by a margin: else chance would make and break pools from window to window.
    """
    measured = _Measured(moments.products, noise, cells, rows_per_member)
    if measured.says_nothing:
        return None
    if earlier is not None:
        kept = _membership([[groups.index(name) for name in names.split(POOL_SIGN)] for names in earlier], len(groups))
        if not measured.unclear(kept).any():
            finer = _separate(measured, len(groups), margin=SPLIT_MARGIN)
            if finer is None or not _splits(finer, kept):
                finer = kept
            return _pooled(groups, finer, moments.products)
    members = _separate(measured, len(groups))
    return None if members is None else _pooled(groups, members, moments.products)


def _membership(pools: list[list[int]], count: int) -> F:
    members = np.zeros((len(pools), count))
    for q, ids in enumerate(pools):
        members[q, ids] = 1.0
    return members


def _splits(finer: F, kept: F) -> bool:
    """Whether each of the finer pools lies in one of the kept ones, and there are more of them."""
    return len(finer) > len(kept) and bool(((finer @ kept.T > 0).sum(axis=1) == 1).all())


def _separate(measured: _Measured, count: int, margin: float = 1.0) -> F | None:
    """The finest pools that are clear, as 0 or 1, shape (q, k); None where there are not even two."""
    pools = [[k] for k in range(count)]
    totals = measured.products.sum(axis=1)
    if len(pools) < 2:
        return None
    members = _membership(pools, count)
    unclear = measured.unclear(members, margin)
    while unclear.any():
        if len(pools) == 2:
            return None
        merges = _merges(members @ totals, unclear)
        for first, second in merges:
            merged = _merged(pools, first, second)
            members = _membership(merged, count)
            unclear = measured.unclear(members, margin)
            if not unclear.any():
                break
        pools = merged
    return members


def _merges(totals: F, unclear: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Pairs of pools to be made one: the first that makes all clear, else the last.

    Args:
        totals: shape (q,): rows of each pool.
    """
    order = [int(q) for q in np.argsort(totals, kind="stable")]
    vague, clear = [q for q in order if unclear[q]], [q for q in order if not unclear[q]]
    if len(vague) > 1:
        return [(vague[1], vague[0])]
    # It changes the largest least; but two small ones are better pooled, so that the large keep their names.
    both_small = totals[vague[0]] + totals[clear[0]] <= SMALL * totals.sum()
    partners = [clear[0], clear[-1]] if both_small else [clear[-1]]
    return [(partner, vague[0]) for partner in partners]


def _merged(pools: list[list[int]], first: int, second: int) -> list[list[int]]:
    rest = [ids for q, ids in enumerate(pools) if q not in (first, second)]
    return sorted([*rest, sorted(pools[first] + pools[second])])


@dataclass(frozen=True, eq=False)
class _Measured:
    """M, and what noise there will be in what is made of it."""

    products: F
    noise: NoiseVariance
    cells: int
    rows_per_member: float

    @property
    def says_nothing(self) -> bool:
        """Whether no two pools can be clear, whichever they are: so it is without rows, and this is soon said.

        Of q pools the smallest eigenvalue is at most a q-th of the trace, so half of all that is positive in M, and the
        deviation of its noise is at least that of one entry. The rest is for rounding.
        """
        most = float(np.maximum(self.products, 0.0).sum()) / 2
        return bool(most * (1 + 1e-6) <= MIN_EIGENVALUE_DEVIATIONS * self.noise.moments**0.5)

    def unclear(self, members: F, margin: float = 1.0) -> NDArray[np.bool_]:
        """Which pools cannot be told apart from the others: shape (q,), bool. Looks at no outcome.

        Args:
            members: shape (q, k), 0 or 1. margin: below 1 asks for more than enough.
        """
        products, sizes = members @ self.products @ members.T, members.sum(axis=1)
        values, vectors = np.linalg.eigh(products)
        # The deviation of v'Ev, by which noise moves an eigenvalue: a pool of d groups has the noise of d^2 entries.
        deviation = self.noise.moments**0.5 * (vectors[:, 0] ** 2 @ sizes)
        if values[0] * margin <= MIN_EIGENVALUE_DEVIATIONS * deviation or values[0] <= 1e-9 * values[-1]:
            # Those that weigh most in the direction that is not there, in probabilities: of two that always stand in
            # one proportion, the smaller has the larger coefficient, but both weigh the same.
            weights = np.abs(vectors[:, 0]) * np.sqrt(np.abs(np.diag(products)))
            return np.asarray(weights >= 0.5 * weights.max())
        inverse = np.linalg.inv(products)
        loading = inverse * sizes
        spread = np.diag(loading @ inverse)
        # Of a rate of one half: half of M's noise in the square of each group, and the sampling and noise of its cells.
        shaken = (sizes.sum() * spread + loading.sum(axis=1) ** 2) * self.noise.moments / 2
        variance = self.rows_per_member * np.diag(inverse) + self.noise.table * self.cells * spread + shaken
        return np.asarray(variance / 4 > (MAX_DEVIATION * margin) ** 2)


def _pooled(groups: tuple[str, ...], members: F, moments: F) -> Pooled:
    names = tuple(POOL_SIGN.join(name for name, here in zip(groups, row, strict=True) if here) for row in members)
    products = members @ moments @ members.T
    mixture = np.maximum(products, 0.0)
    mixture = mixture / mixture.sum(axis=1, keepdims=True)
    inverse = np.asarray(np.linalg.inv(products), dtype=np.float64)
    return Pooled(names, members, inverse, mixture)


def corrected_rates(reading: Reading, statistic: Statistic, pooled: Pooled) -> Rates:
    """One statistic."""
    noise, rows_per_member = reading.noise, reading.rows_per_member
    inverse, spread, mixture = pooled.inverse, pooled.spread, pooled.mixture
    sums = Sums.of(statistic, reading.table @ pooled.members.T @ inverse)
    own = np.diag(mixture)
    of_rows = rows_per_member * np.diag(inverse)
    # The others about theta: the mean of their (worth - theta)^2, less the square of the mean of all of them together.
    others, possible = mixture - np.diag(own), sums.possible(1.0)
    other_hits, other_total = others @ possible.hits, others @ possible.total
    constant = of_rows * (others @ possible.squares - other_hits**2)
    linear = of_rows * (other_hits - other_hits * other_total)
    square = of_rows * (other_total - other_total**2)
    hits, total = sums.hits, sums.total
    table_noise = noise.table * statistic.noise_terms
    weighing = np.diag(spread)
    constant, linear, square = (
        part + weighing * term for part, term in zip((constant, linear, square), table_noise, strict=True)
    )
    sizes = pooled.sizes
    of_hits, of_total = (inverse * sizes) @ hits, (inverse * sizes) @ total
    half = noise.moments / 2
    constant = constant + half * (sizes @ hits**2 * weighing + of_hits**2)
    linear = linear + half * (sizes @ (hits * total) * weighing + of_hits * of_total)
    square = square + half * (sizes @ total**2 * weighing + of_total**2)
    binomial = of_rows * own * dispersion(sums) * np.maximum(total, 0.0)
    variance = Variance(binomial, constant, linear, square)
    total_variance = weighing * table_noise[2] + half * (sizes @ total**2 * weighing + of_total**2)
    estimate = np.clip(hits / np.where(total > 0, total, 1.0), 0.0, 1.0)
    covariance = _covariance(pooled, sums, estimate, table_noise, noise, rows_per_member)
    return rates_of(pooled.groups, sums, total_variance, variance, reading.z, covariance, reading.rows_per_member)


def _covariance(
    pooled: Pooled, sums: Sums, theta: F, table_noise: F, noise: NoiseVariance, rows_per_member: float
) -> F:
    """Covariance of the residuals at the estimates: shape (q, q)."""
    inverse, spread, sizes, mixture = pooled.inverse, pooled.spread, pooled.sizes, pooled.mixture
    sums = sums.possible(1.0)
    beta = sums.hits - np.outer(theta, sums.total)  # [r, k]: group k about the mean of r
    squares, hits, total = (mixture @ part for part in (sums.squares, sums.hits, sums.total))
    crossed = about(squares[:, None], hits[:, None], total[:, None], theta)
    # The rows that weigh in r and s together: half of each mixture. [r, s]: the mean of theirs about that of r.
    means = mixture @ beta.T
    mean = (np.diag(means)[:, None] + means.T) / 2
    shared = (crossed + crossed.T) / 2 - mean * mean.T
    noised = about(table_noise[0], table_noise[1], table_noise[2], theta)
    moved = (inverse * sizes) @ beta.T
    shaken = (beta * sizes) @ beta.T * spread + moved * moved.T
    sampled = rows_per_member * inverse * shared
    return np.asarray(sampled + spread * noised + noise.moments / 2 * shaken)
