"""The whole pipeline on a real Kafka: five processes, kill -9 of each, exact tables, and nothing secret on the wire."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import scenario as scenarios
import wire_scan
from confluent_kafka import Producer
from in_force import put_in_force

from secure_agg.keyring import create as create_keys
from streams.feed import Feed
from streams.kafka import topics
from streams.kafka.clients import producer_config, read_to_end
from streams.records.metric import FairnessMetric
from streams.records.refused import decode_refused
from streams.roles.seal import END_OF_LOG
from streams.roles.supervisor import COMMANDS, Supervisor
from streams.settings import Settings, load_settings

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

_SOURCE_CONFIG = {**topics.LOGGED_SOURCE, "max.message.bytes": "15000000"}


@dataclass
class Run:
    """A finished run of the pipeline."""

    settings: Settings
    scenario: scenarios.Scenario
    windows: dict[tuple[str, str, int], FairnessMetric]
    logs: Path
    restarts: int


@pytest.fixture(scope="module")
def finished(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """The scenario on real processes; each of the five is killed (-9) once while records flow."""
    folder = tmp_path_factory.mktemp("run")
    overrides = [
        f"deployment=t-{os.urandom(4).hex()}",
        f"kafka.bootstrap={kafka}",
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
    source = settings.topic("rec-events")
    scenario = scenarios.build(source, 7)
    inputs = topics.input_plan(settings, ())
    source_plan = topics.TopicPlan(source, scenarios.SOURCE_PARTITIONS, 1, _SOURCE_CONFIG)
    topics.create(settings, (*topics.plan(settings), *inputs, source_plan))
    create_keys(settings.keys.dir, settings.deployment)
    for measurement in scenario.measurements:
        put_in_force(settings, measurement, scenario.end_ms)
    feed = Feed(settings)
    for key, value in scenario.members:
        feed.send(settings.topic("member-attributes"), key, value)
    feed.flush()
    arguments = [part for override in overrides for part in ("--set", override)]
    supervisor = Supervisor(arguments, folder / "logs")
    supervisor.start()
    try:
        _feed_with_kills(settings, scenario, supervisor)
        windows = _await_windows(settings, scenario, supervisor)
        yield Run(settings, scenario, windows, folder / "logs", supervisor.restarts)
    finally:
        supervisor.stop()


def _feed_with_kills(settings: Settings, scenario: scenarios.Scenario, supervisor: Supervisor) -> None:
    source = settings.topic("rec-events")
    feed = Feed(settings)
    roles = list(COMMANDS)
    step = len(scenario.records) // (len(roles) + 1)
    for number, record in enumerate(scenario.records):
        feed.send(source, record.key, record.value, timestamp_ms=record.timestamp_ms, partition=record.partition)
        if number % 60 == 59:
            feed.flush()
            _watch(supervisor, 0.1)
        if number % step == step - 1 and number // step < len(roles):
            _watch(supervisor, 1.5)  # long enough that every role is in the middle of its work
            os.kill(supervisor.pid(roles[number // step]), signal.SIGKILL)
    large = Producer(producer_config(settings, None, **{"message.max.bytes": 15_000_000, "compression.type": "none"}))
    last_ms = scenario.records[-1].timestamp_ms
    large.produce(source, b'{"viewer": "' + b"x" * 10_000_000 + b'"}', partition=0, timestamp=last_ms)
    assert large.flush(30) == 0
    scenario.refused[None, "too_large"] += 1
    for partition in range(scenarios.SOURCE_PARTITIONS):
        feed.send(source, None, None, timestamp_ms=scenario.end_ms, partition=partition, headers=[(END_OF_LOG, b"1")])
    feed.flush()


def _watch(supervisor: Supervisor, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        supervisor.watch()
        time.sleep(0.05)


def _await_windows(
    settings: Settings, scenario: scenarios.Scenario, supervisor: Supervisor
) -> dict[tuple[str, str, int], FairnessMetric]:
    deadline = time.monotonic() + 90
    found: dict[tuple[str, str, int], FairnessMetric] = {}
    while time.monotonic() < deadline and len(found) < len(scenario.tables):
        _watch(supervisor, 1.0)
        for record in read_to_end(settings, settings.topic("fairness-metrics")):
            window = FairnessMetric.model_validate(json.loads(record.value() or b""))
            found[window.measurement, window.level, window.window.end_ms] = window
    return found


def test_tables_equal_the_oracle(finished: Run) -> None:
    """After a kill -9 of each role, every channel of every level equals the oracle's to the last fixed-point unit."""
    assert finished.restarts >= 5
    scenarios.check(finished.scenario, finished.windows)


