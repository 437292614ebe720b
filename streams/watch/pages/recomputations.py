"""What became of working windows out again: it follows from their records alone, and is worked out once.

A page is rendered anew whenever anything has changed; a record says the same for ever, and working it out is what most
of its page's time went into.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable

import msgspec

from estimator import Recomputation

_MOST = 4096
_MOST_DISCREPANCIES = 100_000
"""Of all that are kept: an estimator of another build may differ in each number of each window."""


class Recomputations:
    """Keeps those that were asked for last. Any number of threads may ask."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._kept: OrderedDict[bytes, Recomputation | None] = OrderedDict()
        self._discrepancies = 0

    def once(self, work: Callable[[], Recomputation | None], *parts: object) -> Recomputation | None:
        """What ``work`` gives, or gave before for the same parts.

        Args:
            work: None means that it cannot be worked out.
            parts: all that it follows from: records as JSON gives them, specs' digests, None.
        """
        key = _digest(parts)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        found = work()
        with self._lock:
            if key not in self._kept:
                self._kept[key] = found
                self._discrepancies += _size(found)
                while len(self._kept) > self._most or (self._discrepancies > _MOST_DISCREPANCIES and self._kept):
                    self._discrepancies -= _size(self._kept.popitem(last=False)[1])
        return found


def _size(found: Recomputation | None) -> int:
    return 0 if found is None else len(found.discrepancies)


def _digest(parts: tuple[object, ...]) -> bytes:
    return hashlib.blake2b(msgspec.json.encode(parts), digest_size=16).digest()
