"""What the released days of each measurement have cost a member, and those of all together, for the page of budgets.

As ``period_budget``: of the days of which windows were released, which anyone can read, and of no private ledger.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from privacy import PERIOD_DAYS, Limits, Period
from privacy.budget import DailyDebits, counting_days
from streams.control import Approved

_DAY_MS = 86_400_000


@dataclass(frozen=True)
class Spending:
    """The most that one member can have spent in the periods that end on a day: zCDP rho on replacement.

    Attributes:
        day: UTC day number of the last day.
        limits: of the registry, over all measurements.
        together: of all. by_measurement: of each by itself. Where they count members on different days, the sum may be
            more than what is spent together.
    """

    day: int
    limits: Limits
    together: Mapping[Period, float]
    by_measurement: Mapping[str, Mapping[Period, float]]


class SpendingBook:
    """Not thread-safe.

    Args:
        limits: of the registry.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._days: set[tuple[bytes, int]] = set()
        self._together = DailyDebits()
        self._by_measurement: dict[str, DailyDebits] = {}
        self._made: tuple[int, Spending] | None = None

    def paid_for(self, approved: Approved, start_ms: int) -> None:
        """A window that starts then was released, so its day is paid for."""
        key = approved.spec, start_ms // _DAY_MS
        if key in self._days:
            return
        self._days.add(key)
        spec = approved.measurement
        for debits in (self._together, self._by_measurement.setdefault(spec.id, DailyDebits())):
            debits.add(key[1], counting_days(spec), spec.privacy.rho_member_day)

    def spent(self, now_ms: int) -> Spending:
        """As of a moment's UTC day; the same object until there is something else to say."""
        day, days = now_ms // _DAY_MS, len(self._days)
        if self._made is None or self._made[0] != days or self._made[1].day != day:
            by_measurement = {name: _periods(debits, day) for name, debits in sorted(self._by_measurement.items())}
            self._made = days, Spending(day, self._limits, _periods(self._together, day), by_measurement)
        return self._made[1]


def _periods(debits: DailyDebits, day: int) -> dict[Period, float]:
    return {period: debits.spent(day, days) for period, days in PERIOD_DAYS.items()}
