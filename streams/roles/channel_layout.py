"""The channels of a measurement, as arrays: what a row carries, what a batch carries after its rows, what is released.

    table        each row's fixed-point probabilities, k columns, folded by cell
    rectifier    each row's Self-ID less its probabilities, k more columns of the same row, folded by cell
    moments      a tail of k (k + 1) / 2 + 2 + k elements, once a batch (estimator.moments)

A batch is one flat vector, rows x columns and then the tail, so that it is split with one seed. Rows that do not count
are zeros in all channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from estimator.moments import moments_of, moments_size
from estimator.self_id import masses_of
from privacy import Measurement
from secure_agg import SCALE
from streams.records.batches import CHANNEL_MOMENTS, CHANNEL_RECTIFIER, CHANNEL_TABLE

_BITS = {"table": CHANNEL_TABLE, "rectifier": CHANNEL_RECTIFIER, "moments": CHANNEL_MOMENTS}


@dataclass(frozen=True)
class ChannelLayout:
    """See the module's text.

    Attributes:
        channels: names, in the order of the wire; "table" is among them.
        groups: k. cells: of the table. longest: the name of the longest level, where the rectifier is released.
    """

    channels: tuple[str, ...]
    groups: int
    cells: int
    longest: str

    @classmethod
    def of(cls, measurement: Measurement) -> ChannelLayout:
        """The layout that a measurement's spec fixes."""
        return cls(
            measurement.channels, len(measurement.group_names), measurement.cell_count, measurement.levels[-1].name
        )

    @cached_property
    def bits(self) -> int:
        """``Extension.channels``."""
        return sum(_BITS[name] for name in self.channels)

    @cached_property
    def columns(self) -> int:
        """Ring elements a row."""
        return self.groups * (2 if "rectifier" in self.channels else 1)

    @cached_property
    def tail(self) -> int:
        """Ring elements after the rows, once a batch."""
        return moments_size(self.groups) if "moments" in self.channels else 0

    def size(self, rows: int) -> int:
        """Ring elements of a batch."""
        return rows * self.columns + self.tail

    def parts(self, flat: NDArray[np.uint64], rows: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Views of a batch's vector: its rows, shape (rows, columns), and its tail, shape (tail,)."""
        cut = rows * self.columns
        return flat[:cut].reshape(rows, self.columns), flat[cut:]

    def values(
        self, counts: NDArray[np.bool_], fixed: NDArray[np.uint64], self_id: NDArray[np.uint16]
    ) -> NDArray[np.uint64]:
        """The vector of one batch, without masking. Whoever asked overwrites it after use.

        Args:
            counts: shape (n,), bool: the rows that count.
            fixed: shape (m, k), uint64: fixed-point probabilities of those rows (``to_fixed_point``), each of which
                sums to ``SCALE``. self_id: shape (m,), uint16: their members' masks.

        Returns:
            Shape (n x columns + tail,), uint64; signed values are two's complement.
        """
        flat = np.zeros(self.size(counts.size), dtype=np.uint64)
        rows, tail = self.parts(flat, counts.size)
        where = np.flatnonzero(counts)
        for group in range(self.groups):
            rows[:, group][where] = fixed[:, group]
        residuals = np.zeros((0, self.groups), dtype=np.uint64)
        if "rectifier" in self.channels:
            said = self_id != 0
            residuals = masses_of(self_id[said], self.groups, SCALE)
            own = fixed[said]
            residuals -= own
            own.fill(0)
            rows[where[said], self.groups :] = residuals
        if "moments" in self.channels:
            # Where Self-ID is not used, nothing of it is shared: not even how many said a group.
            tail[:] = moments_of(fixed, residuals.view(np.int64), SCALE)
        residuals.fill(0)
        return flat

    def released(self, level: str) -> dict[str, tuple[int, ...]]:
        """What a window of a level releases: the shape of each channel, in the order of the wire."""
        by_cell = (self.cells, self.groups)
        shapes: dict[str, tuple[int, ...]] = {"table": by_cell, "rectifier": by_cell, "moments": (self.tail,)}
        left_out = {"rectifier"} if level != self.longest else set()
        return {name: shapes[name] for name in self.channels if name not in left_out}

    def channel(self, name: str, table: NDArray[np.uint64], tail: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """One channel of a window's sums: ``table`` (cells, columns), ``tail`` (tail,)."""
        if name == "moments":
            return tail
        return table[:, : self.groups] if name == "table" else table[:, self.groups :]
