"""One party's table shares: sums of row shares by cell, window by window.

A table share is a uint64 array of shape (cells, columns) in Z/2^64. Alone it is uniformly random; added to the other
party's share of the same rows it is the fixed-point table. What a batch carries once, after its rows, is its tail: it
is added up without regard to cells. A batch is folded once and then forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from secure_agg.commitments import Coverage, Stream
from secure_agg.ring import sum_by_cell


@dataclass
class WindowShare:
    """A party's running sum for one base window.

    Attributes:
        table: shape (cells, columns), uint64.
        tail: shape (tail,), uint64; empty where batches carry none.
        coverage: which batches are in it.
        void_reason: set when the window must not be published, whatever its sum.
    """

    table: NDArray[np.uint64]
    tail: NDArray[np.uint64]
    coverage: Coverage = field(default_factory=Coverage)
    void_reason: str | None = None

    @classmethod
    def empty(cls, cells: int, columns: int, tail: int) -> WindowShare:
        """A window in which nothing has been folded."""
        return cls(np.zeros((cells, columns), dtype=np.uint64), np.zeros(tail, dtype=np.uint64))

    def fold(
        self,
        values: NDArray[np.uint64],
        cells: NDArray[np.uint16],
        tail: NDArray[np.uint64],
        *,
        stream: Stream,
        sequence: int,
        header_digest: bytes,
    ) -> None:
        """Add one batch: ``values`` (n, columns), ``cells`` (n,) uint16, ``tail`` (tail,). Exact modulo 2^64.

        Raises:
            ValueError: a cell is out of range, or the shapes disagree; then nothing was added.
        """
        if tail.shape != self.tail.shape:
            raise ValueError(f"expected a tail of {self.tail.size} elements, got shape {tail.shape}")
        self.table += sum_by_cell(values, cells, self.table.shape[0])
        self.tail += tail
        self.coverage.add(stream, sequence, int(cells.size), header_digest)
