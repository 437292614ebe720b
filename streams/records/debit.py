"""A record of `ledger-a` or `ledger-b`: one debit of a party, signed by that party.

    DEBIT  0 debit              its canonical JSON (privacy.ledger)
           1 party's signature  over section 0

The chain is over the JSON alone: the SHA-256 of section 0 is what the next debit names as ``previous`` and what a
release names as ``debit``. So the ledger's arithmetic needs no key; and since each signed debit names the one before
it, one signature vouches for everything up to there.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from secure_agg import Identity, PinnedIdentities
from streams.records import frame
from streams.records.frame import Kind

_KIND = "debit"

NO_DEBIT = bytes(32)
"""What a release names that released nothing."""


@dataclass(frozen=True)
class SignedDebit:
    """A debit's JSON bytes with its party's signature."""

    debit: bytes
    signature: bytes

    @classmethod
    def signed(cls, identity: Identity, debit: bytes) -> SignedDebit:
        """Sign a debit under the party's identity."""
        return cls(debit, identity.sign(_KIND, debit))

    @property
    def digest(self) -> bytes:
        """SHA-256 of the debit: the name by which the next debit and the releases that it pays for know it."""
        return hashlib.sha256(self.debit).digest()

    def encode(self) -> bytes:
        """The record's value."""
        return frame.encode(Kind.DEBIT, (self.debit, self.signature))

    @classmethod
    def decode(cls, data: bytes) -> SignedDebit:
        """Take a record apart, or raise :class:`RecordMalformed`. Says nothing about who sent it, or what it holds."""
        debit, signature = frame.decode(data, Kind.DEBIT, 2)
        return cls(debit, signature)

    def verify(self, party: str, trusted: PinnedIdentities) -> None:
        """Raise :class:`SignatureInvalid` unless this party signed it."""
        trusted.verify(party, _KIND, self.signature, self.debit)
