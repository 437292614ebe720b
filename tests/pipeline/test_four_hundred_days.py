"""Four hundred days of three measurements: what a member has really spent, by the rows that really counted.

`attach`'s own code decides which rows count, a party's own ledger which days are released, both restarted now and then
from what they had committed. Each member's spending is then added up in plain numpy, and held against the limits over
every window of 1, 30 and 365 days.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
from known_records import DEPLOYMENT, TRUSTED
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from estimator import RaceModel
from privacy import BudgetExceeded, Ledger, Limits, Measurement, RegistryBudgetError, parse_measurement
from privacy.budget import day_name
from secure_agg import Trusted
from streams.control import Approved, ControlPlane
from streams.inprocess import MemoryRecord
from streams.roles.counted_rows import DAY_MS, BatchMembers, CountedRows
from streams.roles.member_directory import MemberDirectory
from streams.stage import TIMESTAMP_LOG_APPEND
from streams.state import StateCodec
from streams.watch.health import RoleHealth

pytestmark = pytest.mark.slow

DAYS = 400
FIRST_DAY = 20_400
MEMBERS = 150
LIMITS = Limits(rho_member_day=0.35, rho_30_days=0.9, rho_year=6.4)
RESTART_EVERY_DAYS = 37
HOUR_MS = 3_600_000
HOURS = (1, 6, 11, 15, 20)

SPEC = """
id: {id}
revision: {revision}
purpose: four hundred days
source: {{topic: ev, member: m, time: ts}}
cells: {{decision: {{field: r}}}}
windows: {{base: 1h}}
reference: white
privacy: {{contribution_cap: 12, cap_rule: {rule}, rho_member_day: {rho}, rotation: {rotation}}}
effective_from: {begin}T00:00:00Z
expires: {end}T00:00:00Z
"""


def spec(name: str, begin: int, end: int, *, rho: float, rotation: str, revision: int = 1, rule: str = "first") -> str:
    """A measurement that is live on the days from ``begin`` to before ``end`` of the four hundred."""
    dates = {"begin": day_name(FIRST_DAY + begin), "end": day_name(FIRST_DAY + end)}
    return SPEC.format(id=name, revision=revision, rho=rho, rotation=rotation, rule=rule, **dates)


# Three measurements; one is changed half-way, and one makes room for a dearer successor.
MEASUREMENTS = [
    spec("rare", 0, 400, rho=0.1, rotation="{days_in_30: 2, days_in_year: 22}"),
    spec("often", 0, 170, rho=0.02, rotation="{days_in_30: 15, days_in_year: 150}", rule="hours"),
    spec("often", 170, 400, rho=0.05, rotation="{days_in_30: 8, days_in_year: 40}", revision=2, rule="hours"),
    spec("short", 40, 52, rho=0.2, rotation="{days_in_30: 1}"),
    spec("short", 100, 130, rho=0.02, rotation="{days_in_30: 8}", revision=2),
]
# The same, and two that nobody checked: one would pass the limits of 30 days and a year, one that of a day.
UNCHECKED = [
    *MEASUREMENTS,
    spec("greedy", 10, 390, rho=0.2, rotation="{days_in_30: 12}"),
    spec("sudden", 200, 205, rho=0.34, rotation="{days_in_30: 1}"),
]


def parsed(texts: list[str]) -> list[Measurement]:
    """The specs."""
    return [parse_measurement(text, origin="test") for text in texts]


class House:
    """One worker of `attach` and one party's ledger, with what they have committed."""

    def __init__(self, specs: list[Measurement], registry: Limits, ledger: Limits) -> None:
        self.control = ControlPlane(Trusted(DEPLOYMENT, TRUSTED, ()), test_cluster=False, limits=registry)
        for offset, measurement in enumerate(specs):
            self.control.admit(measurement, measurement.digest(), offset)
        self.directory = MemberDirectory(RaceModel.load(), bytes(32), 1)
        value = json.dumps({"family_name": "Smith"}).encode()
        ids = [b"m%04d" % k for k in range(MEMBERS)]
        stamp = (TIMESTAMP_LOG_APPEND, 0)
        self.directory.load([MemoryRecord("attributes", 0, k, name, value, stamp) for k, name in enumerate(ids)])
        self.members = np.array(ids)
        self.refused: list[str] = []
        self._ledger_limits = ledger
        self._codec = StateCodec(bytes(32), "attach")
        self._state: dict[bytes, bytes] = {}
        self._debits: list[bytes] = []
        self._index = None
        self.restart()

    def restart(self) -> None:
        """Build both anew from what they have committed."""
        health = RoleHealth("attach", CollectorRegistry())
        self._counted = CountedRows(self.control, self.directory, [0], b"cap", b"rotation", health)
        for key, value in self._state.items():
            assert self._counted.restore(key, value, self._codec)
        assert self._counted.settle(0, self._index, None) is None
        self._ledger = Ledger("a", self._ledger_limits)
        for record in self._debits:
            self._ledger.restore(record)

    def day(self, day: int) -> Iterator[tuple[Approved, NDArray[np.bool_]]]:
        """Each measurement that is released on this day, and which members had a row that counted: shape (n,)."""
        start_ms = day * DAY_MS
        for approved in self.control.approved():
            if not approved.covers(start_ms):
                continue
            # Everyone has rows all day, so the cap, the hours and the rotation alone decide.
            starts = [start_ms + hour * HOUR_MS for hour in HOURS]
            chosen = [self._counted.select(approved, day, [BatchMembers(start, 0, self.members)]) for start in starts]
            if self._pay(approved, day):
                yield approved, np.any([rows >= 0 for rows in chosen], axis=0)
        for key, value in self._counted.state(self._codec):
            self._keep(key, value)
        self._index = self._counted.index(0)
        self._counted.forget(lambda source: start_ms + DAY_MS)

    def _keep(self, key: bytes, value: bytes | None) -> None:
        if value is None:
            self._state.pop(key, None)
        else:
            self._state[key] = value

    def _pay(self, approved: Approved, day: int) -> bool:
        terms = approved.measurement.privacy
        try:
            record = self._ledger.debit(
                day=day_name(day),
                measurement=approved.measurement.id,
                revision=approved.measurement.revision,
                spec_sha256=approved.spec.hex(),
                rho=terms.rho_member_day,
                days_in_30=terms.days_in_30,
                days_in_year=terms.days_in_year,
                at_ms=day * DAY_MS,
            )
        except BudgetExceeded as error:
            self.refused.append(error.reason)
            return False
        assert record is not None
        self._debits.append(record)
        return True


