"""A party's /metrics show how its budget stands, worked out beside its work."""

from __future__ import annotations

from dataclasses import replace

from prometheus_client import CollectorRegistry
from reviewed import REVIEWED

from privacy import Ledger, Limits, parse_measurement
from streams.control import Approved
from streams.watch.health import RoleHealth
from streams.watch.ledger import LedgerWatch

DAY_MS = 86_400_000
NOW_MS = 20_000 * DAY_MS + 5_000

SPEC = """
id: feed
purpose: ledger
source: {topic: ev, member: m, time: ts, time_format: epoch_ms}
cells: {decision: {field: r}}
windows: {base: 10s}
reference: white
privacy: {contribution_cap: 2, rho_member_day: 0.1}
"""
FEED = parse_measurement(SPEC + REVIEWED, origin="test").with_effective_from(20_000 * DAY_MS)
APPROVED = Approved(FEED, FEED.digest(), bytes(32), 20_000 * DAY_MS, 1 << 53, 0)


def pay(ledger: Ledger, day: str) -> None:
    """Debit the measurement's day."""
    terms = FEED.privacy
    ledger.debit(
        day=day,
        measurement="feed",
        revision=1,
        spec_sha256=FEED.digest().hex(),
        rho=terms.rho_member_day,
        days_in_30=terms.days_in_30,
        days_in_year=terms.days_in_year,
        at_ms=NOW_MS,
    )


def shown(registry: CollectorRegistry, period: str) -> float | None:
    """The ratio of a period."""
    return registry.get_sample_value("evenstream_ledger_spent_ratio", {"role": "a", "period": period})


def end(registry: CollectorRegistry) -> float | None:
    """When the budget will be used up."""
    return registry.get_sample_value("evenstream_ledger_exhaustion_timestamp_seconds", {"role": "a"})


def test_it_shows_what_is_spent_and_when_it_ends() -> None:
    """Day, 30 days and year over their limits, and the first day on which a debit will be refused."""
    registry = CollectorRegistry()
    watch, ledger = LedgerWatch("a", RoleHealth("a", registry)), Ledger("a", Limits(0.6, 1.0, 2.0))
    pay(ledger, "2024-10-04")
    watch.look(ledger, [APPROVED], 1, NOW_MS)
    watch.wait()
    assert [round(shown(registry, period) or 0, 9) for period in ("member-day", "30-days", "year")] == [
        round(0.1 / 0.6, 9), 0.1, 0.05,
    ]  # fmt: skip
    assert end(registry) == (20_000 + 10) * DAY_MS / 1000  # ten days at .1 are the 30 days' limit
    assert registry.get_sample_value("evenstream_ledger_debits_total", {"role": "a"}) == 1


def test_a_new_debit_a_new_day_and_a_revocation_are_shown() -> None:
    """What is shown follows the ledger, the calendar and the measurements; and nothing else makes it look again."""
    registry = CollectorRegistry()
    watch, ledger = LedgerWatch("a", RoleHealth("a", registry)), Ledger("a", Limits(0.6, 1.0, 2.0))
    for day, now_ms in (("2024-10-04", NOW_MS), ("2024-10-05", NOW_MS + DAY_MS)):
        pay(ledger, day)
        watch.look(ledger, [APPROVED], 1, now_ms)
        watch.wait()
    assert shown(registry, "30-days") == 0.2
    watch.look(ledger, [replace(APPROVED, revoked_at_ms=NOW_MS + DAY_MS)], 2, NOW_MS + DAY_MS + 2_000)
    watch.wait()
    assert end(registry) is None
    watch.look(ledger, [], 2, NOW_MS + 2 * DAY_MS)  # the next day, on which nothing was debited yet
    watch.wait()
    assert shown(registry, "member-day") == 0
    before = watch._thread
    watch.look(ledger, [], 2, NOW_MS + 2 * DAY_MS + 2_000)
    assert watch._thread is before
