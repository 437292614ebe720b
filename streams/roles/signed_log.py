"""`sealed` or `shares` as a role follows it: signed records, partition by partition, and where a bad one leads.

`attach` and both parties judge records alike (DESIGN section 2.2). What is malformed or carries no valid signature is
not part of the log: anyone who may write to Kafka could have put it there, so it is refused and counted. What is signed
but breaks the protocol, or does not open, stops its partition, before anything of it has been taken in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from secure_agg import SecureAggregationError, SignatureInvalid
from streams.errors import ProtocolStop, RecordMalformed
from streams.records import frame
from streams.records.frame import Kind
from streams.records.header import Header
from streams.records.punctuation import NEVER_MS
from streams.roles.log_partition import LogPartition, PartitionState, StreamProgress
from streams.stage import Partition, Record
from streams.state import StateCodec
from streams.watch.health import RoleHealth

Taker = Callable[[LogPartition, bytes], None]
"""Takes in the value of one record, or raises: ``RecordMalformed``, ``ProtocolStop``, a ``SecureAggregationError``."""


class SignedLog:
    """One topic's partitions, as one worker reads them.

    Args:
        topic: its full name.
        partitions: those that this worker owns.
        health: counts what is refused and what stops.
    """

    def __init__(self, topic: str, partitions: Iterable[int], health: RoleHealth) -> None:
        self._topic = topic
        self._partitions = {j: LogPartition(j) for j in partitions}
        self._health = health

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
        try:
            value = record.value() or b""
            if frame.kind_of(value) is Kind.PUNCTUATION:
                punctuation(partition, value)
            else:
                batch(partition, value)
        except (RecordMalformed, SignatureInvalid) as error:
            self._health.refused("malformed" if isinstance(error, RecordMalformed) else "signature")
        except (ProtocolStop, SecureAggregationError) as error:
            partition.stopped = str(error)
            self._health.stop(record.topic(), record.partition(), record.offset(), str(error))
            return
        partition.offset = record.offset() + 1
        partition.changed = True
        self._health.progress(record.topic(), record.partition(), now_ms / 1000)

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
