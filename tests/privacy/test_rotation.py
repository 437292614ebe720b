"""Rotation: at most k days of any 30 and Y of any 365, for every member, whatever the key."""

from __future__ import annotations

import numpy as np
import pytest
from example_counts import examples
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from privacy.rotation import Rotation, fingerprint

TAGS = st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=4).map(lambda tags: np.array(tags, np.uint64))
KEYS = st.binary(min_size=1, max_size=8)
FIRST_DAYS = st.integers(-5_000, 40_000)
DAYS = 3 * 390  # a rotation begins anew after 390 days: two such borders are in it


def calendar(rotation: Rotation, tags: NDArray[np.uint64], first: int, days: int = DAYS) -> NDArray[np.int64]:
    """Shape (days, members): 1 where a member counts on a day."""
    return np.array([rotation.counts(tags, first + day) for day in range(days)], dtype=np.int64)


def sliding(counts: NDArray[np.int64], days: int) -> NDArray[np.int64]:
    """Sums over every run of that many days."""
    sums = np.cumsum(np.vstack((np.zeros((1, counts.shape[1]), np.int64), counts)), axis=0)
    return sums[days:] - sums[:-days]


@given(tags=TAGS, key=KEYS, first=FIRST_DAYS, k=st.integers(1, 30), year=st.integers(1, 365))
@examples(30)  # 0.2 s each
def test_no_window_holds_more_days_than_its_cap(
    tags: NDArray[np.uint64], key: bytes, first: int, k: int, year: int
) -> None:
    """Over three years and more, any 30 days in a row hold at most k of a member's days and any 365 at most Y."""
    counts = calendar(Rotation(k, year, key), tags, first)
    assert sliding(counts, 30).max() <= k
    assert sliding(counts, 365).max() <= year
    # The caps are used, not only kept: a period of 13 cycles holds all the days that both leave.
    assert (sliding(counts, 390) >= min(year, 13 * k)).all()


@given(tags=TAGS, key=KEYS, first=FIRST_DAYS, k=st.integers(1, 30))
@examples(20)
def test_any_thirty_days_hold_exactly_k(tags: NDArray[np.uint64], key: bytes, first: int, k: int) -> None:
    """Without a cap for a year, wherever 30 days begin they hold k of a member's days, not fewer."""
    counts = calendar(Rotation(k, 365, key), tags, first, 400)
    assert (sliding(counts, 30) == k).all()
    # The year's number that follows from k by itself (``PrivacyTerms.days_in_year``) takes nothing away.
    assert (calendar(Rotation(k, 12 * k + min(k, 5), key), tags, first, 400) == counts).all()


@given(
    tags=TAGS,
    key=KEYS,
    first=FIRST_DAYS,
    k=st.tuples(st.integers(1, 30), st.integers(1, 30)).map(sorted),
    year=st.tuples(st.integers(1, 365), st.integers(1, 365)).map(sorted),
)
@examples(30)
def test_measurements_with_smaller_caps_use_a_part_of_the_same_days(
    tags: NDArray[np.uint64], key: bytes, first: int, k: list[int], year: list[int]
) -> None:
    """Sets are nested, so that a member of several measurements is not measured by each on other days."""
    fewer, more = (calendar(Rotation(k[n], year[n], key), tags, first, 390) for n in (0, 1))
    assert (fewer <= more).all()


@pytest.mark.parametrize(("k", "year"), [(10, 365), (8, 60), (30, 99)])
def test_days_are_even_over_members(k: int, year: int) -> None:
    """Each day is a member's with the same chance: the counts of 3,000 members stray no further than chance does."""
    tags = np.random.default_rng(5).integers(0, 2**63, 3_000).astype(np.uint64)
    counts = calendar(Rotation(k, year, b"key"), tags, 20_000, 390)
    days = min(year, 13 * k)
    chance = days / 390
    strays = (counts.sum(axis=1) - tags.size * chance) ** 2 / (tags.size * chance * (1 - chance))
    assert (counts.sum(axis=0) == days).all()
    assert 0.6 < strays.mean() < 1.5  # the mean of about 390 squares of standard normals
    assert strays.max() < 20  # 4.5 standard deviations


def test_members_and_keys_have_days_of_their_own() -> None:
    """Two members, or two keys, share no more days than chance gives them."""
    tags = np.random.default_rng(6).integers(0, 2**63, 1_000).astype(np.uint64)
    one, other = (calendar(Rotation(10, 365, key), tags, 0, 30) for key in (b"one", b"other"))
    assert abs((one * other).sum() / one.sum() - 1 / 3) < 0.02
    assert abs((one[:, :-1] * one[:, 1:]).sum() / one.sum() - 1 / 3) < 0.02
    assert fingerprint(b"one") != fingerprint(b"other")


def test_no_rotation_leaves_no_day_out() -> None:
    """30 days in 30 and 365 in a year is what a spec without rotation says: everyone counts, on any day."""
    rotation = Rotation(30, 365, b"key")
    assert rotation.every_day
    assert not Rotation(30, 364, b"key").every_day
    assert all(rotation.counts(np.arange(5, dtype=np.uint64), day).all() for day in range(-400, 400))


@pytest.mark.parametrize(("k", "year"), [(0, 365), (31, 365), (1, 0), (1, 366)])
def test_caps_out_of_range_are_refused(k: int, year: int) -> None:
    """A cap that is none is an error, never a guess."""
    with pytest.raises(ValueError, match="expected 1 to"):
        Rotation(k, year, b"key")
