"""Signatures that many roles of one process read: each is verified once.

On Kafka every role verifies for itself, and must. In one process (``streams.inprocess``) the same bytes come to attach,
to both parties and to publish, and again to each that starts anew; to verify them each time, an Ed25519 operation of a
tenth of a millisecond, would be a good part of all that a simulation does. Whether a signature verifies is a function
of the key, the signature and what it covers: what is remembered is precisely these three, and only of those that did.
"""

from __future__ import annotations

from dataclasses import dataclass

from secure_agg import PinnedIdentities

Verified = tuple[bytes, str, str, str, bytes, tuple[bytes, ...]]
"""Public key, deployment, role, kind, signature, and the parts that it covers."""


@dataclass(frozen=True)
class VerifiedOnce(PinnedIdentities):
    """Pinned identities that share with others what they have verified.

    Attributes:
        verified: what verified so far, by any of those that share the set.
    """

    verified: set[Verified]

    def verify(self, role: str, kind: str, signature: bytes, *parts: bytes) -> None:
        """See ``PinnedIdentities.verify``."""
        key = self.keys.get(role)
        known = b"" if key is None else key.public_bytes_raw()
        claim = known, self.deployment, role, kind, signature, parts
        if claim not in self.verified:
            super().verify(role, kind, signature, *parts)
            self.verified.add(claim)
