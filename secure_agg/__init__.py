"""Secure aggregation: shares in Z/2^64, signed and sealed envelopes, coverage. Knows neither Kafka nor race.

Source: DESIGN sections 2.2, 2.3 and 3; additive sharing with a seed as in Prio3 (RFC 9180 for HPKE, RFC 8439 for
ChaCha20, RFC 8032 for Ed25519).
"""

from __future__ import annotations

from secure_agg.accumulator import WindowShare
from secure_agg.commitments import Coverage, Stream, StreamCoverage
from secure_agg.envelopes import Channel, DataKey, KemPrivateKey
from secure_agg.epochs import EpochKeys, EpochPublicKey
from secure_agg.errors import (
    CommitmentMismatch,
    EnvelopeUnreadable,
    KeyFileError,
    SecureAggregationError,
    SignatureInvalid,
)
from secure_agg.identity import ROLES, Identity, PinnedIdentities
from secure_agg.keyring import RoleKeys, Trusted
from secure_agg.ring import SCALE
from secure_agg.state_keys import StateKeys

__all__ = [
    "ROLES",
    "SCALE",
    "Channel",
    "CommitmentMismatch",
    "Coverage",
    "DataKey",
    "EnvelopeUnreadable",
    "EpochKeys",
    "EpochPublicKey",
    "Identity",
    "KemPrivateKey",
    "KeyFileError",
    "PinnedIdentities",
    "RoleKeys",
    "SecureAggregationError",
    "SignatureInvalid",
    "StateKeys",
    "Stream",
    "StreamCoverage",
    "Trusted",
    "WindowShare",
]
