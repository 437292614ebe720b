"""Privacy spend as data: what one release of one party costs whom, in words and numbers.

One event a release. Who adds events up, and says what the sum promises, is the `accountant`; it needs no more than what
is in them.

Unit: one member, one UTC day, over all measurements, levels and revisions. `attach` lets at most c rows of a member-day
and measurement count, so a member's day moves any one level's tables together by at most c rows, whatever the number of
windows: within a day nothing composes over windows.

Relations (DESIGN section 5). *Replace*: a member's secret (group probabilities, and Self-ID where it is used) is
replaced by any other; the recommender knows who took part, so this is what is budgeted. *Add or remove*: the rows of a
member's day count or do not, as before and after an opt-out; rows that do not count stay as zeros.

What one counted row adds to each channel, in fixed-point units of S = 2^20 a row. p is the row's vector of k
non-negative integers that sum to S, so |p| <= S and |p - q| <= sqrt 2 S, exactly.

- *table*: p, into one cell. Alone |p| <= S; replaced |p - q| <= sqrt 2 S.
- *rectifier*: R - p, into one cell, where the member said a group, else nothing. R is such a vector as well, so
  |R - p| <= sqrt 2 S; replaced by another such difference 2 sqrt 2 S (by nothing, sqrt 2 S).
- *moments*: the k (k + 1) / 2 entries of p p' / S in an embedding that keeps lengths, then S for the row, then, if its
  member said a group, S and the k entries of (R - p)^2 / 2 S (constantly 0 where the measurement uses no Self-ID).
  |p p'| / S = |p|^2 / S <= S, and |p p' - q q'|^2 = |p|^4 + |q|^4 - 2 (p q)^2 <= 2 S^4. With d = R - p,
  sum d^4 <= max d^2 sum d^2 <= 2 S^4, so the squares' part s has |s| <= S / sqrt 2; no entry of it is negative, so
  |s - s'|^2 <= S^2. Alone: sqrt 2 S without Self-ID, and sqrt(1 + 1 + 1 + 1/2) S with it. Replaced, where the row
  itself stays: sqrt 2 S without; with it sqrt(2 + 1) S where both said a group, sqrt(2 + 1 + 1/2) S where one did.
  Entries of M and the squares are rounded to whole units, row by row: each of both vectors is off by at most half a
  unit an entry, together the root of so many entries, in units. (Float64 adds 1e-9 of a unit, for which one entry more
  is counted.)

All c rows may fall into one cell, so c of them move a channel by c times as much.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple

UNITS_PER_ROW = 1 << 20
"""Fixed-point units of one row (DESIGN section 3)."""

Relation = Literal["replace", "add_remove"]
RELATIONS: tuple[Relation, ...] = ("replace", "add_remove")
Channel = Literal["table", "rectifier", "moments"]


@dataclass(frozen=True)
class RowSensitivity:
    """How far one counted row moves one channel, in L2.

    Attributes:
        rows: by relation, in rows.
        rounding_entries: entries of the channel that are rounded to whole units after the fact; each may add a unit.
    """

    rows: Mapping[Relation, float]
    rounding_entries: int = 0

    def units(self, relation: Relation, cap: int) -> float:
        """L2 sensitivity of a member-day with at most ``cap`` rows: whole fixed-point units, rounded up."""
        rounding = math.sqrt(self.rounding_entries + 1) if self.rounding_entries else 0.0
        return float(math.ceil(cap * (self.rows[relation] * UNITS_PER_ROW + rounding)))


def _by_relation(replace: float, add_remove: float) -> Mapping[Relation, float]:
    return MappingProxyType({"replace": replace, "add_remove": add_remove})


def row_sensitivity(channel: Channel, groups: int, *, self_id: bool) -> RowSensitivity:
    """The sensitivity of one row of a channel; see the module's text.

    Args:
        groups: k.
        self_id: whether the measurement uses Self-ID, that is, has the channel "rectifier".
    """
    if channel == "table":
        return RowSensitivity(_by_relation(math.sqrt(2), 1.0))
    if channel == "rectifier":
        return RowSensitivity(_by_relation(2 * math.sqrt(2), math.sqrt(2)))
    length = math.sqrt(3.5) if self_id else math.sqrt(2)
    return RowSensitivity(_by_relation(length, length), rounding_entries=groups * (groups + 1) // 2 + groups)


class CountingDays(NamedTuple):
    """On how many days a member can count (DESIGN section 5, rotation).

    Attributes:
        in_30: at most so many of any 30 consecutive UTC days. in_year: of any 365.
    """

    in_30: int = 30
    in_year: int = 365


@dataclass(frozen=True)
class ChannelSpend:
    """What one channel of a release costs a member all of whose counted rows are in it.

    Attributes:
        mechanism: always the discrete Gaussian.
        l2_units: by relation, how far a member-day moves the channel of one level, all windows of the day together:
            L2, fixed-point units.
        scale_units: the noise's scale (its standard deviation but for discretisation), fixed-point units.
        rho: by relation, zCDP of that distance at that scale, by OpenDP's own map.
    """

    channel: Channel
    mechanism: Literal["discrete_gaussian"]
    l2_units: Mapping[Relation, float]
    scale_units: float
    rho: Mapping[Relation, float]


@dataclass(frozen=True)
class ReleaseSpend:
    """One event: one party released one window of one level.

    Attributes:
        day: UTC day of the window, days since 1970-01-01; a level's windows divide the day.
        level: its name. start_ms, end_ms: the window, epoch milliseconds.
        counting: on how many days a member can count under this revision.
        channels: what was released, each with noise of its own.
    """

    day: int
    measurement: str
    revision: int
    level: str
    start_ms: int
    end_ms: int
    counting: CountingDays
    channels: tuple[ChannelSpend, ...]
