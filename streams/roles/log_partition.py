"""One partition j of `sealed` or `shares` as a reader follows it: sequences, progress, and where to read on.

`attach` and both parties apply the same checks in the same order (DESIGN section 2.2): a record without a valid
signature is not part of the log; among valid ones, sequence numbers are contiguous; a repeat is dropped; whatever else
is wrong stops the partition, before anything of the offending record has been taken in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import msgspec

from secure_agg import Stream
from streams.records.header import Header, digest
from streams.records.punctuation import NEVER_MS, Punctuation
from streams.roles.sequence import REMEMBERED, StreamSequence


class StreamState(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """What is committed of one stream."""

    source: bytes
    i: int
    partitions: int
    next_sequence: int
    digests: list[bytes]
    arrival_ms: int
    clock_ms: int
    since_ms: dict[bytes, int]


class PartitionState(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """What is committed of one partition."""

    offset: int
    streams: list[StreamState]


class StreamProgress:
    """One stream (source, i, j): its sequence, and what punctuation has said of it."""

    def __init__(self) -> None:
        self.sequence = StreamSequence()
        self.partitions = 0
        self.arrival_ms = NEVER_MS
        self.clock_ms = NEVER_MS
        self.since_ms: dict[bytes, int] = {}


class LogPartition:
    """See the module's text.

    Attributes:
        j: the partition.
        offset: where to read on.
        stopped: why it was stopped, or None.
        changed: whether there is something to commit.
    """

    def __init__(self, j: int) -> None:
        self.j = j
        self.offset = 0
        self.stopped: str | None = None
        self.changed = False
        self._streams: dict[Stream, StreamProgress] = {}

    @property
    def key(self) -> bytes:
        """The state record's key."""
        return f"position/{self.j}".encode()

    def state(self) -> PartitionState:
        """What to commit."""
        return PartitionState(
            self.offset,
            [
                StreamState(
                    stream.source,
                    stream.i,
                    progress.partitions,
                    progress.sequence.next_sequence,
                    list(progress.sequence.digests),
                    progress.arrival_ms,
                    progress.clock_ms,
                    progress.since_ms,
                )
                for stream, progress in self._streams.items()
            ],
        )

    def restore(self, state: PartitionState) -> None:
        """Go on from committed state."""
        self.offset = state.offset
        self._streams = {}
        for stored in state.streams:
            progress = StreamProgress()
            progress.sequence = StreamSequence(stored.next_sequence, deque(stored.digests, maxlen=REMEMBERED))
            progress.partitions = stored.partitions
            progress.arrival_ms = stored.arrival_ms
            progress.clock_ms = stored.clock_ms
            progress.since_ms = stored.since_ms
            self._streams[Stream(stored.source, stored.i, self.j)] = progress

    def is_next(self, header: Header, header_bytes: bytes) -> bool:
        """Whether this batch is the next of its stream; False for a repeat. Raises ``ProtocolStop``."""
        return self._streams.setdefault(header.stream, StreamProgress()).sequence.is_next(
            header.sequence, digest(header_bytes)
        )

    def next_sequence(self, stream: Stream) -> int:
        """The number that the next batch of a stream must have."""
        known = self._streams.get(stream)
        return 0 if known is None else known.sequence.next_sequence

    def missing(self, punctuation: Punctuation) -> list[tuple[Stream, int, int]]:
        """The batches that punctuation vouches for and that never came: (stream, first, past the last)."""
        said = [(punctuation.stream(entry), entry.next_sequence) for entry in punctuation.sources]
        return [(stream, known, past) for stream, past in said if (known := self.next_sequence(stream)) < past]

    def go_on_with(self, stream: Stream, sequence: int) -> None:
        """Expect this batch next: those before it are given up."""
        self._streams.setdefault(stream, StreamProgress()).sequence = StreamSequence(sequence)

    def advance(self, header: Header, header_bytes: bytes) -> None:
        """The batch has been taken in."""
        self._streams[header.stream].sequence.advance(digest(header_bytes))

    def punctuate(self, punctuation: Punctuation, clock_ms: int) -> bool:
        """Take in punctuation; False where it is an old one, told again. Raises ``ProtocolStop`` at a gap.

        Args:
            punctuation: already verified.
            clock_ms: a time that every sender's clock had passed when this was written.
        """
        entries = [
            (progress, self._streams.setdefault(punctuation.stream(progress), StreamProgress()))
            for progress in punctuation.sources
        ]
        # All entries are checked before any is applied, so that a stop leaves no half of it behind.
        for said, known in entries:
            if not known.sequence.check_through(said.next_sequence) or said.arrival_ms < known.arrival_ms:
                return False
        for said, known in entries:
            known.arrival_ms = said.arrival_ms
            known.partitions = said.partitions
            known.clock_ms = max(known.clock_ms, clock_ms)
            known.since_ms = {
                counting.spec: counting.since_ms for counting in punctuation.counting if counting.source == said.source
            }
        return True

    # -- what was sent, and is not in state -----------------------------------------------------------------------

    def has_passed(self, stream: Stream, next_sequence: int, arrival_ms: int | None) -> bool:
        """Whether a stream is known to have come this far: in its sequence, and where told in arrival."""
        known = self._streams.get(stream)
        if known is None or known.sequence.next_sequence < next_sequence:
            return False
        return arrival_ms is None or known.arrival_ms >= arrival_ms

    def follow_batch(self, header: Header, header_bytes: bytes) -> tuple[bool, bool]:
        """Take over a batch that this role itself has passed on.

        Returns:
            Whether it was unknown, and whether batches before it are missing.
        """
        known = self._streams.setdefault(header.stream, StreamProgress())
        if header.sequence < known.sequence.next_sequence:
            return False, False
        gap = header.sequence > known.sequence.next_sequence
        if gap:
            known.sequence = StreamSequence(header.sequence)
        self.advance(header, header_bytes)
        self.changed = True
        return True, gap

    def follow_punctuation(self, punctuation: Punctuation, clock_ms: int) -> tuple[bool, bool]:
        """Take over punctuation that this role itself has passed on; returns what :meth:`follow_batch` does."""
        gap = False
        for said in punctuation.sources:
            known = self._streams.setdefault(punctuation.stream(said), StreamProgress())
            if said.next_sequence > known.sequence.next_sequence:
                known.sequence = StreamSequence(said.next_sequence)
                gap = True
        # An old one, told again, is left aside as a whole, as everywhere.
        fresh = self._would_move(punctuation) and self.punctuate(punctuation, clock_ms)
        self.changed |= fresh
        return fresh, gap

    def _would_move(self, punctuation: Punctuation) -> bool:
        return any(said.arrival_ms > self._streams[punctuation.stream(said)].arrival_ms for said in punctuation.sources)

    def streams(self) -> Iterator[tuple[Stream, StreamProgress]]:
        """All streams that this partition has seen."""
        yield from self._streams.items()
