"""From rows to sealed batches: gathered, shuffled, encrypted to their three readers, and signed.

Rows of a batch are shuffled by a CSPRNG and have a fixed width, so that neither order (a ranked list!) nor length tells
features. A batch has one measurement revision, one base window, one source partition i and one j.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from secure_agg import Identity
from secure_agg.commitments import commit, fresh_salt
from streams.control import Approved
from streams.data_keys import SendingKeys
from streams.records.batches import SealedBatch
from streams.records.header import Header, encode_header
from streams.roles.source_partition import SourcePartition

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
    rows: int = 0

    def take(self) -> tuple[NDArray[np.bytes_], NDArray[np.uint16]]:
        """All rows so far; the buffer is empty afterwards."""
        members, cells = np.concatenate(self.members), np.concatenate(self.cells)
        self.members, self.cells, self.rows = [], [], 0
        return members, cells

    def add(self, members: NDArray[np.bytes_], cells: NDArray[np.uint16]) -> None:
        if cells.size:
            self.members.append(members)
            self.cells.append(cells)
            self.rows += cells.size


class Batcher:
    """Gathers rows and makes batches of them.

    Args:
        identity: seal's. keys: its data keys.
        batch_rows: rows at which a batch goes out before its time.
    """

    def __init__(self, identity: Identity, keys: SendingKeys, batch_rows: int) -> None:
        self._identity = identity
        self._keys = keys
        self._batch_rows = batch_rows
        self._buffers: dict[tuple[bytes, bytes, int, int, int], _Buffer] = {}

    @property
    def pending(self) -> bool:
        """Whether rows wait for their batch."""
        return bool(self._buffers)

    def add(
        self,
        approved: Approved,
        source: SourcePartition,
        members: NDArray[np.bytes_],
        cells: NDArray[np.uint16],
        j: NDArray[np.int64],
        window_end_ms: NDArray[np.int64],
        now_ms: int,
    ) -> Iterator[Sealed]:
        """Add rows, and give out the batches that are full: arrays of shape (n,), a row each."""
        order = np.lexsort((window_end_ms, j))
        j, window_end_ms = j[order], window_end_ms[order]
        changes = (j[1:] != j[:-1]) | (window_end_ms[1:] != window_end_ms[:-1])
        starts = np.flatnonzero(np.concatenate(([True], changes)))
        for start, stop in zip(starts, (*starts[1:], order.size), strict=True):
            part = order[start:stop]
            to, end = int(j[start]), int(window_end_ms[start])
            slot = (approved.spec, source.digest, source.i, to, end)
            buffer = self._buffers.setdefault(slot, _Buffer(approved, source, to, end))
            buffer.add(members[part], cells[part])
            if buffer.rows >= self._batch_rows:
                yield from self._full(buffer, now_ms)
                if not buffer.rows:
                    del self._buffers[slot]

    def _full(self, buffer: _Buffer, now_ms: int) -> Iterator[Sealed]:
        members, cells = buffer.take()
        size = self._batch_rows
        whole = members.size - members.size % size
        for start in range(0, whole, size):
            yield self._seal(buffer, members[start : start + size], cells[start : start + size], now_ms)
        buffer.add(members[whole:], cells[whole:])

    def drop(self, spec: bytes) -> None:
        """Let go of all rows of a revision. They have no number yet, so no stream has a gap."""
        self._buffers = {slot: buffer for slot, buffer in self._buffers.items() if slot[0] != spec}

    def flush(self, now_ms: int) -> Iterator[Sealed]:
        """Give out everything that waits, earlier windows first.

        Attach lets a member's first rows count. In the order in which windows were opened, one member's early row could
        decide which rows of *others* come first, and so count.
        """
        for buffer in sorted(self._buffers.values(), key=lambda buffer: buffer.window_end_ms):
            yield self._seal(buffer, *buffer.take(), now_ms)
        self._buffers.clear()

    def _seal(self, buffer: _Buffer, members: NDArray[np.bytes_], cells: NDArray[np.uint16], now_ms: int) -> Sealed:
        """Shuffle, encrypt and sign one batch; it takes the next number of its stream."""
        source, measurement = buffer.source, buffer.approved.measurement
        order = _random_order(members.size)
        member_plain = members[order].tobytes()
        cell_plain = cells[order].astype("<u2").tobytes()
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


def _random_order(count: int) -> NDArray[np.intp]:
    """A uniformly random permutation from the operating system's CSPRNG: shape (count,), intp.

    Sorting 64-bit keys: two of 4,096 are equal with a probability below 10^-12, and the order is then merely stable.
    """
    return np.argsort(np.frombuffer(os.urandom(8 * count), dtype=np.uint64), kind="stable")
