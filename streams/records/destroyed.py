"""A record of `keys`: a role says that it has destroyed one of its keys, so that whoever reads `keys` knows what opens.

    KEY_DESTROYED  0 body (MessagePack array: role, kind, number, at_ms)   1 the role's signature

It is written after the deed and kept for ever. It proves that the role said so, not that no copy was made.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from secure_agg import Identity, PinnedIdentities
from streams.errors import RecordMalformed
from streams.records import frame
from streams.records.frame import Kind
from streams.records.header import Count, Milliseconds
from streams.records.keys import KeyRecord

KeyKind = Literal["epoch", "state"]

_KEY_DESTROYED = "key-destroyed"


class KeyDestroyed(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One key that its role no longer holds.

    Attributes:
        kind: "epoch": the private key of an epoch of this role's; "state": a key of its state topic.
        number: the key's number, the millisecond at which it began.
        at_ms: the role's clock when it said so, epoch milliseconds.
    """

    role: Literal["seal", "attach", "a", "b"]
    kind: KeyKind
    number: Count
    at_ms: Milliseconds

    def topic_key(self) -> bytes:
        """One record a key."""
        return f"destroyed/{self.role}/{self.kind}/{self.number}".encode()


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(KeyDestroyed)


def sign_key_destroyed(identity: Identity, kind: KeyKind, number: int, at_ms: int) -> KeyRecord:
    """Say that a key of this role's is destroyed."""
    record = KeyDestroyed(identity.role, kind, number, at_ms)  # type: ignore[arg-type]  # publish holds no such key
    body = _encoder.encode(record)
    return KeyRecord(record.topic_key(), frame.encode(Kind.KEY_DESTROYED, (body, identity.sign(_KEY_DESTROYED, body))))


def decode_key_destroyed(data: bytes, trusted: PinnedIdentities) -> KeyDestroyed:
    """Decode and verify such a record.

    Raises:
        RecordMalformed: the bytes are not such a record.
        SignatureInvalid: the role it names did not sign it.
    """
    body, signature = frame.decode(data, Kind.KEY_DESTROYED, 2)
    try:
        record = _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:  # the second: text that is not UTF-8
        raise RecordMalformed(f"KEY_DESTROYED: {error}") from None
    trusted.verify(record.role, _KEY_DESTROYED, signature, body)
    return record
