"""The contrast that detectors take in: its mean is 0 at the tolerated gap, however small the group."""

from __future__ import annotations

import numpy as np
import pytest

from estimator import CellLayout, NoiseVariance, disparities
from estimator.detection import BETS
from estimator.excess import Residuals
from estimator.intervals import Variance

CELLS = CellLayout((("decision", 2),))
NOISE = 14.142


def residuals(
    rng: np.random.Generator,
    rates: tuple[float, float],
    sizes: tuple[float, float],
    runs: int,
    noise: float = NOISE,
) -> Residuals:
    """Of many tables of a reference and a group, as `weighted` makes them: shape (runs, 2)."""
    rows = rng.poisson(sizes, (runs, 2))
    hits = rng.binomial(rows, rates)
    missed = rows - hits + rng.normal(0.0, noise, rows.shape)
    noised = hits + rng.normal(0.0, noise, rows.shape)
    square = np.ones(rows.shape) * noise**2
    total = missed + noised
    variance = Variance(np.maximum(total, 0.0), square, square, 2 * square)
    return Residuals(noised, total, 2 * square, variance, None, 1.0)


@pytest.mark.parametrize("size", [0.0, 30.0, 120.0, 1000.0])
@pytest.mark.parametrize(("rate", "gap"), [(0.02, 0.0), (0.02, 0.02), (0.3, -0.02)])
def test_no_bet_wins_on_average_at_a_tolerated_gap(size: float, rate: float, gap: float) -> None:
    """With .02 tolerated the mean of exp(c z - c^2 / 2) is 1 or less, but for 2 %: for no rows, few rows and many.

    The 2 % are the group's total, which is in the variance too.
    """
    runs = 100_000
    found = residuals(np.random.default_rng(3), (rate, rate + gap), (12_000.0, size), runs).excess(0, 0.02)
    for side in found:
        z = side[:, 1]
        assert z.mean() < 0.02
        for bet in BETS[:3]:
            won = np.exp(bet * z - bet**2 / 2)
            assert won.mean() < 1.02


@pytest.mark.parametrize("size", [2500.0, 250.0])
@pytest.mark.parametrize(("rate", "tolerated"), [(0.02, 0.0), (0.02, 0.005), (0.1, 0.0)])
def test_few_hits_of_the_reference_win_nothing(size: float, rate: float, tolerated: float) -> None:
    """A reference of 250 rows and next to no noise: where its hits are few by chance, its variance is not less for it.

    With the variance at its own rate alone the mean is .25 at 5 hits, and a bet of 1 wins fourfold.
    """
    found = residuals(np.random.default_rng(5), (rate, rate + tolerated), (250.0, size), 50_000, noise=1.0)
    for side in found.excess(0, tolerated):
        z = side[:, 1]
        assert z.mean() < 0.08
        for bet in BETS[:3]:
            assert np.exp(bet * z - bet**2 / 2).mean() < 1.02


def test_a_gap_beyond_what_is_tolerated_is_seen_on_its_side() -> None:
    """Six points more, four of them beyond, are 1.7 standard deviations of a group of 700; below it is less."""
    found = residuals(np.random.default_rng(4), (0.3, 0.36), (12_000.0, 700.0), 20_000)
    above, below = (side[:, 1].mean() for side in found.excess(0, 0.02))
    assert 1.5 < above < 1.9
    assert below < -above


def test_it_is_there_for_a_group_that_is_suppressed() -> None:
    """By the estimators that are watched, for all groups but the reference, if tolerated gaps are given."""
    table = np.array([[700.0, 10.0], [300.0, -4.0]])
    given = {"cells": CELLS, "reference": "white", "noise_variance": NoiseVariance(200.0), "groups": ("white", "other")}
    white, other = disparities(table, tolerated={"recommendation_rate": 0.02}, **given).results  # type: ignore[arg-type]
    assert (white.excess, other.value) == (None, None)
    assert other.excess is not None
    assert -2 < other.excess.above < other.excess.below < 2
    assert all(each.excess is None for each in disparities(table, **given).results)  # type: ignore[arg-type]


def test_no_noise_and_no_hits_is_no_excess() -> None:
    """Nothing is divided by 0, also where the reference has no rows."""
    nothing = np.zeros(2)
    for rows in ([100.0, 5.0], [0.0, 5.0]):
        variance = Variance(np.array(rows), nothing, nothing, nothing)
        found = Residuals(nothing, np.array(rows), nothing, variance, None, 1.0)
        for side in found.excess(0, 0.0):
            assert side.tolist() == [0.0, 0.0]


def test_several_statistics_at_once_are_the_same_to_the_last_bit() -> None:
    """Each with its own tolerated gap, with a covariance and without: a record's numbers are repeated exactly."""
    rng = np.random.default_rng(8)
    for with_covariance in (False, True):
        each = []
        for _ in range(3):
            hits, total, noise = rng.normal(50, 40, 4), rng.normal(300, 200, 4), np.full(4, 200.0)
            variance = Variance(np.maximum(total, 0.0), noise, noise, 2 * noise)
            covariance = rng.normal(0, 50, (4, 4)) if with_covariance else None
            each.append(Residuals(hits, total, 2 * noise, variance, covariance, 2.0))
        tolerated = [0.05, 0.02, 0.0]
        at_once = Residuals.stacked(each).excess(1, np.array(tolerated)[:, np.newaxis])
        for place, (alone, gap) in enumerate(zip(each, tolerated, strict=True)):
            for side, found in zip(alone.excess(1, gap), at_once, strict=True):
                np.testing.assert_array_equal(found[place], side)
