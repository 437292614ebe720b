"""What released days add up to over a day, 30 days and a year, and where that leads."""

from __future__ import annotations

from dataclasses import replace

import pytest

from privacy import Limits, parse_measurement
from streams.control import FOREVER_MS, Approved
from streams.watch.period_budget import FORECAST_DAYS, PeriodBudget

DAY_MS = 86_400_000
START_DAY = 20_000
LIMITS = Limits(0.2, 1.0, 2.0)
SPEC = """
id: {name}
purpose: budget
source: {{topic: ev, member: m, time: ts}}
cells: {{decision: {{field: r}}}}
windows: {{base: 10s}}
reference: white
privacy: {{contribution_cap: 2, cap_rule: first, rho_member_day: 0.1, rotation: {{days_in_30: 8, days_in_year: 15}}}}
"""


def approved(name: str = "feed") -> Approved:
    """A measurement that is live from the start on."""
    start_ms = START_DAY * DAY_MS
    spec = parse_measurement(SPEC.format(name=name), origin="test").with_effective_from(start_ms)
    return Approved(spec, spec.digest(), b"s" * 32, start_ms, FOREVER_MS, 0)


def after(days: int, *measurements: Approved) -> PeriodBudget:
    """So many days, each with several released windows of each measurement."""
    budget = PeriodBudget(LIMITS)
    for day in range(START_DAY, START_DAY + days):
        for entry in measurements:
            for window in range(3):
                budget.released(entry, day * DAY_MS + window * 10_000)
    return budget


def test_a_day_counts_once_and_rotation_bounds_the_rest() -> None:
    """Windows of one day cost one member-day; over 30 days and a year a member counts on 8 and 15 days at most."""
    now_ms = (START_DAY + 40) * DAY_MS
    spent = after(41, approved()).spent(now_ms + 5)
    assert spent == pytest.approx({"member-day": 0.1 / 0.2, "30-days": 0.8 / 1.0, "year": 1.5 / 2.0})
    assert after(41, approved(), approved("other")).spent(now_ms)["member-day"] == pytest.approx(1.0)


def test_a_day_without_a_release_is_not_spent() -> None:
    """Before the first release, and on a day after the last, the day's spending is nothing."""
    assert after(0).spent(START_DAY * DAY_MS) == {"member-day": 0.0, "30-days": 0.0, "year": 0.0}
    assert after(3, approved()).spent((START_DAY + 3) * DAY_MS)["member-day"] == 0.0


def test_the_forecast_goes_on_with_what_is_approved() -> None:
    """In two weeks a measurement that has run for two days has spent its 30 days' share; a revoked one nothing more."""
    entry = approved()
    now_ms = (START_DAY + 1) * DAY_MS
    budget = after(2, entry)
    assert budget.spent(now_ms)["30-days"] == pytest.approx(0.2)
    assert budget.forecast(now_ms, [entry])["30-days"] == pytest.approx(0.8)
    stopped = replace(entry, revoked_at_ms=now_ms)
    assert budget.forecast(now_ms, [stopped])["30-days"] == pytest.approx(0.2)
    assert budget.forecast(now_ms, [entry])["member-day"] == pytest.approx(0.5)
    assert budget.spent(now_ms)["30-days"] == pytest.approx(0.2)  # asking changes nothing
    assert FORECAST_DAYS == 14
