"""Punctuation: the record that says how far a worker has read.

One record a `seal` worker, partition j and transaction. It carries, for each source partition i of that worker, the
arrival time before which nothing more will come, and the next sequence number of (i, j): a reader that has seen fewer
batches knows that some are missing *before* it closes a window. It also says since when the worker has counted each
measurement, so that a window in which some worker did not yet know the measurement is void and never silently short.

    PUNCTUATION  0 body              MessagePack array, the fields below
                 1 seal's signature  over the body
                 2 passage           attach's MessagePack array (empty in `sealed`): its clock, what it has read
                 3 attach's signature over body and passage (empty in `sealed`)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import msgspec
from msgspec import Meta

from secure_agg import Identity, PinnedIdentities, Stream
from streams.errors import RecordMalformed
from streams.records import frame
from streams.records.frame import Kind
from streams.records.header import Count, Digest, Milliseconds, ProcessId

_KIND = "punctuation"

NEVER_MS = -(1 << 53)
"""A time before all others: what is known of a source partition from which nothing has been read."""


class SourceProgress(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """How far one source partition has been read.

    Attributes:
        source: SHA-256 of the source topic's name.
        i: source partition.
        partitions: how many partitions the source topic has; a window closes only when all of them have passed it.
        arrival_ms: nothing that arrived before this time is still to come.
        next_sequence: sequence number that the next batch of (source, i, j) will have.
    """

    source: Digest
    i: Annotated[int, Meta(ge=0, lt=1 << 31)]
    partitions: Annotated[int, Meta(ge=1, lt=1 << 31)]
    arrival_ms: Milliseconds
    next_sequence: Count


class Counting(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A measurement that the worker counts.

    Attributes:
        spec: SHA-256 of its signed bytes.
        source: SHA-256 of its source topic's name.
        since_ms: rows that arrived before this time may have been missed by this worker.
    """

    spec: Digest
    source: Digest
    since_ms: Milliseconds


class Punctuation(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One worker's progress, as told to partition j.

    Attributes:
        process: the sending process.
        j: the partition it was written to.
        clock_ms: the worker's clock when it wrote this; it decides which key epochs have ended.
        measurements_offset: the offset of `measurements` up to which the worker has applied specs and revocations.
        sources: one entry for each source partition of the worker.
        counting: one entry for each measurement that the worker counts.
    """

    process: ProcessId
    j: Annotated[int, Meta(ge=0, lt=1 << 31)]
    clock_ms: Milliseconds
    measurements_offset: Count
    sources: tuple[SourceProgress, ...]
    counting: tuple[Counting, ...]

    def stream(self, progress: SourceProgress) -> Stream:
        """The stream that an entry speaks of."""
        return Stream(progress.source, progress.i, self.j)


class Passage(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What `attach` adds when it passes punctuation on.

    Attributes:
        process, clock_ms: its own.
        measurements_offset: as in :class:`Punctuation`, of this worker of `attach`.
    """

    process: ProcessId
    clock_ms: Milliseconds
    measurements_offset: Count


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Punctuation)
_passage_decoder = msgspec.msgpack.Decoder(Passage)


@dataclass(frozen=True)
class SignedPunctuation:
    """Punctuation with its signatures; ``passage`` and ``attach_signature`` are empty in `sealed`."""

    punctuation: Punctuation
    body: bytes
    seal_signature: bytes
    passage: Passage | None = None
    passage_bytes: bytes = b""
    attach_signature: bytes = b""

    @classmethod
    def signed(cls, identity: Identity, punctuation: Punctuation) -> SignedPunctuation:
        """`seal`'s record."""
        body = _encoder.encode(punctuation)
        return cls(punctuation, body, identity.sign(_KIND, body))

    def passed_on(self, identity: Identity, passage: Passage) -> SignedPunctuation:
        """`attach`'s record, for `shares`."""
        passage_bytes = _encoder.encode(passage)
        signature = identity.sign(_KIND, self.body, passage_bytes)
        return SignedPunctuation(self.punctuation, self.body, self.seal_signature, passage, passage_bytes, signature)

    def encode(self) -> bytes:
        """The record's value."""
        return frame.encode(
            Kind.PUNCTUATION, (self.body, self.seal_signature, self.passage_bytes, self.attach_signature)
        )

    @classmethod
    def decode(cls, data: bytes) -> SignedPunctuation:
        """Take a record apart, or raise :class:`RecordMalformed`. Says nothing about who sent it."""
        body, seal_signature, passage_bytes, attach_signature = frame.decode(data, Kind.PUNCTUATION, 4)
        try:
            passage = _passage_decoder.decode(passage_bytes) if passage_bytes else None
            return cls(_decoder.decode(body), body, seal_signature, passage, passage_bytes, attach_signature)
        except msgspec.MsgspecError as error:
            raise RecordMalformed(f"punctuation: {error}") from None

    def verify(self, trusted: PinnedIdentities, *, passed: bool) -> None:
        """Raise unless `seal` signed this and, where ``passed``, `attach` as well."""
        trusted.verify("seal", _KIND, self.seal_signature, self.body)
        if passed:
            trusted.verify("attach", _KIND, self.attach_signature, self.body, self.passage_bytes)
            if self.passage is None:
                raise RecordMalformed("punctuation in `shares` lacks the passage that attach adds")
