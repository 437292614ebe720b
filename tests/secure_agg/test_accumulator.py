"""A party's table share: two of them make the table, whatever the order, and a refused batch leaves no trace."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from example_counts import examples
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from secure_agg import Coverage, Stream, WindowShare
from secure_agg.sharing import expand, split

RING = 1 << 64
CELLS, COLUMNS = 5, 3
ELEMENT = st.one_of(st.sampled_from([0, 1, 1 << 63, RING - 1]), st.integers(0, RING - 1))
ROW = st.tuples(st.integers(0, CELLS - 1), st.tuples(ELEMENT, ELEMENT, ELEMENT))
TAIL = 2
BATCHES = st.lists(st.lists(ROW, max_size=12), max_size=6)
Batch = list[tuple[int, tuple[int, int, int]]]


def stream(j: int = 0) -> Stream:
    """One of the log's streams."""
    return Stream(hashlib.sha256(b"rec-events").digest(), 0, j)


def arrays(batch: Batch) -> tuple[NDArray[np.uint64], NDArray[np.uint16]]:
    """The arrays of a batch of (cell, values)."""
    values = np.array([row[1] for row in batch], dtype=np.uint64).reshape(len(batch), COLUMNS)
    return values, np.array([row[0] for row in batch], dtype=np.uint16)


def tail(batch: Batch) -> NDArray[np.uint64]:
    """What a batch carries once: its rows, and its rows from the ring's other end."""
    return np.array([len(batch), (RING - len(batch)) % RING], dtype=np.uint64)


def fold(window: WindowShare, batch: Batch, sequence: int = 0, j: int = 0) -> None:
    """Fold one batch with a header digest of its own."""
    header_digest = hashlib.sha256(f"{j}/{sequence}".encode()).digest()
    window.fold(*arrays(batch), tail(batch), stream=stream(j), sequence=sequence, header_digest=header_digest)


def oracle(batches: list[Batch]) -> list[list[int]]:
    """The table over all batches, by integers that never wrap."""
    total = [[0] * COLUMNS for _ in range(CELLS)]
    for cell, values in (row for batch in batches for row in batch):
        for column, value in enumerate(values):
            total[cell][column] = (total[cell][column] + value) % RING
    return total


@given(batches=BATCHES)
@examples(50)
def test_two_parties_make_the_table(batches: list[Batch]) -> None:
    """Each party folds its own share of every batch; the sum of both tables is exactly the table of the values."""
    a, b = WindowShare.empty(CELLS, COLUMNS, TAIL), WindowShare.empty(CELLS, COLUMNS, TAIL)
    for sequence, batch in enumerate(batches):
        values, cells = arrays(batch)
        seed, masked = split(np.concatenate((values.ravel(), tail(batch))))
        header_digest = hashlib.sha256(bytes([sequence])).digest()
        for window, share in ((a, expand(seed, values.size + TAIL)), (b, masked)):
            rows = share[: values.size].reshape(values.shape)
            where = {"stream": stream(), "sequence": sequence, "header_digest": header_digest}
            window.fold(rows, cells, share[values.size :], **where)  # type: ignore[arg-type]
    assert (a.table + b.table).tolist() == oracle(batches)
    rows_of_all = sum(map(len, batches))
    assert (a.tail + b.tail).tolist() == [rows_of_all, (RING - rows_of_all) % RING]
    assert a.coverage.digest() == b.coverage.digest()


@given(batches=BATCHES, data=st.data())
@examples(50)
def test_partitions_may_be_interleaved_in_any_order(batches: list[Batch], data: st.DataObject) -> None:
    """Batches of different streams, folded in any order, give the same table and the same coverage."""
    numbered = list(enumerate(batches))
    tables, digests = [], set()
    for order in (numbered, data.draw(st.permutations(numbered))):
        window = WindowShare.empty(CELLS, COLUMNS, TAIL)
        for j, batch in order:
            fold(window, batch, sequence=17, j=j)
        tables.append(window.table.tolist())
        digests.add(window.coverage.digest())
    assert tables[0] == tables[1] == oracle(batches)
    assert len(digests) == 1


