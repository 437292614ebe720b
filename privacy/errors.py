"""What can go wrong in the privacy room.

PrivacyError
├── MeasurementError      a spec is not valid; one line for each problem
├── ApprovalError         a spec is not signed as it must be, or not for this deployment
├── RegistryBudgetError   a measurement does not fit beside the others
├── BudgetExceeded        a party may not spend more on this member-day
└── LedgerBroken          a ledger's chain does not hold
"""

from __future__ import annotations


class PrivacyError(Exception):
    """Base of this room's errors."""


class MeasurementError(PrivacyError):
    """A measurement's spec is not valid."""


class ApprovalError(PrivacyError):
    """A spec is not approved, or not for this deployment."""


class RegistryBudgetError(PrivacyError):
    """All measurements together would spend more on a member-day than the registry allows."""


class BudgetExceeded(PrivacyError):
    """A release would spend more on a member-day than the registry allows."""


class LedgerBroken(PrivacyError):
    """A ledger record does not follow from the one before it."""
