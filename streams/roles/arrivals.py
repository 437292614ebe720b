"""When records of a source partition arrived, and which partition each is of: on arrays, and no more than is needed.

A record's arrival is its own timestamp (LogAppendTime), this worker's clock (CreateTime), or the timestamp that a
replayed log gave it; within a partition it never falls. To ask each record of a batch for its timestamp is a good part
of what reading it costs, and decides nothing where no row can be late: a broker's append times rise, so those between
the first and the last of a batch lie between theirs. Where a broker's clock was set back amid a batch, the last one is
the lower one, and the partition merely seems to have come less far.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from streams.records.punctuation import NEVER_MS
from streams.stage import TIMESTAMP_LOG_APPEND, Partition, Record


class Arrivals:
    """Of a batch of records of one partition, in order; at least one.

    Args:
        since_ms: the partition has come this far. now_ms: the worker's clock.
        latest_ms: of a replayed log, whose records' own timestamps count: one beyond this counts as none. None for a
            live topic.
    """

    def __init__(self, records: Sequence[Record], since_ms: int, now_ms: int, latest_ms: int | None) -> None:
        self._records = records
        self._since_ms = since_ms
        self._now_ms = now_ms
        self._latest_ms = latest_ms
        self._ends_ms: tuple[int, int] | None = None
        self.by_own_clock = False
        """Whether arrival is this worker's clock, so that what is read again arrives later."""
        if latest_ms is None:
            (first_kind, first_ms), (last_kind, last_ms) = records[0].timestamp(), records[-1].timestamp()
            self.by_own_clock = not first_kind == last_kind == TIMESTAMP_LOG_APPEND
            if not self.by_own_clock and first_ms <= last_ms:
                self._ends_ms = max(first_ms, since_ms), max(last_ms, since_ms)

    def are_within(self, time_ms: NDArray[np.int64], lateness_ms: int, max_future_ms: int) -> bool:
        """Whether it is certain that no row of these event times (shape (n,), n > 0) is late or from the future."""
        oldest_ms, newest_ms = self._ends_ms or (int(self.each_ms[0]), int(self.each_ms[-1]))
        return bool(newest_ms - time_ms.min() <= lateness_ms and time_ms.max() - oldest_ms <= max_future_ms)

    @property
    def newest_ms(self) -> int:
        """How far the partition has come with these records."""
        if self._ends_ms is None or "each_ms" in self.__dict__:
            return int(self.each_ms[-1])
        return self._ends_ms[1]

    @cached_property
    def each_ms(self) -> NDArray[np.int64]:
        """Arrival of each record: shape (n,), int64, epoch milliseconds, never falling."""
        if self._latest_ms is not None:
            milliseconds = np.array([record.timestamp()[1] for record in self._records], dtype=np.int64)
            milliseconds[milliseconds > self._latest_ms] = NEVER_MS
        else:
            stamps = [record.timestamp() for record in self._records]
            milliseconds = np.array(
                [stamp if kind == TIMESTAMP_LOG_APPEND else self._now_ms for kind, stamp in stamps], dtype=np.int64
            )
        return np.maximum.accumulate(np.maximum(milliseconds, self._since_ms))


def by_partition(records: Sequence[Record], only_topic: str | None) -> dict[Partition, Sequence[Record]]:
    """Records by their partition, in order within each.

    Args:
        only_topic: the topic of all of them; None where there may be several.
    """
    numbers = np.fromiter([record.partition() for record in records], np.int64, len(records))
    changes = numbers[1:] != numbers[:-1]
    if only_topic is None:
        topics = [record.topic() for record in records]
        if len(set(topics)) > 1:
            changes |= np.fromiter(map(str.__ne__, topics[1:], topics[:-1]), bool, changes.size)
    # Fetched together, they come partition by partition: runs are few.
    bounds = [0, *(np.flatnonzero(changes) + 1).tolist(), len(records)]
    groups: dict[Partition, Sequence[Record]] = {}
    for start, stop in pairwise(bounds):
        partition = (records[start].topic(), records[start].partition())
        run = records[start:stop]
        groups[partition] = [*groups[partition], *run] if partition in groups else run
    return groups
