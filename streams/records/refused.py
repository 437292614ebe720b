"""Records of `refused`: why an event was not counted, and where it lies. Never its payload, never a member."""

from __future__ import annotations

import msgspec

from streams.errors import RecordMalformed


class Refused(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """JSON object.

    Attributes:
        reason: one of ``streams.roles.decoding.REASONS``.
        topic, partition, offset: where the event lies.
        measurement: which measurement refused it; None where the record could not be read at all.
    """

    reason: str
    topic: str
    partition: int
    offset: int
    measurement: str | None


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Refused)


def encode_refused(refused: Refused) -> bytes:
    """The record's value."""
    return _encoder.encode(refused)


def decode_refused(data: bytes) -> Refused:
    """The record's value, decoded, or :class:`RecordMalformed`."""
    try:
        return _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:  # the second: text that is not UTF-8
        raise RecordMalformed(f"refused: {error}") from None
