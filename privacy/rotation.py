"""Rotation: on which UTC days a member's rows may count. At most k of any 30 days in a row, at most Y of any 365.

A keyed order of the 30 residues of the UTC day number modulo 30, one for each member, gives the days: a member counts
on those whose residue is among the first k. Any 30 days in a row hold each residue once, hence exactly k such days,
wherever the 30 begin; no state is needed, and none can be lost.

A cap for a year thins this out over a period of 390 days, 13 cycles of 30: in each cycle only the first k_c of the same
order, where the k_c are an even split of Y over the 13 cycles (they differ by one at most; a second keyed order says
which cycles have the one more), and none is above k. So a member counts on at most Y of any 390 days in a row, hence of
any 365, and on at most k of any 30. Where n days in every cycle keep to Y as well (any 365 days are 12 cycles and 5
days more, so they hold at most 12 n + min(n, 5)), it is n in every cycle instead.

One order serves all measurements, so the sets are nested: where k and Y are both no greater, the days are among the
other's. A member who takes part in several measurements is measured on few days, not on different ones by each. Days
are even over members: each day is one of a member's with the same chance, whichever day it is.

The hash is no cryptographic promise (``privacy.keyed_order``); the bounds hold for any key that does not change.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from privacy.keyed_order import is_among_first, rank_of

CYCLE_DAYS = 30
"""The shorter window, and how many residues are ordered."""
YEAR_DAYS = 365
CYCLES = 13
"""Cycles in the period that the cap for a year is spread over: the fewest that cover 365 days."""


class Rotation:
    """The days of one measurement revision's terms.

    Args:
        days_in_30: k, 1 to 30.
        days_in_year: Y, 1 to 365.
        key: secret bytes, the same for all measurements and over restarts. Another key gives members other days within
            the same 30, so it must not change while a deployment lives.

    Raises:
        ValueError: a number is out of range.
    """

    def __init__(self, days_in_30: int, days_in_year: int, key: bytes) -> None:
        if not 1 <= days_in_30 <= CYCLE_DAYS:
            raise ValueError(f"expected 1 to {CYCLE_DAYS} days in {CYCLE_DAYS}, got {days_in_30}")
        if not 1 <= days_in_year <= YEAR_DAYS:
            raise ValueError(f"expected 1 to {YEAR_DAYS} days in a year, got {days_in_year}")
        self._days = days_in_30
        self._even, self._more = divmod(_days_in_period(days_in_year), CYCLES)
        digest = hashlib.sha256(b"evenstream/1/rotation\0" + key).digest()
        self._day_key = np.uint64(int.from_bytes(digest[:8], "little"))
        self._cycle_key = np.uint64(int.from_bytes(digest[8:16], "little"))

    @property
    def every_day(self) -> bool:
        """Whether these terms leave no day out."""
        return min(self._days, self._even) == CYCLE_DAYS

    def counts(self, tag: NDArray[np.uint64], day: int) -> NDArray[np.bool_]:
        """Which members count on a day.

        Args:
            tag: shape (n,), uint64: the members' keyed hashes.
            day: UTC day number, days since 1970-01-01; may be negative.

        Returns:
            Shape (n,), bool.
        """
        if self.every_day:
            return np.ones(tag.size, dtype=bool)
        if self._days <= self._even:
            return is_among_first(day % CYCLE_DAYS, tag, self._day_key, CYCLE_DAYS, self._days)
        rank = rank_of(day % CYCLE_DAYS, tag, self._day_key, CYCLE_DAYS)
        has_one_more = rank_of(day // CYCLE_DAYS % CYCLES, tag, self._cycle_key, CYCLES) < self._more
        return np.asarray(rank < self._even + has_one_more)


def _days_in_period(days_in_year: int) -> int:
    """How many of 13 cycles' days keep to a cap for 365: the most among those that rise with the cap."""
    in_every_cycle = max(
        (n for n in range(1, CYCLE_DAYS + 1) if 12 * n + min(n, YEAR_DAYS % CYCLE_DAYS) <= days_in_year), default=0
    )
    return max(days_in_year, CYCLES * in_every_cycle)


def fingerprint(key: bytes) -> bytes:
    """Sixteen bytes that tell whether a rotation key is the one of before, and nothing else about it."""
    return hashlib.sha256(b"evenstream/1/rotation-key\0" + key).digest()[:16]
