"""Four hundred days of three measurements: what members themselves can add up never passes a limit."""

from __future__ import annotations

import contextlib
from datetime import date, timedelta

import numpy as np
import pytest

from privacy import BudgetExceeded, Ledger, Limits

DAYS = 400
BEGIN = date(2026, 11, 25)
FIRST = (BEGIN - date(1970, 1, 1)).days
LIMITS = Limits(0.6, 1.0, 2.0)
MEASUREMENTS = {  # name: rho a member-day, days in 30, days in a year
    "feed": (0.1, 5, 10),
    "jobs": (0.02, 20, 30),
    "ads": (0.004, 30, 365),
}


def members_days(order: np.ndarray, k: int, y: int) -> np.ndarray:
    """On which of the days a member counts, by the design's rotation: shape (members, DAYS), bool.

    Args:
        order: shape (members, 30): each member's rank of the 30 residues.

    Of 13 cycles of 30 days the first k_c residues of the order, the k_c an even split of Y.
    """
    days = FIRST + np.arange(DAYS)
    by_cycle = np.full(13, k)
    if y < 12 * k + min(k, 5):
        by_cycle = np.minimum(k, (np.arange(13) * y % 13 + y) // 13)  # sums to Y, spread evenly
    return np.asarray(order[:, days % 30] < by_cycle[days // 30 % 13])


def most_in_any(spent: np.ndarray, days: int) -> float:
    """The most that any member spends in any so many days."""
    total = np.concatenate([np.zeros((len(spent), 1)), np.cumsum(spent, axis=1)], axis=1)
    days = min(days, spent.shape[1])
    return float((total[:, days:] - total[:, :-days]).max())


def released(measurements: dict[str, tuple[float, int, int]]) -> dict[str, np.ndarray]:
    """On which days each measurement's debit was granted: shape (DAYS,), bool."""
    ledger = Ledger("a", LIMITS)
    granted = {name: np.zeros(DAYS, dtype=bool) for name in measurements}
    for number in range(DAYS):
        for name, (rho, k, y) in measurements.items():
            with contextlib.suppress(BudgetExceeded):
                ledger.debit(
                    day=str(BEGIN + timedelta(days=number)),
                    measurement=name,
                    revision=1,
                    spec_sha256="ab" * 32,
                    rho=rho,
                    days_in_30=k,
                    days_in_year=y,
                    at_ms=0,
                )
                granted[name][number] = True
    return granted


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dearer", "some_refused"),
    [({}, True), ({"ads": (0.001, 30, 365)}, False), ({"feed": (0.4, 30, 365), "ads": (0.1, 3, 20)}, True)],
)
def test_no_member_ever_spends_more_than_the_limits(
    dearer: dict[str, tuple[float, int, int]], some_refused: bool
) -> None:
    """A thousand members, each on its own days: no day, no 30 days and no 365 days cost any of them more.

    Under terms that fit nothing is refused; under others the ledger is what holds the limits.
    """
    measurements = MEASUREMENTS | dearer
    granted = released(measurements)
    order = np.argsort(np.random.default_rng(5).random((1000, 30)), axis=1).argsort(axis=1)
    spent = np.zeros((1000, DAYS))
    for name, (rho, k, y) in measurements.items():
        counts = members_days(order, k, y)
        assert counts.sum(axis=1).max() <= -(-DAYS * y // 365) + k
        spent += rho * (counts & granted[name])
    assert all(days.all() for days in granted.values()) != some_refused
    assert 0 < most_in_any(spent, 1) <= LIMITS.rho_member_day + 1e-9
    assert most_in_any(spent, 30) <= LIMITS.rho_30_days + 1e-9
    assert most_in_any(spent, 365) <= LIMITS.rho_year + 1e-9
    assert most_in_any(spent, 365) >= 0.6 * LIMITS.rho_year  # the promise is not kept by releasing next to nothing
