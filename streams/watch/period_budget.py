"""What the released days add up to, over each period that has a limit: what anyone can work out from `releases-*`.

No private ledger is asked. A party debits a member-day before it releases a window of it, so every day of which a
window was released is paid for; the days that a debit paid for without any release (its windows were void, or let go)
are not seen here, and the ledgers' own figures are never lower.
"""

from __future__ import annotations

from collections.abc import Iterable

from privacy import PERIOD_DAYS, Limits, Period, live_revisions
from privacy.budget import DailyDebits, counting_days
from streams.control import Approved, revoked_at_ms

_DAY_MS = 86_400_000
FORECAST_DAYS = 14


class PeriodBudget:
    """Spending by released days, and what it will be if the approved measurements go on.

    Args:
        limits: of the registry.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._debits = DailyDebits()
        self._released: set[tuple[bytes, int]] = set()

    def released(self, approved: Approved, start_ms: int) -> None:
        """A window that starts then was released."""
        key = (approved.spec, start_ms // _DAY_MS)
        if key not in self._released:
            self._released.add(key)
            measurement = approved.measurement
            self._debits.add(key[1], counting_days(measurement), measurement.privacy.rho_member_day)

    def spent(self, now_ms: int) -> dict[Period, float]:
        """The most that one member can have spent in each period that ends today, over its limit."""
        return self._ratios(self._debits, now_ms // _DAY_MS)

    def forecast(self, now_ms: int, approved: Iterable[Approved]) -> dict[Period, float]:
        """The same in two weeks, if all that is approved is released every day until then."""
        entries = list(approved)
        specs = {(entry.measurement.id, entry.measurement.revision): entry for entry in entries}
        today = now_ms // _DAY_MS
        debits = self._debits.copy()
        for live in live_revisions([entry.measurement for entry in entries], revoked_at_ms(entries)):
            spec = specs[live.measurement, live.revision].spec
            for day in range(today, today + FORECAST_DAYS + 1):
                if live.is_live(day) and (spec, day) not in self._released:
                    debits.add(day, live.counting, live.rho)
        return self._ratios(debits, today + FORECAST_DAYS)

    def _ratios(self, debits: DailyDebits, last_day: int) -> dict[Period, float]:
        return {period: debits.spent(last_day, days) / self._limits.of(period) for period, days in PERIOD_DAYS.items()}
