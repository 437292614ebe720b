"""Records of the `keys` topic: epoch public keys, and data keys wrapped for them.

    EPOCH_KEY    0 body (MessagePack array: role, epoch, not_after_ms, KEM public key)   1 the role's signature
    WRAPPED_KEY  0 body (MessagePack array: sender, process, recipient, epoch, purpose, HPKE envelope)
                 1 the sender's signature

Both are public: they hold no secret that is not wrapped, and no one's data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from secure_agg import EpochPublicKey, Identity, PinnedIdentities
from secure_agg.envelopes import KEM_PUBLIC_BYTES
from streams.errors import RecordMalformed
from streams.records import frame
from streams.records.frame import Kind
from streams.records.header import Count, Milliseconds, ProcessId

_EPOCH_KEY = "epoch-key"
_WRAPPED_KEY = "wrapped-key"


class EpochKey(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A recipient's announcement of an epoch."""

    role: Literal["attach", "a", "b"]
    epoch: Count
    not_after_ms: Milliseconds
    kem_public: Annotated[bytes, Meta(min_length=KEM_PUBLIC_BYTES, max_length=KEM_PUBLIC_BYTES)]

    def topic_key(self) -> bytes:
        """One record a role and epoch."""
        return f"epoch/{self.role}/{self.epoch}".encode()

    def public(self) -> EpochPublicKey:
        """As the senders use it."""
        return EpochPublicKey(self.role, self.epoch, self.not_after_ms, self.kem_public)


class WrappedKey(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A data key on its way from one sender process to one recipient epoch."""

    sender: Literal["seal", "attach", "a"]
    process: ProcessId
    recipient: Literal["attach", "a", "b"]
    epoch: Count
    purpose: Literal["members", "cells", "share", "coverage"]
    wrapped: Annotated[bytes, Meta(min_length=1, max_length=4096)]

    def topic_key(self) -> bytes:
        """One record for each sender process, purpose, recipient and epoch."""
        return f"data/{self.sender}/{self.process.hex()}/{self.purpose}/{self.recipient}/{self.epoch}".encode()

    def context(self) -> bytes:
        """What the HPKE envelope is bound to, beside its channel."""
        return wrapping_context(self.process, self.epoch)


def wrapping_context(process: bytes, epoch: int) -> bytes:
    """Bind a wrapping to its sender process and the recipient's epoch."""
    return process + epoch.to_bytes(8, "little")


_encoder = msgspec.msgpack.Encoder()
_epoch_decoder = msgspec.msgpack.Decoder(EpochKey)
_wrapped_decoder = msgspec.msgpack.Decoder(WrappedKey)


@dataclass(frozen=True)
class KeyRecord:
    """One record for the `keys` topic; a value of None is a tombstone."""

    key: bytes
    value: bytes | None


def sign_epoch_key(identity: Identity, public: EpochPublicKey) -> KeyRecord:
    """Announce an epoch."""
    record = EpochKey(identity.role, public.epoch, public.not_after_ms, public.kem_public)  # type: ignore[arg-type]
    body = _encoder.encode(record)
    return KeyRecord(record.topic_key(), frame.encode(Kind.EPOCH_KEY, (body, identity.sign(_EPOCH_KEY, body))))


def sign_wrapped_key(identity: Identity, record: WrappedKey) -> KeyRecord:
    """Hand over a data key."""
    body = _encoder.encode(record)
    return KeyRecord(record.topic_key(), frame.encode(Kind.WRAPPED_KEY, (body, identity.sign(_WRAPPED_KEY, body))))


def decode_key_record(data: bytes, trusted: PinnedIdentities) -> EpochKey | WrappedKey:
    """Decode and verify a record of `keys`.

    Raises:
        RecordMalformed: the bytes are not such a record.
        SignatureInvalid: the role it names did not sign it.
    """
    kind = frame.kind_of(data)
    try:
        if kind is Kind.EPOCH_KEY:
            body, signature = frame.decode(data, kind, 2)
            epoch_key = _epoch_decoder.decode(body)
            trusted.verify(epoch_key.role, _EPOCH_KEY, signature, body)
            return epoch_key
        if kind is Kind.WRAPPED_KEY:
            body, signature = frame.decode(data, kind, 2)
            wrapped = _wrapped_decoder.decode(body)
            trusted.verify(wrapped.sender, _WRAPPED_KEY, signature, body)
            return wrapped
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:  # the second: text that is not UTF-8
        raise RecordMalformed(f"{kind.name}: {error}") from None
    raise RecordMalformed(f"a {kind.name} record does not belong on the keys topic")
