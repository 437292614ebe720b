"""Skip: an operator's signed word that lets a stopped partition go on, at the price of the windows that it touches.

A record on `measurements`, JSON, so that every role reads it, and in the same place among specs and revocations. It
names batches by stream and number, which mean the same on `sealed` and on `shares`, to attach and to both parties. It
acts only where a record cannot be taken in as it is: a healthy partition folds what it reads, whatever a skip says of
it. The windows that it names are void at both parties, whichever of them has seen their batches.

The signature (Ed25519, RFC 8032) covers a domain tag of its own, the deployment's name and the record's canonical bytes
without the signature, so that no approval, revocation or other cluster's skip can be passed off as one.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Meta

from privacy import key_id
from privacy.approvals import verify_pinned
from privacy.revocation import is_of_kind
from secure_agg import Stream
from streams.errors import SkipInvalid
from streams.records.header import Count, Milliseconds

SkippedTopic = Literal["sealed", "shares"]

_KIND = "skip"
_MAX_BYTES = 512 * 1024
_SIGNATURE_BYTES = 64
_Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
_Partition = Annotated[int, Meta(ge=0, lt=1 << 31)]


class GivenUp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Batches of one stream that are given up: numbers in [from_sequence, until_sequence).

    Attributes:
        source: SHA-256 of the source topic's name, hex.
        i: source partition.
    """

    source: _Sha256
    i: _Partition
    from_sequence: Count
    until_sequence: Count


class VoidWindows(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Event time in which no window of a revision is released any more, of any level: [from_ms, until_ms).

    Attributes:
        measurement, revision: for people; what is meant is ``spec_sha256``.
    """

    measurement: Annotated[str, Meta(min_length=1, max_length=63)]
    revision: Count
    spec_sha256: _Sha256
    from_ms: Milliseconds
    until_ms: Milliseconds


class Skip(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The record.

    Attributes:
        deployment: where it holds.
        topic, partition: what was stopped. Batches that are given up on `sealed` never reach `shares`, so there their
            gap is accepted too.
        offset: where a reader goes on whose position is no longer in the log; it moves no other reader.
        streams: the batches that are given up.
        windows: what is void for it.
        reason: in plain words; everyone can read it.
        at_ms: the signer's clock, epoch milliseconds.
        key_id: whose signature it is.
        signature: Ed25519, base64.
    """

    kind: Literal["skip"]
    deployment: Annotated[str, Meta(min_length=1, max_length=249)]
    topic: SkippedTopic
    partition: _Partition
    offset: Count
    streams: tuple[GivenUp, ...]
    windows: tuple[VoidWindows, ...]
    reason: Annotated[str, Meta(min_length=1, max_length=2000)]
    at_ms: Milliseconds
    key_id: Annotated[str, Meta(min_length=1, max_length=64)]
    signature: Annotated[str, Meta(max_length=88)]

    @classmethod
    def signed(
        cls,
        private_key: Ed25519PrivateKey,
        *,
        deployment: str,
        topic: SkippedTopic,
        partition: int,
        offset: int,
        streams: tuple[GivenUp, ...],
        windows: tuple[VoidWindows, ...],
        reason: str,
        at_ms: int,
    ) -> Skip:
        """The record under an operator's key, or :class:`SkipInvalid` where it could not be read back."""
        name = key_id(private_key.public_key())
        unsigned = cls("skip", deployment, topic, partition, offset, streams, windows, reason, at_ms, name, "")
        signature = base64.b64encode(private_key.sign(unsigned._message())).decode()
        skip = msgspec.structs.replace(unsigned, signature=signature)
        cls.decode(skip.encode())
        return skip

    def topic_key(self) -> bytes:
        """The record's key on `measurements`."""
        return f"skip/{self.topic}/{self.partition}".encode()

    def encode(self) -> bytes:
        """JSON bytes: sorted keys and no spaces."""
        return _canonical(msgspec.to_builtins(self))

    def stream(self, given_up: GivenUp) -> Stream:
        """The stream that an entry speaks of."""
        return Stream(bytes.fromhex(given_up.source), given_up.i, self.partition)

    @classmethod
    def decode(cls, data: bytes) -> Skip:
        """Read JSON bytes (at most 512 KiB), or raise :class:`SkipInvalid`. Verifies nothing."""
        if len(data) > _MAX_BYTES:
            raise SkipInvalid(f"a skip record has at most {_MAX_BYTES} bytes, this one has {len(data)}")
        try:
            skip = msgspec.json.decode(data, type=cls)
            if skip.encode() != data or not skip.reason.strip():
                raise ValueError
            if len(base64.b64decode(skip.signature, validate=True)) != _SIGNATURE_BYTES:
                raise ValueError
            if any(entry.from_sequence >= entry.until_sequence for entry in skip.streams):
                raise ValueError
            if any(entry.from_ms >= entry.until_ms for entry in skip.windows):
                raise ValueError
        except (msgspec.MsgspecError, ValueError, RecursionError, binascii.Error):
            raise SkipInvalid(
                "a skip record must be canonical JSON with its fields in range, and no empty range of batches or "
                "windows; make it with `evenstream skip`"
            ) from None
        return skip

    def verify(self, *, deployment: str, operator_keys: Mapping[str, Ed25519PublicKey]) -> None:
        """Raise :class:`SkipInvalid` unless one of the pinned keys, by their ids, signed it for this deployment."""
        if self.deployment != deployment:
            raise SkipInvalid(f"this skip record was signed for deployment {self.deployment!r}, not {deployment!r}")
        if not operator_keys:
            raise SkipInvalid(
                "trusted.json pins no operator key (`operators`), so nobody can skip: it was made by an earlier version"
            )
        verify_pinned(
            self.key_id,
            base64.b64decode(self.signature),
            self._message(),
            operator_keys,
            record="skip record",
            whose="operator",
            error=SkipInvalid,
        )

    def _message(self) -> bytes:
        content = msgspec.to_builtins(self)
        del content["signature"]
        name = self.deployment.encode()
        return b"evenstream/1/skip\0" + len(name).to_bytes(2, "little") + name + _canonical(content)


def is_skip(data: bytes) -> bool:
    """Whether a record of `measurements` means to be a skip; a signed spec has no ``kind``."""
    return is_of_kind(data, _KIND, _MAX_BYTES)


def _canonical(content: Mapping[str, object]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
