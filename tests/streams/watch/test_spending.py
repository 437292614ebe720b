"""What released days have cost, by measurement and together."""

from __future__ import annotations

import pytest
from governed import DAY_MS, LIMITS, NOW_MS, Deployment, spec

from streams.watch.period_budget import PeriodBudget
from streams.watch.spending import SpendingBook


def test_it_is_what_metrics_say_and_each_measurement_by_itself() -> None:
    """A day counts once for a revision, however many windows it has; together it is the gauge's ratio of the limit."""
    found = Deployment()
    for name in ("feed", "jobs"):
        found.approve(spec(name))
    feed, jobs = found.control.approved()
    book, metric = SpendingBook(LIMITS), PeriodBudget(LIMITS)
    today = NOW_MS // DAY_MS * DAY_MS
    for entry, start_ms in ((feed, today), (feed, today + 60_000), (jobs, today), (feed, today - 40 * DAY_MS)):
        book.paid_for(entry, start_ms)
        metric.released(entry, start_ms)
    spent = book.spent(NOW_MS)
    assert {period: rho / LIMITS.of(period) for period, rho in spent.together.items()} == metric.spent(NOW_MS)
    assert spent.by_measurement["feed"] == pytest.approx({"member-day": 0.1, "30-days": 0.1, "year": 0.2})
    assert spent.by_measurement["jobs"] == pytest.approx({"member-day": 0.1, "30-days": 0.1, "year": 0.1})


def test_it_is_worked_out_when_there_is_something_new() -> None:
    """The same object until another day is paid for, or the UTC day is another."""
    found = Deployment()
    found.approve(spec())
    (entry,) = found.control.approved()
    book = SpendingBook(LIMITS)
    before = book.spent(NOW_MS)
    assert book.spent(NOW_MS + 1) is before
    book.paid_for(entry, NOW_MS)
    after = book.spent(NOW_MS)
    assert after is not before
    book.paid_for(entry, NOW_MS + 1)
    assert book.spent(NOW_MS) is after
    assert book.spent(NOW_MS + DAY_MS).together["member-day"] == 0.0
