"""One partition i of a source topic as `seal` reads it: how far, until when, and which batch of each j is next."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec


class SourceState(msgspec.Struct, forbid_unknown_fields=True):
    """What is committed of one source partition: absolute values under the key source/TOPIC/i.

    Attributes:
        offset: where to read on.
        arrival_ms: nothing that arrived before this time is still to come.
        next_sequence: by j, the number of the next batch of (i, j).
        since_ms: by spec digest (hex), the arrival time from which rows are counted for it.
        partitions: how many the topic has.
        begun_with: how many it had when this one was begun; 0 in state of a version that did not say.
        topic_id: Kafka's id of the topic that ``offset`` is a position in; "" where that was not known.
    """

    offset: int
    arrival_ms: int
    next_sequence: list[int]
    since_ms: dict[str, int]
    partitions: int = 1
    begun_with: int = 0
    topic_id: str = ""

    def claim(self, spec: str) -> bool:
        """Begin to count for one more spec, from what is read next; False where it is counted already."""
        if spec in self.since_ms:
            return False
        begun_ms = min(self.since_ms.values(), default=self.arrival_ms)
        self.since_ms[spec] = max(self.arrival_ms + 1, begun_ms)
        return True


@dataclass
class SourcePartition:
    """A source partition that this worker owns.

    Attributes:
        digest: SHA-256 of the topic's name.
        changed: whether there is something to commit.
    """

    topic: str
    i: int
    digest: bytes
    state: SourceState
    changed: bool = True

    @property
    def key(self) -> bytes:
        """The state record's key."""
        return f"source/{self.topic}/{self.i}".encode()
