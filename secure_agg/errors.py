"""What can go wrong in secure aggregation.

    SecureAggregationError
    ├── KeyFileError        a key on disk is missing, unreadable, or open to other users
    ├── SignatureInvalid    bytes were not signed by the role that they claim
    ├── EnvelopeUnreadable  a ciphertext does not open with this key and this context
    └── CommitmentMismatch  the cells in an envelope are not the ones committed to in the header

None of these messages ever carries plaintext, ciphertext or key material.
"""

from __future__ import annotations


class SecureAggregationError(Exception):
    """Base of this room's errors."""


class KeyFileError(SecureAggregationError):
    """A key file is missing, malformed, or readable by others."""


class SignatureInvalid(SecureAggregationError):
    """An Ed25519 signature does not verify under the pinned identity."""


class EnvelopeUnreadable(SecureAggregationError):
    """An envelope does not open: wrong key, wrong context, or altered bytes."""


class CommitmentMismatch(SecureAggregationError):
    """The opened cells differ from the commitment that every party sees."""
