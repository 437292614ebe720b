"""Real tables: rows of simulated members, the two parties' noise, and the gaps that the weighted estimator reads there.

Members come from the Census tables, place by population, race by place, surname by race, as in ``streams.simulate``;
their probabilities from the proxy. Scores and outcomes are alike for everyone. Each member has a chance of his own of
being recommended, which has nothing to do with race unless a gap is planted. That is what makes a pool of members
deviate: were all alike, who is in the pool would make no difference.

Gaps are those of ``estimator.disparities``, read from the tables of many runs at once (a test holds them to be the
same numbers). Noise is normal, not discrete: the step is 2**-20 of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from estimator import GROUPS, CellLayout, NoiseVariance, Population, RaceModel
from estimator.cells import Statistic
from estimator.detection import Deviations, Gaps
from estimator.excess import Residuals
from estimator.intervals import Variance, critical_value, gap_interval
from estimator.rates import Rates, Reading
from estimator.weighted import weighted_rates
from streams.simulate import RECOMMENDED_RATIO

F = NDArray[np.float64]
B = NDArray[np.bool_]
I = NDArray[np.int64]  # noqa: E741  # whole numbers

LAYOUT = CellLayout((("score", 5), ("decision", 2), ("outcome", 2)))
"""The 20 cells of examples/simulated-feed."""
STATISTICS = tuple(LAYOUT.statistics())
REFERENCE = "white"
CONFIDENCE = 0.95
COMPARED = tuple(group for group in GROUPS if group != REFERENCE)
DETECTORS = len(STATISTICS) * len(COMPARED)
"""Their gaps in a window: shape (statistics, groups without the reference), flattened in this order."""

_PEOPLE, _PEOPLE_SEED = 200_000, 2022
_REFERENCE_AT = GROUPS.index(REFERENCE)
_BLACK = GROUPS.index("black")
_EDGES = np.array((0.0, 0.2, 0.4, 0.6, 0.8, 1.0))
_BINS = np.diff(3 * _EDGES**2 - 2 * _EDGES**3)
"""Chance of each score bin: scores are Beta(2, 2)."""
_OUTCOME = 0.1 + 0.6 * (_EDGES[1:] + _EDGES[:-1]) / 2
_KINDS = np.cumsum(np.stack([_BINS * (1 - _OUTCOME), _BINS * _OUTCOME], axis=1).ravel())
"""Cumulated chances of (score bin, outcome)."""


@lru_cache(maxsize=1)
def _people() -> tuple[F, I]:
    """(probabilities of shape (groups, people), race): the same for every seed, as a country is."""
    people = Population().draw(np.random.default_rng(_PEOPLE_SEED), _PEOPLE)
    probabilities = RaceModel.load().posterior(people.surname.tolist(), zctas=people.zcta.tolist())
    return np.ascontiguousarray(probabilities.T), people.race


@dataclass(frozen=True)
class TableWorld:
    """Windows of a feed.

    Attributes:
        text: what it is. rows: of a window, in the mean. noise_rows: standard deviation of one published entry.
        tolerated: tau, ratio.
        members: of a run's pool: each comes up in a window with chance rows / members. None: nobody returns, and all
            members are alike.
        likeness: of a member's rows, as their correlation: 0 where all members have the same chance, up to below
            1, where each is all but always, or never, recommended.
        rate: of rows that are recommended, without any gap. promised: whether the e-detector's promise is made there.
        gap: by how much black members' chances are lower, ratio. rows_per_member: as `publish` takes it, the cap.
        only: (metric, group): watch that one gap (of a metric without score bins); None for all of them.
    """

    text: str
    rows: int
    noise_rows: float
    tolerated: float
    members: int | None = None
    likeness: float = 0.0
    gap: float = 0.0
    rows_per_member: float = 1.0
    only: tuple[str, str] | None = None
    rate: float = RECOMMENDED_RATIO
    promised: bool = False

    def begin(self, rng: np.random.Generator, runs: int) -> _Stream:
        """Begin that many runs, each with a pool of its own."""
        if self.members is None:
            return _Stream(self, rng, runs)
        pool = np.stack([rng.choice(_PEOPLE, self.members, replace=False) for _ in range(runs)])
        chances = np.full(pool.shape, self.rate)
        if self.likeness:
            size = 1 / self.likeness - 1
            chances = rng.beta(self.rate * size, (1 - self.rate) * size, pool.shape)
        return _Stream(self, rng, runs, pool, chances)


@dataclass(eq=False)
class _Stream:
    """Runs side by side. pool, chances: shape (runs, members): who they are, and each one's chance before any gap."""

    world: TableWorld
    rng: np.random.Generator
    runs: int
    pool: I | None = None
    chances: F | None = None

    def windows(self) -> Gaps:
        world = self.world
        gaps = weighted_gaps(self.tables(), world.noise_rows, world.rows_per_member, world.tolerated)
        at = slice(None) if world.only is None else [place_of(*world.only)]
        estimate, lower, upper = (end[:, at] for end in (gaps.estimate, gaps.lower, gaps.upper))
        excess = gaps.excess
        assert excess is not None
        return Gaps(estimate, lower, upper, gaps.confidence, Deviations(excess.above[:, at], excess.below[:, at]))

    def tables(self) -> F:
        """Noised tables of the next window: shape (runs, cells, groups)."""
        probabilities, race = _people()
        run, person, chance = self._rows()
        chance = chance - self.world.gap * (race[person] == _BLACK)
        kind = np.searchsorted(_KINDS[:-1], self.rng.random(run.size), side="right")
        decision = self.rng.random(run.size) < chance
        cell = ((kind // 2) * 2 + decision) * 2 + kind % 2
        at, size = run * LAYOUT.count + cell, self.runs * LAYOUT.count
        columns = [np.bincount(at, weights=column[person], minlength=size) for column in probabilities]
        table = np.stack(columns, axis=-1).reshape(self.runs, LAYOUT.count, len(GROUPS))
        return np.asarray(table + self.rng.normal(0.0, self.world.noise_rows, table.shape))

    def _rows(self) -> tuple[I, I, F | float]:
        """(run, person, chance before any gap) of each row."""
        if self.pool is None or self.chances is None:
            person = self.rng.integers(0, _PEOPLE, self.runs * self.world.rows)
            return np.repeat(np.arange(self.runs), self.world.rows), person, self.world.rate
        seen = np.flatnonzero(self.rng.random(self.pool.shape) < self.world.rows / self.pool.shape[1])
        return seen // self.pool.shape[1], self.pool.ravel()[seen], self.chances.ravel()[seen]

    def keep(self, going: B) -> None:
        self.runs = int(going.sum())
        if self.pool is not None and self.chances is not None:
            self.pool, self.chances = self.pool[going], self.chances[going]


def place_of(metric: str, group: str) -> int:
    """Of the detectors of a window, the first of this metric and group."""
    first = next(k for k, statistic in enumerate(STATISTICS) if statistic.metric == metric)
    return first * len(COMPARED) + COMPARED.index(group)


def weighted_gaps(
    tables: F,
    noise_rows: float,
    rows_per_member: float,
    tolerated: float,
    statistics: Sequence[Statistic] = STATISTICS,
) -> Gaps:
    """The weighted estimator's gaps of many tables: shape (tables, detectors), NaN where suppressed.

    Args:
        tables: shape (tables, cells, groups), noised, rows. noise_rows: standard deviation of one entry.
        tolerated: tau, beyond which there is excess.
    """
    count, cells, groups = tables.shape
    side_by_side = tables.transpose(1, 0, 2).reshape(cells, count * groups)
    names = tuple(str(k) for k in range(count * groups))
    noise, z = NoiseVariance(noise_rows**2), critical_value(CONFIDENCE)
    reading = Reading(side_by_side, names, noise, rows_per_member, z)
    found, excess = [], []
    for statistic in statistics:
        rates = weighted_rates(reading, statistic)
        shown = rates.shown.reshape(count, groups)
        values = rates.estimate, np.maximum(rates.lower, 0.0), np.minimum(rates.upper, 1.0)
        ends = [end.reshape(count, groups) for end in values]
        base = [end[:, [_REFERENCE_AT]] for end in ends]
        gaps = gap_interval((ends[0], ends[1], ends[2]), (base[0], base[1], base[2]))
        compared = shown & shown[:, [_REFERENCE_AT]]
        found.append([np.delete(np.where(compared, end, np.nan), _REFERENCE_AT, axis=1) for end in gaps])
        sides = _residuals(rates, (count, groups)).excess(_REFERENCE_AT, tolerated)
        excess.append([np.delete(side, _REFERENCE_AT, axis=1) for side in sides])
    estimate, lower, upper = (np.concatenate(part, axis=1) for part in zip(*found, strict=True))
    above, below = (np.concatenate(part, axis=1) for part in zip(*excess, strict=True))
    return Gaps(estimate, lower, upper, CONFIDENCE, Deviations(above, below))


def _residuals(rates: Rates, shape: tuple[int, int]) -> Residuals:
    """Of many tables: shape (tables, groups)."""
    flat = rates.residuals
    assert flat is not None
    variance = flat.variance
    parts = variance.binomial, variance.constant, variance.linear, variance.square
    return Residuals(
        hits=flat.hits.reshape(shape),
        total=flat.total.reshape(shape),
        total_variance=flat.total_variance.reshape(shape),
        variance=Variance(*(part.reshape(shape) for part in parts)),
        covariance=None,
        rows_per_member=flat.rows_per_member,
    )


@dataclass(frozen=True)
class Spread:
    """How one group's gap of one metric varies over windows, beside what its intervals say.

    Attributes:
        shown: share of windows in which it is not suppressed. sigma: mean standard deviation by the intervals, ratio.
        deviation: the true one of the windows of one run, in sigma: less than 1 where intervals are wide.
        pool: standard deviation of a run's mean about 0, in sigma: what the pool itself deviates by.
    """

    group: str
    shown: float
    sigma: float
    deviation: float
    pool: float


def spread(world: TableWorld, metric: str, runs: int, windows: int, rng: np.random.Generator) -> list[Spread]:
    """Of one metric, by group."""
    stream, z = world.begin(rng, runs), critical_value(CONFIDENCE)
    seen = [stream.windows() for _ in range(windows)]
    found = []
    for group in COMPARED:
        at = place_of(metric, group)
        gap, lower, upper = (
            np.stack([getattr(g, name)[:, at] for g in seen]) for name in ("estimate", "lower", "upper")
        )
        shown = ~np.isnan(gap)
        if shown.mean() < 0.5:
            found.append(Spread(group, float(shown.mean()), np.nan, np.nan, np.nan))
            continue
        sigma = float(np.nanmean(np.maximum(upper - gap, gap - lower))) / z
        within = float(np.sqrt(np.nanmean(np.nanvar(gap, axis=0, ddof=1))))
        between = float(np.nanmean(np.nanmean(gap, axis=0) ** 2)) - within**2 / windows
        found.append(Spread(group, float(shown.mean()), sigma, within / sigma, max(between, 0.0) ** 0.5 / sigma))
    return found
