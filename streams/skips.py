"""The skip records that a role has read: which batches are given up, and which windows are void for it.

A batch is given up only where it cannot be taken in: asked of by ``streams.roles.signed_log`` when a record would stop
its partition, and at no other time. Windows are void from the moment a party knows of the skip; one that a party had
released before is void all the same, since the other party's is.
"""

from __future__ import annotations

from collections.abc import Iterator

from secure_agg import Stream
from streams.records.skip import Skip

_READ_BY = {"sealed": ("sealed",), "shares": ("sealed", "shares")}
"""By topic, whose skips concern its readers: what attach left out of `shares` is missing there."""


class Skips:
    """Those that a pinned operator key has signed, in the order of the topic."""

    def __init__(self) -> None:
        self._skips: list[Skip] = []
        self._given_up: dict[tuple[str, Stream], list[tuple[int, int]]] = {}
        self._void: dict[bytes, list[tuple[int, int]]] = {}

    @property
    def count(self) -> int:
        """How many there are; rises with each."""
        return len(self._skips)

    def add(self, skip: Skip) -> bool:
        """Take in a verified record; False where it is known."""
        if skip in self._skips:
            return False
        self._skips.append(skip)
        for entry in skip.streams:
            numbers = entry.from_sequence, entry.until_sequence
            self._given_up.setdefault((skip.topic, skip.stream(entry)), []).append(numbers)
        for windows in skip.windows:
            spec = bytes.fromhex(windows.spec_sha256)
            self._void.setdefault(spec, []).append((windows.from_ms, windows.until_ms))
        return True

    def since(self, count: int, topic: str, partition: int) -> Iterator[Skip]:
        """Those that concern readers of a topic's partition, from the ``count``-th on."""
        for skip in self._skips[count:]:
            if skip.topic in _READ_BY[topic] and skip.partition == partition:
                yield skip

    def give_up(self, topic: str, stream: Stream, first: int, past: int) -> bool:
        """Whether every batch numbered in [first, past) is given up, for readers of ``topic``."""
        ranges = sorted(numbers for by in _READ_BY[topic] for numbers in self._given_up.get((by, stream), ()))
        for begin, end in ranges:
            if begin <= first < end:
                first = end
        return first >= past

    def void(self, spec: bytes, start_ms: int, end_ms: int) -> bool:
        """Whether a window of a revision, [start_ms, end_ms), is touched by a skip."""
        return any(begin < end_ms and start_ms < end for begin, end in self._void.get(spec, ()))

    def go_on_from(self, topic: str, partition: int, offset: int) -> int | None:
        """Where a reader goes on whose position ``offset`` is no longer in the log; None where nobody has said so."""
        offsets = [s.offset for s in self._skips if (s.topic, s.partition) == (topic, partition) and s.offset > offset]
        return max(offsets, default=None)
