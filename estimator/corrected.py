r"""The corrected estimator: M^-1 t / M^-1 n, with M = sum p p'.

If x is independent of surname and place given race, E[x | p] = sum_r p_r theta_r, so least squares of a row's cell on
its race probabilities, A = T M^-1 (cells x groups), estimates every group's distribution over the cells without the
weighted estimator's bias; a rate is a quotient of two sums of A. Where the assumption fails (place matters by itself),
it may be further off than the weighted one, which is what the check against `rectified` is for.

Pooling. Groups that M cannot separate, given its noise, are pooled (their probabilities added) and named, before any
outcome is looked at: first with one another, then with the largest group.

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
from estimator.rates import F, NoiseVariance, Rates, Sums, dispersion, noise_terms, rates_of

POOL_SIGN = "+"
MAX_DEVIATION = 0.125
"""A group is separate where a rate of one half over all rows would be known to this standard deviation."""
MIN_EIGENVALUE_DEVIATIONS = 8.0
"""M's smallest eigenvalue must be this many deviations of its noise: nearer to 0, its inverse is mostly noise."""


@dataclass(frozen=True, eq=False)
class Pooled:
    """Groups as far as M can separate them.

    Attributes:
        groups: names of the q pools, in the order of their first members. members: shape (q, k), 0 or 1.
        products, inverse: pooled M and its inverse, shape (q, q). totals: rows of each pool, shape (q,).
        mixture: shape (q, q): pi, whose rows sum to 1.
    """

    groups: tuple[str, ...]
    members: F
    products: F
    inverse: F
    totals: F
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
    groups: tuple[str, ...], moments: Moments, noise: NoiseVariance, *, cells: int, rows_per_member: float
) -> Pooled | None:
    """Pool what M cannot separate; None where not even two pools are left.

    Args:
        cells: entries of a column of the table, each of which brings its noise.
    """
    pools = [[k] for k in range(len(groups))]
    totals = moments.products.sum(axis=1)
    while len(pools) > 1:
        members = np.zeros((len(pools), len(groups)))
        for q, ids in enumerate(pools):
            members[q, ids] = 1.0
        products = members @ moments.products @ members.T
        unclear = _unclear(products, members.sum(axis=1), noise, cells, rows_per_member)
        if not unclear.any():
            return _pooled(groups, members, products)
        first, second = _to_merge(unclear, members @ totals)
        pools[first] = sorted(pools[first] + pools[second])
        del pools[second]
        pools.sort()
    return None


def _to_merge(unclear: NDArray[np.bool_], totals: F) -> tuple[int, int]:
    """The two pools to be made one: the two smallest unclear ones, or the only unclear one and the largest other."""
    order = [int(q) for q in np.argsort(totals, kind="stable") if unclear[q]]
    if len(order) > 1:
        return order[1], order[0]
    others = np.where(np.arange(totals.size) == order[0], -np.inf, totals)
    return int(np.argmax(others)), order[0]


def _unclear(products: F, sizes: F, noise: NoiseVariance, cells: int, rows_per_member: float) -> NDArray[np.bool_]:
    """Which pools cannot be told apart from the others: shape (q,), bool. Looks at no outcome."""
    values, vectors = np.linalg.eigh(products)
    # The deviation of v'Ev, by which noise moves an eigenvalue: a pool of d groups has the noise of d^2 entries.
    deviation = noise.moments**0.5 * (vectors[:, 0] ** 2 @ sizes)
    if values[0] <= MIN_EIGENVALUE_DEVIATIONS * deviation or values[0] <= 1e-9 * values[-1]:
        # Those that weigh most in the direction that is not there, in probabilities: of two that always stand in one
        # proportion, the smaller has the larger coefficient, but both weigh the same.
        weights = np.abs(vectors[:, 0]) * np.sqrt(np.abs(np.diag(products)))
        return np.asarray(weights >= 0.5 * weights.max())
    inverse = np.linalg.inv(products)
    spread = (inverse * sizes) @ inverse
    half = np.full(sizes.size, 0.5)
    of_moments = noise.moments / 2 * (half**2 @ sizes * np.diag(spread) + ((inverse * sizes) @ half) ** 2)
    variance = rows_per_member * np.diag(inverse) / 4 + noise.table * cells / 4 * np.diag(spread) + of_moments
    return np.asarray(variance > MAX_DEVIATION**2)


def _pooled(groups: tuple[str, ...], members: F, products: F) -> Pooled:
    names = tuple(POOL_SIGN.join(name for name, here in zip(groups, row, strict=True) if here) for row in members)
    mixture = np.maximum(products, 0.0)
    mixture = mixture / mixture.sum(axis=1, keepdims=True)
    return Pooled(
        names, members, products, np.asarray(np.linalg.inv(products), np.float64), products.sum(axis=1), mixture
    )


def corrected_rates(
    pooled: Pooled, statistic: Statistic, table: F, noise: NoiseVariance, rows_per_member: float, z: float
) -> Rates:
    """One statistic; ``table`` of shape (cells, groups), float64, rows."""
    inverse, spread, mixture = pooled.inverse, pooled.spread, pooled.mixture
    sums = Sums.of(statistic, table @ pooled.members.T @ inverse)
    own = np.diag(mixture)
    of_rows = rows_per_member * np.diag(inverse)
    # The others about theta: the mean of their (worth - theta)^2, less the square of the mean of all of them together.
    others = mixture - np.diag(own)
    hits, total = sums.hits, sums.total
    other_hits, other_total = others @ hits, others @ total
    constant = of_rows * (others @ sums.squares - other_hits**2)
    linear = of_rows * (other_hits - other_hits * other_total)
    square = of_rows * (other_total - other_total**2)
    table_noise = noise.table * noise_terms(statistic)
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
    return rates_of(pooled.groups, sums, total_variance, variance, z, covariance)


def _covariance(
    pooled: Pooled, sums: Sums, theta: F, table_noise: F, noise: NoiseVariance, rows_per_member: float
) -> F:
    """Covariance of the residuals at the estimates: shape (q, q)."""
    inverse, spread, sizes, mixture = pooled.inverse, pooled.spread, pooled.sizes, pooled.mixture
    count = theta.size
    result = np.empty((count, count))
    loading = inverse * sizes
    for r in range(count):
        for s in range(r, count):
            one, other = float(theta[r]), float(theta[s])
            beta_r, beta_s = sums.residual(one), sums.residual(other)
            both = (mixture[r] + mixture[s]) / 2
            shared = both @ sums.cross(one, other) - (both @ beta_r) * (both @ beta_s)
            noised = table_noise @ np.array([1.0, -(one + other), one * other])
            shaken = sizes @ (beta_r * beta_s) * spread[r, s] + (loading @ beta_s)[r] * (loading @ beta_r)[s]
            of_moments = noise.moments / 2 * shaken
            result[r, s] = result[s, r] = rows_per_member * inverse[r, s] * shared + spread[r, s] * noised + of_moments
    return result
