"""How numbers are written for people."""

from __future__ import annotations

from datetime import UTC, datetime

from estimator import Estimate
from privacy import PrivacyStatement

NOT_PRIVATE = (
    "EXACT AND NOT PRIVATE. These figures have no noise and promise nothing to anyone: for use inside the company "
    "only. Whoever sees them and knows all members but one can work out that one. Run it again with --epsilon for "
    "figures that may be shown."
)

REASONS = {
    "too_few_rows": "too few rows",
    "too_wide": "interval too wide",
    "not_separable": "groups not separable",
    "too_few_self_id": "too few Self-IDs",
    "no_correction": "no correction yet",
}


def interval(value: Estimate | None, *, signed: bool = False) -> str:
    """``0.834 [0.788, 0.871]``; a dash where there is none."""
    if value is None:
        return "-"
    sign = "+" if signed else ""
    return f"{value.estimate:{sign}.3f} [{value.lower:{sign}.3f}, {value.upper:{sign}.3f}]"


def width(value: float | None) -> str:
    """A width to two significant digits, three decimals at least; a dash where there is none."""
    return "-" if value is None else f"{value:.4f}" if value < 0.01 else f"{value:.3f}"


def reason(suppressed: str | None) -> str:
    """Why there is no value, in words."""
    return "" if suppressed is None else REASONS.get(suppressed, suppressed)


def moment(epoch_ms: int) -> str:
    """A UTC time, to the second."""
    return f"{datetime.fromtimestamp(epoch_ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def shown_epsilon(epsilon: float | None) -> str:
    """Three digits; "without bound" where nothing is promised."""
    return "without bound" if epsilon is None else f"{epsilon:.3g}"


def promise(statement: PrivacyStatement, drawn: str) -> str:
    """A privacy statement in words: never an epsilon without unit, relation, delta and period.

    Args:
        drawn: what was noised, for example "this run".
    """
    shown = shown_epsilon(statement.epsilon)
    return (
        f"Differentially private: epsilon {shown} at delta {statement.delta:g} (rho {statement.rho:.4g} zCDP) for "
        f"{statement.unit}, on replacing the member's group probabilities and Self-ID by any others. Who took part, "
        f"and how often, is not protected. {drawn} spends this once; another run on the same log spends it again, and "
        "no ledger keeps count here."
    )
