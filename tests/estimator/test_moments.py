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


def by_hand(values: NDArray[np.uint64], self_id: NDArray[np.bool_]) -> list[int]:
    """The same numbers, a row and an entry at a time."""
    groups = values.shape[1]
    vector = [0] * moments_size(groups)
    for row, said in zip(values.tolist(), self_id.tolist(), strict=True):
        pairs = [(r, s) for r in range(groups) for s in range(r, groups)]
        for place, (r, s) in enumerate(pairs):
            vector[place] += round(row[r] * row[s] / SCALE * (1 if r == s else math.sqrt(2)))
        vector[-2] += SCALE
        vector[-1] += SCALE * said
    return vector


@given(seed=st.integers(0, 1000), rows=st.integers(0, 40), groups=st.integers(2, 7))
def test_moments_are_those_of_a_plain_loop(seed: int, rows: int, groups: int) -> None:
    """Each row's vector is rounded by itself and added; so how rows lie in batches makes no difference."""
    values = drawn(seed, rows, groups)
    self_id = np.random.default_rng(seed).random(rows) < 0.3
    vector = moments_of(values, self_id, SCALE)
    assert vector.dtype == np.uint64
    assert vector.tolist() == by_hand(values, self_id)
    cut = rows // 3
    parts = moments_of(values[:cut], self_id[:cut], SCALE) + moments_of(values[cut:], self_id[cut:], SCALE)
    assert (parts == vector).all()


@given(seed=st.integers(0, 1000), groups=st.integers(2, 16))
def test_the_embedding_is_undone(seed: int, groups: int) -> None:
    """From the vector come M, the rows and the Self-ID rows, to half a unit a row."""
    values = drawn(seed, 50, groups)
    self_id = np.arange(50) < 20
    moments = Moments.from_vector(moments_of(values, self_id, SCALE).astype(float) / SCALE)
    p = values.astype(float) / SCALE
    assert np.abs(moments.products - p.T @ p).max() <= 50 * 0.5 / SCALE + 1e-9
    assert (moments.rows, moments.self_id_rows, moments.self_id_share) == (50, 20, 0.4)


def test_a_row_is_as_long_as_its_matrix() -> None:
    """|embedded p p'| = |p|^2, to the rounding: what the sensitivities rest on."""
    values = drawn(1, 20, 6)
    for row in values:
        length = np.linalg.norm(moments_of(row[None], np.zeros(1, bool), SCALE)[:-2].astype(float))
        assert abs(length - float((row.astype(float) ** 2).sum()) / SCALE) <= 0.5 * math.sqrt(21)


def test_the_largest_batch_is_exact() -> None:
    """4,096 certain rows of one group: the sum is 4,096 rows to the unit."""
    values = np.zeros((4096, 6), np.uint64)
    values[:, 2] = SCALE
    moments = Moments.from_vector(moments_of(values, np.ones(4096, bool), SCALE).astype(float) / SCALE)
    assert moments.products[2, 2] == moments.rows == moments.self_id_rows == 4096
    assert moments.products.sum() == 4096


@pytest.mark.parametrize("shape", [(0,), (2,), (4,), (22,), (24,), (2, 12)])
def test_other_lengths_are_refused(shape: tuple[int, ...]) -> None:
    """A vector that is no k (k + 1) / 2 + 2 numbers raises."""
    with pytest.raises(ValueError, match="moments"):
        Moments.from_vector(np.zeros(shape))


def test_what_cannot_come_about_honestly_is_named() -> None:
    """Rows, Self-ID rows or a diagonal entry below -8 standard deviations, or no number, make a window void."""
    good = np.full((3, 3), 5.0)
    assert implausible_moments(Moments(good, -70.0, -70.0), 10.0) is None
    assert implausible_moments(Moments(good - 200 * (1 - np.eye(3)), 9.0, 0.0), 10.0) is None  # off the diagonal
    for bad in (Moments(good, -81.0, 0.0), Moments(good, 9.0, -81.0), Moments(good - 90 * np.eye(3), 9.0, 0.0)):
        assert implausible_moments(bad, 10.0) == "implausible_moments"
    assert implausible_moments(Moments(good, math.nan, 0.0), 10.0) == "not_finite"
    assert implausible_moments(Moments(good * math.inf, 9.0, 0.0), 10.0) == "not_finite"
