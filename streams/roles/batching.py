"""From rows to sealed batches: gathered, shuffled, encrypted to their three readers, and signed.

Rows of a batch are shuffled by a CSPRNG and have a fixed width, so that neither order (a ranked list!) nor length tells
features. A batch has one measurement revision, one base window, one source partition i and one j.

Attach lets a member's first rows count, so which come first must not be another member's doing. Nothing goes out before
all that waits does: earlier windows first, and each member's rows in the order in which they were read, wherever one
batch ends and the next begins. Only the places that a member's rows take within a batch are random, and the order of
the rows that one record gives (``shuffled_within``).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from secure_agg import Identity
from secure_agg.commitments import commit, fresh_salt
from secure_agg.sharing import SEED_BYTES, expand
from streams.control import Approved
from streams.data_keys import SendingKeys
from streams.records.batches import SealedBatch
from streams.records.header import Header, encode_header
from streams.roles.source_partition import SourcePartition

_INDEX_BITS = np.uint64(16)
_INDEX = np.uint64(0xFFFF)

Sealed = tuple[int, bytes]
"""A batch on its way out: (j, the record's value)."""


@dataclass
class _Buffer:
    """Rows on their way into batches."""

    approved: Approved
    source: SourcePartition
    j: int
    window_end_ms: int
    members: list[NDArray[np.bytes_]] = field(default_factory=list)
    cells: list[NDArray[np.uint16]] = field(default_factory=list)
    hashes: list[NDArray[np.uint32]] = field(default_factory=list)


class Batcher:
    """Gathers rows and makes batches of them.

    Args:
        identity: seal's. keys: its data keys.
        batch_rows: most rows of a batch.
    """

    def __init__(self, identity: Identity, keys: SendingKeys, batch_rows: int) -> None:
        self._identity = identity
        self._keys = keys
        self._batch_rows = batch_rows
        self._buffers: dict[tuple[bytes, bytes, int, int, int], _Buffer] = {}
        self.waiting = 0
        """Rows that wait for their batch."""

    @property
    def slots(self) -> int:
        """How many batches there will be of what waits, at least."""
        return len(self._buffers)

    def add(
        self,
        approved: Approved,
        source: SourcePartition,
        members: NDArray[np.bytes_],
        cells: NDArray[np.uint16],
        hashes: NDArray[np.uint32],
        j: NDArray[np.int64],
        window_end_ms: NDArray[np.int64],
    ) -> None:
        """Add rows: arrays of shape (n,), a row each; ``hashes`` tell members apart, and need not tell all apart."""
        self.waiting += cells.size
        for part in _slots(j, window_end_ms, approved.measurement.base_ms):
            to, end = int(j[part[0]]), int(window_end_ms[part[0]])
            slot = (approved.spec, source.digest, source.i, to, end)
            buffer = self._buffers.setdefault(slot, _Buffer(approved, source, to, end))
            # By take, and clipping what never lies outside: several times as fast as an index in brackets.
            buffer.members.append(members.take(part, mode="clip"))
            buffer.cells.append(cells.take(part, mode="clip"))
            buffer.hashes.append(hashes.take(part, mode="clip"))

    def drop(self, spec: bytes) -> None:
        """Let go of all rows of a revision. They have no number yet, so no stream has a gap."""
        self._buffers = {slot: buffer for slot, buffer in self._buffers.items() if slot[0] != spec}
        self.waiting = sum(part.size for buffer in self._buffers.values() for part in buffer.cells)

    def flush(self, now_ms: int) -> Iterator[Sealed]:
        """Give out everything that waits, earlier windows first."""
        for buffer in sorted(self._buffers.values(), key=lambda buffer: buffer.window_end_ms):
            members, cells = np.concatenate(buffer.members), np.concatenate(buffer.cells)
            hashes = np.concatenate(buffer.hashes)
            for start in range(0, members.size, self._batch_rows):
                rows = slice(start, start + self._batch_rows)
                order = _random_places(hashes[rows])
                shuffled = members[rows].take(order, mode="clip"), cells[rows].take(order, mode="clip")
                yield self._seal(buffer, *shuffled, now_ms)
        self._buffers.clear()
        self.waiting = 0

    def _seal(self, buffer: _Buffer, members: NDArray[np.bytes_], cells: NDArray[np.uint16], now_ms: int) -> Sealed:
        """Encrypt and sign one batch; it takes the next number of its stream."""
        source, measurement = buffer.source, buffer.approved.measurement
        member_plain, cell_plain = members.tobytes(), cells.astype("<u2").tobytes()
        salt = fresh_salt()
        to_attach, attach_epoch = self._keys.current("members", "attach", now_ms)
        to_a, a_epoch = self._keys.current("cells", "a", now_ms)
        to_b, b_epoch = self._keys.current("cells", "b", now_ms)
        header = Header(
            measurement=measurement.id,
            revision=measurement.revision,
            spec=buffer.approved.spec,
            window_end_ms=buffer.window_end_ms,
            source=source.digest,
            i=source.i,
            j=buffer.j,
            sequence=source.state.next_sequence[buffer.j],
            rows=members.size,
            process=self._keys.process,
            attach_epoch=attach_epoch,
            a_epoch=a_epoch,
            b_epoch=b_epoch,
            commitment=commit(cell_plain, salt),
        )
        header_bytes = encode_header(header)
        batch = SealedBatch.signed(
            self._identity,
            header,
            header_bytes,
            to_attach.seal(member_plain, header_bytes),
            to_a.seal(salt + cell_plain, header_bytes),
            to_b.seal(salt + cell_plain, header_bytes),
        )
        source.state.next_sequence[buffer.j] += 1
        source.changed = True
        return buffer.j, batch.encode()


def _slots(j: NDArray[np.int64], window_end_ms: NDArray[np.int64], base_ms: int) -> list[NDArray[np.intp]]:
    """The rows of each partition and window that there is: arrays of shape (m,), intp, in the order of the rows."""
    first_ms = window_end_ms.min()
    windows = int(window_end_ms.max() - first_ms) // base_ms + 1
    partitions = int(j.max()) + 1
    if windows * partitions > _INDEX:  # a long backlog in one read: few slots hold a row
        slots = np.unique((window_end_ms - first_ms) // base_ms * partitions + j, return_inverse=True)[1]
    else:
        slots = j if windows == 1 else (window_end_ms - first_ms) // base_ms * partitions + j
    slots = slots.astype(np.uint16)  # of 16 bits they are sorted by a radix sort
    order = np.argsort(slots, kind="stable")
    ordered = slots[order]
    return np.split(order, np.flatnonzero(ordered[1:] != ordered[:-1]) + 1)


def shuffled_within(record: NDArray[np.intp]) -> NDArray[np.intp]:
    """An order of rows in which those of one record stay together, in random order: shape (n,), intp.

    Args:
        record: shape (n,), the record of each row, never falling.
    """
    return np.lexsort((_random_keys(record.size), record))


def _random_places(hashes: NDArray[np.uint32]) -> NDArray[np.intp]:
    """A random order of rows in which those with equal hashes keep theirs: shape (n,), intp; n at most 65,536.

    Each row draws a place; the places that the rows of one hash have drawn are then taken in these rows' own order. So
    the places of a member's rows are uniformly random, and which of them is first is not.
    """
    # Sorting numbers that hold an index in their low bits: several times as fast as sorting indices.
    rows = np.arange(hashes.size, dtype=np.uint64)
    drawn = np.sort((_random_keys(hashes.size) & ~_INDEX) | rows) & _INDEX
    place = np.empty_like(rows)
    place[drawn] = rows
    high = hashes.astype(np.uint64) << _INDEX_BITS
    by_hash = np.sort(high | rows) & _INDEX
    places = np.sort(high | place) & _INDEX
    order = np.empty(hashes.size, dtype=np.intp)
    order[places] = by_hash
    return order


def _random_keys(count: int) -> NDArray[np.uint64]:
    """From a CSPRNG, shape (count,), uint64, to sort by: a stream under a fresh key, which costs a sixth of urandom.

    Two of 4,096 are equal in 48 bits with a probability below 10^-7, and their order is then merely stable.
    """
    return expand(os.urandom(SEED_BYTES), count)
