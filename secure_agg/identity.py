"""Who sent these bytes: Ed25519 identities (RFC 8032), pinned by the operator.

Every role has one long-lived identity. HPKE alone does not say who sent a message; the signatures do. A signature
always covers a *context* (what kind of record, in which deployment), so that bytes signed for one purpose can never be
passed off as another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from secure_agg.errors import SignatureInvalid

SIGNATURE_BYTES = 64

ROLES = ("seal", "attach", "a", "b", "publish")
"""The five roles, as named in identities, envelopes and key folders."""


def _message(context: str, parts: tuple[bytes, ...]) -> bytes:
    # Lengths are part of the message: without them ("ab", "c") and ("a", "bc") would carry the same signature.
    head = context.encode()
    framed = [len(head).to_bytes(4, "little"), head]
    for part in parts:
        framed += (len(part).to_bytes(4, "little"), part)
    return b"".join(framed)


@dataclass(frozen=True)
class Identity:
    """A role's own signing key."""

    role: str
    deployment: str
    private_key: Ed25519PrivateKey

    def sign(self, kind: str, *parts: bytes) -> bytes:
        """Sign ``parts`` as a record of ``kind``: 64 bytes, deterministic."""
        return self.private_key.sign(_message(f"evenstream/1/{self.deployment}/{self.role}/{kind}", parts))

    def __repr__(self) -> str:
        return f"Identity(role={self.role!r}, deployment={self.deployment!r})"


@dataclass(frozen=True)
class PinnedIdentities:
    """The public keys that the operator trusts, by role."""

    deployment: str
    keys: Mapping[str, Ed25519PublicKey]

    def verify(self, role: str, kind: str, signature: bytes, *parts: bytes) -> None:
        """Raise :class:`SignatureInvalid` unless ``role`` signed ``parts`` as a record of ``kind``."""
        key = self.keys.get(role)
        if key is None:
            raise SignatureInvalid(f"no identity is pinned for role {role!r}; add its public key to trusted.json")
        try:
            key.verify(signature, _message(f"evenstream/1/{self.deployment}/{role}/{kind}", parts))
        except InvalidSignature:
            raise SignatureInvalid(
                f"expected a {kind} record signed by the pinned identity of {role!r} in deployment "
                f"{self.deployment!r}; the signature does not verify"
            ) from None
