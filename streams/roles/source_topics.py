"""The source topics of all measurements, as one worker of `seal` follows them: where to begin, what came, what grew.

One topic's trouble must not stop the others: a topic that is absent, or that cannot be asked now, waits, and its
measurements with it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from streams.control import Approved
from streams.records.header import source_digest
from streams.records.punctuation import NEVER_MS
from streams.roles.source_partition import SourcePartition, SourceState
from streams.stage import Partition

log = logging.getLogger(__name__)

AskPartitions = Callable[[Approved], int | None]
"""Number of partitions of a measurement's source topic; None where there is no such topic, or it cannot be asked."""

AskStart = Callable[[str, int, Approved], tuple[int, int] | None]
"""Where to begin reading (topic, i) for a measurement, and the arrival time from which every row is read from there
(epoch milliseconds; ``NEVER_MS``: all of them); None where the broker cannot say now."""


class Share(Protocol):
    """Which part of the partitions a worker has, and how many partitions `sealed` has."""

    @property
    def partitions(self) -> int: ...
    @property
    def shard(self) -> int: ...
    @property
    def shards(self) -> int: ...


class SourceTopics:
    """See the module's text."""

    def __init__(self, share: Share, ask_partitions: AskPartitions, ask_start: AskStart) -> None:
        self._partitions = share.partitions
        self._shard, self._shards = share.shard, share.shards
        self._source_partitions = ask_partitions
        self._start_offset = ask_start
        self._stored: dict[Partition, SourceState] = {}
        self._sources: dict[Partition, SourcePartition] = {}
        self._absent: set[str] = set()

    def __iter__(self) -> Iterator[SourcePartition]:
        """All source partitions of this worker, those of absent topics as well."""
        return iter(self._sources.values())

    def __getitem__(self, partition: Partition) -> SourcePartition:
        return self._sources[partition]

    def get(self, partition: Partition) -> SourcePartition | None:
        """A source partition, if this worker has it."""
        return self._sources.get(partition)

    def is_read(self, topic: str) -> bool:
        """Whether a topic is there to be read."""
        return topic not in self._absent

    def positions(self) -> dict[Partition, int]:
        """Where to read on."""
        return {key: source.state.offset for key, source in self._sources.items() if source.topic not in self._absent}

    def restore(self, topic: str, i: int, state: SourceState) -> None:
        """Take in committed state."""
        self._stored[topic, i] = state

    def follow(self, groups: Mapping[str, list[Approved]]) -> None:
        """See to all topics.

        Args:
            groups: topic -> the approved measurements that read it.
        """
        absent = {topic for topic, group in groups.items() if not self._follow(topic, group)}
        for topic in sorted(absent - self._absent):
            log.error("source topic %r does not exist, or cannot be read now; its measurements wait for it", topic)
        self._absent = absent

    def _follow(self, topic: str, group: list[Approved]) -> bool:
        """See to a topic's partitions; False where it cannot be read now."""
        shard, shards = self._shard, self._shards
        partitions = self._source_partitions(group[0])
        if partitions is None:
            # What it was is still told: the clock in its punctuation lets key epochs end.
            owned = [i for name, i in self._stored if name == topic and i % shards == shard]
        else:
            owned = list(range(shard, partitions, shards))
        begun = [self._begin(topic, i, group, partitions) for i in owned]
        return partitions is not None and all(begun)

    def _begin(self, topic: str, i: int, group: list[Approved], partitions: int | None) -> bool:
        """See to one partition; False where the broker cannot say where to begin."""
        source = self._sources.get((topic, i))
        if source is None:
            state = self._stored.get((topic, i)) or self._first_state(topic, i, group)
            if state is None:
                return False
            state.begun_with = state.begun_with or partitions or 0
            source = self._sources[topic, i] = SourcePartition(topic, i, source_digest(topic), state)
        if partitions is not None and partitions != source.state.partitions:
            source.state.partitions, source.changed = partitions, True
        for approved in group:
            source.changed |= source.state.claim(approved.spec.hex())
        return True

    def _first_state(self, topic: str, i: int, group: list[Approved]) -> SourceState | None:
        """Where to begin with a partition that was never read: early enough for every measurement of its topic."""
        starts = [self._start_offset(topic, i, approved) for approved in group]
        found = [start for start in starts if start is not None]
        if len(found) < len(starts):
            return None
        offset = min(offset for offset, _ in found)
        sequences = [0] * self._partitions
        known = {key: state for key, state in self._stored.items() if key[0] == topic}
        known |= {key: source.state for key, source in self._sources.items() if key[0] == topic}
        reached = max((state.arrival_ms for state in known.values()), default=NEVER_MS)
        # A partition that the others were begun with is no new one: another worker had it, and never came to commit.
        is_new = any(state.begun_with <= i for state in known.values())
        if is_new and reached > NEVER_MS:
            # The topic has grown. What came to the new partition before it was seen is late; windows that are open now
            # lack it, and are void.
            return SourceState(offset, reached, sequences, {a.spec.hex(): reached + 1 for a in group})
        since = {a.spec.hex(): since_ms for a, (_, since_ms) in zip(group, found, strict=True)}
        return SourceState(offset, NEVER_MS, sequences, since)
