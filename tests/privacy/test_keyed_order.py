"""The keyed order of a few places: whole ranks, and the quicker question whether a place is among the first."""

from __future__ import annotations

import numpy as np
import pytest

from privacy.keyed_order import is_among_first, rank_of

KEY = np.uint64(0x1234_5678_9ABC_DEF0)
RANKS = [[1, 5, 19, 11], [22, 10, 0, 1], [2, 14, 3, 8]]
"""Of places 0, 11 and 23 of 24, as the first version gave them."""


@pytest.mark.parametrize("members", [0, 1, 300, 3_000])
@pytest.mark.parametrize(("places", "most"), [(24, 1), (24, 2), (24, 12), (24, 23), (24, 24), (30, 7), (13, 5)])
def test_among_the_first_is_what_the_rank_says(members: int, places: int, most: int) -> None:
    """For one place and for a place each, few members and many, however soon a member is decided."""
    rng = np.random.default_rng(members + places)
    tag = rng.integers(0, 1 << 63, members).astype(np.uint64)
    for place in (places - 1, rng.integers(0, places, members)):
        expected = rank_of(place, tag, KEY, places) < most
        assert is_among_first(place, tag, KEY, places, most).tolist() == expected.tolist()


def test_each_place_has_one_rank() -> None:
    """The order of a member's places is one: ranks are 0 to 23, each once."""
    tag = np.full(24, 77, dtype=np.uint64)
    assert sorted(rank_of(np.arange(24), tag, KEY, 24).tolist()) == list(range(24))


def test_the_order_is_that_of_before() -> None:
    """Members' hours and days must not move with a version: they would count on more than they may."""
    tag = np.array([1, 2, 3, 1 << 63], dtype=np.uint64)
    assert [rank_of(place, tag, KEY, 24).tolist() for place in (0, 11, 23)] == RANKS
