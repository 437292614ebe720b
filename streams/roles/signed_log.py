"""`sealed` or `shares` as a role follows it: signed records, partition by partition, and where a bad one leads.

`attach` and both parties judge records alike (DESIGN section 2.2). What is malformed or carries no valid signature is
not part of the log: anyone who may write to Kafka could have put it there, so it is refused and counted. What is signed
but breaks the protocol, does not open, or is of a later format version, stops its partition, before anything of it has
been taken in.

Before a partition stops, and again whenever a skip record comes, the batches at fault are looked up among those that an
operator has given up (``streams.skips``). A batch that can be taken in is taken in, whatever a skip says of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator

from secure_agg import SecureAggregationError, SignatureInvalid, Stream
from streams.control import ControlPlane
from streams.errors import ProtocolStop, RecordMalformed
from streams.records import frame
from streams.records.batches import SealedBatch, SharesBatch
from streams.records.frame import Kind
from streams.records.header import Header
from streams.records.punctuation import NEVER_MS, SignedPunctuation
from streams.roles.log_partition import LogPartition, PartitionState, StreamProgress
from streams.stage import Partition, Record
from streams.state import StateCodec
from streams.watch.health import RoleHealth

log = logging.getLogger(__name__)

Taker = Callable[[LogPartition, bytes], None]
"""Takes in the value of one record, or raises: ``RecordMalformed``, ``ProtocolStop``, a ``SecureAggregationError``."""


class SignedLog:
    """One topic's partitions, as one worker reads them.

    Args:
        topic: its full name.
        name: "sealed" or "shares", as skip records call it.
        partitions: those that this worker owns.
        control: knows the skip records.
        health: counts what is refused and what stops.
    """

    def __init__(
        self, topic: str, name: str, partitions: Iterable[int], control: ControlPlane, health: RoleHealth
    ) -> None:
        self._topic = topic
        self._name = name
        self._partitions = {j: LogPartition(j) for j in partitions}
        self._control = control
        self._health = health
        self._skips_seen = 0
        self._moved = False

    def restore(self, j: int, state: PartitionState) -> None:
        """Go on from committed state; a partition of another worker's is left to it."""
        if j in self._partitions:
            self._partitions[j].restore(state)

    def partitions(self) -> Iterator[LogPartition]:
        """The partitions that this worker owns."""
        yield from self._partitions.values()

    def touch(self, j: int) -> None:
        """Write a partition's state at the next checkpoint, though nothing of it was read."""
        self._partitions[j].changed = True

    def touch_all(self) -> None:
        """Write every partition's state at the next checkpoint."""
        for partition in self._partitions.values():
            partition.changed = True

    def positions(self) -> dict[Partition, int]:
        """Where to read on."""
        return {(self._topic, j): partition.offset for j, partition in self._partitions.items()}

    def stopped(self) -> dict[Partition, str]:
        """Partitions that were stopped, with the reason."""
        return {
            (self._topic, j): partition.stopped
            for j, partition in self._partitions.items()
            if partition.stopped is not None
        }

    @property
    def live(self) -> int:
        """How many partitions are not stopped."""
        return sum(partition.stopped is None for partition in self._partitions.values())

    @property
    def changed(self) -> bool:
        """Whether something was read since the last :meth:`state`."""
        return any(partition.changed for partition in self._partitions.values())

    def take(self, record: Record, now_ms: int, punctuation: Taker, batch: Taker) -> None:
        """Hand one record to ``punctuation`` or ``batch``, by its kind, and do what their verdict demands."""
        partition = self._partitions[record.partition()]
        if partition.stopped is not None:
            return
        value = record.value() or b""
        try:
            frame.stop_at_newer(value, frame.WRITERS[self._name], self._control.trusted.identities)
            taker = punctuation if frame.kind_of(value) is Kind.PUNCTUATION else batch
            self._judge(partition, value, taker)
        except (RecordMalformed, SignatureInvalid) as error:
            self._health.refused("malformed" if isinstance(error, RecordMalformed) else "signature")
        except (ProtocolStop, SecureAggregationError) as error:
            partition.stopped = f"at offset {record.offset()}: {error}"
            self._health.stop(record.topic(), record.partition(), record.offset(), str(error))
            return
        partition.offset = record.offset() + 1
        partition.changed = True
        self._health.progress(record.topic(), record.partition(), now_ms / 1000)

    def _judge(self, partition: LogPartition, value: bytes, taker: Taker) -> None:
        """Take a record in, or do without what an operator has given up; raise what the taker raises otherwise."""
        try:
            taker(partition, value)
            return
        except SignatureInvalid:
            raise
        except (ProtocolStop, SecureAggregationError):
            again = self._do_without(partition, value)
            if again is None:
                self._control.catch_up()  # attach may have gone on by a skip that this role has not read yet
                again = self._do_without(partition, value)
            if again is None:
                raise
        if again:
            self._judge(partition, value, taker)

    def _do_without(self, partition: LogPartition, value: bytes) -> bool | None:
        """Give up the batches that are missing before a record or, where none is, the batch itself.

        Returns:
            Whether the record is to be judged again, since it was only ahead; None where no operator has said so.
        """
        if frame.kind_of(value) is Kind.PUNCTUATION:
            missing = partition.missing(SignedPunctuation.decode(value).punctuation)
        else:
            batch = (SealedBatch if self._name == "sealed" else SharesBatch).decode(value)
            expected = partition.next_sequence(batch.header.stream)
            if batch.header.sequence <= expected:
                return False if self._drop(partition, batch.header, batch.header_bytes) else None
            missing = [(batch.header.stream, expected, batch.header.sequence)]
        if not missing or not all(self._control.skips.give_up(self._name, *numbers) for numbers in missing):
            return None
        for stream, first, past in missing:
            partition.go_on_with(stream, past)
            self._skipped(stream, past - first)
        return True

    def _drop(self, partition: LogPartition, header: Header, header_bytes: bytes) -> bool:
        """Whether a batch that cannot be taken in, and is not ahead, was given up; then it counts as read.

        Raises:
            ProtocolStop: its window was not given up with it, and would be released without its rows.
        """
        skips, stream, sequence = self._control.skips, header.stream, header.sequence
        if not skips.give_up(self._name, stream, sequence, sequence + 1):
            return False
        if not skips.void(header.spec, header.window_end_ms - 1, header.window_end_ms):
            raise ProtocolStop(f"a skip record gives up batch {sequence}, but not the window that it belongs to")
        if sequence == partition.next_sequence(stream):
            partition.advance(header, header_bytes)
        self._skipped(stream, 1)
        return True

    def _skipped(self, stream: Stream, batches: int) -> None:
        self._health.skipped(self._topic, batches)
        log.warning(
            "%s [%d] goes on without %d batches of source partition %d, which an operator has given up",
            self._topic,
            stream.j,
            batches,
            stream.i,
        )

    def lose_position(self, j: int, why: str) -> None:
        """What comes next is no longer in the log: go on where an operator has said, or stop until one does."""
        partition = self._partitions[j]
        if partition.stopped is not None:
            return
        offset = self._control.skips.go_on_from(self._name, j, partition.offset)
        if offset is None:
            partition.stopped = f"at offset {partition.offset}: {why}"
            self._health.stop(self._topic, j, partition.offset, why)
            return
        log.warning("%s [%d] goes on from offset %d, as an operator has said", self._topic, j, offset)
        partition.offset, partition.changed, self._moved = offset, True, True

    def resume(self) -> bool:
        """Whether reading goes on somewhere else: stopped partitions are tried again when a skip speaks of them."""
        skips, seen = self._control.skips, self._skips_seen
        if skips.count > seen:
            self._skips_seen = skips.count
            for j, partition in self._partitions.items():
                if partition.stopped is not None and any(skips.since(seen, self._name, j)):
                    partition.stopped, self._moved = None, True
        moved, self._moved = self._moved, False
        return moved

    def is_next(self, partition: LogPartition, header: Header, header_bytes: bytes) -> bool:
        """Whether a verified batch is the next of its stream; False for a repeat, which is counted and dropped.

        Raises:
            RecordMalformed: it lies in another partition than it was signed for.
            ProtocolStop: batches are missing, or another batch was seen under its number.
        """
        if header.j != partition.j:
            raise RecordMalformed("a batch lies in another partition than it was signed for")
        if partition.is_next(header, header_bytes):
            return True
        self._health.refused("repeat")
        return False

    def every_stream(self, source: bytes) -> list[StreamProgress] | None:
        """All streams that a source (SHA-256 of its topic's name) has; None while one has not been punctuated."""
        progress = [
            known
            for partition in self._partitions.values()
            for stream, known in partition.streams()
            if stream.source == source and known.partitions
        ]
        expected = max((known.partitions for known in progress), default=0) * len(self._partitions)
        return progress if progress and len(progress) >= expected else None

    def arrived_ms(self, source: bytes) -> int | None:
        """The arrival time that every stream of a source has passed; None while one has not been punctuated."""
        progress = self.every_stream(source)
        return None if progress is None else min(known.arrival_ms for known in progress)

    def senders_clocks_ms(self) -> dict[int, int]:
        """By partition, a time that every sender's clock had passed when it wrote what has been read.

        A partition is left out while one of its streams is unheard: its sender's clock is not known.
        """
        return {j: clock for j, partition in self._partitions.items() if (clock := _clock_of(partition)) is not None}

    def senders_clock_ms(self) -> int | None:
        """The same for all partitions together; None while a stream is unheard."""
        clocks = self.senders_clocks_ms()
        return min(clocks.values()) if clocks and len(clocks) == len(self._partitions) else None

    def state(
        self, codec: StateCodec, completed: Callable[[int, PartitionState], PartitionState] = lambda j, state: state
    ) -> list[tuple[bytes, bytes]]:
        """Key and value of each state record that has changed since the last call.

        Args:
            completed: adds what a role keeps in the record of a partition's position.
        """
        records = []
        for partition in self._partitions.values():
            if partition.changed:
                state = completed(partition.j, partition.state())
                records.append((partition.key, codec.encode(partition.key, state)))
                partition.changed = False
                arrived = [known.arrival_ms for _, known in partition.streams()]
                if arrived and min(arrived) > NEVER_MS:
                    self._health.watermark(self._topic, partition.j, min(arrived) / 1000)
        return records


def _clock_of(partition: LogPartition) -> int | None:
    """A time that the clock of every sender to a partition has passed; None while one of its streams is unheard."""
    clocks: dict[bytes, list[int]] = {}
    expected: dict[bytes, int] = {}
    for stream, progress in partition.streams():
        clocks.setdefault(stream.source, []).append(progress.clock_ms)
        expected[stream.source] = max(expected.get(stream.source, 1), progress.partitions)
    if not clocks or any(len(heard) < expected[source] for source, heard in clocks.items()):
        return None
    lowest = min(min(heard) for heard in clocks.values())
    return lowest if lowest > NEVER_MS else None
