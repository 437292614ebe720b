"""Fixed-point rounding keeps every row's sum."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from estimator import EstimatorError, to_fixed_point
from estimator.rounding import SCALE

ROWS = hnp.arrays(
    np.float64, st.tuples(st.integers(1, 20), st.just(6)), elements=st.floats(0, 1, allow_subnormal=True)
).filter(lambda weights: bool(np.all(weights.sum(axis=1) > 1e-6)))


@given(ROWS, st.sampled_from([1, 7, SCALE, 1 << 32]))
def test_rows_sum_to_the_scale_and_entries_stay_within_a_unit(weights: NDArray[np.float64], scale: int) -> None:
    """For any distribution and scale, no unit is lost or made, and no entry moves by more than one."""
    probabilities = weights / weights.sum(axis=1, keepdims=True)
    units = to_fixed_point(probabilities, scale)
    assert units.dtype == np.uint64
    assert np.all(units.sum(axis=1) == scale)
    assert np.all(np.abs(units.astype(np.float64) - probabilities * scale) <= 1 + 1e-5)


def test_certainty_and_equality() -> None:
    """Corners: a certain group gets the whole scale, six equal groups get it evenly, an empty batch stays empty."""
    assert to_fixed_point(np.eye(6)).tolist() == (np.eye(6) * SCALE).astype(int).tolist()
    assert set(to_fixed_point(np.full((1, 6), 1 / 6)).ravel().tolist()) <= {SCALE // 6, SCALE // 6 + 1}
    assert to_fixed_point(np.empty((0, 6))).shape == (0, 6)


@pytest.mark.parametrize(
    "row",
    [
        [0.5, 0.4, 0, 0, 0, 0],
        [0.5, 0.6, 0, 0, 0, 0],
        [1.5, -0.5, 0, 0, 0, 0],
        [float("nan"), 1, 0, 0, 0, 0],
        [1, 0, 0, 0, 0, float("nan")],
        [float("inf"), 0, 0, 0, 0, 0],
    ],
)
def test_what_is_no_distribution_is_refused(row: list[float]) -> None:
    """A row that would wrap around in the ring raises, and takes its batch with it, instead of being counted."""
    with pytest.raises(EstimatorError, match="sum to 1"):
        to_fixed_point(np.array([[1.0, 0, 0, 0, 0, 0], row]))


def test_does_not_change_its_argument() -> None:
    """The caller's array is left as it was."""
    probabilities = np.full((3, 6), 1 / 6)
    to_fixed_point(probabilities)
    assert np.all(probabilities == 1 / 6)
