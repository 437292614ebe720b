"""`seal`: the recommender's side. Turns events into sealed batches of rows.

Reads source partition i, routes each row to `sealed` partition j = murmur2(member id) mod P, and seals member ids to
`attach` and cells to the two parties (``batching``).

Time. *Arrival* is the Kafka record's own timestamp (LogAppendTime), or this worker's clock on a CreateTime topic, or
the record's timestamp in a replay. A row is late by its own arrival less its own event time, never by what other events
said. Punctuation follows arrival, one record for each j and transaction (DESIGN section 2.5).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from secure_agg import Identity
from streams.control import Approved, ControlPlane
from streams.data_keys import SendingKeys
from streams.kafka.partitioner import murmur2, to_partition
from streams.records.punctuation import NEVER_MS, Counting, Punctuation, SignedPunctuation, SourceProgress
from streams.records.refused import Refused, encode_refused
from streams.roles import decoding
from streams.roles.arrivals import Arrivals, by_partition
from streams.roles.batching import Batcher, Sealed, shuffled_within
from streams.roles.source_partition import SourcePartition, SourceState
from streams.roles.source_topics import AskStart, AskTopic, SourceTopics
from streams.stage import LEAST_PATIENCE_MS, Out, Partition, Record
from streams.state import StateCodec
from streams.watch.health import RoleHealth

END_OF_LOG = "evenstream-end-of-log"
"""Header of the record that ends a replayed partition; its timestamp is the time that has been reached."""

log = logging.getLogger(__name__)

_RECIPIENTS = ("attach", "a", "b")
_TOPICS_INTERVAL_MS = 5_000
# A replayed record stamped further ahead of the clock than this would close windows that are still to come.
_MAX_RECORD_TIME_AHEAD_MS = 86_400_000
# Rows wait for their commit, so that none is read before another by chance; so many are some 50 MB.
_MOST_WAITING_ROWS = 1_000_000
# Fewer a batch, in the mean, may wait for their window's end (``few_rows_wait_ms``): an envelope takes 1.2 KB and much
# work for each of its four readings, whether it holds one row or hundreds.
FEW_ROWS = 64
_AFTER_LAST_MS = 60_000
# Just before a window closes, what is there is sent ahead, so that all roles are done with it when the window does: the
# 80,000 rows of a second take them a tenth of one, and so do a hundred batches. Rows that still come after that need a
# batch of their own, which costs as much as hundreds of rows; none do where a window is over.
AHEAD_MS = 150
AHEAD_ROWS = 8_192
AHEAD_ROWS_A_SLOT = 256
AHEAD_SLOTS = 64
STRAGGLERS_MS = 30
# A step costs some 300 microseconds besides its records: every 10 ms, that was most of what a slow topic cost.
_MOST_PATIENCE_MS = 50


@dataclass(frozen=True)
class SealOptions:
    """What an operator may turn (``streams.settings``), as `seal` uses it.

    ``few_rows_wait_ms`` counts where it is longer than ``commit_interval_ms``.
    """

    partitions: int
    batch_rows: int
    commit_interval_ms: int
    few_rows_wait_ms: int
    max_event_bytes: int
    shard: int
    shards: int


class SealStage:
    """One worker of `seal`.

    Args:
        options: see :class:`SealOptions`.
        topics: names of the topics sealed, refused and state-seal, by those words.
        identity, control, keys, codec, health: the role's own.
        source_topic, start_offset: what the broker is asked about sources (``source_topics``).
    """

    def __init__(
        self,
        options: SealOptions,
        topics: Mapping[str, str],
        identity: Identity,
        control: ControlPlane,
        keys: SendingKeys,
        codec: StateCodec,
        health: RoleHealth,
        source_topic: AskTopic,
        start_offset: AskStart,
    ) -> None:
        self._options = options
        self._topics = topics
        self._identity = identity
        self._control = control
        self._keys = keys
        self._codec = codec
        self._health = health
        self._sources = SourceTopics(options, source_topic, start_offset)
        codec.share(
            options.shard, options.shards, lambda key: int(key.split(b"/")[-1]) % options.shards == options.shard
        )
        self._decoders: dict[str, list[tuple[Approved, decoding.EventDecoder]]] = {}
        self._control_version = -1
        self._batcher = Batcher(identity, keys, options.batch_rows)
        self._outputs: list[Out] = []
        self._told: dict[bytes, int] = {}
        self._topics_asked_ms = 0
        self._reading: set[Partition] = set()
        self._topics_read: set[str] = set()
        self._last_commit_ms = 0
        self._arrive_again = False
        """Whether rows wait that would arrive anew, and later, if they had to be read again."""

    # -- state and assignment -------------------------------------------------------------------------------------

    def restore(self, topic: str, key: bytes, value: bytes | None) -> None:
        """Take in one state record."""
        with self._codec.reading(key):
            kind, source, text = key.decode().split("/")
            i = int(text)
        if kind != "source":
            raise self._codec.unknown(key)
        self._codec.found(key, value)
        if value is not None:
            self._sources.restore(source, i, self._codec.decode(key, value, SourceState))

    def positions(self) -> Mapping[Partition, int]:
        """Source partitions that this worker owns, and where to read on; those of absent topics wait."""
        return self._sources.positions()

    def refresh(self, now_ms: int) -> bool:
        """Take in newly approved measurements, and topics that came, went or grew; True when reading changes."""
        overdue = abs(now_ms - self._topics_asked_ms) >= _TOPICS_INTERVAL_MS
        if self._control.version == self._control_version and not overdue:
            return False
        self._drop_revoked()
        self._topics_asked_ms = now_ms
        groups: dict[str, list[Approved]] = {}
        for approved in self._control.approved():
            groups.setdefault(approved.measurement.source.topic, []).append(approved)
        known = {approved.spec: decoder for pairs in self._decoders.values() for approved, decoder in pairs}
        self._decoders = {
            topic: [(a, known.get(a.spec) or decoding.EventDecoder(a.measurement)) for a in group]
            for topic, group in groups.items()
        }
        self._sources.follow(groups, now_ms)
        before, self._reading = self._reading, set(self.positions())
        self._topics_read.update(topic for topic, _ in self._reading)
        return self._reading != before

    def _drop_revoked(self) -> None:
        """Rows of a revoked measurement that wait for their batch go nowhere; its punctuation goes on."""
        self._control_version = self._control.version
        for approved in self._control.approved():
            if approved.revoked:
                self._batcher.drop(approved.spec)

    def patience_ms(self, now_ms: int) -> int:
        """Until the next window closes; one that is about to is not kept waiting."""
        closing_ms = map(self._closing_ms, self._control.approved())
        return max(
            LEAST_PATIENCE_MS, min(_MOST_PATIENCE_MS, min(closing_ms, default=now_ms + _MOST_PATIENCE_MS) - now_ms)
        )

    def blocked(self, now_ms: int) -> str | None:
        """`seal` pauses, and never drops, while a recipient has no valid epoch key."""
        missing = self._keys.missing(_RECIPIENTS, now_ms)
        if missing:
            return f"waiting for a valid epoch key of {', '.join(missing)} on the keys topic"
        return None

    def lose_position(self, topic: str, partition: int, why: str) -> bool:
        """The topic's measurements stop; the others go on."""
        self._sources.lose(topic, why)
        self._topics_asked_ms = 0
        return True

    def stopped(self) -> Mapping[Partition, str]:
        """Partitions of topics that are read no more. What is wrong with an event is refused by itself."""
        return self._sources.lost()

    # -- rows -----------------------------------------------------------------------------------------------------

    def step(self, records: Sequence[Record], now_ms: int) -> None:
        """Turn records into buffered rows, and full buffers into batches."""
        for partition, group in by_partition(records, self._only_topic).items():
            if self._sources.is_read(partition[0]):  # else it was lost while these were on their way
                self._read(self._sources[partition], group, now_ms)

    def _read(self, source: SourcePartition, records: Sequence[Record], now_ms: int) -> None:
        arrival = self._arrivals(source, records, now_ms)
        values: Sequence[bytes | None] = [record.value() for record in records]
        positions: NDArray[np.intp] | None = None  # of values among the records; None: all of them
        limit = self._options.max_event_bytes
        if not all(values) or max(map(len, values)) > limit:  # type: ignore[arg-type]  # none is None then
            positions = self._fit(source, records, values)
            values = [values[position] for position in positions]
        fit = cast(Sequence[bytes], values)
        for approved, decoder in self._decoders.get(source.topic, ()):
            if approved.revoked:
                continue
            self._take(source, approved, decoder.decode(fit), records, positions, arrival)
        source.state.offset = records[-1].offset() + 1
        source.state.arrival_ms = arrival.newest_ms
        source.changed = True
        self._arrive_again |= arrival.by_own_clock
        self._health.progress(source.topic, source.i, now_ms / 1000)

    @property
    def _only_topic(self) -> str | None:
        """The topic of every record that comes; None where there may be several."""
        return next(iter(self._topics_read)) if len(self._topics_read) == 1 else None

    def _fit(
        self, source: SourcePartition, records: Sequence[Record], values: Sequence[bytes | None]
    ) -> NDArray[np.intp]:
        """The positions of the values that are to be decoded; the others are refused."""
        index: list[int] = []
        for position, (record, value) in enumerate(zip(records, values, strict=True)):
            if value and len(value) <= self._options.max_event_bytes:
                index.append(position)
            elif value:
                self._refuse(source, record, decoding.TOO_LARGE, None)
            elif not any(name == END_OF_LOG for name, _ in record.headers() or ()):
                self._refuse(source, record, decoding.EMPTY, None)
        return np.array(index, dtype=np.intp)

    def _arrivals(self, source: SourcePartition, records: Sequence[Record], now_ms: int) -> Arrivals:
        replayed = self._time_of(source.topic) == "record_time"
        latest_ms = now_ms + _MAX_RECORD_TIME_AHEAD_MS if replayed else None
        return Arrivals(records, source.state.arrival_ms, now_ms, latest_ms)

    def _time_of(self, topic: str) -> str:
        return self._decoders[topic][0][0].measurement.source.arrival

    def _take(
        self,
        source: SourcePartition,
        approved: Approved,
        decoded: decoding.Decoded,
        records: Sequence[Record],
        positions: NDArray[np.intp] | None,
        arrival: Arrivals,
    ) -> None:
        measurement, rows = approved.measurement, decoded.rows
        for position, reason in decoded.refused:
            record = records[position if positions is None else positions[position]]
            self._refuse(source, record, reason, measurement.id)
        if not rows.record.size:
            return
        base = measurement.base_ms
        of_record = rows.record if positions is None else positions[rows.record]
        start = rows.time_ms // base * base
        good = (start >= approved.from_ms) & (start < approved.until_ms)
        if not arrival.are_within(rows.time_ms, measurement.lateness_ms, measurement.max_future_ms):
            delay = arrival.each_ms[of_record] - rows.time_ms
            late, future = good & (delay > measurement.lateness_ms), good & (-delay > measurement.max_future_ms)
            for bad, reason in ((late, decoding.LATE), (future, decoding.FUTURE)):
                for position in np.unique(of_record[bad]):
                    self._refuse(source, records[position], reason, measurement.id)
            good &= ~late & ~future
        members, cells, end = rows.members, rows.cells, start + base
        if measurement.source.explode is not None or not good.all():
            kept = np.flatnonzero(good)
            if not kept.size:
                return
            if measurement.source.explode is not None:
                kept = kept[shuffled_within(of_record[kept])]
            members, cells, end = members[kept], cells[kept], end[kept]
        self._health.rows(int(cells.size))
        hashes = murmur2(members)
        j = to_partition(hashes, self._options.partitions)
        self._batcher.add(approved, source, members, cells, hashes, j, end)

    def _write(self, batches: Iterable[Sealed]) -> None:
        for j, value in batches:
            self._outputs.append(Out(self._topics["sealed"], j, None, value))
            self._health.batch()

    def _refuse(self, source: SourcePartition, record: Record, reason: str, measurement: str | None) -> None:
        self._health.refused(reason)
        refused = Refused(reason, record.topic(), record.partition(), record.offset(), measurement)
        self._outputs.append(Out(self._topics["refused"], 0, None, encode_refused(refused)))

    # -- time and checkpoints -------------------------------------------------------------------------------------

    def advance_idle(self, ends: Iterable[tuple[str, int, int]], asked_at_ms: int) -> None:
        """Let partitions that were read to their end follow the clock.

        Args:
            ends: (topic, i, end offset) as the broker reported it *after* ``asked_at_ms``. Only a partition whose end
                is the position already reached advances: a leader that cannot be asked merely looks idle.
            asked_at_ms: the worker's clock when it asked, less the operator's margin for clocks that differ.
        """
        for topic, i, end in ends:
            source = self._sources.get((topic, i))
            if (
                source is None
                or not self._sources.is_read(topic)
                or end != source.state.offset
                or self._time_of(topic) == "record_time"
            ):
                continue
            if asked_at_ms > source.state.arrival_ms:
                source.state.arrival_ms = asked_at_ms
                source.changed = True

    def awaits(self, arrival_ms: int) -> bool:
        """Whether a window could be closed if every partition had reached an arrival time, and is not told yet."""
        return any(
            self._closes_through(approved, arrival_ms) > self._told.get(approved.spec, NEVER_MS)
            for approved in self._control.approved()
        )

    def quiet_partitions(self, before_ms: int) -> list[Partition]:
        """Live source partitions whose arrival is behind ``before_ms``: they may be idle, or merely behind."""
        if not self._last_commit_ms:
            return []  # the broker's time is not known yet
        return [
            (source.topic, source.i)
            for source in self._sources
            if source.state.arrival_ms < before_ms
            and self._sources.is_read(source.topic)
            and self._time_of(source.topic) != "record_time"
        ]

    def at_end(self, topic: str, partition: int, offset: int) -> None:
        """Move over offsets that hold no event (transaction markers, compacted records)."""
        source = self._sources.get((topic, partition))
        if source is not None and self._sources.is_read(topic) and offset > source.state.offset:
            source.state.offset = offset
            source.changed = True

    def _is_behind(self, approved: Approved, now_ms: int) -> bool:
        """Whether the next window that is to be told was over long ago; never in a replay, whose times are its own."""
        if approved.measurement.source.arrival == "record_time":
            return False
        return now_ms - self._closing_ms(approved) > self._options.commit_interval_ms

    def _closing_ms(self, approved: Approved) -> int:
        """When the next window that is to be told is complete."""
        base, last = approved.measurement.base_ms, _last_end(approved)
        told = self._told.get(approved.spec, NEVER_MS)
        return told + (base if told < last else max(base, _AFTER_LAST_MS)) + approved.measurement.lateness_ms

    def _closed_through(self, approved: Approved) -> int:
        """The end of the last base window that nothing of this worker's can reach any more."""
        topic = approved.measurement.source.topic
        arrivals = [source.state.arrival_ms for source in self._sources if source.topic == topic]
        return self._closes_through(approved, min(arrivals)) if arrivals else NEVER_MS

    @staticmethod
    def _closes_through(approved: Approved, arrival_ms: int) -> int:
        """The same, were this the arrival that all partitions have reached.

        After a measurement's last window nobody waits for the next, but key epochs end by what punctuation says of the
        clock, so it goes on, once a minute.
        """
        measurement = approved.measurement
        base, last = measurement.base_ms, _last_end(approved)
        closed = (arrival_ms - measurement.lateness_ms) // base * base
        seldom = max(base, _AFTER_LAST_MS)
        return closed if closed <= last else last + (closed - last) // seldom * seldom

    def due(self, now_ms: int) -> bool:
        """At a window's end, or a new state key's beginning, at once; otherwise once in a commit interval.

        Shortly before a window's end as well, where there is much to be sent ahead.

        Windows that were over long ago are told once in an interval as well: a backlog is read many windows a second,
        and to commit at each of them makes small batches. A clock that was set back does not hold it.

        Few rows a batch, where nothing else is to be written, may wait longer. What follows from it: they are in
        memory until then, and after a crash they are read again. Those that arrived by this worker's clock would then
        have arrived later, perhaps too late, so they do not wait.
        """
        if self._codec.is_due(now_ms) or self._codec.is_awaited():
            return True
        interval_ms = self._options.commit_interval_ms
        since_ms = abs(now_ms - self._last_commit_ms)
        waited = since_ms >= interval_ms
        for approved in self._control.approved():
            if self._closed_through(approved) > self._told.get(approved.spec, NEVER_MS) and (
                waited or not self._is_behind(approved, now_ms)
            ):
                return True
        if self._batcher.waiting >= _MOST_WAITING_ROWS or self._sends_ahead(now_ms):
            return True
        if not self._last_commit_ms and any(self._sources):
            return True  # its acknowledgement tells the broker's time, before which nothing may follow a clock
        if not waited or not (self._batcher.waiting or self._outputs):
            return False
        few = self._batcher.waiting < FEW_ROWS * self._batcher.slots
        return not few or bool(self._outputs) or self._arrive_again or since_ms >= self._options.few_rows_wait_ms

    def _sends_ahead(self, now_ms: int) -> bool:
        """Whether a window is about to close, and so much waits that it would be kept waiting for that."""
        batcher = self._batcher
        if not batcher.waiting or abs(now_ms - self._last_commit_ms) < 2 * AHEAD_MS:
            return False  # where windows close so close to each other, what waits is of the last moments
        closing = [
            approved for approved in self._control.approved() if 0 < self._closing_ms(approved) - now_ms <= AHEAD_MS
        ]
        if not closing:
            return False
        if batcher.waiting >= max(AHEAD_ROWS, AHEAD_ROWS_A_SLOT * batcher.slots):
            return True
        return any(self._is_whole(approved, now_ms) for approved in closing)

    def _is_whole(self, approved: Approved, now_ms: int) -> bool:
        """Whether most of what waits are many batches of a window that is over, so that none has a sibling."""
        end_ms = self._closing_ms(approved) - approved.measurement.lateness_ms
        if now_ms < end_ms + STRAGGLERS_MS:
            return False
        slots = self._batcher.slots_through(approved.spec, end_ms)
        return slots >= max(AHEAD_SLOTS, 2 / 3 * self._batcher.slots)

    def checkpoint(self, now_ms: int) -> list[Out]:
        """Flush every buffer, punctuate every j, and write down every changed source partition."""
        state, renewed = self._topics["state-seal"], self._codec.renew(now_ms)
        self._write(self._batcher.flush(now_ms))
        self._arrive_again = False
        outputs, self._outputs = self._outputs, []
        outputs += self._punctuation(now_ms)
        # Under a new state key all of it is written, also of partitions that nothing reads any more.
        for source in (*self._sources, *(self._sources.waiting() if renewed else ())):
            if source.changed or renewed:
                outputs.append(Out(state, 0, source.key, self._codec.encode(source.key, source.state)))
                source.changed = False
                if source.state.arrival_ms > NEVER_MS:
                    self._health.watermark(source.topic, source.i, source.state.arrival_ms / 1000)
        if any(self._sources):
            self._last_commit_ms = now_ms
        if self._codec.is_awaited():  # a tombstone of nothing, for a transaction that a zombie cannot commit
            outputs.append(Out(state, 0, b"source//%d" % self._options.shard, None))
        for approved in self._control.approved():
            self._told[approved.spec] = self._closed_through(approved)
        self._codec.written(state, outputs)
        return outputs

    def _punctuation(self, now_ms: int) -> list[Out]:
        if not any(self._sources):
            return []
        counting = tuple(
            Counting(
                approved.spec,
                approved.source,
                max(
                    (
                        source.state.since_ms.get(approved.spec.hex(), NEVER_MS)
                        for source in self._sources
                        if source.digest == approved.source
                    ),
                    default=NEVER_MS,
                ),
            )
            for approved in self._control.approved()
            if any(source.digest == approved.source for source in self._sources)
        )
        outputs = []
        for j in range(self._options.partitions):
            progress = tuple(
                SourceProgress(
                    source.digest,
                    source.i,
                    source.state.partitions,
                    source.state.arrival_ms,
                    source.state.next_sequence[j],
                )
                for source in self._sources
            )
            punctuation = Punctuation(
                self._keys.process, j, now_ms, self._control.measurements_offset, progress, counting
            )
            outputs.append(
                Out(self._topics["sealed"], j, None, SignedPunctuation.signed(self._identity, punctuation).encode())
            )
        return outputs

    def committed(self) -> None:
        """State is durable under its present key: older ones are destroyed."""
        self._codec.committed()


def _last_end(approved: Approved) -> int:
    """The end of a revision's last base window."""
    base = approved.measurement.base_ms
    return -(-approved.until_ms // base) * base
