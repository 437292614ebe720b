"""A small campaign: every figure is decided by the seed, and what it must show it shows."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from streams.alert_simulation import campaign, tasks
from streams.alert_simulation.campaign import Simulation, simulate
from streams.alert_simulation.gaussian import SIGMA
from streams.alert_simulation.runs import RunLengths
from streams.alert_simulation.tasks import (
    AT_TOLERATED,
    CUSUM,
    E_DETECTOR,
    GAPS,
    ONE,
    QUICK,
    THREE,
    Level,
    Size,
    Terms,
    null_worlds,
)

TERMS = Terms(30, (1, 3), SIGMA, (Level("1h", 3600.0, 720),), real_tables=False)
SIZE = Size(30, 4, 150, table_runs=2, table_horizon=1, spread=5, point_runs=2, point_horizon=5, largest_window=10)


@cache
def small() -> Simulation:
    """Simulated once for all tests."""
    return simulate(TERMS, SIZE, 7, lambda done, total: None)


def mean(simulation: Simulation, section: str, rule: str, gap: float | None = None, k: int = 1) -> float:
    """Of the first row that there is."""
    return next(
        f.lengths.mean
        for f in simulation.found
        if (f.task.section, f.task.rule_name, f.task.gap, f.task.detectors) == (section, rule, gap, k)
    )


def test_the_seed_decides_every_figure() -> None:
    """In whatever order and in however many processes they come; another seed gives others."""
    found = small().of("ends")
    chosen = [one.task for one in found]
    with campaign._working(2, 7) as work:
        again = list(work(chosen[::-1]))[::-1]
    for one, same in zip(found, again, strict=True):
        assert one.lengths.windows.tolist() == same.windows.tolist() != one.task.run(8).windows.tolist()


def test_promises_hold_and_a_plain_threshold_does_not() -> None:
    """At the tolerated gap the e-detector has fewer false alarms than it promises; a look a window has many more."""
    found = small()
    assert found.promises
    assert all(promise.holds for promise in found.promises)
    assert mean(found, "false alarms", E_DETECTOR) > 30 > mean(found, "false alarms", ONE, k=3)


def test_larger_gaps_are_found_sooner() -> None:
    """By every rule; and a gap of 4 sigma at once by the e-detector, by three in a row after three windows or more."""
    found = small()
    for rule in (E_DETECTOR, CUSUM, ONE, THREE):
        means = [mean(found, "delays", rule, gap) for gap in GAPS]
        assert means[0] > means[2] > means[4]
    assert mean(found, "delays", E_DETECTOR, 4.0) < 3 <= mean(found, "delays", THREE, 4.0)
    assert mean(found, "levels", E_DETECTOR, 1.0, k=3) > mean(found, "delays", E_DETECTOR, 1.0, k=3)


def test_an_alarm_ends() -> None:
    """Within some windows once there is no gap, and later where there is just a tolerated one."""
    fair, just = (f for f in small().of("ends") if f.task.gap == 2.0)
    assert fair.lengths.unfinished == 0
    assert 1 <= fair.lengths.mean < just.lengths.mean


def test_a_broken_promise_is_seen() -> None:
    """Figures below A by more than two standard errors; by one it may be chance."""
    found = next(f for f in small().found if f.task.promised and f.task.row == AT_TOLERATED)
    rng = np.random.default_rng(1)
    broken, near = (RunLengths(rng.permutation(at), np.ones(40, np.bool_), 200) for at in (range(1, 41), range(9, 49)))
    verdicts = [campaign._promise(campaign.Found(found.task, each)) for each in (broken, near)]
    assert [verdict.holds for verdict in verdicts] == [False, True]
    assert "one in 20 ± 2 (30 runs, 0 given up" in verdicts[0].figures


@pytest.mark.parametrize("detectors", [1, 5, 50])
def test_the_promise_is_judged_in_ideal_worlds_alone(detectors: int) -> None:
    """Where a pool deviates by more than is tolerated, or a variance is not known, nothing was promised."""
    for world in null_worlds(Terms(40, (detectors,), SIGMA, ()), detectors):
        ideal = not world.pool and world.degrees is None and world.width == 1.0 and (world.beyond or 0.0) <= 0.0
        assert world.promised == ideal, world.text


def test_real_tables_take_part() -> None:
    """Five worlds of tables without a gap, and the demo's traffic, whose planted gap of 15 points is soon found."""
    terms = replace(TERMS, real_tables=True)
    fair = [task for task in tasks.false_alarms(terms, QUICK) if task.row.startswith("tables: ")]
    unfair = [task for task in tasks.points(terms, QUICK, {1: 5.0}) if task.rule_name == E_DETECTOR]
    assert len(fair) == 5
    assert [task.promised for task in fair] == [True, True, False, False, True]
    assert [task.gap for task in unfair] == [5.0, 10.0, 15.0]
    assert fair[3].run(7).unfinished == QUICK.table_runs
    assert 2 < unfair[2].run(7).mean < 12
