"""The roles of one process, and a scenario's parts put in as a test wants them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import scenario as scenarios

from streams.inprocess import InProcessPipeline
from streams.roles.seal import END_OF_LOG
from streams.stage import TIMESTAMP_CREATE


def pipeline_of(scenario: scenarios.Scenario, folder: Path, partitions: int) -> InProcessPipeline:
    """Five roles with a scenario's measurements and members."""
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
    return pipeline


def feed(pipeline: InProcessPipeline, records: Iterable[scenarios.SourceRecord]) -> None:
    """Write source records."""
    for record in records:
        stamp = (TIMESTAMP_CREATE, record.timestamp_ms)
        pipeline.log.append("rec-events", record.partition, record.value, key=record.key, timestamp=stamp)


def end_log(pipeline: InProcessPipeline, end_ms: int) -> None:
    """Say in each source partition that the log ends there."""
    for i in range(scenarios.SOURCE_PARTITIONS):
        stamp = (TIMESTAMP_CREATE, end_ms)
        pipeline.log.append("rec-events", i, None, timestamp=stamp, headers=((END_OF_LOG, b"1"),))
