"""Real tables of many runs at once are read as `estimator.disparities` reads one, and hold what was planted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from estimator import GROUPS, NoiseVariance, disparities
from streams.alert_simulation.tables import DETECTORS, LAYOUT, REFERENCE, TableWorld, place_of, spread, weighted_gaps

WORLD = TableWorld("a feed", 2_000, 2.0, 0.02)
BLACK = place_of("recommendation_rate", "black")


@pytest.mark.parametrize("world", [replace(WORLD, rows_per_member=2.0), replace(WORLD, members=4_000, likeness=0.5)])
def test_gaps_are_those_of_disparities(world: TableWorld) -> None:
    """The same numbers but for their last bits, suppressed where they are."""
    tables = world.begin(np.random.default_rng(1), 4).tables()
    found = weighted_gaps(tables, world.noise_rows, world.rows_per_member, world.tolerated)
    assert found.excess is not None
    for run, table in enumerate(tables):
        results = disparities(
            table,
            cells=LAYOUT,
            reference=REFERENCE,
            noise_variance=NoiseVariance(world.noise_rows**2),
            rows_per_member=world.rows_per_member,
            tolerated=dict.fromkeys((each.metric for each in LAYOUT.statistics()), world.tolerated),
        ).results
        gaps = [one.gap for one in results if one.group != REFERENCE]
        assert len(gaps) == DETECTORS
        wanted = [[np.nan] * 3 if gap is None else [gap.estimate, gap.lower, gap.upper] for gap in gaps]
        own = np.stack([found.estimate[run], found.lower[run], found.upper[run]], axis=1)
        np.testing.assert_allclose(own, wanted, rtol=1e-12, atol=1e-15)
        beyond = [[one.excess.above, one.excess.below] for one in results if one.excess is not None]
        excess = np.stack([found.excess.above[run], found.excess.below[run]], axis=1)
        np.testing.assert_allclose(excess, beyond, rtol=1e-9, atol=1e-12)
        assert np.isnan(own[:, 0]).any()
        assert not np.isnan(own[:, 0]).all()


def test_a_planted_gap_is_seen_and_no_other() -> None:
    """Black members' gap is a part of the 15 points that were planted, for the estimator is weighted."""
    rng = np.random.default_rng(2)
    planted = replace(WORLD, gap=0.15, rows=20_000).begin(rng, 20).windows().estimate[:, BLACK]
    fair = replace(WORLD, rows=20_000).begin(rng, 20).windows().estimate[:, BLACK]
    assert -0.12 < planted.mean() < -0.04
    assert abs(fair.mean()) < 0.015


def test_a_pool_deviates_in_all_its_windows() -> None:
    """Where members return and differ, a run's mean is off with its pool; where they are alike it is not."""
    worlds = (replace(WORLD, members=4_000, likeness=0.99), replace(WORLD, members=4_000))
    returning, alike = (spread(w, "recommendation_rate", 20, 60, np.random.default_rng(3)) for w in worlds)
    hispanic = GROUPS.index("hispanic") - 1
    assert returning[hispanic].pool > 0.3
    assert alike[hispanic].pool < 0.25
    assert returning[hispanic].shown == 1.0
    assert 0.5 < alike[hispanic].deviation <= 1.1


def test_one_gap_can_be_watched_alone() -> None:
    """The same numbers as among all."""
    world = replace(WORLD, only=("recommendation_rate", "black"))
    one, every = (each.begin(np.random.default_rng(4), 3).windows() for each in (world, WORLD))
    np.testing.assert_array_equal(one.estimate, every.estimate[:, [BLACK]])
    np.testing.assert_array_equal(one.upper, every.upper[:, [BLACK]])