def test_a_new_window_is_empty() -> None:
    """Zeros of the ring's type, no coverage, not void; and nothing in it is shared with another new window."""
    first, second = WindowShare.empty(20, 6, 3), WindowShare.empty(20, 6, 3)
    assert first.table.dtype == np.uint64
    assert first.table.tolist() == [[0] * 6] * 20
    assert first.void_reason is None
    assert first.coverage.digest() == Coverage().digest()
    ones, cell = np.ones((1, 6), np.uint64), np.zeros(1, np.uint16)
    assert first.tail.tolist() == [0, 0, 0]
    first.fold(ones, cell, np.ones(3, np.uint64), stream=stream(), sequence=0, header_digest=bytes(32))
    assert not second.table.any()
    assert not second.tail.any()
    assert not second.coverage.streams


def test_coverage_counts_what_was_folded() -> None:
    """Batches and rows of each stream, the last sequence number, and a batch of no rows as a batch."""
    window = WindowShare.empty(CELLS, COLUMNS, TAIL)
    fold(window, [(1, (1, 2, 3))] * 4, sequence=7)
    fold(window, [], sequence=8)
    fold(window, [(0, (1, 1, 1))], sequence=2, j=1)
    assert {s.j: (c.last_sequence, c.batches, c.rows) for s, c in window.coverage.streams.items()} == {
        0: (8, 2, 4),
        1: (2, 1, 1),
    }


@pytest.mark.parametrize(
    ("shape", "cells", "tail_size"),
    [
        ((2, COLUMNS), [0, CELLS], TAIL),
        ((2, COLUMNS), [0], TAIL),
        ((2, COLUMNS + 1), [0, 1], TAIL),
        ((2,), [0, 1], TAIL),
        ((2, COLUMNS), [0, 1], TAIL + 1),
        ((2, COLUMNS), [0, 1], 1),
    ],
)
def test_a_refused_batch_leaves_no_trace(shape: tuple[int, ...], cells: list[int], tail_size: int) -> None:
    """A batch with a cell out of range or of another shape raises before any sum or the coverage has changed."""
    window = WindowShare.empty(CELLS, COLUMNS, TAIL)
    fold(window, [(1, (1, 2, RING - 1))])
    before = window.table.copy(), window.coverage.digest(), window.tail.copy()
    with pytest.raises(ValueError):
        window.fold(
            np.ones(shape, np.uint64),
            np.array(cells, np.uint16),
            np.ones(tail_size, np.uint64),
            stream=stream(),
            sequence=1,
            header_digest=bytes(32),
        )
    assert np.array_equal(window.table, before[0])
    assert window.coverage.digest() == before[1]
    assert np.array_equal(window.tail, before[2])


def test_a_batch_is_forgotten_once_folded() -> None:
    """The caller may overwrite its arrays afterwards, as it does: the table holds sums, not references."""
    window = WindowShare.empty(1, COLUMNS, TAIL)
    values, cells = arrays([(0, (5, 6, 7))])
    once = np.array([8, 9], np.uint64)
    window.fold(values, cells, once, stream=stream(), sequence=0, header_digest=bytes(32))
    values.fill(0)
    once.fill(0)
    assert window.table.tolist() == [[5, 6, 7]]
    assert window.tail.tolist() == [8, 9]


def test_a_batch_folded_twice_shows() -> None:
    """If the layers above ever let a repeat through, the coverage differs, so the parties' tables are never added."""
    once, twice = WindowShare.empty(CELLS, COLUMNS, TAIL), WindowShare.empty(CELLS, COLUMNS, TAIL)
    for window, times in ((once, 1), (twice, 2)):
        for _ in range(times):
            fold(window, [(0, (1, 1, 1))])
    assert once.coverage.digest() != twice.coverage.digest()
