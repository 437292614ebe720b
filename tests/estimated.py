"""A pipeline whose windows say all that windows can say, with three measurements and a rectifier; once a session."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import scenario as scenarios

from streams.inprocess import InProcessPipeline
from streams.records.metric import FairnessMetric
from streams.roles.seal import END_OF_LOG
from streams.stage import TIMESTAMP_CREATE


def through_all_roles(scenario: scenarios.Scenario, folder: Path, partitions: int) -> InProcessPipeline:
    """A pipeline that has taken all of a scenario in, to the end of its log."""
    pipeline = InProcessPipeline(
        folder / "keys",
        partitions=partitions,
        sources={"rec-events": scenarios.SOURCE_PARTITIONS},
        start_ms=scenario.end_ms,
    )
    for measurement in scenario.measurements:
        pipeline.approve(measurement)
    for key, value in scenario.members:
        pipeline.write_attributes(key, value)
    for record in scenario.records:
        stamp = (TIMESTAMP_CREATE, record.timestamp_ms)
        pipeline.log.append("rec-events", record.partition, record.value, key=record.key, timestamp=stamp)
    for i in range(scenarios.SOURCE_PARTITIONS):
        end = (TIMESTAMP_CREATE, scenario.end_ms)
        pipeline.log.append("rec-events", i, None, timestamp=end, headers=((END_OF_LOG, b"1"),))
    for _ in range(5):
        pipeline.run()
    return pipeline


@cache
def run() -> InProcessPipeline:
    """The scenario with three measurements, one with a rectifier at its longest level, through all roles."""
    scenario = scenarios.build("rec-events", 4, members=3000, events_a_window=900)
    with TemporaryDirectory() as folder:
        return through_all_roles(scenario, Path(folder), partitions=2)


def published() -> list[FairnessMetric]:
    """Its records."""
    return run().published
