"""Privacy: what may be measured, at what cost, and the noise that pays for it. Knows neither Kafka nor shares.

Source: DESIGN section 5; zCDP (Bun and Steinke 2016), discrete Gaussian (Canonne, Kamath and Steinke 2020).
"""

from __future__ import annotations

from privacy.accountant import PrivacyStatement, epsilon, rho_of_epsilon
from privacy.approvals import (
    Approval,
    SignedMeasurement,
    approve,
    check_registry_budget,
    check_reviewable,
    key_id,
    verify,
)
from privacy.calibration import ChannelNoise, NoisePlan, plan_noise
from privacy.caps import ContributionCap
from privacy.errors import (
    ApprovalError,
    ApprovalMalformed,
    BudgetExceeded,
    DecisionRefused,
    LedgerBroken,
    MeasurementError,
    NotEnoughApprovals,
    NotReviewable,
    PrivacyError,
    RegistryBudgetError,
    RevocationError,
    TestOnlyRefused,
    WrongDeployment,
)
from privacy.ledger import Debit, Ledger
from privacy.limits import Limits
from privacy.measurement import Measurement, next_boundary_ms, parse_measurement
from privacy.revocation import Revocation, is_revocation, revoke
from privacy.spec_fields import Level

__all__ = [
    "Approval",
    "ApprovalError",
    "ApprovalMalformed",
    "BudgetExceeded",
    "ChannelNoise",
    "ContributionCap",
    "Debit",
    "DecisionRefused",
    "Ledger",
    "LedgerBroken",
    "Level",
    "Limits",
    "Measurement",
    "MeasurementError",
    "NoisePlan",
    "NotEnoughApprovals",
    "NotReviewable",
    "PrivacyError",
    "PrivacyStatement",
    "RegistryBudgetError",
    "Revocation",
    "RevocationError",
    "SignedMeasurement",
    "TestOnlyRefused",
    "WrongDeployment",
    "approve",
    "check_registry_budget",
    "check_reviewable",
    "epsilon",
    "is_revocation",
    "key_id",
    "next_boundary_ms",
    "parse_measurement",
    "plan_noise",
    "revoke",
    "rho_of_epsilon",
    "verify",
]
