"""The order of rows in batches: places are random, and who comes first among a member's own rows is not."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.roles.batching import _random_places, shuffled_within


@given(st.lists(st.integers(0, 6), max_size=60))
def test_rows_of_one_member_keep_their_order(members: list[int]) -> None:
    """It is a permutation, and within it each member's rows stand as they were read."""
    hashes = np.array(members, dtype=np.uint32)
    order = _random_places(hashes)
    assert sorted(order.tolist()) == list(range(len(members)))
    for member in set(members):
        rows = order[hashes[order] == member]
        assert (np.diff(rows) > 0).all()


@pytest.mark.parametrize("members", [(0, 1, 2, 3), (5, 5, 7, 7), (1, 1, 1, 2)])
def test_places_are_uniform(members: tuple[int, ...]) -> None:
    """Every arrangement of the members over the places comes equally often."""
    hashes, draws = np.array(members, dtype=np.uint32), 6_000
    seen = Counter(tuple(hashes[_random_places(hashes)].tolist()) for _ in range(draws))
    arrangements = {4: 24, 2: 6}[len(set(members))] if members != (1, 1, 1, 2) else 4
    assert len(seen) == arrangements
    expected = draws / arrangements
    assert max(abs(count - expected) for count in seen.values()) < 5 * expected**0.5


@given(st.lists(st.integers(1, 8), max_size=12))
def test_rows_of_one_record_stay_together(sizes: list[int]) -> None:
    """Only within a record does the order change."""
    record = np.repeat(np.arange(len(sizes)) * 3, sizes).astype(np.intp)
    order = shuffled_within(record)
    assert sorted(order.tolist()) == list(range(record.size))
    assert np.array_equal(record[order], record)


def test_a_lists_order_is_lost() -> None:
    """Each row of a record of four is first equally often: a rank is not to be read off."""
    first = Counter(int(shuffled_within(np.zeros(4, dtype=np.intp))[0]) for _ in range(4_000))
    assert set(first) == {0, 1, 2, 3}
    assert max(abs(count - 1_000) for count in first.values()) < 5 * 1_000**0.5