def test_each_window_was_published_once(finished: Run) -> None:
    """Kills and restarts repeat nothing: one release a party and window, and one record a window."""
    for topic in ("releases-a", "releases-b", "fairness-metrics"):
        keys = Counter(record.key() for record in read_to_end(finished.settings, finished.settings.topic(topic)))
        assert len(keys) == len(finished.scenario.tables)
        assert set(keys.values()) == {1}


def test_refused_rows_say_why_and_where_and_nothing_else(finished: Run) -> None:
    """Malformed, late and future rows, and a record of 10 MB, are on `refused` with reason and offset, no payload."""
    refused = [
        decode_refused(record.value() or b"")
        for record in read_to_end(finished.settings, finished.settings.topic("refused"))
    ]
    assert Counter((entry.measurement, entry.reason) for entry in refused) == finished.scenario.refused
    source = finished.settings.topic("rec-events")
    places = [(entry.topic, entry.partition, entry.offset, entry.measurement) for entry in refused]
    assert len(set(places)) == len(places)
    assert {place[0] for place in places} == {source}


def test_nothing_secret_is_on_the_wire(finished: Run, kafka_logs: Path) -> None:
    """No member id or Self-ID outside the company's topics, no race vector or cell in clear; a planted one is found."""
    settings = finished.settings
    ids = [key for key, _ in finished.scenario.members]
    own = [plan.name for plan in topics.plan(settings)]
    searched = 0
    for topic in own:
        for data in wire_scan.segments(kafka_logs, topic):
            searched += len(data)
            assert wire_scan.find_ids(data, ids) == 0, topic
            assert wire_scan.find_probability_rows(data) == 0, topic
            assert b"martian" not in data and b'"self_id"' not in data, topic
            if topic != settings.topic("refused"):
                assert wire_scan.find_cells(data, 16) == 0, topic
                assert b"recommended" not in data or topic in _names_are_public(settings), topic
    assert searched > 100_000
    # The scanner's eyes, on the same disk: the company's own topics do hold ids, and a planted vector is seen.
    members = b"".join(wire_scan.segments(kafka_logs, settings.topic("rec-events")))
    assert wire_scan.find_ids(members, [key for key, _ in finished.scenario.members[:5]]) > 0
    planted = topics.TopicPlan(settings.topic("planted"), 1, 1, {})
    topics.create(settings, (planted,))
    row = np.array([524288, 262144, 131072, 65536, 32768, 32768], dtype="<u8").tobytes()
    plain = Producer(producer_config(settings, None, **{"compression.type": "none"}))
    plain.produce(planted.name, b"abc" + row)
    assert plain.flush(10) == 0
    assert sum(map(wire_scan.find_probability_rows, wire_scan.segments(kafka_logs, planted.name))) == 1


def _names_are_public(settings: Settings) -> tuple[str, ...]:
    """Topics that hold specs or published statistics, in which a feature's name is no secret."""
    return tuple(settings.topic(name) for name in ("measurements", "decisions", "fairness-metrics"))


def test_logs_carry_no_member(finished: Run) -> None:
    """No log line of any role holds a member id or a Self-ID of the scenario."""
    text = b"".join(path.read_bytes() for path in finished.logs.glob("*.log"))
    assert len(text) > 1000
    assert wire_scan.find_ids(text, [key for key, _ in finished.scenario.members]) == 0
    assert b"martian" not in text
