"""The worlds: what is drawn is what is said to be true, and the expected window is the mean of drawn ones."""

from __future__ import annotations

import numpy as np
import pytest

from bench.accuracy.pipeline import _SPEC
from bench.accuracy.worlds import BLACK, LAYOUT, WORLDS, Inhabited, Pool, Window, World, add_noise, noise_of
from estimator import GROUPS, CellLayout, Moments, NoiseVariance
from estimator.moments import moments_size
from estimator.rates import Sums
from privacy import parse_measurement, plan_noise

EVERY_STATISTIC = CellLayout(LAYOUT.axes)
DIRECT, PLACE = WORLDS[0], WORLDS[1]


@pytest.fixture(scope="module")
def pool() -> Pool:
    """A small pool."""
    return Pool.draw(1, 30_000)


@pytest.mark.parametrize("world", WORLDS[:4], ids=lambda world: world.name)
def test_the_truth_is_what_is_drawn(pool: Pool, world: World) -> None:
    """If the proxy knew everyone's race, the drawn table itself would show every statistic's truth."""
    known = replace_probabilities(pool)
    inhabited = Inhabited.of(world, known)
    window, truth = inhabited.draw(np.random.default_rng(2), 400_000), inhabited.truth()
    seen = 0
    for statistic in EVERY_STATISTIC.statistics():
        if (statistic.metric, statistic.score_bin) in truth.sums:
            sums = Sums.of(statistic, window.table)
            for g, group in enumerate(GROUPS):
                expected = truth.value(statistic.metric, statistic.score_bin, group)
                error = (expected * (1 - expected) / sums.total[g]) ** 0.5
                assert abs(sums.hits[g] / sums.total[g] - expected) < 5 * error, (statistic.metric, group)
                seen += 1
    assert seen == 5 * len(GROUPS)


def replace_probabilities(pool: Pool) -> Pool:
    """A pool whose proxy is the truth."""
    return Pool(np.eye(len(GROUPS))[pool.race], pool.race, pool.black_share)


def test_a_pool_of_groups_has_their_common_truth(pool: Pool) -> None:
    """The truth of "native+multiple" is that of all their members, not the mean of two rates."""
    inhabited = Inhabited.of(PLACE, pool)
    both = np.isin(pool.race, [GROUPS.index("native"), GROUPS.index("multiple")])
    expected = inhabited.decision[both].mean()
    assert inhabited.truth().value("recommendation_rate", "all", "native+multiple") == pytest.approx(expected)


def test_confounding_is_through_place(pool: Pool) -> None:
    """In `place`, two people of one race differ by where they live; in `direct` they do not."""
    white = pool.race == GROUPS.index("white")
    direct, place = Inhabited.of(DIRECT, pool), Inhabited.of(PLACE, pool)
    assert np.ptp(direct.decision[white]) == 0.0
    assert np.corrcoef(place.decision[white], pool.black_share[white])[0, 1] < -0.99
    assert place.decision.min() > 0
    assert pool.black_share[pool.race == BLACK].mean() > 2 * pool.black_share[white].mean()


@pytest.mark.parametrize("world", [PLACE, *WORLDS[6:]], ids=lambda world: world.name)
def test_the_expected_window_is_the_mean_of_drawn_ones(pool: Pool, world: World) -> None:
    """Table, moments and rectifier of many windows are in the mean what `expected` says, for every kind of member."""
    inhabited = Inhabited.of(world, pool)
    windows = [inhabited.draw(np.random.default_rng([3, k]), 6_000) for k in range(150)]
    expected = inhabited.expected(6_000)
    for part in (
        lambda w: w.table,
        lambda w: w.rectifier,
        lambda w: w.moments.products,
        lambda w: w.moments.residual_squares,
        lambda w: np.array(w.moments.self_id_rows),
    ):
        drawn = np.stack([part(window) for window in windows])
        error = drawn.std(axis=0) / len(windows) ** 0.5
        # Small entries come from a few people, and vary by jumps that no deviation tells.
        large = np.abs(part(expected)) > 5
        assert (np.abs(drawn.mean(axis=0) - part(expected)) < 5 * error)[large].all()
    assert all(window.table.sum() == pytest.approx(6_000) for window in windows)


def test_rows_that_are_alike_vary_more(pool: Pool) -> None:
    """Ten rows alike have the variance of ten times fewer rows; rows that are only of one member have less."""
    alike, apart = (Inhabited.of(world, pool) for world in WORLDS[8:])

    def variance(inhabited: Inhabited) -> float:
        seeds = (np.random.default_rng([4, k]) for k in range(200))
        return float(np.var([inhabited.draw(rng, 2_000).table[9:12].sum() for rng in seeds]))

    assert variance(alike) > 4 * variance(apart)


def test_noise_is_as_calibrated() -> None:
    """Every channel's noise has the variance that the estimators are told."""
    noise = NoiseVariance(4.0, 9.0, 16.0)
    empty = Window(np.zeros((20, 6)), np.zeros((20, 6)), Moments.from_vector(np.zeros(moments_size(6))))
    rng = np.random.default_rng(5)
    drawn = [add_noise(empty, noise, rng) for _ in range(400)]
    for values, variance in (
        ([w.table for w in drawn], 4.0),
        ([w.rectifier for w in drawn], 16.0),
        ([np.diag(w.moments.products) for w in drawn], 9.0),
        ([w.moments.products[np.triu_indices(6, 1)] for w in drawn], 4.5),
        ([w.moments.residual_squares for w in drawn], 36.0),
    ):
        assert np.var(values) == pytest.approx(variance, rel=0.15)


@pytest.mark.parametrize("cap", [1, 3])
def test_noise_is_what_the_pipeline_adds(cap: int) -> None:
    """The table has the noise that OpenDP gives for the same rho; the other channels follow by their L2."""
    text = _SPEC.replace("contribution_cap: 1", f"contribution_cap: {cap}")
    table = plan_noise(parse_measurement(text, origin="test")).level("1d").table
    ours = noise_of(3 * table.rho, cap)
    assert ours.table == pytest.approx(table.published_sigma_rows**2, rel=1e-4)
    assert ours.rectifier == pytest.approx(4 * ours.table)
    assert ours.moments == pytest.approx(1.5 * ours.table)
