"""The contribution cap: at most c rows of one member-day and measurement count.

It is what bounds sensitivity, so it must be exact: over batches, over restarts, and when one batch holds several rows
of one member. Two rules. ``first``: the first c rows of the day. ``hours`` (the default): a keyed hash gives each
member c of the day's 24 hours, and one row counts in each, so that the end of the day is measured as well as its start.

The keyed hash is splitmix64's finaliser over the member's tag, the key and the hour: it spreads hours evenly and is
predictable only with the key. It is not a cryptographic promise; the cap holds whatever it yields.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np
from numpy.typing import NDArray

_HOURS = 24


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


class ContributionCap:
    """The cap of one measurement and one UTC day.

    Args:
        rule: "first" or "hours".
        cap: c, 1 to 24.
        key: secret bytes; the same over restarts.
    """

    def __init__(self, rule: Literal["first", "hours"], cap: int, key: bytes) -> None:
        if not 1 <= cap <= _HOURS:
            raise ValueError(f"a cap is 1 to {_HOURS} rows, got {cap}")
        self._rule = rule
        self._cap = cap
        self._key = np.uint64(int.from_bytes(hashlib.sha256(b"evenstream/1/cap\0" + key).digest()[:8], "little"))
        # For "first" the number of rows counted, for "hours" a bit for each hour in which a row has counted.
        self._used = np.zeros(0, dtype=np.uint32)

    def select(self, member: NDArray[np.int64], tag: NDArray[np.uint64], hour: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Decide which rows count, in array order, and remember it.

        Args:
            member: shape (n,), int64: dense index in the member store; -1 never counts and changes nothing.
            tag: shape (n,), uint64: the member's keyed hash.
            hour: shape (n,), uint8: hour of the UTC day.

        Returns:
            Shape (n,), bool.
        """
        counts = np.zeros(member.size, dtype=bool)
        known = np.flatnonzero(member >= 0)
        if self._rule == "hours":
            known = known[self._is_chosen(tag[known], hour[known])]
        if not known.size:
            return counts
        self._grow(int(member[known].max()) + 1)
        if self._rule == "first":
            slot = member[known]
            order = np.argsort(slot, kind="stable")
            rank = _rank_in_run(slot[order])
            chosen = known[order[self._used[slot[order]] + rank < self._cap]]
            np.add.at(self._used, member[chosen], np.uint32(1))
        else:
            slot = member[known] * _HOURS + hour[known]
            _, first = np.unique(slot, return_index=True)  # the first row of each member and hour
            candidates = known[first]
            bit = np.left_shift(np.uint32(1), hour[candidates].astype(np.uint32))
            chosen = candidates[(self._used[member[candidates]] & bit) == 0]
            np.bitwise_or.at(self._used, member[chosen], np.left_shift(np.uint32(1), hour[chosen].astype(np.uint32)))
        counts[chosen] = True
        return counts

    def restore(self, member: NDArray[np.int64], hour: NDArray[np.uint8]) -> None:
        """Count again rows that had counted before a restart: one entry a row, as :meth:`select` chose them."""
        if not member.size:
            return
        self._grow(int(member.max()) + 1)
        if self._rule == "first":
            np.add.at(self._used, member, np.uint32(1))
        else:
            np.bitwise_or.at(self._used, member, np.left_shift(np.uint32(1), hour.astype(np.uint32)))

    def _grow(self, size: int) -> None:
        if size > self._used.size:
            grown = np.zeros(max(size, self._used.size * 5 // 4), dtype=np.uint32)
            grown[: self._used.size] = self._used
            self._used = grown

    def _is_chosen(self, tag: NDArray[np.uint64], hour: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Whether an hour is among the member's c: it is, if fewer than c hours hash lower."""
        with np.errstate(over="ignore"):
            base = _mix(tag ^ self._key)[:, None]
            scores = _mix(base + np.arange(_HOURS, dtype=np.uint64)[None, :] * np.uint64(0xD1342543DE82EF95))
        own = np.take_along_axis(scores, hour[:, None].astype(np.intp), axis=1)
        lower = (scores < own).sum(axis=1)
        return np.asarray(lower < self._cap, dtype=bool)


def _rank_in_run(ordered: NDArray[np.int64]) -> NDArray[np.int64]:
    """Place of each entry within its run of equal values: [5, 5, 7] -> [0, 1, 0]."""
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    lengths = np.diff(np.concatenate((starts, [ordered.size])))
    return np.arange(ordered.size) - np.repeat(starts, lengths)
