"""On a real Kafka: attach is killed and loses its state within the day; nothing counts twice, nothing stops."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scenario as scenarios
from in_force import put_in_force

from secure_agg.keyring import create as create_keys
from streams.feed import Feed
from streams.kafka import topics
from streams.kafka.clients import read_to_end
from streams.records.metric import FairnessMetric
from streams.roles.seal import END_OF_LOG
from streams.roles.supervisor import Supervisor
from streams.settings import Settings, load_settings

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]


def _watch(supervisor: Supervisor, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        supervisor.watch()
        time.sleep(0.05)


def _published(settings: Settings) -> dict[scenarios.Key, FairnessMetric]:
    found = {}
    for record in read_to_end(settings, settings.topic("fairness-metrics")):
        window = FairnessMetric.model_validate(json.loads(record.value() or b""))
        found[window.measurement, window.level, window.window.end_ms] = window
    return found


def test_lost_state_makes_the_rest_of_the_day_zero(kafka: str, tmp_path: Path) -> None:
    """Windows before the loss equal the oracle's; what was open or came later holds no row twice; none is void."""
    overrides = [
        f"deployment=t-{os.urandom(4).hex()}",
        f"kafka.bootstrap={kafka}",
        "topics.replication_factor=1",
        "topics.min_insync_replicas=1",
        f"keys.dir={tmp_path / 'keys'}",
        "test_cluster=true",
        "http.port=0",
        "privacy.rho_member_day_limit=1",
        "privacy.rho_30_days_limit=100",
        "privacy.rho_year_limit=1000",
    ]
    settings = load_settings(None, overrides, environment={})
    source = settings.topic("rec-events")
    scenario = scenarios.build(source, 8, members=60, events_a_window=60)
    source_plan = topics.TopicPlan(
        source, scenarios.SOURCE_PARTITIONS, 1, {"message.timestamp.type": "CreateTime", "retention.ms": "-1"}
    )
    topics.create(settings, (*topics.plan(settings), *topics.input_plan(settings, ()), source_plan))
    create_keys(settings.keys.dir, settings.deployment)
    for measurement in scenario.measurements:
        put_in_force(settings, measurement, scenario.end_ms)
    feed = Feed(settings)
    for key, value in scenario.members:
        feed.send(settings.topic("member-attributes"), key, value)
    feed.flush()
    supervisor = Supervisor([part for override in overrides for part in ("--set", override)], tmp_path / "logs")
    supervisor.start()
    half = len(scenario.records) // 2
    try:
        for number, record in enumerate(scenario.records):
            feed.send(source, record.key, record.value, timestamp_ms=record.timestamp_ms, partition=record.partition)
            if number == half:
                feed.flush()
                _await(lambda: len(_published(settings)) > 6, supervisor)
                _lose_state(settings, supervisor)
        for i in range(scenarios.SOURCE_PARTITIONS):
            feed.send(source, None, None, timestamp_ms=scenario.end_ms, partition=i, headers=[(END_OF_LOG, b"1")])
        feed.flush()
        _await(lambda: len(_published(settings)) == len(scenario.tables), supervisor)
        windows = _published(settings)
    finally:
        supervisor.stop()
    told = b"".join(path.read_bytes() for path in (tmp_path / "logs").glob("attach*"))
    assert b"shares hold batches that this state does not know" in told
    equal = smaller = 0
    for key, expected in scenario.tables.items():
        table = windows[key].table
        assert table is not None, (key, windows[key].reason)
        found = np.array(table.values) * scenarios.SCALE
        assert found.sum() <= expected.sum()
        if expected.any():
            equal += bool(np.array_equal(found, expected))
            smaller += bool(found.sum() < expected.sum())
    assert equal > 3
    assert smaller > 3
    # The last windows came after the loss: nobody counted in them.
    last = max(end for name, level, end in windows if (name, level) == ("plain", "10s"))
    assert not np.array(getattr(windows["plain", "10s", last].table, "values", None)).any()


def _await(done: Callable[[], bool], supervisor: Supervisor) -> None:
    deadline = time.monotonic() + 100
    while not done():
        assert time.monotonic() < deadline
        _watch(supervisor, 1.0)


def _lose_state(settings: Settings, supervisor: Supervisor) -> None:
    """Kill attach, and leave nothing of its state: what compaction makes of tombstones."""
    pid = supervisor.pid("attach")
    os.kill(pid, signal.SIGKILL)
    time.sleep(0.5)
    topic = settings.topic("state-attach")
    keys = {record.key() for record in read_to_end(settings, topic)}
    assert keys
    feed = Feed(settings)
    for key in keys:
        feed.send(topic, key, None)
    feed.flush()
    _watch(supervisor, 2.0)
