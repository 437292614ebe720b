"""Windows drawn from a population whose true rates are known: rows, Self-ID, and the noise that parties add.

A population has a few hundred kinds of members. A kind is all that a proxy can see: everyone of a kind has the same
race probabilities p, which are calibrated (a member's group is drawn from them). The cells of a row depend on its group
and, where the population is confounded, on its kind as well. Written apart from the estimators, from DESIGN section 6
and the embedding that ``estimator.moments`` documents.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from estimator import CellLayout, Disparity, Moments, NoiseVariance, disparities

F = NDArray[np.float64]


@dataclass(frozen=True)
class Window:
    """What is published of one window."""

    table: F
    moments: Moments
    rectifier: F


@dataclass(frozen=True)
class Kinds:
    """A population by its kinds of members.

    Attributes:
        race: shape (kinds, k): p of each kind. cell: shape (kinds, k, cells): how likely a row of a group and kind lies
            in each cell.
    """

    race: F
    cell: F

    def truth(self, layout: CellLayout) -> dict[tuple[str, str], F]:
        """True value of each statistic, by (metric, score bin): shape (k,)."""
        table = np.einsum("kg,kgc->cg", self.race, self.cell)
        return {
            (statistic.metric, statistic.score_bin): statistic.worth @ table / table[statistic.denominator].sum(axis=0)
            for statistic in layout.statistics()
        }

    def windows(
        self, seed: int, count: int, *, rows: int, share: float, noise: NoiseVariance, rows_each: int = 1
    ) -> Iterator[Window]:
        """Draw windows.

        Args:
            rows: of a window. share: how likely a member said a group. noise: of one entry of each channel.
            rows_each: every member has so many rows, all in the same cell.
        """
        rng = np.random.default_rng(seed)
        kinds, groups, cells = self.cell.shape
        likely = self.race[:, :, None] * self.cell / kinds
        likely = np.stack([likely * (1 - share), likely * share])
        drawn = rng.multinomial(rows // rows_each, (likely / likely.sum()).ravel(), count) * rows_each
        residual = np.eye(groups)[None] - self.race[:, None]  # R - p, by kind and group
        for everyone in drawn.reshape(count, 2, kinds, groups, cells):
            said = everyone[1]
            by_kind = everyone.sum(axis=(0, 2, 3))
            yield _noised(
                rng,
                table=np.einsum("kc,kg->cg", everyone.sum(axis=(0, 2)), self.race),
                products=(self.race * by_kind[:, None]).T @ self.race,
                counts=(float(by_kind.sum()), float(said.sum())),
                squares=np.einsum("kg,kgr->r", said.sum(axis=2), residual**2),
                rectifier=np.einsum("kgc,kgr->cr", said, residual),
                noise=noise,
            )


def _noised(
    rng: np.random.Generator,
    *,
    table: F,
    products: F,
    counts: tuple[float, float],
    squares: F,
    rectifier: F,
    noise: NoiseVariance,
) -> Window:
    groups, deviation = len(products), noise.moments**0.5
    upper = np.triu(rng.normal(0, deviation / 2**0.5, products.shape), 1)
    shaken = products + upper + upper.T + np.diag(rng.normal(0, deviation, groups))
    rows, said = (number + rng.normal(0, deviation) for number in counts)
    return Window(
        table=table + rng.normal(0, noise.table**0.5, table.shape),
        moments=Moments(shaken, rows, said, squares + rng.normal(0, 2 * deviation, groups)),
        rectifier=rectifier + rng.normal(0, noise.rectifier**0.5, rectifier.shape),
    )


def race_only(seed: int, *, weights: F, sharpness: float, cells: int, kinds: int = 100) -> Kinds:
    """A population in which a row's cell depends on its group alone: what `corrected` assumes.

    Args:
        weights: shape (k,), the groups' shares. sharpness: the smaller, the nearer probabilities are to 0 and 1.
    """
    rng = np.random.default_rng(seed)
    race = rng.dirichlet(weights * sharpness + 1e-3, kinds)
    of_group = rng.dirichlet(np.full(cells, 3.0), len(weights))
    return Kinds(race, np.broadcast_to(of_group, (kinds, *of_group.shape)))


def confounded(population: Kinds, strength: float) -> Kinds:
    """The same, but place matters by itself: the last cell is likelier the likelier the kind is of the first group."""
    pull = strength * population.race[:, :1, None]
    last = np.zeros(population.cell.shape[2])
    last[-1] = 1.0
    return Kinds(population.race, population.cell * (1 - pull) + pull * last)


def drawn_rows(seed: int, rows: int, *, rates: F, sharpness: float = 1.0) -> tuple[F, NDArray[np.int64]]:
    """Single rows: race probabilities, shape (rows, k), and cells, drawn from a group's ``rates``, shape (k, cells)."""
    rng = np.random.default_rng(seed)
    weights = 0.65 ** np.arange(len(rates))
    race = rng.dirichlet(weights / weights.sum() * sharpness + 1e-3, rows)
    group = np.minimum((rng.random(rows)[:, None] > race.cumsum(axis=1)).sum(axis=1), len(rates) - 1)
    cell = (rng.random(rows)[:, None] > rates[group].cumsum(axis=1)).sum(axis=1)
    return race, np.minimum(cell, rates.shape[1] - 1)


