"""A stage: the pure middle of a role. Records in, records out, state in between.

The shard loop (``streams.kafka.shard``) drives a stage from Kafka with exactly-once transactions; the in-process
pipeline (``streams.inprocess``) drives the same stage from memory. A stage knows no clock, no consumer and no producer:
it is told the time and given records, and what it wants to write it hands over at a checkpoint.

The contract that makes exactly once hold:

* all that a stage must remember goes into the state records of its checkpoints, input positions included;
* a stage that was restored from committed state and given the records from those positions on does what the lost one
  would have done (but for fresh random maskings);
* after any abort the loop throws the stage away and builds a new one from committed state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

Partition: TypeAlias = tuple[str, int]
"""(topic, partition)."""


class Record(Protocol):
    """What a stage sees of a consumed record: the accessors of ``confluent_kafka.Message`` that it needs."""

    def topic(self) -> str: ...
    def partition(self) -> int: ...
    def offset(self) -> int: ...
    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...
    def timestamp(self) -> tuple[int, int]: ...
    def headers(self) -> list[tuple[str, bytes]] | None: ...


LEAST_PATIENCE_MS = 10
"""What a stage has that must act on each record as soon as it comes."""

TIMESTAMP_CREATE = 1
TIMESTAMP_LOG_APPEND = 2
"""First element of ``Record.timestamp()``; the second is epoch milliseconds."""


@dataclass(frozen=True, slots=True)
class Out:
    """A record to be written.

    Attributes:
        topic, partition: where to.
        key, value: what; a value of None is a tombstone.
    """

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None


class Stage(Protocol):
    """See the module's text."""

    def restore(self, topic: str, key: bytes, value: bytes | None) -> None:
        """Take in the last committed value of one key of a state topic; None where it is a tombstone.

        Records without a key, which no compaction touches, come all, oldest first, with an empty key.
        """

    def positions(self) -> Mapping[Partition, int]:
        """Where to read on, by input partition: explicit offsets."""

    def refresh(self, now_ms: int) -> bool:
        """Take in changes of the control plane; True when :meth:`positions` names other partitions than before."""

    def patience_ms(self, now_ms: int) -> int:
        """For how long records may be gathered before the next :meth:`step`: each step costs, however few come."""

    def blocked(self, now_ms: int) -> str | None:
        """Why no record may be given to :meth:`step` now, or None."""

    def step(self, records: Sequence[Record], now_ms: int) -> None:
        """Process records, in order within each partition."""

    def lose_position(self, topic: str, partition: int, why: str) -> bool:
        """The log no longer holds where :meth:`positions` is; False where the role must end for it."""

    def at_end(self, topic: str, partition: int, offset: int) -> None:
        """Everything before ``offset`` has been read; nothing more is there for now."""

    def due(self, now_ms: int) -> bool:
        """Whether a checkpoint should be taken now."""

    def checkpoint(self, now_ms: int) -> list[Out]:
        """All that is to be committed in one transaction: outputs, and state with input positions."""

    def committed(self) -> None:
        """The last checkpoint is durable."""

    def stopped(self) -> Mapping[Partition, str]:
        """Input partitions that were stopped, with the reason."""
