"""What can go wrong in the privacy room.

PrivacyError
├── MeasurementError      a spec is not valid; one line for each problem
├── ApprovalError         a spec is inert here
│   ├── ApprovalMalformed   its record cannot be read
│   ├── WrongDeployment     it was approved for another deployment
│   ├── NotEnoughApprovals  too few governance keys signed these bytes
│   ├── TestOnlyRefused     its noise protects nobody, and this is no test cluster
│   ├── NotReviewable       it does not say what reviewers must judge, or when it ends
│   └── DecisionRefused     a decision does not follow from the log, or cannot be read
├── RevocationError       a revocation has no effect here
├── RegistryBudgetError   a measurement does not fit beside the others
├── BudgetExceeded        a party may not spend more on a member, over a day, 30 days or a year
└── LedgerBroken          a ledger's chain does not hold
"""

from __future__ import annotations


class PrivacyError(Exception):
    """Base of this room's errors."""


class MeasurementError(PrivacyError):
    """A measurement's spec is not valid."""


class ApprovalError(PrivacyError):
    """A spec is not approved, or not for this deployment."""


class ApprovalMalformed(ApprovalError):
    """A record of `measurements` is not what it must be."""


class WrongDeployment(ApprovalError):
    """A spec was approved for another deployment."""


class NotEnoughApprovals(ApprovalError):
    """Too few governance keys signed a spec's exact bytes."""


class TestOnlyRefused(ApprovalError):
    """A spec with test noise met a cluster that is not for tests."""

    __test__ = False  # not a test class, whatever pytest makes of its name


class NotReviewable(ApprovalError):
    """A spec lacks ``review`` or ``expires``, without which nobody can judge it."""


class DecisionRefused(ApprovalError):
    """A record of `decisions` is malformed, forged, out of its place, or does not fit what was decided before it."""


class RevocationError(PrivacyError):
    """A revocation cannot be read, or no governance key of this deployment signed it."""


class RegistryBudgetError(PrivacyError):
    """All measurements together would spend more on a member than the registry allows."""


class BudgetExceeded(PrivacyError):
    """A debit was refused.

    Attributes:
        reason: "budget_exceeded_day", "budget_exceeded_30_days" or "budget_exceeded_year" where that limit would be
            passed, "budget_exceeded_terms" where a revision comes with other terms than it was debited at.
    """

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class LedgerBroken(PrivacyError):
    """A ledger record does not follow from the one before it."""
