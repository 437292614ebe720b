"""Seal and attach divided anew at random moments, with crashes and zombies: tables equal the oracle's, to the unit."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scenario as scenarios
from scenario_pipeline import end_log, feed, pipeline_of

from streams.inprocess import InProcessPipeline
from streams.records.refused import decode_refused

pytestmark = pytest.mark.timeout(400)

PARTITIONS = 4


def _pipeline(folder: Path, scenario: scenarios.Scenario) -> InProcessPipeline:
    pipeline = pipeline_of(scenario, folder, PARTITIONS)
    feed(pipeline, scenario.records)
    end_log(pipeline, scenario.end_ms)
    return pipeline


def _check(pipeline: InProcessPipeline, scenario: scenarios.Scenario) -> None:
    for _ in range(20):
        pipeline.run()
    for role in pipeline.roles:
        assert not pipeline.stage(role).stopped()
    scenarios.check(scenario, {(w.measurement, w.level, w.window.end_ms): w for w in pipeline.published})
    refused = Counter((r.measurement, r.reason) for r in map(decode_refused, pipeline.log.values("refused")))
    assert refused == scenario.refused


@pytest.mark.parametrize("seed", [30, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(31, 35))])
def test_layouts_that_change_at_any_time_change_nothing(tmp_path: Path, seed: int) -> None:
    """Workers come, go, crash, hear late of a layout, and wake up as zombies, which commit nothing: all is exact."""
    scenario = scenarios.build("rec-events", seed)
    pipeline = _pipeline(tmp_path, scenario)
    rng = np.random.default_rng(seed)
    paused: list[Any] = []
    woken: Counter[bool] = Counter()
    for _ in range(280):
        worker = str(rng.choice(pipeline.roles))
        limit, commits, hears = int(rng.integers(1, 40)), bool(rng.random() < 0.7), bool(rng.random() < 0.5)
        pipeline.turn(worker, limit=limit, commit=commits, hears=hears)
        what = rng.random()
        if what < 0.2:
            pipeline.start(worker)
        elif what < 0.3:
            pipeline.scale(str(rng.choice(["seal", "attach"])), int(rng.integers(1, 4)))
        elif what < 0.4 and worker not in ("a", "b"):
            paused.append(pipeline.pause(worker))
        elif what < 0.5 and paused:
            stopped = paused.pop(int(rng.integers(0, len(paused))))
            woken[stopped is not None and pipeline.wake(stopped)] += 1
    assert woken[False] > 2
    assert pipeline.controls["seal"].layout("attach").generation > 5
    _check(pipeline, scenario)


def test_a_zombie_commits_nothing(tmp_path: Path) -> None:
    """A worker of an old generation that has read records is refused its commit once one of the new has begun."""
    scenario = scenarios.build("rec-events", 40)
    pipeline = _pipeline(tmp_path, scenario)
    pipeline.turn("seal", limit=40)
    pipeline.turn("seal", limit=40, commit=False)
    zombie = pipeline.pause("seal")
    assert zombie is not None
    pipeline.scale("seal", 3)
    pipeline.start("seal.2")
    before = len(pipeline.log.values("sealed"))
    assert not pipeline.wake(zombie)
    assert len(pipeline.log.values("sealed")) == before
    _check(pipeline, scenario)


def test_without_a_layout_change_a_paused_worker_goes_on(tmp_path: Path) -> None:
    """The refusal above is the fence's doing: where nobody took over, the same worker commits."""
    scenario = scenarios.build("rec-events", 41)
    pipeline = _pipeline(tmp_path, scenario)
    pipeline.turn("seal", limit=40)
    paused = pipeline.pause("seal")
    assert paused is not None
    before = len(pipeline.log.values("sealed"))
    assert pipeline.wake(paused)
    assert len(pipeline.log.values("sealed")) > before


def test_workers_of_attach_destroy_an_epoch_together(tmp_path: Path) -> None:
    """An epoch of attach stays while one worker is behind its end, and goes when the last has committed past it."""
    scenario = scenarios.build("rec-events", 42)
    pipeline = _pipeline(tmp_path, scenario)
    pipeline.scale("attach", 2)
    (first,) = pipeline.epochs["attach"].numbers()
    end_ms = pipeline.epochs["attach"].ends()[0]
    _check(pipeline, scenario)
    # The next epochs of all recipients, then time beyond the end of the first.
    pipeline.log.clock_ms = end_ms + 1
    pipeline.renew_epochs()
    end_log(pipeline, scenario.end_ms + 60_000)
    for worker in ("seal", "attach"):
        pipeline.turn(worker)
    assert first in pipeline.epochs["attach"].numbers()
    pipeline.turn("attach.1")
    assert first not in pipeline.epochs["attach"].numbers()
    assert not (tmp_path / "keys" / "attach" / "epochs" / f"{first}.epoch").exists()
