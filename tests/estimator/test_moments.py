"""Moments: exact in fixed point, independent of batches, isometric, and undone as they were made."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from estimator.moments import Moments, implausible_moments, moments_of, moments_size
from estimator.rounding import to_fixed_point

SCALE = 1 << 20


def drawn(seed: int, rows: int, groups: int) -> NDArray[np.uint64]:
    """Rows of fixed-point probabilities, some of them certain."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(groups, 0.3), rows)
    p[::7] = np.eye(groups)[rng.integers(0, groups, p[::7].shape[0])]
    return to_fixed_point(p, SCALE)


def missed(seed: int, values: NDArray[np.uint64], said: NDArray[np.bool_]) -> NDArray[np.int64]:
    """R - p of the rows whose member said a group."""
    groups = values.shape[1]
    mass = SCALE * np.eye(groups, dtype=np.int64)[np.random.default_rng(seed).integers(0, groups, int(said.sum()))]
    return mass - values[said].astype(np.int64)


def by_hand(values: NDArray[np.uint64], residuals: NDArray[np.int64]) -> list[int]:
    """The same numbers, a row and an entry at a time."""
    groups = values.shape[1]
    vector = [0] * moments_size(groups)
    pairs = [(r, s) for r in range(groups) for s in range(r, groups)]
    for row in values.tolist():
        for place, (r, s) in enumerate(pairs):
            vector[place] += round(row[r] * row[s] / SCALE * (1 if r == s else math.sqrt(2)))
        vector[len(pairs)] += SCALE
    for row in residuals.tolist():
        vector[len(pairs) + 1] += SCALE
        for r, residual in enumerate(row):
            vector[len(pairs) + 2 + r] += round(residual**2 / SCALE / 2)
    return vector


@given(seed=st.integers(0, 1000), rows=st.integers(0, 40), groups=st.integers(2, 7))
def test_moments_are_those_of_a_plain_loop(seed: int, rows: int, groups: int) -> None:
    """Each row's vector is rounded by itself and added; so how rows lie in batches makes no difference."""
    values = drawn(seed, rows, groups)
    said = np.random.default_rng(seed).random(rows) < 0.3
    residuals = missed(seed, values, said)
    vector = moments_of(values, residuals, SCALE)
    assert vector.dtype == np.uint64
    assert vector.tolist() == by_hand(values, residuals)
    cut, early = rows // 3, int(said[: rows // 3].sum())
    parts = moments_of(values[:cut], residuals[:early], SCALE) + moments_of(values[cut:], residuals[early:], SCALE)
    assert (parts == vector).all()


@given(seed=st.integers(0, 1000), groups=st.integers(2, 16))
def test_the_embedding_is_undone(seed: int, groups: int) -> None:
    """From the vector come M, the counts and the squares, to half a unit a row: those of the rows as real numbers."""
    values, said = drawn(seed, 50, groups), np.arange(50) < 20
    residuals = missed(seed, values, said)
    moments = Moments.from_vector(moments_of(values, residuals, SCALE).astype(float) / SCALE)
    p = values.astype(float) / SCALE
    self_id = np.zeros_like(p)
    self_id[said] = residuals / SCALE + p[said]
    exact = Moments.of(p, self_id, said)
    assert np.abs(moments.products - exact.products).max() <= 50 * 0.5 / SCALE + 1e-9
    assert np.abs(moments.residual_squares - exact.residual_squares).max() <= 2 * 50 * 0.5 / SCALE + 1e-9
    assert (moments.rows, moments.self_id_rows, moments.self_id_share) == (50, 20, 0.4)
    assert (exact.rows, exact.self_id_rows) == (50, 20)


def test_a_row_is_no_longer_than_its_sensitivity_says() -> None:
    """|embedded p p'| = |p|^2, and the squares' part is at most 1 / sqrt 2 long: what the sensitivities rest on."""
    values = drawn(1, 200, 6)
    residuals = missed(1, values, np.ones(200, bool))
    for row, residual in zip(values, residuals, strict=True):
        vector = moments_of(row[None], residual[None], SCALE).astype(float)
        length = np.linalg.norm(vector[:21])
        assert abs(length - float((row.astype(float) ** 2).sum()) / SCALE) <= 0.5 * math.sqrt(21)
        assert np.linalg.norm(vector[-6:]) <= SCALE / math.sqrt(2) + 0.5 * math.sqrt(6)


def test_the_largest_batch_is_exact() -> None:
    """4,096 certain rows of one group: the sum is 4,096 rows to the unit."""
    values = np.zeros((4096, 6), np.uint64)
    values[:, 2] = SCALE
    residuals = np.zeros((4096, 6), np.int64)
    residuals[:, 0], residuals[:, 2] = SCALE, -SCALE
    moments = Moments.from_vector(moments_of(values, residuals, SCALE).astype(float) / SCALE)
    assert moments.residual_squares.tolist() == [4096, 0, 4096, 0, 0, 0]
    assert moments.products[2, 2] == moments.rows == moments.self_id_rows == 4096
    assert moments.products.sum() == 4096


@pytest.mark.parametrize("shape", [(0,), (2,), (3,), (21,), (23,), (2, 16)])
def test_other_lengths_are_refused(shape: tuple[int, ...]) -> None:
    """A vector that is no k (k + 1) / 2 + 2 + k numbers raises."""
    with pytest.raises(ValueError, match="moments"):
        Moments.from_vector(np.zeros(shape))


def test_what_cannot_come_about_honestly_is_named() -> None:
    """Rows, Self-ID rows or a diagonal entry below -8 standard deviations, or no number, make a window void."""
    good, none = np.full((3, 3), 5.0), np.zeros(3)
    assert implausible_moments(Moments(good, -70.0, -70.0, none - 150), 10.0) is None
    assert implausible_moments(Moments(good - 200 * (1 - np.eye(3)), 9.0, 0.0, none), 10.0) is None  # off the diagonal
    for bad in (
        Moments(good, -81.0, 0.0, none),
        Moments(good, 9.0, -81.0, none),
        Moments(good - 90 * np.eye(3), 9.0, 0.0, none),
        Moments(good, 9.0, 0.0, none - 162),
    ):
        assert implausible_moments(bad, 10.0) == "implausible_moments"
    assert implausible_moments(Moments(good, math.nan, 0.0, none), 10.0) == "not_finite"
    assert implausible_moments(Moments(good * math.inf, 9.0, 0.0, none), 10.0) == "not_finite"


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
