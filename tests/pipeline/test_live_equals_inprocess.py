"""Five processes on a real Kafka publish what the in-process pipeline publishes of the same records.

So whatever the in-process campaign (docs/accuracy.md) shows of published intervals holds of a live run. Record
timestamps are event times, and the test's noise is too small to see.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import scenario as scenarios
from in_force import put_in_force

from secure_agg.keyring import create as create_keys
from streams.feed import Feed
from streams.inprocess import InProcessPipeline
from streams.kafka import topics
from streams.kafka.clients import read_to_end
from streams.records.metric import FairnessMetric, Interval
from streams.roles.seal import END_OF_LOG
from streams.roles.supervisor import Supervisor
from streams.settings import Settings, load_settings
from streams.stage import TIMESTAMP_CREATE

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

# Records of long ago would else be deleted as soon as the broker looks, which is half a minute after its start.
_SOURCE_CONFIG = {"message.timestamp.type": "CreateTime", "retention.ms": "-1"}
_SECONDS = 120
_NOISE = 1e-5
"""Noise of .01 fixed-point units and rounding, on a ratio: far more than they can be, far less than one row."""

Windows = dict[tuple[str, str, int], FairnessMetric]


def _by_window(metrics: Iterable[FairnessMetric]) -> Windows:
    return {(metric.measurement, metric.level, metric.window.end_ms): metric for metric in metrics}


def _in_process(folder: Path, scenario: scenarios.Scenario, source: str) -> Windows:
    pipeline = InProcessPipeline(
        folder, partitions=4, sources={source: scenarios.SOURCE_PARTITIONS}, start_ms=scenario.end_ms
    )
    for measurement in scenario.measurements:
        pipeline.approve(measurement)
    for key, value in scenario.members:
        pipeline.write_attributes(key, value)
    for record in scenario.records:
        stamp = TIMESTAMP_CREATE, record.timestamp_ms
        pipeline.log.append(source, record.partition, record.value, key=record.key, timestamp=stamp)
    stamp = TIMESTAMP_CREATE, scenario.end_ms
    for partition in range(scenarios.SOURCE_PARTITIONS):
        pipeline.log.append(source, partition, None, timestamp=stamp, headers=((END_OF_LOG, b"1"),))
    for _ in range(6):
        pipeline.run()
    return _by_window(pipeline.published)


def _live(folder: Path, bootstrap: str, deployment: str, scenario: scenarios.Scenario) -> Windows:
    overrides = [
        f"deployment={deployment}",
        f"kafka.bootstrap={bootstrap}",
        "topics.replication_factor=1",
        "topics.min_insync_replicas=1",
        f"keys.dir={folder / 'keys'}",
        "test_cluster=true",
        "keys.governance_threshold=1",
        "http.port=0",
        "privacy.rho_member_day_limit=1",
        "privacy.rho_30_days_limit=100",
        "privacy.rho_year_limit=1000",
    ]
    settings = load_settings(None, overrides, environment={})
    source_plan = topics.TopicPlan(settings.topic("rec-events"), scenarios.SOURCE_PARTITIONS, 1, _SOURCE_CONFIG)
    topics.create(settings, (*topics.plan(settings), *topics.input_plan(settings, ()), source_plan))
    create_keys(settings.keys.dir, deployment)
    for measurement in scenario.measurements:
        put_in_force(settings, measurement, scenario.end_ms)
    _feed(settings, scenario)
    supervisor = Supervisor([part for override in overrides for part in ("--set", override)], folder / "logs")
    supervisor.start()
    try:
        found: Windows = {}
        deadline = time.monotonic() + _SECONDS
        while time.monotonic() < deadline and len(found) < len(scenario.tables):
            supervisor.watch()
            time.sleep(0.5)
            values = (record.value() for record in read_to_end(settings, settings.topic("fairness-metrics")))
            found = _by_window(FairnessMetric.decode(value) for value in values if value)
        return found
    finally:
        supervisor.stop()


def _feed(settings: Settings, scenario: scenarios.Scenario) -> None:
    feed, source = Feed(settings), settings.topic("rec-events")
    for key, value in scenario.members:
        feed.send(settings.topic("member-attributes"), key, value)
    for record in scenario.records:
        feed.send(source, record.key, record.value, timestamp_ms=record.timestamp_ms, partition=record.partition)
    for partition in range(scenarios.SOURCE_PARTITIONS):
        feed.send(source, None, None, timestamp_ms=scenario.end_ms, partition=partition, headers=[(END_OF_LOG, b"1")])
    feed.flush()


def _ends(interval: Interval | None) -> tuple[float, ...] | None:
    return None if interval is None else (interval.estimate, interval.lower, interval.upper)


def test_a_live_run_publishes_what_the_in_process_one_does(kafka: str, tmp_path: Path) -> None:
    """Every window, status, table, estimate and interval of both runs agree, to the rounding of the test's noise."""
    deployment = f"t-{os.urandom(4).hex()}"
    source = f"{deployment}.rec-events"
    scenario = scenarios.build(source, 11, members=1_000, events_a_window=400)
    inside = _in_process(tmp_path / "inside", scenario, source)
    live = _live(tmp_path, kafka, deployment, scenario)
    assert set(live) == set(inside) == set(scenario.tables)
    compared = 0
    for key, ours in inside.items():
        theirs = live[key]
        assert (theirs.status, theirs.reason) == (ours.status, ours.reason), key
        assert theirs.table is not None
        assert ours.table is not None
        assert np.allclose(theirs.table.values, ours.table.values, rtol=0, atol=_NOISE), key
        for one, other in zip(theirs.results, ours.results, strict=True):
            what = (key, ours.measurement, other.metric, other.score_bin, other.group, other.estimator)
            names = "metric", "score_bin", "group", "estimator", "suppressed"
            assert [getattr(one, name) for name in names] == [getattr(other, name) for name in names], what
            for kind in ("value", "gap", "ratio"):
                found, expected = _ends(getattr(one, kind)), _ends(getattr(other, kind))
                assert found == (expected if expected is None else pytest.approx(expected, abs=_NOISE, rel=_NOISE)), (
                    what
                )
                compared += expected is not None
    assert compared > 200