@dataclass(frozen=True)
class Share:
    """A share of intervals that hold the truth, with its standard error over windows."""

    mean: float
    error: float

    def at_least(self, level: float) -> bool:
        """Whether chance may be all that keeps it below the level."""
        return self.mean + 2.5 * max(self.error, 1e-3) >= level


Inside = dict[str, list[list[bool]]]


def inside_of(
    results: tuple[Disparity, ...], truth: dict[tuple[str, str], F], groups: tuple[str, ...]
) -> dict[str, list[bool]]:
    """Whether each interval of a value or a gap (against the first group) holds the truth."""
    found: dict[str, list[bool]] = {"value": [], "gap": []}
    for result in results:
        true = truth[result.metric, result.score_bin]
        own = true[groups.index(result.group)]
        for what, interval, number in (("value", result.value, own), ("gap", result.gap, own - true[0])):
            if interval is not None:
                found[what].append(bool(interval.lower <= number <= interval.upper))
    return found


def shares_inside(inside: Inside) -> dict[str, Share]:
    """Over all windows; the intervals of one window are not independent, so the error is that of windows' means."""
    shares = {}
    for what, windows in inside.items():
        means = np.array([np.mean(window) for window in windows if window])
        assert len(means) > 0.9 * len(windows)  # else the scenario proves nothing
        shares[what] = Share(float(means.mean()), float(means.std() / len(means) ** 0.5))
    return shares


def covered(
    population: Kinds,
    layout: CellLayout,
    estimator: str,
    *,
    seed: int,
    count: int,
    rows: int,
    noise: NoiseVariance,
    share: float = 0.2,
    rows_each: int = 1,
    rows_per_member: float | None = None,
) -> Inside:
    """Which intervals of one estimator hold the truth, by window, for all of its groups and statistics."""
    groups, truth = tuple("abcdef"[: population.race.shape[1]]), population.truth(layout)
    inside: Inside = {"value": [], "gap": []}
    for window in population.windows(seed, count, rows=rows, share=share, noise=noise, rows_each=rows_each):
        results = disparities(
            window.table,
            cells=layout,
            reference=groups[0],
            noise_variance=noise,
            moments=window.moments,
            rectifier=window.rectifier if estimator == "rectified" else None,
            groups=groups,
            rows_per_member=rows_each if rows_per_member is None else rows_per_member,
        ).results
        own = tuple(result for result in results if result.estimator == estimator and result.group in groups)
        for what, held in inside_of(own, truth, groups).items():
            inside[what].append(held)
    return inside
