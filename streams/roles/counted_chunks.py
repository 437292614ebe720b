"""What attach's state holds of the rows that counted, for one measurement, UTC day and j: chunks, merged now and then.

**What a reader of the topic learns.** Number and length of the records follow from what whoever reads `shares` knows
already: how many rows came in which transaction. A chunk is padded to the *rows* of its transaction, whether they
counted or not; a merged one to the rows that it stands for, or to the number of members of the partition, rounded up to
a power of two, where that is less. (Only if more members counted than that, which takes members who have left, does the
number of entries show, rounded in the same way.)

**What a restart reads.** Each transaction writes a run of level 0; sixteen of a level are merged into one of the next,
in which a member has one entry. So a row is written again a handful of times a day, and a day leaves some dozens of
chunks. What a merge replaces goes by tombstones in the same transaction. To merge a million rows takes a tenth of a
second, which a window that closes need not wait for: where there are many, it is put off until nothing else is to be
done, or until there are twice as many runs.

**What is missed when it is gone.** The index, kept in the record of the partition's position, names the number of a
day's chunks and a digest over their bytes. A chunk that is missing, altered, older or too many shows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray

from privacy.caps import ContributionCap
from streams.errors import StateNewer, StateUnreadable
from streams.state import StateCodec

RUNS_A_LEVEL = 16
_MOST_RUNS = 2 * RUNS_A_LEVEL
# So many rows are merged in some three milliseconds: not worth a transaction of their own.
_FEW_ROWS = 16_384
# 12 bytes an entry: a state record stays below what a broker takes (10 MB).
_ENTRIES_A_CHUNK = 250_000
_LEAST_MEMBERS = 1024

Entries = tuple[NDArray[np.uint64], NDArray[np.unsignedinteger]]
"""Tags, shape (n,), and marks (``ContributionCap.marks``), shape (n,)."""


class DayIndex(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """What there must be of one measurement's day: how many chunks, and a digest over them."""

    spec: bytes
    day: int
    chunks: int
    digest: bytes


