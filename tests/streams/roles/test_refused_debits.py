"""A debit that a party's ledger refuses: the release has the ledger's reason, which `/metrics` knows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prometheus_client import CollectorRegistry

from privacy import Ledger, Limits, parse_measurement, plan_noise
from secure_agg import Identity
from streams.control import FOREVER_MS, Approved
from streams.roles.releasing import ReleaseDesk
from streams.watch.collector import _KNOWN_OUTCOMES
from streams.watch.health import RoleHealth

START_MS = 1_700_006_400_000  # 2023-11-15
SPEC = parse_measurement(
    """
id: feed
purpose: Are all groups recommended equally often?
source: {topic: rec-events, member: m, time: ts}
cells: {decision: {field: r}}
windows: {base: 10s}
reference: white
privacy: {contribution_cap: 2, rho_member_day: 0.1, rotation: {days_in_30: 5}}
""",
    origin="spec.yaml",
)


@pytest.mark.parametrize(
    ("limits", "paid", "reason"),
    [
        (Limits(0.1, 9, 9), ("jobs", 0), "budget_exceeded_day"),
        (Limits(0.6, 0.1, 9), ("jobs", -29), "budget_exceeded_30_days"),
        (Limits(0.6, 0.2, 0.1), ("jobs", -364), "budget_exceeded_year"),
        (Limits(0.6, 9, 9), ("feed", 0), "budget_exceeded_terms"),
        (Limits(0.6, 0.1, 9), ("jobs", -30), None),
        (Limits(0.6, 0.2, 0.1), ("jobs", -365), None),
    ],
)
def test_the_reason_is_the_ledgers(limits: Limits, paid: tuple[str, int], reason: str | None) -> None:
    """After one debit of so many days before, each limit refuses by its own reason; a day further on it does not."""
    ledger = Ledger("a", limits)
    name, days = paid
    ledger.debit(
        day=f"{datetime.fromtimestamp(START_MS / 1000, UTC) + timedelta(days=days):%Y-%m-%d}",
        measurement=name,
        revision=1,
        spec_sha256="ab" * 32,
        rho=0.05,
        days_in_30=30,
        days_in_year=365,
        at_ms=0,
    )
    desk = ReleaseDesk(
        "a", Identity("a", "test", Ed25519PrivateKey.generate()), ledger, RoleHealth("a", CollectorRegistry())
    )
    approved = Approved(SPEC, SPEC.digest(), bytes(32), START_MS, FOREVER_MS, 0)
    assert desk._debit(approved, START_MS, plan_noise(SPEC), 0) == reason
    assert len(desk.debits()) == (reason is None)
    assert reason is None or ("void", reason) in _KNOWN_OUTCOMES