def spending(house: House) -> NDArray[np.float64]:
    """What each member spends on each day: shape (days, members), rho on replacement."""
    spent = np.zeros((DAYS, MEMBERS))
    for number in range(DAYS):
        if number % RESTART_EVERY_DAYS == RESTART_EVERY_DAYS - 1:
            house.restart()
        for approved, counted in house.day(FIRST_DAY + number):
            spent[number] += counted * approved.measurement.privacy.rho_member_day
    return spent


def dearest(spent: NDArray[np.float64], days: int) -> float:
    """The most that any member has spent in any window of so many consecutive days."""
    sums = np.cumsum(np.vstack((np.zeros(MEMBERS), spent)), axis=0)
    return float((sums[days:] - sums[:-days]).max())


def within(spent: NDArray[np.float64]) -> dict[int, float]:
    """The part of each limit that the dearest member has used, by the period's days; none is passed."""
    used = {
        1: dearest(spent, 1) / LIMITS.rho_member_day,
        30: dearest(spent, 30) / LIMITS.rho_30_days,
        365: dearest(spent, 365) / LIMITS.rho_year,
    }
    assert max(used.values()) <= 1 + 1e-9, used
    return used


def test_what_the_registry_admits_no_member_overspends() -> None:
    """Approved measurements fit together, so no day is refused; and the limits are used, not only kept."""
    house = House(parsed(MEASUREMENTS), LIMITS, LIMITS)
    used = within(spending(house))
    assert house.refused == []
    assert min(used.values()) > 0.6, used


def test_what_the_registry_would_not_admit_the_ledger_refuses() -> None:
    """A registry that lets everything in: the party refuses days by each limit, and no member overspends."""
    specs = parsed(UNCHECKED)
    with pytest.raises(RegistryBudgetError):
        House(specs, LIMITS, LIMITS)
    house = House(specs, Limits(10.0, 300.0, 3650.0), LIMITS)
    used = within(spending(house))
    assert set(house.refused) == {"budget_exceeded_day", "budget_exceeded_30_days", "budget_exceeded_year"}
    assert min(used.values()) > 0.6, used
