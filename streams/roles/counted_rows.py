"""Which rows count, by measurement and UTC day: opt-out, rotation and the contribution cap, over batches and restarts.

Sensitivity rests on this, so nothing is forgotten while a row of its day can still come: a day is let go only when
every stream of the source has been punctuated past its end plus the lateness.

What has counted is kept in chunks (``streams.roles.counted_chunks``): the member store's keyed tags, and the caps'
marks. No member id is in it. Where a day's chunks are not those that the last checkpoint left, or the whole state was
lost or put back (``streams.roles.sent_shares``), it is not known who has counted: all rows of that partition count as
zero up to the end of that day, and a day that has not been touched counts again.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from estimator.members import MemberStore
from privacy.caps import ContributionCap
from privacy.rotation import Rotation
from streams.control import Approved, ControlPlane
from streams.roles.counted_chunks import CountedChunks, DayIndex, Entries, FoundChunks
from streams.roles.member_directory import MemberDirectory
from streams.state import StateCodec
from streams.watch.health import RoleHealth

log = logging.getLogger(__name__)

DAY_MS = 86_400_000
_HOUR_MS = 3_600_000
# Chunks go in pieces, so that no transaction grows without bound.
_TOMBSTONES_A_CHECKPOINT = 2_000


@dataclass
class _Day:
    """One measurement's day.

    Attributes:
        cap: counts rows, for the members of all partitions of this worker.
        rotation: whose day it is.
        chunks: by j, what is in state of it.
        orphans: marks of members that the store does not know (yet): applied when they appear.
    """

    cap: ContributionCap
    rotation: Rotation
    chunks: dict[int, CountedChunks] = field(default_factory=dict)
    orphans: list[Entries] = field(default_factory=list)


class BatchMembers(NamedTuple):
    """Whose rows a batch holds.

    Attributes:
        start_ms: start of the batch's base window, epoch milliseconds. j: its partition.
        members: ids, shape (n,), dtype S.
    """

    start_ms: int
    j: int
    members: NDArray[np.bytes_]


class CountedRows:
    """See the module's text.

    Args:
        owned: the partitions j of this worker; state of others is left to theirs.
        cap_key: secret bytes, the same over restarts, from which each measurement's and day's cap key is made.
        rotation_key: secret bytes, the same over restarts and for all measurements.
        health: shows until when rows count as zero.
    """

    def __init__(
        self,
        control: ControlPlane,
        directory: MemberDirectory,
        owned: Collection[int],
        cap_key: bytes,
        rotation_key: bytes,
        health: RoleHealth,
    ) -> None:
        self._control = control
        self._directory = directory
        self._directory_version = directory.version
        self._owned = frozenset(owned)
        self._cap_key = cap_key
        self._rotation_key = rotation_key
        self._health = health
        self._days: dict[tuple[bytes, int], _Day] = {}
        self._numbers: dict[int, int] = {}
        self._tombstones: deque[bytes] = deque()
        self._found: dict[tuple[bytes, int, int], FoundChunks] = {}
        # Days of revisions that this worker does not know (any more): kept in the index, and their rows do not count.
        self._dormant: dict[tuple[bytes, int, int], tuple[DayIndex, FoundChunks]] = {}
        self._zero_through: dict[int, int] = {}

    def _day(self, approved: Approved, day: int) -> _Day:
        known = self._days.get((approved.spec, day))
        if known is None:
            privacy = approved.measurement.privacy
            key = self._cap_key + approved.spec + day.to_bytes(8, "little", signed=True)
            known = _Day(
                ContributionCap(privacy.cap_rule, privacy.contribution_cap, key),
                Rotation(privacy.days_in_30, privacy.days_in_year, self._rotation_key),
            )
            self._days[approved.spec, day] = known
        return known

    def _chunks(self, approved: Approved, number: int, j: int) -> CountedChunks:
        day = self._day(approved, number)
        if j not in day.chunks:
            day.chunks[j] = CountedChunks(approved.spec, number, j, day.cap)
        return day.chunks[j]

    # -- rows -----------------------------------------------------------------------------------------------------

    def select(self, approved: Approved, day: int, batches: Sequence[BatchMembers]) -> NDArray[np.int64]:
        """Decide which rows of some batches count, and remember it.

        Args:
            day: the UTC day that all of them lie on, in days since 1970.

        Returns:
            Shape (n,), int64, of the batches' rows one after another: each row's dense index in the member store, -1
            where it does not count (opted out, unknown, not on this day, over the cap).
        """
        self.adopt_orphans()
        bounds = np.cumsum([0, *(batch.members.size for batch in batches)]).tolist()
        index, fresh = np.full(bounds[-1], -1, dtype=np.int64), []
        for batch, start, end in zip(batches, bounds, bounds[1:], strict=False):
            if not self._is_zero(batch.j, day) and (approved.spec, day, batch.j) not in self._dormant:
                fresh.append((batch, slice(start, end)))
        if not fresh:
            return index
        known, store = self._day(approved, day), self._directory.store
        tags = store.tag(batches[0].members) if len(batches) == 1 else _tags(store, [b.members for b in batches])
        hours = np.zeros(tags.size, dtype=np.uint8)
        found = self._directory.countable_tags(tags)
        found[~known.rotation.counts(tags, day)] = -1
        for batch, rows in fresh:
            hours[rows] = batch.start_ms % DAY_MS // _HOUR_MS
            index[rows] = found[rows]
        counts = known.cap.select(index, tags, hours)
        for batch, rows in fresh:
            # Also where none counts: that a chunk is there, and its length, must not tell.
            own = counts[rows]
            self._chunks(approved, day, batch.j).add(own.size, (tags[rows][own], known.cap.marks(hours[rows][own])))
        return np.where(counts, index, -1)

    def adopt_orphans(self) -> None:
        """Apply rows that had counted for members that were unknown and are known now."""
        if self._directory.version == self._directory_version:
            return
        self._directory_version = self._directory.version
        for day in self._days.values():
            orphans, day.orphans = day.orphans, []
            for entries in orphans:
                self._recount(day, entries)

    def _recount(self, day: _Day, entries: Entries) -> None:
        tags, marks = entries
        index = self._directory.store.find_tags(tags)
        known = index >= 0
        day.cap.restore(index[known], marks[known])
        if not known.all():
            day.orphans.append((tags[~known], marks[~known]))

    # -- state that is not to be trusted --------------------------------------------------------------------------

    def zero_through(self, j: int) -> int | None:
        """The last UTC day of which no row of a partition counts; None where nothing was lost."""
        return self._zero_through.get(j)

    def _is_zero(self, j: int, day: int) -> bool:
        return j in self._zero_through and day <= self._zero_through[j]

    def lose(self, j: int, day: int, why: str) -> None:
        """Count every row of a partition as zero up to the end of a UTC day."""
        if self._is_zero(j, day):
            return
        log.error(
            "partition %d: %s. Who has counted is not known, so its rows of all UTC days up to %s count as zero",
            j,
            why,
            date(1970, 1, 1) + timedelta(days=day),
        )
        self._lose(j, day)

    def _lose(self, j: int, day: int) -> None:
        self._zero_through[j] = day
        for (spec, number), known in list(self._days.items()):
            if number <= day and j in known.chunks:
                self._tombstones += known.chunks.pop(j).keys()
                if not known.chunks:
                    del self._days[spec, number]
        for key in [key for key in self._dormant if key[1] <= day and key[2] == j]:
            self._tombstones += self._dormant.pop(key)[1].keys
        self._health.state_lost((max(self._zero_through.values()) + 1) * DAY_MS // 1000)

    # -- state ----------------------------------------------------------------------------------------------------

    def restore(self, key: bytes, value: bytes | None, codec: StateCodec) -> bool:
        """Take in one state record (None: a tombstone); False where it is none of counted rows."""
        kind, *rest = key.decode().split("/")
        if kind != "counted":
            return False
        spec, day, j, number = bytes.fromhex(rest[0]), int(rest[1]), int(rest[2]), int(rest[3])
        self._numbers[j] = max(self._numbers.get(j, 0), number + 1)
        if value is not None and j in self._owned:
            self._found.setdefault((spec, day, j), FoundChunks()).add(number, key, value, codec)
        return True

    def settle(self, j: int, index: list[DayIndex] | None, zero_through: int | None) -> int | None:
        """Hold the chunks of a partition that were found in state against the index of its last checkpoint.

        Args:
            index, zero_through: what the record of the partition's position holds; None where it holds none.

        Returns:
            The newest day of which it is not known who has counted, if any; whoever calls says so (:meth:`lose`).
        """
        if zero_through is not None:
            self._lose(j, zero_through)
        broken = []
        for entry in index or ():
            key = (entry.spec, entry.day, j)
            found = self._found.pop(key, FoundChunks())
            approved = self._control.find(entry.spec)
            if self._is_zero(j, entry.day):
                self._tombstones += found.keys
            elif not found.agree_with(entry):
                broken.append(entry.day)
                self._tombstones += found.keys
            elif approved is None:
                self._dormant[key] = (entry, found)
            else:
                day = self._day(approved, entry.day)
                self._recount(day, self._chunks(approved, entry.day, j).restore(found))
        # What the index does not name was let go of, and waits for its tombstone.
        for key in [key for key in self._found if key[2] == j]:
            self._tombstones += self._found.pop(key).keys
        return max(broken, default=None)

    def index(self, j: int) -> list[DayIndex]:
        """What there must be of a partition's days at the next start; of what :meth:`state` has just written."""
        days = [day.chunks[j].index() for day in self._days.values() if j in day.chunks]
        return days + [entry for key, (entry, _) in self._dormant.items() if key[2] == j]

    def forget(self, arrived_ms: Callable[[bytes], int | None]) -> set[int]:
        """Let go of days that no row can reach any more; the partitions whose index this changes.

        Args:
            arrived_ms: for a source (SHA-256 of its topic's name), the arrival time that *every* one of its streams has
                passed; None while one has not been heard of.
        """
        changed: set[int] = set()
        for spec, number in list(self._days):
            approved = self._control.find(spec)
            arrived = None if approved is None else arrived_ms(approved.source)
            if approved is None or arrived is None:
                continue
            day = self._days[spec, number]
            fresh = any(chunks.changed for chunks in day.chunks.values())
            if arrived - approved.measurement.lateness_ms > (number + 1) * DAY_MS and not fresh:
                del self._days[spec, number]
                changed.update(day.chunks)
                for chunks in day.chunks.values():
                    self._tombstones += chunks.keys()
        return changed

    def overfull(self) -> int | None:
        """A partition of which merges were put off; None where there is none."""
        waiting = (j for day in self._days.values() for j, chunks in day.chunks.items() if chunks.overfull)
        return min(waiting, default=None)

    def state(
        self, codec: StateCodec, *, anew: bool = False, merge: int | None = None
    ) -> list[tuple[bytes, bytes | None]]:
        """Key and value of each state record that has changed since the last call; None: it is gone.

        Args:
            anew: give all of them, since they are to be sealed under a new key; whoever asks writes the index as well.
            merge: a partition of which no merge is put off; its index is to be written as well.
        """
        records: list[tuple[bytes, bytes | None]] = []
        for day in self._days.values():
            for j, chunks in day.chunks.items():
                number, members = partial(self._next_number, j), self._directory.members_in(j)
                records += chunks.state(codec, number, members, anew=anew, in_haste=j != merge)
        if anew:
            for key, (entry, found) in self._dormant.items():
                index, sealed = found.sealed_anew(codec, entry)
                self._dormant[key] = (index, found)
                records += sealed
        gone = min(len(self._tombstones), _TOMBSTONES_A_CHECKPOINT)
        return records + [(self._tombstones.popleft(), None) for _ in range(gone)]

    def _next_number(self, j: int) -> int:
        number = self._numbers.get(j, 0)
        self._numbers[j] = number + 1
        return number


def _tags(store: MemberStore, members: list[NDArray[np.bytes_]]) -> NDArray[np.uint64]:
    """The keyed tags of several batches' members, one after another: shape (n,), uint64."""
    together = np.concatenate(members)
    try:
        return store.tag(together)
    finally:
        together.view(np.uint8).fill(0)
