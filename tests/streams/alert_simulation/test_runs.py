"""Runs to the first alarm are counted honestly: what did not end is a lower bound."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from estimator import Gaps
from streams.alert_simulation.rules import Threshold
from streams.alert_simulation.runs import NONE_SEEN, RunLengths, to_alarm, to_end

F = NDArray[np.float64]


@dataclass(eq=False)
class Script:
    """A world whose gaps are written down: shape (windows, runs, detectors); intervals are .01 to either side."""

    gaps: F

    def begin(self, rng: np.random.Generator, runs: int) -> Script:
        """From the first window."""
        assert self.gaps.shape[1] == runs
        return Script(self.gaps.copy())

    def windows(self) -> Gaps:
        """The next one."""
        now, self.gaps = self.gaps[0], self.gaps[1:]
        return Gaps(now, now - 0.01, now + 0.01, 0.95)

    def keep(self, going: NDArray[np.bool_]) -> None:
        """Leave out the others."""
        self.gaps = self.gaps[:, going]


def script(*runs: str) -> Script:
    """Runs of one letter a window: "x" for a gap beyond .02, "." for none; two detectors, of which the first has it."""
    gaps = np.array([[0.05 if letter == "x" else 0.0 for letter in run] for run in runs]).T
    return Script(np.stack([gaps, np.zeros_like(gaps)], axis=-1))


def lengths_of(windows: list[int], horizon: int) -> RunLengths:
    """Runs of which those at the horizon did not end."""
    return RunLengths(np.array(windows), np.array(windows) < horizon, horizon)


def test_a_run_ends_with_its_own_first_alarm() -> None:
    """Others go on, each with its own gaps, and what never alarms counts as the horizon."""
    rng = np.random.default_rng(1)
    once = to_alarm(script("..x..", "x....", ".....", "....x"), Threshold(0.02, 1), 4, 5, rng)
    assert (once.windows.tolist(), once.ended.tolist()) == ([3, 1, 5, 5], [True, True, False, True])
    twice = to_alarm(script("x.xx.", ".xxxx", "x.x.x", "...xx"), Threshold(0.02, 2), 4, 5, rng)
    assert (twice.windows.tolist(), twice.ended.tolist()) == ([4, 3, 5, 5], [True, True, False, True])


def test_an_alarm_ends_with_the_first_quiet_window() -> None:
    """Only runs that are in alarm when fairness returns have an end to be waited for."""
    before, after = script("x" * 200, "." * 200, "x" * 200), script("xx..", "....", "xxxx")
    found = to_end(before, 200, after, Threshold(0.02, 1), 3, 4, np.random.default_rng(1))
    assert (found.windows.tolist(), found.ended.tolist()) == ([3, 4], [True, False])


def test_figures_by_hand() -> None:
    """Runs of 10, 20 and 30 windows, and one given up at 40: 100 windows watched for 3 alarms."""
    found = lengths_of([10, 20, 30, 40], 40)
    assert (found.unfinished, found.mean) == (1, 25.0)
    assert found.per_alarm == pytest.approx(100 / 3)
    assert found.error == pytest.approx(math.sqrt(500 / 3 / 4))
    off = [10 - 100 / 3, 20 - 100 / 3, 30 - 100 / 3, 40]
    assert found.per_alarm_error == pytest.approx(math.sqrt(sum(each * each for each in off)) / 3)
    assert (found.quantile(0.5), found.quantile(0.75), found.quantile(0.9)) == (20.0, 30.0, None)


def test_without_any_alarm_there_is_a_bound() -> None:
    """None in 120 windows: with 95 % confidence less than one in 40, for exp(-3) is .05."""
    found = lengths_of([40, 40, 40], 40)
    assert (found.per_alarm, math.isnan(found.per_alarm_error)) == (40.0, True)
    assert math.exp(-NONE_SEEN) == pytest.approx(0.05, abs=0.001)
