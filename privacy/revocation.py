"""Revocation: one governance key stops a measurement revision, at once and for good.

Stopping is always safe, so any one pinned key is enough, where an approval needs several. What stops is the exact bytes
that were approved, named by their SHA-256; a revoked revision never comes back, only a new one with new approvals. The
signature (Ed25519, RFC 8032) covers a domain tag of its own, the deployment's name and the record's canonical bytes, so
that neither an approval nor another cluster's revocation can be passed off as one.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from privacy.approvals import key_id, verify_pinned
from privacy.errors import RevocationError
from privacy.measurement import Measurement

YEAR_10000_MS = 253_402_300_800_000
"""The first moment that cannot be written as a date, epoch milliseconds."""

_MAX_BYTES = 16 * 1024
_MAX_REASON = 2000
_KIND = "revocation"
_SIGNATURE_BYTES = 64
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


@dataclass(frozen=True)
class Revocation:
    """The value of a record on `measurements` that stops a revision.

    Attributes:
        measurement, revision: for people; what is stopped is ``spec_sha256``.
        spec_sha256: SHA-256 of the spec's canonical bytes, hex.
        deployment: where it holds.
        at_ms: nothing of windows that end after this is published, epoch milliseconds.
        reason: in plain words; everyone can read it.
        key_id: whose signature it is.
        signature: Ed25519, 64 bytes.
    """

    measurement: str
    revision: int
    spec_sha256: str
    deployment: str
    at_ms: int
    reason: str
    key_id: str
    signature: bytes

    @property
    def spec(self) -> bytes:
        """SHA-256 of the spec's bytes, as records name it."""
        return bytes.fromhex(self.spec_sha256)

    def topic_key(self) -> bytes:
        """The record's key on `measurements`."""
        return f"{self.measurement}/{self.revision}/revoked".encode()

    def canonical_bytes(self) -> bytes:
        """The exact bytes that are signed: all fields but the signature, JSON with sorted keys and no spaces."""
        content = {"kind": _KIND} | asdict(self)
        del content["signature"]
        return _canonical(content)

    def encode(self) -> bytes:
        """JSON bytes."""
        signature = base64.b64encode(self.signature).decode()
        return _canonical({"kind": _KIND} | asdict(self) | {"signature": signature})

    @classmethod
    def decode(cls, data: bytes) -> Revocation:
        """Read JSON bytes (at most 16 KiB), or raise :class:`RevocationError`. Verifies nothing."""
        if len(data) > _MAX_BYTES:
            raise RevocationError(f"a revocation has at most {_MAX_BYTES} bytes, this one has {len(data)}")
        try:
            content = json.loads(data)
            if set(content) != {"kind", *(field.name for field in fields(cls))} or content.pop("kind") != _KIND:
                raise ValueError
            content["signature"] = base64.b64decode(content["signature"], validate=True)
            revocation = cls(**content)
            _check(revocation)
            if revocation.encode() != data:
                raise ValueError
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
            raise RevocationError(
                "a revocation must be canonical JSON with kind, measurement, revision, spec_sha256, deployment, at_ms, "
                "reason, key_id and signature; make it with `evenstream measurement revoke`"
            ) from None
        return revocation

    def verify(self, *, deployment: str, governance_keys: Mapping[str, Ed25519PublicKey]) -> None:
        """Raise :class:`RevocationError` unless one of the pinned keys, by their ids, signed it for this deployment."""
        if self.deployment != deployment:
            raise RevocationError(f"this revocation was signed for deployment {self.deployment!r}, not {deployment!r}")
        message = _message(deployment, self.canonical_bytes())
        verify_pinned(
            self.key_id,
            self.signature,
            message,
            governance_keys,
            record="revocation",
            whose="governance",
            error=RevocationError,
        )


def is_revocation(data: bytes) -> bool:
    """Whether a record of `measurements` means to be a revocation; a signed spec has no ``kind``."""
    return is_of_kind(data, _KIND, _MAX_BYTES)


def is_of_kind(data: bytes, kind: str, most_bytes: int) -> bool:
    """Whether bytes are a JSON object, no longer than that, whose ``kind`` is this."""
    if len(data) > most_bytes:
        return False
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(content, dict) and content.get("kind") == kind


def revoke(
    measurement: Measurement, deployment: str, private_key: Ed25519PrivateKey, *, at_ms: int, reason: str
) -> Revocation:
    """Sign a revocation of exactly this spec for a deployment (Ed25519).

    Args:
        measurement: as it was approved, ``effective_from`` included.
        at_ms: the moment from which it holds, the signer's clock, epoch milliseconds.
        reason: 1 to 2,000 characters that everyone may read.

    Raises:
        RevocationError: the reason is empty or too long, or the moment is none.
    """
    unsigned = Revocation(
        measurement=measurement.id,
        revision=measurement.revision,
        spec_sha256=measurement.digest().hex(),
        deployment=deployment,
        at_ms=at_ms,
        reason=reason,
        key_id=key_id(private_key.public_key()),
        signature=bytes(_SIGNATURE_BYTES),
    )
    try:
        _check(unsigned)
    except ValueError as error:
        raise RevocationError(f"the revocation of {measurement.id!r} cannot be signed: {error}") from None
    signature = private_key.sign(_message(deployment, unsigned.canonical_bytes()))
    return Revocation(**(asdict(unsigned) | {"signature": signature}))


def _canonical(content: Mapping[str, object]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _message(deployment: str, content: bytes) -> bytes:
    name = deployment.encode()
    return b"evenstream/1/revocation\0" + len(name).to_bytes(2, "little") + name + content


def _check(revocation: Revocation) -> None:
    """Raise ``ValueError`` where a field is not what it must be."""
    kinds = {"revision": int, "at_ms": int, "signature": bytes}
    for field in fields(Revocation):
        if type(getattr(revocation, field.name)) is not kinds.get(field.name, str):
            raise ValueError(f"{field.name} is of the wrong type")
    if not 1 <= revocation.revision < 1 << 31 or not _ID.fullmatch(revocation.measurement):
        raise ValueError("expected a measurement and a revision from 1 on")
    if len(revocation.spec) != 32 or revocation.spec.hex() != revocation.spec_sha256:
        raise ValueError("expected spec_sha256 as 64 hexadecimal digits")
    if not 0 <= revocation.at_ms < YEAR_10000_MS:
        raise ValueError(f"expected at_ms in epoch milliseconds, before the year 10000, got {revocation.at_ms}")
    if not 1 <= len(revocation.reason.strip()) <= len(revocation.reason) <= _MAX_REASON:
        raise ValueError(f"expected a reason of 1 to {_MAX_REASON} characters")
    revocation.reason.encode()  # text that is not UTF-8 could not be shown
    if len(revocation.signature) != _SIGNATURE_BYTES:
        raise ValueError(f"expected a signature of {_SIGNATURE_BYTES} bytes")
