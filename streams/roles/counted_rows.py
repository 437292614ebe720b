"""Which rows have counted, by measurement and UTC day: the contribution cap over batches, restarts and new members.

Sensitivity rests on this, so nothing is forgotten while a row of its day can still come: a day is let go only when
every stream of the source has been punctuated past its end plus the lateness.

In state, what counted between two checkpoints is a chunk under a key of its own (never a difference under one key, of
which compaction would keep one): the member store's keyed tags, and the caps' buckets. No member id is in it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray

from privacy.caps import ContributionCap
from streams.control import Approved, ControlPlane
from streams.roles.member_directory import MemberDirectory
from streams.state import StateCodec

_DAY_MS = 86_400_000
_HOUR_MS = 3_600_000
# 9 bytes a row: a state record stays far below what a broker takes.
_ROWS_A_CHUNK = 250_000
# A day's chunks go in pieces, so that no transaction grows without bound.
_TOMBSTONES_A_CHECKPOINT = 2_000

_Rows = tuple[NDArray[np.uint64], NDArray[np.uint8]]
"""Rows that counted: tags, shape (n,), and buckets, shape (n,)."""

_NONE: _Rows = (np.empty(0, np.uint64), np.empty(0, np.uint8))


class _Chunk(msgspec.Struct, array_like=True):
    """Rows that counted in one checkpoint, for one measurement and day: tags (u64 LE) and cap buckets (u8)."""

    tags: bytes
    buckets: bytes


@dataclass
class _Day:
    """One measurement's day.

    Attributes:
        chunks: keys of its state records.
        fresh: by j, rows that are yet to be committed.
        orphans: counted rows of members that the store does not know (yet): applied when they appear.
    """

    cap: ContributionCap
    chunks: list[bytes] = field(default_factory=list)
    fresh: dict[int, list[_Rows]] = field(default_factory=dict)
    orphans: _Rows = _NONE


class CountedRows:
    """See the module's text.

    Args:
        key: secret bytes, the same over restarts, from which each measurement's and day's cap key is made.
    """

    def __init__(self, control: ControlPlane, directory: MemberDirectory, key: bytes) -> None:
        self._control = control
        self._directory = directory
        self._directory_version = directory.version
        self._key = key
        self._days: dict[tuple[bytes, int], _Day] = {}
        self._next_chunk: dict[int, int] = {}
        self._tombstones: deque[bytes] = deque()

    def _day(self, approved: Approved, day: int) -> _Day:
        known = self._days.get((approved.spec, day))
        if known is None:
            privacy = approved.measurement.privacy
            key = self._key + approved.spec + day.to_bytes(8, "little")
            known = _Day(ContributionCap(privacy.cap_rule, privacy.contribution_cap, key))
            self._days[approved.spec, day] = known
        return known

    # -- rows -----------------------------------------------------------------------------------------------------

    def select(self, approved: Approved, start_ms: int, j: int, members: NDArray[np.bytes_]) -> NDArray[np.int64]:
        """Decide which rows of a batch count, and remember it.

        Args:
            start_ms: start of the batch's base window, epoch milliseconds.
            members: shape (n,), dtype S.

        Returns:
            Shape (n,), int64: each row's dense index in the member store, -1 where it does not count (opted out,
            unknown, over the cap).
        """
        self.adopt_orphans()
        day = self._day(approved, start_ms // _DAY_MS)
        index = self._directory.countable(members)
        known = index >= 0
        tags = np.zeros(index.size, dtype=np.uint64)
        tags[known] = self._directory.store.tags[index[known]]
        hours = np.full(index.size, start_ms % _DAY_MS // _HOUR_MS, dtype=np.uint8)
        counts = day.cap.select(index, tags, hours)
        if counts.any():
            day.fresh.setdefault(j, []).append((tags[counts], day.cap.buckets(hours[counts])))
        return np.where(counts, index, -1)

    def adopt_orphans(self) -> None:
        """Apply rows that had counted for members that were unknown and are known now."""
        if self._directory.version == self._directory_version:
            return
        self._directory_version = self._directory.version
        for day in self._days.values():
            if day.orphans[0].size:
                rows, day.orphans = day.orphans, _NONE
                self._recount(day, rows)

    def _recount(self, day: _Day, rows: _Rows) -> None:
        tags, buckets = rows
        index = self._directory.store.find_tags(tags)
        known = index >= 0
        day.cap.restore(index[known], buckets[known])
        if not known.all():
            day.orphans = (
                np.concatenate((day.orphans[0], tags[~known])),
                np.concatenate((day.orphans[1], buckets[~known])),
            )

    # -- state ----------------------------------------------------------------------------------------------------

    def restore(self, key: bytes, value: bytes | None, codec: StateCodec) -> bool:
        """Take in one state record (None: a tombstone); False where it is none of counted rows."""
        kind, *rest = key.decode().split("/")
        if kind != "counted":
            return False
        spec, day_number, j, number = bytes.fromhex(rest[0]), int(rest[1]), int(rest[2]), int(rest[3])
        self._next_chunk[j] = max(self._next_chunk.get(j, 0), number + 1)
        approved = self._control.find(spec)
        if value is not None and approved is not None:
            day = self._day(approved, day_number)
            day.chunks.append(key)
            chunk = codec.decode(key, value, _Chunk)
            tags = np.frombuffer(chunk.tags, "<u8").astype(np.uint64)
            self._recount(day, (tags, np.frombuffer(chunk.buckets, np.uint8)))
        return True

    def forget(self, arrived_ms: Callable[[bytes], int | None]) -> None:
        """Let go of days that no row can reach any more.

        Args:
            arrived_ms: for a source (SHA-256 of its topic's name), the arrival time that *every* one of its streams has
                passed; None while one has not been heard of.
        """
        for spec, day in list(self._days):
            approved = self._control.find(spec)
            arrived = None if approved is None else arrived_ms(approved.source)
            if approved is None or arrived is None:
                continue
            if arrived - approved.measurement.lateness_ms > (day + 1) * _DAY_MS and not self._days[spec, day].fresh:
                self._tombstones += self._days.pop((spec, day)).chunks

    def state(self, codec: StateCodec) -> list[tuple[bytes, bytes | None]]:
        """Key and value of each state record that has changed since the last call; None: it is gone."""
        records: list[tuple[bytes, bytes | None]] = []
        for (spec, number), day in self._days.items():
            for j, parts in day.fresh.items():
                tags, buckets = (np.concatenate(columns) for columns in zip(*parts, strict=True))
                for start in range(0, tags.size, _ROWS_A_CHUNK):
                    key = self._chunk_key(spec, number, j)
                    rows = slice(start, start + _ROWS_A_CHUNK)
                    chunk = _Chunk(tags[rows].astype("<u8").tobytes(), buckets[rows].tobytes())
                    records.append((key, codec.encode(key, chunk)))
                    day.chunks.append(key)
            day.fresh = {}
        gone = min(len(self._tombstones), _TOMBSTONES_A_CHECKPOINT)
        return records + [(self._tombstones.popleft(), None) for _ in range(gone)]

    def _chunk_key(self, spec: bytes, day: int, j: int) -> bytes:
        number = self._next_chunk.get(j, 0)
        self._next_chunk[j] = number + 1
        return f"counted/{spec.hex()}/{day}/{j}/{number}".encode()
