"""Punctuation: the record that says how far a worker has read.

One record a `seal` worker, partition j and transaction. It carries, for each source partition i of that worker, the
arrival time before which nothing more will come, and the next sequence number of (i, j): a reader that has seen fewer
batches knows that some are missing *before* it closes a window. It also says since when the worker has counted each
measurement, so that a window in which some worker did not yet know the measurement is void and never silently short.

    PUNCTUATION in `sealed`  0 body                MessagePack array, the fields below
                             1 seal's signature    over the head and the SHA-256 of section 0

    PUNCTUATION in `shares`  0 body                seal's, byte for byte
                             1 seal's signature    the format version of seal's record (1 byte), then its signature
                             2 passage             attach's MessagePack array: its clock, what it has read
                             3 attach's signature  over the head and the SHA-256 of sections 0, 1, 2

In version 1, which is still read, both topics had four sections: body, seal's signature over it, passage, attach's
signature over body and passage (both empty in `sealed`), signed under the kind "punctuation".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import msgspec
from msgspec import Meta

from secure_agg import Identity, PinnedIdentities, Stream
from streams.errors import RecordMalformed
from streams.records import frame
from streams.records.frame import Kind, sha256
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
    """Punctuation with its signatures; ``passage`` and ``attach_signature`` are empty in `sealed`.

    Attributes:
        seal_version: the format version of seal's record, under which its signature is checked.
        version: of this record.
    """

    punctuation: Punctuation
    body: bytes
    seal_version: int
    seal_signature: bytes
    version: int
    passage: Passage | None = None
    passage_bytes: bytes = b""
    attach_signature: bytes = b""

    @classmethod
    def signed(cls, identity: Identity, punctuation: Punctuation) -> SignedPunctuation:
        """`seal`'s record."""
        body, version = _encoder.encode(punctuation), frame.newest_version(Kind.PUNCTUATION)
        if version == 1:
            signature = identity.sign(_KIND, body)
        else:
            signature = frame.sign(identity, Kind.PUNCTUATION, version, (sha256(body),))
        return cls(punctuation, body, version, signature, version)

    def passed_on(self, identity: Identity, passage: Passage) -> SignedPunctuation:
        """`attach`'s record, for `shares`."""
        version, passage_bytes = frame.newest_version(Kind.PUNCTUATION), _encoder.encode(passage)
        told = replace(self, version=version, passage=passage, passage_bytes=passage_bytes)
        if version == 1:
            signature = identity.sign(_KIND, self.body, passage_bytes)
        else:
            signature = frame.sign(identity, Kind.PUNCTUATION, version, told.attachs_digests)
        return replace(told, attach_signature=signature)

    @property
    def _attachs_sections(self) -> tuple[bytes, bytes, bytes]:
        return self.body, bytes((self.seal_version,)) + self.seal_signature, self.passage_bytes

    @property
    def attachs_digests(self) -> tuple[bytes, ...]:
        """What attach's signature covers from version 2 on."""
        return tuple(map(sha256, self._attachs_sections))

    def encode(self) -> bytes:
        """The record's value."""
        if self.version == 1:
            sections: tuple[bytes, ...] = self.body, self.seal_signature, self.passage_bytes, self.attach_signature
        elif self.passage is None:
            sections = self.body, self.seal_signature
        else:
            sections = *self._attachs_sections, self.attach_signature
        return frame.encode(Kind.PUNCTUATION, sections, self.version)

    @classmethod
    def decode(cls, data: bytes) -> SignedPunctuation:
        """Take a record apart, or raise :class:`RecordMalformed`. Says nothing about who sent it."""
        sections = frame.decode(data, Kind.PUNCTUATION, 2, 4)
        version, body = frame.version_of(data), sections[0]
        if len(sections) == 2 and version == 1:
            raise RecordMalformed("punctuation of format version 1 has 4 sections, this one has 2")
        try:
            punctuation = _decoder.decode(body)
            if len(sections) == 2:
                return cls(punctuation, body, version, sections[1], version)
            seal_version, seal_signature = frame.passed_on(sections[1], version)
            passage_bytes, attach_signature = sections[2:]
            absent = version == 1 and not passage_bytes
            passage = None if absent else _passage_decoder.decode(passage_bytes)
        except msgspec.MsgspecError as error:
            raise RecordMalformed(f"punctuation: {error}") from None
        return cls(punctuation, body, seal_version, seal_signature, version, passage, passage_bytes, attach_signature)

    def verify(self, trusted: PinnedIdentities, *, passed: bool) -> None:
        """Raise unless `seal` signed this and, where ``passed``, `attach` as well."""
        if not passed and self.version > 1 and self.passage is not None:
            raise RecordMalformed("punctuation in `sealed` holds a passage, which only `attach` adds")
        if self.seal_version == 1:
            trusted.verify("seal", _KIND, self.seal_signature, self.body)
        else:
            digests = (sha256(self.body),)
            frame.verify(trusted, "seal", self.seal_signature, Kind.PUNCTUATION, self.seal_version, digests)
        if not passed:
            return
        if self.version == 1:
            trusted.verify("attach", _KIND, self.attach_signature, self.body, self.passage_bytes)
        else:
            frame.verify(trusted, "attach", self.attach_signature, Kind.PUNCTUATION, self.version, self.attachs_digests)
        if self.passage is None:
            raise RecordMalformed("punctuation in `shares` lacks the passage that attach adds")
