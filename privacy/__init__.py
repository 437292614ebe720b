"""Privacy: what may be measured, at what cost, and the noise that pays for it. Knows neither Kafka nor shares.

Source: DESIGN section 5; zCDP (Bun and Steinke 2016), discrete Gaussian (Canonne, Kamath and Steinke 2020).
"""

from __future__ import annotations

from privacy.accountant import Accountant, MemberDay, PrivacyStatement, epsilon, rho_of_epsilon
from privacy.approvals import Approval, SignedMeasurement, approve, check_reviewable, key_id, verify
from privacy.budget import LiveRevision, Peak, check_registry_budget, live_revisions, peak_spending
from privacy.calibration import ChannelNoise, NoisePlan, plan_noise, solve
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
from privacy.ledger import Debit, Exhaustion, Ledger
from privacy.limits import PERIOD_DAYS, Limits, Period
from privacy.measurement import Measurement, next_boundary_ms, parse_measurement
from privacy.revocation import Revocation, is_revocation, revoke
from privacy.rotation import Rotation
from privacy.spec_detection import Detection
from privacy.spec_fields import Level
from privacy.spend import ChannelSpend, CountingDays, ReleaseSpend

__all__ = [
    "PERIOD_DAYS",
    "Accountant",
    "Approval",
    "ApprovalError",
    "ApprovalMalformed",
    "BudgetExceeded",
    "ChannelNoise",
    "ChannelSpend",
    "ContributionCap",
    "CountingDays",
    "Debit",
    "DecisionRefused",
    "Detection",
    "Exhaustion",
    "Ledger",
    "LedgerBroken",
    "Level",
    "Limits",
    "LiveRevision",
    "Measurement",
    "MeasurementError",
    "MemberDay",
    "NoisePlan",
    "NotEnoughApprovals",
    "NotReviewable",
    "Peak",
    "Period",
    "PrivacyError",
    "PrivacyStatement",
    "RegistryBudgetError",
    "ReleaseSpend",
    "Revocation",
    "RevocationError",
    "Rotation",
    "SignedMeasurement",
    "TestOnlyRefused",
    "WrongDeployment",
    "approve",
    "check_registry_budget",
    "check_reviewable",
    "epsilon",
    "is_revocation",
    "key_id",
    "live_revisions",
    "next_boundary_ms",
    "parse_measurement",
    "peak_spending",
    "plan_noise",
    "revoke",
    "rho_of_epsilon",
    "solve",
    "verify",
]
