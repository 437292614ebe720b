"""Searches bytes for what must never be on the wire: member ids, cells in clear, rows of race probabilities.

It looks at every byte offset, so that no framing or alignment can hide anything, and it is itself tested on planted
finds: a scanner that finds nothing proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

_SCALE = 1 << 20
_RUN = 12


def segments(data_folder: Path, topic: str) -> Iterator[bytes]:
    """The bytes of all log segments of a topic."""
    for folder in sorted(data_folder.glob(f"{topic}-[0-9]*")):
        if folder.name.rpartition("-")[0] == topic:
            for path in sorted(folder.glob("*.log")):
                yield path.read_bytes()


def find_ids(data: bytes, ids: Iterable[bytes]) -> int:
    """How many of these ids occur in the bytes."""
    return sum(name in data for name in ids)


def find_probability_rows(data: bytes) -> int:
    """Places where six numbers in a row are a race vector: u64 fixed point, float64 or float32."""
    found = 0
    for dtype, width in ((np.dtype("<u8"), 8), (np.dtype("<f8"), 8), (np.dtype("<f4"), 4)):
        for offset in range(min(width, len(data))):
            count = (len(data) - offset) // width
            values = np.frombuffer(data, dtype=dtype, count=count, offset=offset)
            if values.size < 6:
                continue
            if dtype.kind == "u":
                small = values <= _SCALE
                rows = np.lib.stride_tricks.sliding_window_view(np.where(small, values, 0).astype(np.int64), 6)
                fits = np.lib.stride_tricks.sliding_window_view(small, 6).all(axis=1) & (rows.sum(axis=1) == _SCALE)
            else:
                with np.errstate(all="ignore"):
                    inside = np.isfinite(values) & (values >= 0) & (values <= 1)
                    rows = np.lib.stride_tricks.sliding_window_view(np.where(inside, values, 0).astype(np.float64), 6)
                    fits = np.lib.stride_tricks.sliding_window_view(inside, 6).all(axis=1)
                    fits &= np.abs(rows.sum(axis=1) - 1) < 1e-6
            # A lone 1 among zeros is any counter; a race vector has mass in at least three groups.
            found += int((fits & ((rows > 0).sum(axis=1) >= 3)).sum())
    return found


def find_cells(data: bytes, cells: int) -> int:
    """Places where twelve u16 in a row are all valid cell numbers and not all alike: cells in clear."""
    found = 0
    for offset in range(min(2, len(data))):
        values = np.frombuffer(data, dtype="<u2", count=(len(data) - offset) // 2, offset=offset)
        if values.size < _RUN:
            continue
        windows = np.lib.stride_tricks.sliding_window_view(values, _RUN)
        valid = np.lib.stride_tricks.sliding_window_view(values < cells, _RUN).all(axis=1)
        candidates = windows[valid]
        found += int(((candidates > 0).sum(axis=1) >= _RUN // 2).sum()) if candidates.size else 0
    return found
