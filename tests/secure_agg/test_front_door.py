"""The room's front door: what it exports, and that its errors are one family."""

from __future__ import annotations

import secure_agg
import secure_agg.errors


def test_the_exported_names_are_pinned() -> None:
    """Adding or dropping a public name is a decision, not an accident."""
    assert sorted(secure_agg.__all__) == [
        "Channel", "CommitmentMismatch", "Coverage", "DataKey", "EnvelopeUnreadable", "EpochKeys", "EpochPublicKey",
        "Identity", "KemPrivateKey", "KeyFileError", "PinnedIdentities", "ROLES", "RoleKeys", "SCALE",
        "SecureAggregationError", "SignatureInvalid", "StateKeys", "Stream", "StreamCoverage", "Trusted", "WindowShare",
    ]  # fmt: skip
    assert all(hasattr(secure_agg, name) for name in secure_agg.__all__)


def test_every_error_is_a_secure_aggregation_error() -> None:
    """A caller can catch the whole room with one name, and the tree at the top of the file names each of them."""
    kinds = {name: kind for name, kind in vars(secure_agg.errors).items() if isinstance(kind, type)}
    assert len(kinds) == 5
    for name, kind in kinds.items():
        assert issubclass(kind, secure_agg.SecureAggregationError)
        assert name in (secure_agg.errors.__doc__ or "")
        assert name in secure_agg.__all__
