"""The header of a batch: everything that all roles may know of it, and that every signature and envelope binds.

Encoded as a MessagePack array in the order of the fields below. No source offsets: they would name the events.
"""

from __future__ import annotations

import hashlib
from typing import Annotated

import msgspec
from msgspec import Meta

from secure_agg import Stream
from streams.errors import RecordMalformed

Digest = Annotated[bytes, Meta(min_length=32, max_length=32)]
ProcessId = Annotated[bytes, Meta(min_length=8, max_length=8)]
Count = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
Milliseconds = Annotated[int, Meta(ge=-(1 << 53), le=1 << 53)]
Name = Annotated[str, Meta(min_length=1, max_length=249)]

MAX_ROWS = 4096


class Header(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a batch is about.

    Attributes:
        measurement: its id.
        revision: its revision.
        spec: SHA-256 of the exact signed spec bytes: what the batch was really made under.
        window_end_ms: end of the batch's base window, epoch milliseconds.
        source: SHA-256 of the source topic's name.
        i: source partition.
        j: partition of `sealed` and `shares`.
        sequence: number of this batch within (source, i, j), from 0, without gaps.
        rows: 1 to 4,096.
        process: 8 random bytes that name the sending process; data keys are looked up by it.
        attach_epoch, a_epoch, b_epoch: the recipients' key epochs that `seal` used.
        commitment: salted SHA-256 commitment to the cells (``secure_agg.commitments``).
    """

    measurement: Annotated[str, Meta(min_length=1, max_length=63)]
    revision: Count
    spec: Digest
    window_end_ms: Milliseconds
    source: Digest
    i: Annotated[int, Meta(ge=0, lt=1 << 31)]
    j: Annotated[int, Meta(ge=0, lt=1 << 31)]
    sequence: Count
    rows: Annotated[int, Meta(ge=1, le=MAX_ROWS)]
    process: ProcessId
    attach_epoch: Count
    a_epoch: Count
    b_epoch: Count
    commitment: Digest

    @property
    def stream(self) -> Stream:
        """The sequence that this batch belongs to."""
        return Stream(self.source, self.i, self.j)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Header)


def encode_header(header: Header) -> bytes:
    """The header's exact bytes, which signatures, envelopes and digests cover."""
    return _encoder.encode(header)


def decode_header(data: bytes) -> Header:
    """Decode a header, or raise :class:`RecordMalformed`."""
    try:
        return _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:  # the second: text that is not UTF-8
        raise RecordMalformed(f"batch header: {error}") from None


def digest(header_bytes: bytes) -> bytes:
    """SHA-256 of a header's bytes: what coverage chains and what tells a repeat from an equivocation."""
    return hashlib.sha256(header_bytes).digest()


def source_digest(topic: str) -> bytes:
    """The name of a source topic as it appears in headers."""
    return hashlib.sha256(topic.encode()).digest()
