"""A pipeline whose windows say all that windows can say, with three measurements and a rectifier; once a session."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import scenario as scenarios
from scenario_pipeline import end_log, feed, pipeline_of

from streams.inprocess import InProcessPipeline
from streams.records.metric import FairnessMetric


def through_all_roles(scenario: scenarios.Scenario, folder: Path, partitions: int) -> InProcessPipeline:
    """A pipeline that has taken all of a scenario in, to the end of its log."""
    pipeline = pipeline_of(scenario, folder, partitions)
    feed(pipeline, scenario.records)
    end_log(pipeline, scenario.end_ms)
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
