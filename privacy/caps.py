"""The contribution cap: at most c rows of one member-day and measurement count.

It is what bounds sensitivity, so it must be exact: over batches, over restarts, and when one batch holds several rows
of one member. Two rules. ``first``: the first c rows of the day. ``hours`` (the default): a keyed hash gives each
member c of the day's 24 hours, and one row counts in each, so that the end of the day is measured as well as its start.

The keyed hash (``privacy.keyed_order``) is not a cryptographic promise; the cap holds whatever it yields.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from privacy.keyed_order import is_among_first

_HOURS = 24
_PLACE_BITS = 16
_MOST_PLACES = 1 << _PLACE_BITS
_LEAST_TOO_LARGE = 1 << 47
_FULL = 255  # a count of rows stops here, and never rounds to empty


class ContributionCap:
    """The cap of one measurement and one UTC day, over the members of one shard.

    Args:
        rule: "first" or "hours".
        cap: c, 1 to 24.
        key: secret bytes, the same over restarts and different for each measurement and day: else a member would count
            in the same hours every day.

    Raises:
        ValueError: the cap is out of range, or the rule is neither.
    """

    def __init__(self, rule: Literal["first", "hours"], cap: int, key: bytes) -> None:
        if not 1 <= cap <= _HOURS:
            raise ValueError(f"expected a cap of 1 to {_HOURS} rows, got {cap}")
        if rule not in ("first", "hours"):
            raise ValueError(f"expected the rule first or hours, got {rule!r}")
        self._rule = rule
        self._cap = cap
        self._key = np.uint64(int.from_bytes(hashlib.sha256(b"evenstream/1/cap\0" + key).digest()[:8], "little"))
        # By member: for "first" how many rows counted, for "hours" a bit for each hour in which one has.
        self._used: NDArray[np.uint8] | NDArray[np.uint32] = (
            np.zeros(0, dtype=np.uint8) if rule == "first" else np.zeros(0, dtype=np.uint32)
        )

    def select(self, member: NDArray[np.int64], tag: NDArray[np.uint64], hour: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Decide which rows count, in array order, and remember it.

        Args:
            member: shape (n,), int64: dense index in the member store; -1 never counts and changes nothing.
            tag: shape (n,), uint64: the member's keyed hash.
            hour: shape (n,), uint8: hour of the UTC day, 0 to 23.

        Returns:
            Shape (n,), bool.

        Raises:
            ValueError: an hour is past 23.
        """
        counts = np.zeros(member.size, dtype=bool)
        rows = np.flatnonzero(member >= 0)
        if self._rule == "hours":
            _check_hours(hour)
            if self._cap < _HOURS:
                rows = rows[self._is_chosen(tag[rows], hour[rows])]
        if not rows.size:
            return counts
        self._grow(int(member.max()) + 1)
        if self._rule == "hours":
            rows = self._first_of_each_open_hour(rows, member, hour)
        who = member[rows]
        before: NDArray[np.int64] | int = 0
        if not _each_once(who):
            rows = np.sort(rows)
            rows = rows[_stable_order(member[rows])]
            who = member[rows]
            before = _rank_in_run(who)
        # For "hours" this only repeats what the c chosen hours already ensure, unless the key changed over a restart.
        # Sensitivity rests on it, so it rests on a count, not on a hash.
        within = self._count(who) + before < self._cap
        rows = rows[within]
        self._mark(who[within], self.marks(hour[rows]))
        counts[rows] = True
        return counts

    @property
    def mark_type(self) -> np.dtype[np.unsignedinteger]:
        """Type of a mark, little-endian: u4 (a bit an hour), for ``first`` u1 (a number of rows)."""
        return np.dtype("u1" if self._rule == "first" else "<u4")

    def marks(self, hour: NDArray[np.uint8]) -> NDArray[np.unsignedinteger]:
        """What to keep, beside its tag, of each row that counted: its hour's bit; for ``first`` a one.

        Zero is never a mark: it stands for nothing that counted.
        """
        return (np.ones_like(hour) if self._rule == "first" else _bit(hour)).astype(self.mark_type)

    def combined(
        self, tag: NDArray[np.uint64], mark: NDArray[np.unsignedinteger]
    ) -> tuple[NDArray[np.uint64], NDArray[np.unsignedinteger]]:
        """One mark a member out of several: the same to :meth:`restore`, in as few entries as there are members."""
        order = np.argsort(tag, kind="stable")
        ordered, mark = tag[order], mark[order]
        if not ordered.size:
            return ordered, mark
        starts = np.flatnonzero(_starts_run(ordered))
        if self._rule == "first":
            sums = np.add.reduceat(mark.astype(np.int64), starts)
            return ordered[starts], np.minimum(sums, _FULL).astype(self.mark_type)
        return ordered[starts], np.bitwise_or.reduceat(mark, starts).astype(self.mark_type)

    def restore(self, member: NDArray[np.int64], mark: NDArray[np.unsignedinteger]) -> None:
        """Count again rows that had counted before a restart.

        Args:
            member: shape (n,), int64: dense index in the member store.
            mark: shape (n,): what :meth:`marks` or :meth:`combined` gave for it.

        Raises:
            ValueError: a member is unknown (hold its rows back until the store knows it: forgetting them would let it
                count again), or a mark has bits beyond the day's hours.
        """
        if not member.size:
            return
        if int(member.min()) < 0:
            raise ValueError("a counted row's member is not in the member store; hold the row back until it is")
        if self._rule == "hours" and int(mark.max()) >> _HOURS:
            raise ValueError(f"expected a mark of {_HOURS} bits, got {int(mark.max()):#x}")
        self._grow(int(member.max()) + 1)
        self._mark(member, mark)

    @property
    def nbytes(self) -> int:
        """Bytes of state: at most 1.25 (``first``) or 5 (``hours``) for each member of the store."""
        return self._used.nbytes

    def _first_of_each_open_hour(
        self, rows: NDArray[np.intp], member: NDArray[np.int64], hour: NDArray[np.uint8]
    ) -> NDArray[np.intp]:
        """The first row of each member and hour in which none has counted yet, by member."""
        rows = rows[(self._used.take(member[rows], mode="clip") & _bit(hour[rows])) == 0]
        place = member[rows] * _HOURS + hour[rows]
        order = _stable_order(place)
        return rows[order[_starts_run(place[order])]]

    def _count(self, member: NDArray[np.int64]) -> NDArray[np.int64]:
        used = self._used[member]
        counts: NDArray[np.int64] = (used if self._rule == "first" else np.bitwise_count(used)).astype(np.int64)
        return counts

    def _mark(self, member: NDArray[np.int64], mark: NDArray[np.unsignedinteger]) -> None:
        if self._rule == "first":
            who, place = np.unique(member, return_inverse=True)
            times = np.zeros(who.size, dtype=np.int64)
            np.add.at(times, place, mark)
            self._used[who] = np.minimum(self._used[who].astype(np.int64) + times, _FULL)
        else:
            if _each_once(member):
                self._used[member] |= mark.astype(np.uint32)
            else:
                np.bitwise_or.at(self._used, member, mark.astype(np.uint32))

    def _grow(self, size: int) -> None:
        if size > self._used.size:
            grown = np.zeros(max(size, self._used.size * 5 // 4), dtype=self._used.dtype)
            grown[: self._used.size] = self._used
            self._used = grown

    def _is_chosen(self, tag: NDArray[np.uint64], hour: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Whether an hour is among the member's c: it is, if fewer than c hours hash lower."""
        return is_among_first(hour, tag, self._key, _HOURS, self._cap)


def _stable_order(values: NDArray[np.int64]) -> NDArray[np.intp]:
    """``np.argsort(values, kind="stable")`` of numbers from 0 on.

    Where they leave room, their places are sorted with them, in their low bits: numbers are sorted many times as fast
    as indices.
    """
    if values.size > _MOST_PLACES or (values.size and int(values.max()) >= _LEAST_TOO_LARGE):
        return np.argsort(values, kind="stable")
    ordered = np.sort((values << _PLACE_BITS) | np.arange(values.size))
    ordered &= _MOST_PLACES - 1
    return ordered


def _each_once(values: NDArray[np.int64]) -> bool:
    """Whether these are in order and no two are the same."""
    return bool((values[1:] > values[:-1]).all())


def _starts_run(ordered: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Whether an entry differs from the one before: [5, 5, 7] -> [True, False, True]."""
    starts = np.ones(ordered.size, dtype=bool)
    np.not_equal(ordered[1:], ordered[:-1], out=starts[1:])
    return starts


def _rank_in_run(ordered: NDArray[np.int64]) -> NDArray[np.int64]:
    """Place of each entry within its run of equal values: [5, 5, 7] -> [0, 1, 0]."""
    starts = np.flatnonzero(_starts_run(ordered))
    lengths = np.diff(np.concatenate((starts, [ordered.size])))
    return np.arange(ordered.size) - np.repeat(starts, lengths)


def _bit(hour: NDArray[np.uint8]) -> NDArray[np.uint32]:
    return np.left_shift(np.uint32(1), hour.astype(np.uint32))


def _check_hours(hour: NDArray[np.uint8]) -> None:
    if hour.size and int(hour.max()) >= _HOURS:
        raise ValueError(f"expected hours of the day, 0 to 23, got {int(hour.max())}")
