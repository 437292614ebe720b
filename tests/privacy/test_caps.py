"""The contribution cap against a plain loop, over batches, restarts and hostile repeats."""

from __future__ import annotations

from collections import Counter
from typing import Literal

import numpy as np
import pytest
from example_counts import examples
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from privacy import ContributionCap

Rule = Literal["first", "hours"]
RULES = st.sampled_from(["first", "hours"])
# Few members and hours, so that repeats within and across batches are the rule.
BATCH = st.lists(st.tuples(st.integers(-1, 5), st.sampled_from([0, 1, 2, 11, 12, 23])), max_size=40)


def tags_of(member: NDArray[np.int64]) -> NDArray[np.uint64]:
    """A tag for each member, as the store would give; zero for the unknown."""
    return np.where(member >= 0, (member + 1).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15), np.uint64(0))


def columns(batch: list[tuple[int, int]]) -> tuple[NDArray[np.int64], NDArray[np.uint64], NDArray[np.uint8]]:
    """Arrays of a batch of (member, hour)."""
    member = np.array([row[0] for row in batch], dtype=np.int64)
    return member, tags_of(member), np.array([row[1] for row in batch], dtype=np.uint8)


def chosen_hours(member: int, cap: int, key: bytes) -> set[int]:
    """The hours in which a fresh cap lets a lone row of a member count."""
    who = np.array([member], dtype=np.int64)
    return {
        hour
        for hour in range(24)
        if ContributionCap("hours", cap, key).select(who, tags_of(who), np.array([hour], np.uint8))[0]
    }


class Oracle:
    """The cap as one would write it without arrays: one row after the other."""

    def __init__(self, rule: Rule, cap: int, key: bytes) -> None:
        self.rule, self.cap = rule, cap
        self.hours = {member: chosen_hours(member, cap, key) for member in range(6)} if rule == "hours" else {}
        self.used: Counter[int] = Counter()
        self.taken: set[tuple[int, int]] = set()

    def row(self, member: int, hour: int) -> bool:
        """Whether this row counts."""
        if member < 0:
            return False
        if self.rule == "first":
            self.used[member] += 1
            return self.used[member] <= self.cap
        if hour not in self.hours[member] or (member, hour) in self.taken:
            return False
        self.taken.add((member, hour))
        return True


@given(rule=RULES, cap=st.sampled_from([1, 2, 3, 24]), batches=st.lists(BATCH, max_size=5))
@examples(150)
def test_the_cap_equals_a_plain_loop(rule: Rule, cap: int, batches: list[list[tuple[int, int]]]) -> None:
    """Row by row, over batches with repeated and unknown members, the arrays decide as the loop does."""
    oracle, tested = Oracle(rule, cap, b"key"), ContributionCap(rule, cap, b"key")
    for batch in batches:
        assert tested.select(*columns(batch)).tolist() == [oracle.row(*row) for row in batch]


@given(rule=RULES, cap=st.integers(1, 3), batches=st.lists(BATCH, min_size=1, max_size=6), crash=st.integers(0, 5))
@examples(100)
def test_a_restart_changes_nothing(rule: Rule, cap: int, batches: list[list[tuple[int, int]]], crash: int) -> None:
    """A cap restored from what was kept of the counted rows goes on exactly as the one that never stopped."""
    steady, current = ContributionCap(rule, cap, b"key"), ContributionCap(rule, cap, b"key")
    kept: list[tuple[NDArray[np.int64], NDArray[np.unsignedinteger]]] = []
    for number, batch in enumerate(batches):
        if number == crash:
            current = ContributionCap(rule, cap, b"key")
            for members, marks in reversed(kept):  # in whatever order the state comes back
                current.restore(members, marks)
        member, tag, hour = columns(batch)
        expected = steady.select(member, tag, hour)
        assert current.select(member, tag, hour).tolist() == expected.tolist()
        kept.append((member[expected], current.marks(hour[expected])))


@given(batches=st.lists(BATCH, max_size=5), cap=st.integers(1, 3))
@examples(50)
def test_a_lost_key_cannot_break_the_cap(batches: list[list[tuple[int, int]]], cap: int) -> None:
    """Sensitivity rests on a count: even if each batch met another key, a member counts at most c rows."""
    total: Counter[int] = Counter()
    kept: list[tuple[NDArray[np.int64], NDArray[np.unsignedinteger]]] = []
    for number, batch in enumerate(batches):
        tested = ContributionCap("hours", cap, bytes([number]))
        for members, marks in kept:
            tested.restore(members, marks)
        member, tag, hour = columns(batch)
        counted = tested.select(member, tag, hour)
        total.update(member[counted].tolist())
        kept.append((member[counted], tested.marks(hour[counted])))
    assert all(count <= cap for count in total.values())


@pytest.mark.parametrize("cap", [1, 2, 7, 24])
def test_each_member_has_exactly_c_hours(cap: int) -> None:
    """A member who is there all day counts c rows, in c different hours, and a second row in an hour never does."""
    member = np.arange(2000, dtype=np.int64)
    tested = ContributionCap("hours", cap, b"key")
    counts = np.zeros(member.size, dtype=int)
    for hour in range(24):
        for again in range(2):
            counted = tested.select(member, tags_of(member), np.full(member.size, hour, np.uint8))
            assert not (again and counted.any())
            counts += counted
    assert (counts == cap).all()


