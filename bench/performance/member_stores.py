"""`attach`'s member store by size: bytes a member, what loading takes, and how many lookups a second.

The store alone (``estimator.members``), filled with ready codes: decoding attribute records is `attach`'s way to fill
it, and is measured there. Lookups are of members drawn at random, 4,096 at a time, as a batch asks for them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.performance.in_process import member_ids
from estimator.members import MemberStore

_BLOCK = 250_000
_BATCH = 4_096
_BATCHES = 100
_CODE_WIDTH = 3


@dataclass(frozen=True)
class StoreFigure:
    """One size of the store.

    Attributes:
        members: in the store. bytes_per_member: of all its arrays, by members.
        peak_bytes_per_member: at the worst moment of loading, when an array and the larger one that follows it are both
            there, by the members that the store held then.
        load_ns_per_member: CPU time to bring in one, over the whole load, growth included.
        load_seconds: of the whole load.
        ns_per_lookup: CPU time, median over batches. spread: of the middle half, relative. lookups_per_second: of one
            core.
    """

    members: int
    bytes_per_member: float
    peak_bytes_per_member: float
    load_ns_per_member: float
    load_seconds: float
    ns_per_lookup: float
    spread: float
    lookups_per_second: float


def measure_stores(sizes: Sequence[int], progress: Callable[[str], object] = lambda text: None) -> list[StoreFigure]:
    """One store is filled from size to size, so that the largest is built once.

    Args:
        sizes: numbers of members, rising.
    """
    rng = np.random.default_rng(1)
    store = MemberStore(bytes(32), _CODE_WIDTH)
    found, loaded, seconds, peak = [], 0, 0.0, 0.0
    for size in sizes:
        progress(f"store of {size:,} members")
        while loaded < size:
            numbers = np.arange(loaded, min(loaded + _BLOCK, size))
            ids = member_ids(numbers)
            codes = rng.integers(0, 50_000, (numbers.size, _CODE_WIDTH), dtype=np.uint32)
            zeros = np.zeros(numbers.size, dtype=np.uint8)
            before = store.nbytes
            begun = time.thread_time()
            store.upsert(ids, codes, zeros.astype(np.uint16), zeros)
            seconds += time.thread_time() - begun
            loaded += numbers.size
            if store.nbytes > before:
                peak = _peak(store, before) / loaded
        found.append(_looked_up(store, rng, peak, seconds))
    return found


def _peak(store: MemberStore, before: int) -> float:
    """Bytes at the worst moment of the growth that has just been: one array is copied at a time, the largest last."""
    grown = max(array.nbytes for array in (store.tags, store.codes))
    return before + grown


def _looked_up(store: MemberStore, rng: np.random.Generator, peak: float, seconds: float) -> StoreFigure:
    members = len(store)
    taken = []
    for _ in range(_BATCHES):
        ids = member_ids(rng.integers(0, members, _BATCH)).astype("S12")
        begun = time.thread_time()
        index = store.lookup(ids)
        taken.append((time.thread_time() - begun) / _BATCH)
        assert int(index.min()) >= 0
    low, median, high = np.percentile(taken, (25, 50, 75))
    return StoreFigure(
        members,
        round(store.bytes_per_member, 2),
        round(max(peak, store.bytes_per_member), 2),
        round(1e9 * seconds / members, 1),
        round(seconds, 3),
        round(1e9 * float(median), 2),
        round(float((high - low) / median), 3),
        round(1 / float(median)),
    )
