"""The source topics of all measurements, as one worker of `seal` follows them: where to begin, what came, what grew.

One topic's trouble must not stop the others: a topic that is absent, or that cannot be asked now, waits, and its
measurements with it. A topic that is another one than the positions were made in (deleted and made again: its offsets
begin anew, and may have grown past the old ones) and one that no longer holds a position are stopped for good: rows are
missing that nobody can name. No window of theirs closes any more; their measurements go on as new ones, on a topic of
another name.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from streams.control import Approved
from streams.records.header import source_digest
from streams.records.punctuation import NEVER_MS
from streams.roles.source_partition import SourcePartition, SourceState
from streams.stage import Partition

log = logging.getLogger(__name__)

_OTHERS_AHEAD_MS = 500
"""By how much other workers may come further until a worker's first word of a new partition is in the log."""


@dataclass(frozen=True)
class SourceTopic:
    """A source topic as the cluster tells it.

    Attributes:
        id: Kafka's own, another one for a topic that is made again; "" where it is not known.
        partitions: how many.
    """

    id: str
    partitions: int


AskTopic = Callable[[Approved], SourceTopic | None]
"""A measurement's source topic; None where there is no such topic, or it cannot be asked."""

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

    def __init__(self, share: Share, ask_topic: AskTopic, ask_start: AskStart) -> None:
        self._partitions = share.partitions
        self._shard, self._shards = share.shard, share.shards
        self._source_topic = ask_topic
        self._start_offset = ask_start
        self._stored: dict[Partition, SourceState] = {}
        self._sources: dict[Partition, SourcePartition] = {}
        self._absent: set[str] = set()
        self._lost: dict[str, str] = {}
        self._now_ms = NEVER_MS

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
        return topic not in self._absent and topic not in self._lost

    def positions(self) -> dict[Partition, int]:
        """Where to read on."""
        return {key: source.state.offset for key, source in self._sources.items() if self.is_read(source.topic)}

    def lose(self, topic: str, reason: str) -> None:
        """Read a topic no more: rows of it are missing."""
        if topic not in self._lost:
            self._lost[topic] = reason
            log.error("source topic %s is stopped, and its measurements with it: %s", topic, reason)

    def lost(self) -> dict[Partition, str]:
        """Partitions of topics that are read no more, with the reason."""
        return {key: self._lost[key[0]] for key in self._sources if key[0] in self._lost}

    def restore(self, topic: str, i: int, state: SourceState) -> None:
        """Take in committed state."""
        self._stored[topic, i] = state

    def waiting(self) -> Iterator[SourcePartition]:
        """Committed partitions of this worker that it does not follow (any more)."""
        for (topic, i), state in self._stored.items():
            if (topic, i) not in self._sources and i % self._shards == self._shard:
                yield SourcePartition(topic, i, source_digest(topic), state, changed=False)

    def follow(self, groups: Mapping[str, list[Approved]], now_ms: int) -> None:
        """See to all topics.

        Args:
            groups: topic -> the approved measurements that read it.
            now_ms: epoch milliseconds.
        """
        self._now_ms = now_ms
        absent = {topic for topic, group in groups.items() if not self._follow(topic, group)}
        for topic in sorted(absent - self._absent):
            log.error("source topic %r does not exist, or cannot be read now; its measurements wait for it", topic)
        self._absent = absent

    def _follow(self, topic: str, group: list[Approved]) -> bool:
        """See to a topic's partitions; False where it cannot be read now."""
        shard, shards = self._shard, self._shards
        found = self._source_topic(group[0])
        partitions = None if found is None else found.partitions
        if found is not None:
            self._compare(topic, found)
        if partitions is None or topic in self._lost:
            # What it was is still told: the clock in its punctuation lets key epochs end.
            owned = [i for name, i in self._stored if name == topic and i % shards == shard]
        else:
            owned = list(range(shard, partitions, shards))
        begun = [self._begin(topic, i, group, None if topic in self._lost else found) for i in owned]
        return partitions is not None and all(begun)

    def _compare(self, topic: str, found: SourceTopic) -> None:
        """Stop a topic that is not the one that its positions were made in."""
        states = [state for (name, _), state in self._stored.items() if name == topic]
        states += [source.state for source in self._sources.values() if source.topic == topic]
        for state in states:
            if found.partitions < state.partitions or (state.topic_id and found.id and state.topic_id != found.id):
                was, now = state.topic_id or "not known", found.id or "not known"
                self.lose(
                    topic,
                    f"it was deleted and made again (its id was {was} with {state.partitions} partitions, and is {now} "
                    f"with {found.partitions}), so what was not read of the old one is lost, and positions mean "
                    "nothing in the new one. Starting again does not help: revoke its measurements, and propose them "
                    "anew on a topic of another name",
                )
                return

    def _begin(self, topic: str, i: int, group: list[Approved], found: SourceTopic | None) -> bool:
        """See to one partition; False where the broker cannot say where to begin."""
        source = self._sources.get((topic, i))
        if source is None:
            state = self._stored.get((topic, i)) or self._first_state(topic, i, group)
            if state is None:
                return False
            state.begun_with = state.begun_with or (0 if found is None else found.partitions)
            source = self._sources[topic, i] = SourcePartition(topic, i, source_digest(topic), state)
        known = source.state.partitions, source.state.topic_id
        if found is not None and known != (found.partitions, found.id or known[1]):
            source.state.partitions, source.state.topic_id = found.partitions, found.id or known[1]
            source.changed = True
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
            if group[0].measurement.source.arrival == "live" and not any(key[0] == topic for key in self._sources):
                # How far the others were when this worker began is long past: windows have been closed since.
                reached = max(reached, self._now_ms + _OTHERS_AHEAD_MS)
            return SourceState(offset, reached, sequences, {a.spec.hex(): reached + 1 for a in group})
        since = {a.spec.hex(): since_ms for a, (_, since_ms) in zip(group, found, strict=True)}
        return SourceState(offset, NEVER_MS, sequences, since)
