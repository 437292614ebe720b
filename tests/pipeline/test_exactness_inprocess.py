"""The tables that come out of the whole pipeline, in one process, against the oracle: equal to the last unit."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import scenario as scenarios

from streams.inprocess import InProcessPipeline
from streams.records.refused import decode_refused
from streams.roles.seal import END_OF_LOG
from streams.stage import TIMESTAMP_CREATE


def _pipeline(folder: Path, scenario: scenarios.Scenario, batch_rows: int) -> InProcessPipeline:
    pipeline = InProcessPipeline(
        folder / "keys",
        partitions=4,
        sources={"rec-events": scenarios.SOURCE_PARTITIONS},
        batch_rows=batch_rows,
        start_ms=scenario.end_ms,
    )
    for measurement in scenario.measurements:
        pipeline.approve(measurement)
    for key, value in scenario.members:
        pipeline.write_attributes(key, value)
    return pipeline


def _end(pipeline: InProcessPipeline, scenario: scenarios.Scenario) -> None:
    for i in range(scenarios.SOURCE_PARTITIONS):
        pipeline.log.append(
            "rec-events", i, None, timestamp=(TIMESTAMP_CREATE, scenario.end_ms), headers=((END_OF_LOG, b"1"),)
        )


def _check(pipeline: InProcessPipeline, scenario: scenarios.Scenario) -> None:
    for role in ("seal", "attach", "a", "b"):
        assert not pipeline.stage(role).stopped()
    scenarios.check(scenario, {(w.measurement, w.level, w.window.end_ms): w for w in pipeline.published})
    refused = Counter((r.measurement, r.reason) for r in map(decode_refused, pipeline.log.values("refused")))
    assert refused == scenario.refused


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_tables_equal_the_oracle(tmp_path: Path, seed: int) -> None:
    """Every channel of all measurements and levels equals the oracle's to the last fixed-point unit."""
    scenario = scenarios.build("rec-events", seed)
    pipeline = _pipeline(tmp_path, scenario, batch_rows=4096)
    for start in range(0, len(scenario.records), 50):
        for record in scenario.records[start : start + 50]:
            pipeline.log.append(
                "rec-events",
                record.partition,
                record.value,
                key=record.key,
                timestamp=(TIMESTAMP_CREATE, record.timestamp_ms),
            )
        pipeline.run()
    _end(pipeline, scenario)
    for _ in range(4):
        pipeline.run()
    _check(pipeline, scenario)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 13))
def test_crashes_change_nothing(tmp_path: Path, seed: int) -> None:
    """With roles crashing between any two turns, committed or not, every channel still equals the oracle's."""
    scenario = scenarios.build("rec-events", seed)
    pipeline = _pipeline(tmp_path, scenario, batch_rows=4096)
    rng = np.random.default_rng(seed)
    for record in scenario.records:
        pipeline.log.append(
            "rec-events",
            record.partition,
            record.value,
            key=record.key,
            timestamp=(TIMESTAMP_CREATE, record.timestamp_ms),
        )
    _end(pipeline, scenario)
    for _ in range(300):
        role = str(rng.choice(["seal", "attach", "a", "b"]))
        pipeline.turn(role, limit=int(rng.integers(1, 40)), commit=bool(rng.random() < 0.7))
        if rng.random() < 0.3:
            pipeline.start(role)
    for _ in range(20):
        pipeline.run()
    _check(pipeline, scenario)


def test_coverage_that_differs_is_void(tmp_path: Path) -> None:
    """When the parties have not folded the same batches, the window is void with a reason and carries no number."""
    scenario = scenarios.build("rec-events", 99)
    pipeline = _pipeline(tmp_path, scenario, batch_rows=4096)
    for record in scenario.records:
        pipeline.log.append(
            "rec-events", record.partition, record.value, timestamp=(TIMESTAMP_CREATE, record.timestamp_ms)
        )
    _end(pipeline, scenario)
    for role in ("seal", "attach", "a"):
        pipeline.turn(role)
    pipeline.turn("b", commit=False)
    # Party b loses one batch of one window, as a faulty or dishonest party would.
    stage = pipeline.stage("b")
    window = next(iter(stage._windows._base.values()))
    stream = next(iter(window.coverage.streams))
    window.coverage.streams[stream].chain = bytes(32)
    pipeline.run()
    pipeline.run()
    void = [w for w in pipeline.published if w.status == "void"]
    assert {w.reason for w in void} == {"coverage_differs"}
    assert len(void) == 2  # its base window and the roll-up that holds it
    assert all(w.table is None and w.results == () for w in void)
