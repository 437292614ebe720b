"""The room's front door: what it exports, and that its errors are one family."""

from __future__ import annotations

import privacy
import privacy.errors


def test_the_exported_names_are_pinned() -> None:
    """Adding or dropping a public name is a decision, not an accident."""
    assert sorted(privacy.__all__) == [
        "Accountant", "Approval", "ApprovalError", "ApprovalMalformed", "BudgetExceeded", "ChannelNoise",
        "ChannelSpend", "ContributionCap", "CountingDays", "Debit", "DecisionRefused", "Detection", "Exhaustion",
            "Ledger",
        "LedgerBroken", "Level", "Limits", "LiveRevision", "Measurement", "MeasurementError", "MemberDay",
        "NoisePlan", "NotEnoughApprovals", "NotReviewable", "PERIOD_DAYS", "Peak", "Period", "PrivacyError",
        "PrivacyStatement", "RegistryBudgetError", "ReleaseSpend", "Revocation", "RevocationError", "Rotation",
        "SignedMeasurement", "TestOnlyRefused", "WrongDeployment", "approve", "check_registry_budget",
        "check_reviewable", "epsilon", "is_revocation", "key_id", "live_revisions", "next_boundary_ms",
        "parse_measurement", "peak_spending", "plan_noise", "revoke", "rho_of_epsilon", "solve", "verify",
    ]  # fmt: skip
    assert all(hasattr(privacy, name) for name in privacy.__all__)


def test_every_error_is_a_privacy_error() -> None:
    """A caller can catch the whole room with one name, and the tree at the top of the file names each of them."""
    for name, kind in vars(privacy.errors).items():
        if isinstance(kind, type):
            assert issubclass(kind, privacy.PrivacyError)
            assert name in (privacy.errors.__doc__ or "")
