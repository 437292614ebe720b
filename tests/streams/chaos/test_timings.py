"""How long metrics stood still, from when windows became visible."""

from __future__ import annotations

import math

import pytest

from streams.chaos.timings import Injection, Visible, longest_stalls, ordinary_delay, quantile, recoveries

LATE = 5_000


def _visible(*seen: tuple[int, int]) -> Visible:
    """Windows of 2 s by (number, milliseconds from when it was due until it was visible)."""
    return Visible(LATE, "2s", {("2s", 2_000 * n): 2_000 * n + LATE + delay for n, delay in seen})


def test_a_kill_is_measured_to_the_first_window_that_fell_due_after_it() -> None:
    """Windows 1 to 3 are on time; the kill comes 500 ms after window 3 was due, and window 4 is 3 s late."""
    visible = _visible((1, 400), (2, 600), (3, 500), (4, 3_500), (5, 1_500), (6, 500))
    kill = Injection("kill", ("seal",), 3 * 2_000 + LATE + 500, 3 * 2_000 + LATE + 500)
    ordinary = ordinary_delay(visible, kill.begun_ms + 1)
    assert ordinary == pytest.approx(0.5)
    (found,) = recoveries(visible, [kill], ordinary)
    assert found.back_after == pytest.approx(5.0)
    assert found.beyond == pytest.approx(3.0)
    stalls = longest_stalls(visible, [kill])
    # Window 3, which became visible at that moment, window 4, and window 5, which fell due while 4 was awaited.
    assert stalls["kill"] == (3, pytest.approx(3.5))
    assert stalls["no fault"] == (3, pytest.approx(0.6))


def test_a_kill_that_no_one_notices_costs_nothing() -> None:
    """A window that comes as soon as ever is not later than it would have been."""
    visible = _visible((1, 500), (2, 500), (3, 400))
    (found,) = recoveries(visible, [Injection("kill", ("b",), 9_600, 9_600)], 0.5)
    assert found.beyond == 0.0
    assert found.back_after == pytest.approx((6_000 + LATE + 400 - 9_600) / 1000)


def test_a_fault_after_the_last_window_says_nothing() -> None:
    """Where no window fell due after a fault there is no recovery to state."""
    visible = _visible((1, 500))
    assert recoveries(visible, [Injection("kill", ("a",), 99_000, 99_000)], 0.5) == []
    assert not visible.flows_since(99_000)
    assert visible.flows_since(2_000)


def test_quantiles_are_values_that_were_measured() -> None:
    """p99 of a hundred is the ninety-ninth; of fewer, the largest."""
    assert quantile(list(map(float, range(1, 101))), 0.99) == 99
    assert quantile([3.0, 1.0, 2.0], 0.99) == 3
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2
    assert math.isnan(quantile([], 0.5))