def test_hours_are_spread_evenly_and_differ_by_key() -> None:
    """Every hour of the day is measured alike (chi-square, 23 degrees, 1e-6), and afresh for each key."""
    member = np.arange(48_000, dtype=np.int64)
    by_key = []
    for key in (b"one day", b"the next"):
        chosen = np.array(
            [
                ContributionCap("hours", 2, key).select(member, tags_of(member), np.full(member.size, hour, np.uint8))
                for hour in range(24)
            ]
        )
        expected = 2 * member.size / 24
        assert ((chosen.sum(axis=1) - expected) ** 2 / expected).sum() < 71
        by_key.append(chosen)
    both = (by_key[0] & by_key[1]).sum() / by_key[0].sum()
    assert 0.06 < both < 0.11  # 2 of 24 by chance: keys are independent


def test_unknown_members_leave_no_trace() -> None:
    """Rows of index -1 never count, whatever their hour, and grow no state."""
    for rule in ("first", "hours"):
        tested = ContributionCap(rule, 24, b"key")  # type: ignore[arg-type]
        member = np.full(50, -1, dtype=np.int64)
        hour = np.arange(50).astype(np.uint8) % np.uint8(24)
        assert not tested.select(member, np.zeros(50, np.uint64), hour).any()
        assert tested.nbytes == 0


def test_empty_batches_are_welcome() -> None:
    """Nothing in, nothing out, nothing restored."""
    nothing = np.empty(0, np.int64), np.empty(0, np.uint64), np.empty(0, np.uint8)
    for rule in ("first", "hours"):
        tested = ContributionCap(rule, 1, b"key")  # type: ignore[arg-type]
        assert tested.select(*nothing).shape == (0,)
        tested.restore(nothing[0], nothing[2])


def test_many_restored_rows_never_wrap_to_zero() -> None:
    """256 restored entries of one member fill its count: they do not come round to an unused one."""
    tested = ContributionCap("first", 3, b"key")
    tested.restore(np.zeros(256, np.int64), np.ones(256, np.uint8))
    tested.restore(np.zeros(256, np.int64), np.ones(256, np.uint8))
    who = np.zeros(5, np.int64)
    assert not tested.select(who, tags_of(who), np.zeros(5, np.uint8)).any()


def test_state_is_at_most_five_bytes_a_member() -> None:
    """The day's state is small: a byte a member for `first`, four for `hours`, a quarter more while growing."""
    member = np.arange(100_000, dtype=np.int64)
    for rule, limit in (("first", 1.25), ("hours", 5.0)):
        tested = ContributionCap(rule, 2, b"key")  # type: ignore[arg-type]
        for part in np.array_split(member, 30):
            tested.restore(part, np.ones(part.size, tested.mark_type))
        assert tested.nbytes <= limit * member.size


def test_first_keeps_no_hours() -> None:
    """What is kept of a counted row tells its hour only where the rule needs it."""
    hour = np.array([3, 17], np.uint8)
    assert ContributionCap("first", 1, b"key").marks(hour).tolist() == [1, 1]
    assert ContributionCap("hours", 1, b"key").marks(hour).tolist() == [1 << 3, 1 << 17]


@given(rule=RULES, cap=st.integers(1, 3), batches=st.lists(BATCH, min_size=1, max_size=6))
@examples(100)
def test_combined_marks_are_worth_what_they_stand_for(
    rule: Rule, cap: int, batches: list[list[tuple[int, int]]]
) -> None:
    """A cap restored from one mark a member goes on as the one that counted row by row."""
    steady = ContributionCap(rule, cap, b"key")
    tags, marks = [], []
    for batch in batches[:-1]:
        member, tag, hour = columns(batch)
        counted = steady.select(member, tag, hour)
        tags.append(tag[counted])
        marks.append(steady.marks(hour[counted]))
    tag, mark = steady.combined(
        np.concatenate([np.empty(0, np.uint64), *tags]), np.concatenate([np.empty(0, steady.mark_type), *marks])
    )
    assert np.unique(tag).size == tag.size
    assert mark.dtype == steady.mark_type
    known = {int(tags_of(np.array([member]))[0]): member for member in range(6)}
    restored = ContributionCap(rule, cap, b"key")
    restored.restore(np.array([known[int(one)] for one in tag], np.int64), mark)
    assert restored.select(*columns(batches[-1])).tolist() == steady.select(*columns(batches[-1])).tolist()


def test_wrong_arguments_are_named() -> None:
    """What would quietly weaken the cap raises instead."""
    for cap in (0, 25):
        with pytest.raises(ValueError, match="1 to 24"):
            ContributionCap("first", cap, b"key")
    with pytest.raises(ValueError, match="first or hours"):
        ContributionCap("last", 1, b"key")  # type: ignore[arg-type]
    tested = ContributionCap("hours", 1, b"key")
    who = np.zeros(1, np.int64)
    with pytest.raises(ValueError, match="0 to 23, got 24"):
        tested.select(who, tags_of(who), np.array([24], np.uint8))
    with pytest.raises(ValueError, match="24 bits, got 0x1000000"):
        tested.restore(who, np.array([1 << 24], np.uint32))
    with pytest.raises(ValueError, match="hold the row back"):
        tested.restore(np.array([-1], np.int64), np.array([0], np.uint8))
