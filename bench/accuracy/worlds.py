"""Worlds with a known truth: who is recommended, whose outcome is good, and what it has to do with race and place.

People come from :class:`estimator.Population`: place by population, race by place, surname by race, never from the
posterior. A row is one event of one person: a score bin, an outcome whose chance is the bin's base rate times the
person's factor, and a decision with the person's own chance, independent of the outcome given the person. So every
statistic's truth by race is an exact mean over the people, and nothing of it is simulated.

Windows are drawn with replacement from one large pool. The pool is finite, so its calibration deviates a little from
the tables' for all windows alike: by sqrt(rows / people) of a window's own standard deviation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from estimator import GROUPS, CellLayout, Moments, NoiseVariance, Population, RaceModel
from estimator.cells import Statistic
from estimator.moments import moments_size

F = NDArray[np.float64]

BLACK = GROUPS.index("black")
_CHUNK = 250_000
_EDGES = np.array((0.2, 0.4, 0.6, 0.8))
_BETA_22 = 3 * np.array((0.0, *_EDGES, 1.0)) ** 2 - 2 * np.array((0.0, *_EDGES, 1.0)) ** 3
_BINS = np.diff(_BETA_22)
"""Chance of each score bin: scores are Beta(2, 2), whatever the race."""
_BASE = np.array((0.19, 0.28, 0.40, 0.52, 0.61))
"""Chance of a good outcome by score bin, for a person whose factor is 1."""
_DIRECT_DECISION = np.array((0.30, 0.20, 0.35, 0.25, 0.30, 0.30))
_DIRECT_FACTOR = np.array((1.0, 0.85, 1.05, 0.90, 1.0, 1.0))
_RHO_SHARES = {"table": 1 / 3, "rectifier": 1 / 3, "moments": 1 / 3}
_L2_ROWS = {"table": 2**0.5, "rectifier": 8**0.5, "moments": 3**0.5}
"""L2 of one row by channel, on replacement (DESIGN section 5)."""

Disparity = Literal["direct", "place", "none"]


@dataclass(frozen=True, eq=False)
class Pool:
    """People to draw from.

    Attributes:
        probabilities: the proxy, shape (n, 6), float64. race: the truth, shape (n,), int64.
        black_share: shape (n,), float64: share of black adults in the person's ZCTA.
    """

    probabilities: F
    race: NDArray[np.int64]
    black_share: F

    @classmethod
    def draw(cls, seed: int, count: int) -> Pool:
        """Draw people; ``seed`` decides all."""
        rng, population, model = np.random.default_rng(seed), Population(), RaceModel.load()
        parts = []
        for start in range(0, count, _CHUNK):
            people = population.draw(rng, min(_CHUNK, count - start))
            zctas = people.zcta.tolist()
            # Without a name the place alone decides: the last column but four of P(r | place).
            by_place = model.posterior([None] * len(zctas), zctas=zctas)[:, BLACK]
            parts.append((model.posterior(people.surname.tolist(), zctas=zctas), people.race, by_place))
        probabilities, race, black_share = (np.concatenate(column) for column in zip(*parts, strict=True))
        return cls(probabilities, race, black_share)


@dataclass(frozen=True)
class World:
    """What is planted, and how it is looked at.

    Attributes:
        name: a short word. text: what the report says of it.
        disparity: "direct": decision and outcome by race alone; "place": by the share of black adults where the person
            lives, and a little by race; "none": the same for everyone.
        rows: of a long window. short_rows: of a short one, read with the long one's correction; 0 for none.
        rows_per_member: rows of each member in the window, which is the cap. identical: whether they are all alike.
        self_id: share of members who say their group. rarity: factor on the chances of outcomes and decisions.
        rho: of the noise, a member-day; None where only noise-free windows are looked at.
    """

    name: str
    text: str
    disparity: Disparity
    rows: int = 40_000
    short_rows: int = 0
    rows_per_member: int = 1
    identical: bool = False
    self_id: float = 0.1
    rarity: float = 1.0
    rho: float | None = None

    @property
    def corrected_holds(self) -> bool:
        """Whether decision and outcome are independent of name and place given race."""
        return self.disparity != "place"


def noise_of(rho: float, cap: int) -> NoiseVariance:
    """Noise of both parties on every channel when a member-day's ``rho`` is split evenly over the three.

    A Gaussian of standard deviation L2 / sqrt(2 rho) costs rho (zCDP), and each party adds all of it.
    """
    variance = {name: (cap * _L2_ROWS[name]) ** 2 / (rho * share) for name, share in _RHO_SHARES.items()}
    return NoiseVariance(**variance)


NO_NOISE = NoiseVariance(1e-6, 1e-6, 1e-6)
"""Next to nothing, so that every division by noise stays a division."""


@dataclass(frozen=True)
class Headlines(CellLayout):
    """The 20 cells of the simulated feed, read for a few statistics only: reading is what costs a campaign its time."""

    axes: tuple[tuple[str, int], ...] = (("score", 5), ("decision", 2), ("outcome", 2))
    wanted: tuple[tuple[str, str], ...] = (("predictive_parity", "2"), ("tpr", "all"), ("recommendation_rate", "all"))

    def statistics(self) -> Iterator[Statistic]:
        """Those of :class:`estimator.CellLayout` that are wanted."""
        return (s for s in super().statistics() if (s.metric, s.score_bin) in self.wanted)


LAYOUT = Headlines()


@dataclass(frozen=True, eq=False)
class Window:
    """Sums of one window, without noise.

    Attributes:
        table, rectifier: shape (20, 6), float64, rows. moments: of the same rows.
        labelled: shape (methods, 20, 7): rows by cell and by the group that a peer's rule assigns, the last for none.
    """

    table: F
    rectifier: F
    moments: Moments
    labelled: F | None = None


@dataclass(frozen=True, eq=False)
class Inhabited:
    """A world with its people: each one's chances, and the truth.

    Attributes:
        decision: shape (n,): chance of being recommended. factor: shape (n,): of the outcome, on the bin's base rate.
    """

    world: World
    pool: Pool
    decision: F
    factor: F

    @classmethod
    def of(cls, world: World, pool: Pool) -> Inhabited:
        """Plant the world's disparity."""
        race, share = pool.race, pool.black_share
        if world.disparity == "direct":
            decision, factor = _DIRECT_DECISION[race], _DIRECT_FACTOR[race]
        elif world.disparity == "place":
            decision, factor = 0.35 - 0.25 * share - 0.02 * (race == BLACK), 1.0 - 0.3 * share
        else:
            decision, factor = np.full(race.size, 0.3), np.ones(race.size)
        return cls(world, pool, world.rarity * decision, world.rarity * factor)

    def truth(self) -> Truth:
        """Every statistic by race: exact means over the pool."""
        overall = float(_BINS @ _BASE)
        d, m = self.decision, self.factor
        sums = {
            ("predictive_parity", "2"): (_BASE[2] * m, np.ones_like(m)),
            ("precision", "all"): (overall * d * m, d),
            ("tpr", "all"): (d * m, m),
            ("fpr", "all"): (d * (1 - overall * m), 1 - overall * m),
            ("recommendation_rate", "all"): (d, np.ones_like(d)),
        }
        return Truth({key: (self._by_race(above), self._by_race(below)) for key, (above, below) in sums.items()})

    def _by_race(self, values: F) -> F:
        return np.asarray(np.bincount(self.pool.race, weights=values, minlength=len(GROUPS)), dtype=np.float64)

    def draw(self, rng: np.random.Generator, rows: int, labels: NDArray[np.int8] | None = None) -> Window:
        """Draw one window.

        Args:
            rng: of this window alone.
            rows: how many; a multiple of the world's rows a member.
            labels: shape (n, methods): the group that a peer's rule assigns to each person, 6 for none.
        """
        world = self.world
        who = rng.integers(0, self.pool.race.size, rows // world.rows_per_member)
        said_member = rng.random(who.size) < world.self_id
        # Rows that are all alike are one row that counts as often.
        repeats, weight = (1, world.rows_per_member) if world.identical else (world.rows_per_member, 1)
        index, said = np.repeat(who, repeats), np.repeat(said_member, repeats)
        cell = self._cells(rng, index)
        order = np.argsort(cell, kind="stable")
        index, said, cell = index[order], said[order], cell[order]
        p = self.pool.probabilities[index]
        residual = -p[said]
        residual[np.arange(len(residual)), self.pool.race[index[said]]] += 1.0
        moments = Moments(
            products=weight * (p.T @ p),
            rows=float(weight * index.size),
            self_id_rows=float(weight * said.sum()),
            residual_squares=weight * (residual**2).sum(axis=0),
        )
        labelled = None if labels is None else weight * _labelled(cell, labels[index])
        return Window(weight * _by_cell(cell, p), weight * _by_cell(cell[said], residual), moments, labelled)

    def _cells(self, rng: np.random.Generator, index: NDArray[np.int64]) -> NDArray[np.uint8]:
        """A cell for each row: shape (rows,), uint8, in the order of ``LAYOUT``."""
        bins = np.searchsorted(np.cumsum(_BINS)[:-1], rng.random(index.size), side="right")
        outcome = rng.random(index.size) < _BASE[bins] * self.factor[index]
        decision = rng.random(index.size) < self.decision[index]
        return ((bins * 2 + decision) * 2 + outcome).astype(np.uint8)

    def expected(self, rows: int) -> Window:
        """The mean of :meth:`draw` over all windows: what a window of so many rows holds, without chance."""
        n, f = self.pool.race.size, self.world.self_id
        p = self.pool.probabilities
        residual = np.eye(len(GROUPS))[self.pool.race] - p
        base = _BASE[:, None] * self.factor
        chance = np.empty((LAYOUT.count, n))
        for cell in range(LAYOUT.count):
            bin_, decision, outcome = cell // 4, cell // 2 % 2, cell % 2
            good = base[bin_] if outcome else 1 - base[bin_]
            chance[cell] = _BINS[bin_] * good * (self.decision if decision else 1 - self.decision)
        scale = rows / n
        moments = Moments(scale * (p.T @ p), float(rows), f * rows, f * scale * (residual**2).sum(axis=0))
        return Window(scale * (chance @ p), f * scale * (chance @ residual), moments)


def _by_cell(cell: NDArray[np.uint8], values: F) -> F:
    """Sums over rows that are sorted by their cell: shape (20, columns)."""
    result = np.zeros((LAYOUT.count, values.shape[1]))
    present, starts = np.unique(cell, return_index=True)
    if present.size:
        result[present] = np.add.reduceat(values, starts, axis=0)
    return result


def _labelled(cell: NDArray[np.uint8], labels: NDArray[np.int8]) -> F:
    kinds = len(GROUPS) + 1
    counts = [np.bincount(cell * np.int64(kinds) + column, minlength=LAYOUT.count * kinds) for column in labels.T]
    return np.stack(counts).reshape(len(counts), LAYOUT.count, kinds).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Truth:
    """Sums over the people by race, of numerator and denominator, for every statistic."""

    sums: dict[tuple[str, str], tuple[F, F]]

    def value(self, metric: str, score_bin: str, group: str) -> float:
        """The statistic of a group, or of all members of a pool that is written "native+multiple"."""
        ids = [GROUPS.index(name) for name in group.split("+")]
        above, below = self.sums[metric, score_bin]
        return float(above[ids].sum() / below[ids].sum())


def add_noise(window: Window, noise: NoiseVariance, rng: np.random.Generator) -> Window:
    """Noise as the two parties add it together, normal instead of discrete Gaussian: the step is 2**-20 of a row."""
    shape = window.table.shape
    on_moments = Moments.from_vector(rng.normal(0.0, noise.moments**0.5, moments_size(shape[1])))
    exact = window.moments
    return Window(
        window.table + rng.normal(0.0, noise.table**0.5, shape),
        window.rectifier + rng.normal(0.0, noise.rectifier**0.5, shape),
        Moments(
            exact.products + on_moments.products,
            exact.rows + on_moments.rows,
            exact.self_id_rows + on_moments.self_id_rows,
            exact.residual_squares + on_moments.residual_squares,
        ),
    )


_RHO = 0.2
WORLDS = (
    World("direct", "decision and outcome depend on race alone", "direct", short_rows=8_000, rho=_RHO),
    World("place", "by the place's share of black adults, and .02 by race", "place", short_rows=8_000,
          rho=_RHO),
    World("none", "no disparity at all", "none", rho=_RHO),
    World("rare", "as direct, with a tenth of the outcomes and recommendations", "direct", rarity=0.1, rho=_RHO),
    World("self-id .02", "as place, 2 % say their group", "place", self_id=0.02),
    World("self-id .3", "as place, 30 % say their group", "place", self_id=0.3),
    World("3 rows alike", "as direct, 3 rows a member, all alike", "direct", rows=39_999, rows_per_member=3,
          identical=True),
    World("3 rows", "as direct, 3 rows a member, independent given the member", "direct", rows=39_999,
          rows_per_member=3),
    World("10 rows alike", "as direct, 10 rows a member, all alike", "direct", rows_per_member=10, identical=True),
    World("10 rows", "as direct, 10 rows a member, independent given the member", "direct", rows_per_member=10),
)  # fmt: skip
