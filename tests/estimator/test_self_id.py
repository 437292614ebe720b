"""Self-ID as masks, and the unit mass of a mask."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from estimator.self_id import mask_of, masses_of

SCALE = 1 << 20
NAMES = ("red", "green", "blue")


def test_masks_name_groups() -> None:
    """Order and repetition of names do not matter, an unknown name makes the whole unreadable, none is 0."""
    assert mask_of(["red"], NAMES) == 1
    assert mask_of(["blue", "red", "blue"], NAMES) == 5
    assert mask_of([], NAMES) == 0
    assert mask_of(["red", "Green"], NAMES) is None


@given(groups=st.integers(2, 16), data=st.data())
def test_a_mask_is_one_unit_in_equal_parts(groups: int, data: st.DataObject) -> None:
    """The mass sums to the scale exactly, lies only on ticked groups, and is equal to within a unit."""
    masks = data.draw(st.lists(st.integers(1, (1 << groups) - 1), min_size=1, max_size=5))
    masses = masses_of(np.array(masks, np.uint16), groups, SCALE)
    assert masses.dtype == np.uint64
    for mask, mass in zip(masks, masses.tolist(), strict=True):
        ticked = [mass[g] for g in range(groups) if mask >> g & 1]
        assert sum(mass) == sum(ticked) == SCALE
        assert max(ticked) - min(ticked) <= 1


def test_no_member_is_no_row() -> None:
    """An empty batch has masses of shape (0, k)."""
    assert masses_of(np.zeros(0, np.uint16), 6, SCALE).shape == (0, 6)
