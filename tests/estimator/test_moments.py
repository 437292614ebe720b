"""Moments: the embedding in one vector, its lengths, and that it can be undone."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator.moments import Moments, moments_of, moments_size

SCALE = 2**20


def fixed_point(rng: np.random.Generator, rows: int, groups: int) -> np.ndarray:
    """Probabilities in fixed-point units; each row sums to the scale exactly."""
    units = np.floor(rng.dirichlet(np.full(groups, 0.3), rows) * SCALE).astype(np.int64)
    units[:, 0] += SCALE - units.sum(axis=1)
    return units


@given(st.integers(0, 2**32 - 1), st.integers(2, 16), st.integers(0, 300), st.floats(0, 1))
def test_a_vector_says_what_the_rows_say(seed: int, groups: int, rows: int, share: float) -> None:
    """Made in fixed point, sent as a vector and undone, moments are those of the rows, within the stated rounding."""
    rng = np.random.default_rng(seed)
    units, said = fixed_point(rng, rows, groups), rng.random(rows) < share
    self_id = np.eye(groups, dtype=np.int64)[rng.integers(0, groups, rows)] * SCALE
    vector = moments_of(units.astype(np.uint64), (self_id - units)[said], SCALE)
    assert vector.shape == (moments_size(groups),)
    found = Moments.from_vector(vector.astype(np.float64) / SCALE)
    exact = Moments.of(units / SCALE, self_id / SCALE, said)
    half_a_unit = 0.51 / SCALE
    assert np.abs(found.products - exact.products).max() <= half_a_unit
    assert np.abs(found.residual_squares - exact.residual_squares).max() <= 2 * half_a_unit
    assert (found.rows, found.self_id_rows) == (exact.rows, exact.self_id_rows) == (rows, said.sum())
    assert (found.products == found.products.T).all()


@given(st.integers(0, 2**32 - 1), st.integers(2, 16))
def test_one_row_moves_the_vector_by_no_more_than_is_charged_for_it(seed: int, groups: int) -> None:
    """A row's part of M is as long as |p|^2 <= 1 and its part of the squares at most 1 / sqrt 2: the sensitivity."""
    rng = np.random.default_rng(seed)
    units = fixed_point(rng, 1, groups)
    said = np.eye(groups, dtype=np.int64)[rng.integers(0, groups, 1)] * SCALE
    vector = moments_of(units.astype(np.uint64), said - units, SCALE) / SCALE
    products, squares = vector[: -groups - 2], vector[-groups:]
    assert np.linalg.norm(products) == pytest.approx(((units / SCALE) ** 2).sum(), abs=1e-4)
    assert np.linalg.norm(products) <= 1 + 1e-4
    assert np.linalg.norm(squares) <= 1 / math.sqrt(2) + 1e-5


def test_the_longest_row_is_a_certain_and_wrong_one() -> None:
    """Both bounds are reached: nothing smaller could be charged."""
    vector = moments_of(np.array([[SCALE, 0]], np.uint64), np.array([[-SCALE, SCALE]], np.int64), SCALE) / SCALE
    assert np.linalg.norm(vector[:3]) == 1
    assert np.linalg.norm(vector[-2:]) == pytest.approx(1 / math.sqrt(2))


def test_noise_on_the_vector_is_the_noise_that_the_estimators_expect() -> None:
    """Variance v on every number is v on M's diagonal and the counts, v / 2 off the diagonal, 4 v on the squares."""
    rng = np.random.default_rng(1)
    drawn = [Moments.from_vector(rng.normal(0, 3.0, moments_size(3))) for _ in range(4000)]
    products = np.array([moments.products for moments in drawn]).var(axis=0)
    assert products / 9 == pytest.approx(np.where(np.eye(3, dtype=bool), 1.0, 0.5), rel=0.1)
    assert np.var([moments.rows for moments in drawn]) / 9 == pytest.approx(1, rel=0.1)
    assert np.var([moments.self_id_rows for moments in drawn]) / 9 == pytest.approx(1, rel=0.1)
    assert np.array([moments.residual_squares for moments in drawn]).var(axis=0) / 9 == pytest.approx(4, rel=0.1)


@pytest.mark.parametrize(("rows", "said", "share"), [(0, 5, 0), (-3, 5, 0), (10, -2, 0), (10, 12, 1), (10, 4, 0.4)])
def test_the_share_of_self_id_is_a_share(rows: float, said: float, share: float) -> None:
    """Whatever noise makes of the two counts, f lies between 0 and 1."""
    assert Moments(np.eye(2), rows, said, np.zeros(2)).self_id_share == share


@pytest.mark.parametrize("vector", [np.zeros(0), np.zeros(10), np.zeros((7, 1))])
def test_a_vector_of_an_impossible_length_is_refused(vector: np.ndarray) -> None:
    """No number of groups has it."""
    with pytest.raises(ValueError, match="for some number of groups"):
        Moments.from_vector(vector)
