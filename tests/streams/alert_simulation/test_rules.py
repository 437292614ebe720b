"""The rules that are compared, against sequences worked by hand and published tables."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator import Detectors, Evidence, Gaps
from estimator.intervals import critical_value
from streams.alert_simulation.gaussian import SIGMA, GaussianWorld
from streams.alert_simulation.rules import Cusum, Threshold, cusum_limit, cusum_run_length
from streams.alert_simulation.runs import Rule, to_alarm

TAU = 0.02


def window(*deviations: float) -> Gaps:
    """Gaps of detectors, by how many sigma each lies beyond .02, or below -.02 where negative; NaN for suppressed."""
    at = np.array([d if math.isnan(d) else math.copysign(TAU, d) + d * SIGMA for d in deviations])
    half = SIGMA * critical_value(0.95)
    return Gaps(at, at - half, at + half, 0.95)


def alarms(rule: Rule, *deviations: float) -> list[bool]:
    """Of one detector, window after window."""
    watch = rule.begin((1,))
    return [bool(watch.look(window(each))[0]) for each in deviations]


def test_a_cusum_by_hand() -> None:
    """Threshold 4, each deviation less a half: sums 1.5, 3, 3 (suppressed), 2.5, 3.6, 4.1; 0 after quiet windows."""
    rule = Cusum(TAU, cusum_run_length(4.0))
    assert alarms(rule, 2.0, 2.0, math.nan, 0.0, 1.6, 1.0) == [False, False, False, False, False, True]
    assert alarms(rule, -2.0, -2.0, math.nan, -2.0) == [False, False, False, True]  # the other side
    assert alarms(rule, *[0.0] * 20, 2.6, 2.6) == [False] * 21 + [True]  # quiet windows are no credit


@pytest.mark.parametrize(
    ("limit", "shift", "published"),
    [(4, 0, 336), (4, 0.5, 26.6), (4, 1, 8.38), (4, 2, 3.34), (4, 4, 1.71), (5, 0, 930), (5, 1, 10.4), (5, 3, 2.57)],
)
def test_run_lengths_are_the_published_ones(limit: float, shift: float, published: float) -> None:
    """Tables of k = 1/2 (Lucas and Crosier 1982; Montgomery's are of two sides, so 168 and 465 without a shift)."""
    assert cusum_run_length(limit, shift) == pytest.approx(published, rel=0.005)


@pytest.mark.parametrize("run_length", [4.0, 50.0, 1e4, 1e8])
def test_a_threshold_gives_the_run_length_that_was_asked_for(run_length: float) -> None:
    """For short and very long ones."""
    assert cusum_run_length(cusum_limit(run_length)) == pytest.approx(run_length, rel=1e-5)


def test_a_run_length_that_cannot_be_is_refused() -> None:
    """No threshold of 0 or more gives an alarm every window or two."""
    with pytest.raises(ValueError, match="4 windows or more"):
        cusum_limit(2.0)


def test_the_simulated_cusum_has_the_run_length_of_the_equation() -> None:
    """Page's equation and the runs were made apart from each other."""
    found = to_alarm(GaussianWorld("at"), Cusum(SIGMA, 60.0), 1_000, 10_000, np.random.default_rng(1))
    assert found.unfinished == 0
    assert abs(found.mean - 60) < 4 * found.error


def test_thresholds_have_the_run_lengths_of_chance() -> None:
    """One look in 40 at the edge; three in a row, with a chance of a half each, after 14 windows."""
    rng, half = np.random.default_rng(1), critical_value(0.95)
    once = to_alarm(GaussianWorld("at"), Threshold(SIGMA, 1), 1_000, 10_000, rng)
    thrice = to_alarm(GaussianWorld("beyond", beyond=half), Threshold(SIGMA, 3), 1_000, 10_000, rng)
    assert abs(once.mean - 40) < 4 * once.error
    assert abs(thrice.mean - 14) < 4 * thrice.error


@given(st.lists(st.sampled_from([math.nan, 0.0, 1.9, 2.1, 4.0, -1.9, -2.1, -4.0]), max_size=12), st.integers(1, 3))
def test_thresholds_count_breaches_as_publish_does(deviations: list[float], in_a_row: int) -> None:
    """The counter here and that of the published records."""
    detectors, state, counted = Detectors(TAU, 100, 1), Evidence.none(1), []
    for each in deviations:
        state = detectors.after(state, window(each), 1)
        counted.append(bool(state.breach_windows[0] >= in_a_row))
    assert alarms(Threshold(TAU, in_a_row), *deviations) == counted