class _Chunk(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """A piece of a run: entries padded with zeros. ``run`` is the number of the run's first chunk."""

    run: int
    level: int
    rows: int
    tags: bytes
    marks: bytes


@dataclass
class _Run:
    """Rows that counted, of ``rows`` that came; level 0 is one transaction's.

    Attributes:
        chunks: number -> SHA-256 of the sealed value, of each chunk that is in state; empty while it is not.
    """

    level: int
    rows: int
    entries: Entries
    chunks: dict[int, bytes] = field(default_factory=dict)


class CountedChunks:
    """See the module's text.

    Args:
        spec, day, j: whose rows.
        cap: knows what marks mean.
    """

    def __init__(self, spec: bytes, day: int, j: int, cap: ContributionCap) -> None:
        self._spec, self._day, self._j = spec, day, j
        self._cap = cap
        self._runs: list[_Run] = []
        self._rows = 0
        self._fresh: list[Entries] = []
        self.overfull = False
        """Whether a merge was put off."""

    def key(self, number: int) -> bytes:
        """The key of one chunk."""
        return f"counted/{self._spec.hex()}/{self._day}/{self._j}/{number}".encode()

    def keys(self) -> list[bytes]:
        """Keys of all chunks that are in state."""
        return [self.key(number) for run in self._runs for number in run.chunks]

    @property
    def changed(self) -> bool:
        """Whether rows have come since the last :meth:`state`."""
        return self._rows > 0

    def add(self, rows: int, entries: Entries) -> None:
        """Rows of a batch came, of which some counted."""
        self._rows += rows
        self._fresh.append(entries)

    def index(self) -> DayIndex:
        """What there must be of this day at the next start."""
        chunks = {number: digest for run in self._runs for number, digest in run.chunks.items()}
        return DayIndex(self._spec, self._day, len(chunks), _digest_of(chunks))

    def state(
        self,
        codec: StateCodec,
        next_number: Callable[[], int],
        members: int,
        *,
        anew: bool = False,
        in_haste: bool = False,
    ) -> list[tuple[bytes, bytes | None]]:
        """Key and value of each chunk that is new, and tombstones of those that it replaces.

        Args:
            next_number: gives a number that no chunk of this j had before.
            members: how many members the partition has.
            anew: replace all chunks, since they are to be sealed under a new key.
            in_haste: put off a merge of many rows.
        """
        replaced: list[int] = []
        if came := self.changed:
            self._runs.append(_Run(0, self._rows, self._joined(self._fresh)))
            self._rows, self._fresh = 0, []
        if came or self.overfull:
            replaced += self._merge(in_haste)
        if anew:
            for run in self._runs:
                replaced += run.chunks
                run.chunks = {}
        records: list[tuple[bytes, bytes | None]] = []
        for run in self._runs:
            if not run.chunks:
                records += self._written(run, codec, next_number, members)
        return records + [(self.key(number), None) for number in replaced]

    def _joined(self, parts: list[Entries]) -> Entries:
        tags = np.concatenate([np.empty(0, np.uint64), *(part[0] for part in parts)])
        return tags, np.concatenate([np.empty(0, self._cap.mark_type), *(part[1] for part in parts)])

    def _merge(self, in_haste: bool) -> list[int]:
        """Make one run of all of a level that has sixteen, as long as there is one; the chunks that this replaces."""
        replaced: list[int] = []
        level, self.overfull = 0, False
        while True:
            same = [run for run in self._runs if run.level == level]
            if not same and all(run.level < level for run in self._runs):
                return replaced
            if len(same) >= RUNS_A_LEVEL:
                rows = sum(run.rows for run in same)
                if in_haste and rows > _FEW_ROWS and len(same) < _MOST_RUNS:
                    self.overfull = True
                else:
                    entries = self._cap.combined(*self._joined([run.entries for run in same]))
                    self._runs = [run for run in self._runs if run.level != level]
                    self._runs.append(_Run(level + 1, rows, entries))
                    replaced += [number for run in same for number in run.chunks]
            level += 1

    def _written(
        self, run: _Run, codec: StateCodec, next_number: Callable[[], int], members: int
    ) -> list[tuple[bytes, bytes]]:
        tags, marks = run.entries
        length = run.rows
        if run.level:
            length = min(run.rows, _power_of_two(max(members, _LEAST_MEMBERS, tags.size)))
        padded = np.zeros(length, "<u8"), np.zeros(length, self._cap.mark_type)
        padded[0][: tags.size], padded[1][: tags.size] = tags, marks
        records = []
        first: int | None = None
        for start in range(0, length, _ENTRIES_A_CHUNK):
            number = next_number()
            first = number if first is None else first
            piece = [column[start : start + _ENTRIES_A_CHUNK].tobytes() for column in padded]
            key = self.key(number)
            value = codec.encode(key, _Chunk(first, run.level, run.rows, *piece))
            run.chunks[number] = hashlib.sha256(value).digest()
            records.append((key, value))
        return records

    def restore(self, found: FoundChunks) -> Entries:
        """Take in the chunks that were found in state, which the index has been held against; their entries."""
        runs: dict[int, _Run] = {}
        for number, (digest, chunk) in sorted(found.chunks.items()):
            run = runs.setdefault(chunk.run, _Run(chunk.level, chunk.rows, self._joined([])))
            tags = np.frombuffer(chunk.tags, "<u8").astype(np.uint64)
            marks = np.frombuffer(chunk.marks, self._cap.mark_type)
            counted = marks != 0
            run.entries = self._joined([run.entries, (tags[counted], marks[counted])])
            run.chunks[number] = digest
        self._runs = list(runs.values())
        return self._joined([run.entries for run in self._runs])


@dataclass
class FoundChunks:
    """Chunks of one measurement's day and j as they come back from state, before the index has been seen.

    Attributes:
        chunks: number -> SHA-256 of the sealed value, and the chunk.
        keys: all keys with a value, also of those that do not open.
    """

    chunks: dict[int, tuple[bytes, _Chunk]] = field(default_factory=dict)
    keys: list[bytes] = field(default_factory=list)

    def add(self, number: int, key: bytes, value: bytes, codec: StateCodec) -> None:
        """Take in one; what does not open is as good as missing, and the index will tell."""
        self.keys.append(key)
        try:
            self.chunks[number] = (hashlib.sha256(value).digest(), codec.decode(key, value, _Chunk))
        except StateNewer:
            raise  # not missing, and a newer version can read it
        except StateUnreadable:
            return

    def sealed_anew(self, codec: StateCodec, index: DayIndex) -> tuple[DayIndex, list[tuple[bytes, bytes]]]:
        """The same chunks under the present key, and the index that agrees with them."""
        records = []
        for key in self.keys:
            number = int(key.split(b"/")[4])
            if number in self.chunks:
                chunk = self.chunks[number][1]
                value = codec.encode(key, chunk)
                self.chunks[number] = (hashlib.sha256(value).digest(), chunk)
                records.append((key, value))
        digests = {number: digest for number, (digest, _) in self.chunks.items()}
        return DayIndex(index.spec, index.day, len(digests), _digest_of(digests)), records

    def agree_with(self, index: DayIndex) -> bool:
        """Whether these are exactly the chunks that the last checkpoint left."""
        digests = {number: digest for number, (digest, _) in self.chunks.items()}
        return len(digests) == index.chunks and _digest_of(digests) == index.digest


def _digest_of(chunks: dict[int, bytes]) -> bytes:
    total = hashlib.sha256(b"evenstream/1/counted-chunks\0")
    for number in sorted(chunks):
        total.update(number.to_bytes(8, "little") + chunks[number])
    return total.digest()


def _power_of_two(count: int) -> int:
    return 1 << (count - 1).bit_length()
