"""Attach as several workers: all rows of a member come to one partition, so caps and rotation hold across them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import scenario as scenarios

from privacy import Measurement, Rotation, parse_measurement
from streams.inprocess import InProcessPipeline
from streams.roles.attach import AttachStage
from streams.roles.seal import END_OF_LOG
from streams.stage import TIMESTAMP_CREATE

pytestmark = pytest.mark.slow

PARTITIONS = 4
DAY_MS = 86_400_000


def _pipeline(folder: Path, scenario: scenarios.Scenario, shards: int) -> InProcessPipeline:
    pipeline = InProcessPipeline(
        folder / "keys",
        partitions=PARTITIONS,
        sources={"rec-events": scenarios.SOURCE_PARTITIONS},
        start_ms=scenario.end_ms,
    )
    pipeline.scale("attach", shards)
    for measurement in scenario.measurements:
        pipeline.approve(measurement)
    for key, value in scenario.members:
        pipeline.write_attributes(key, value)
    for record in scenario.records:
        pipeline.log.append(
            "rec-events",
            record.partition,
            record.value,
            key=record.key,
            timestamp=(TIMESTAMP_CREATE, record.timestamp_ms),
        )
    for i in range(scenarios.SOURCE_PARTITIONS):
        pipeline.log.append(
            "rec-events", i, None, timestamp=(TIMESTAMP_CREATE, scenario.end_ms), headers=((END_OF_LOG, b"1"),)
        )
    return pipeline


@pytest.mark.parametrize("seed", [20, pytest.param(21, marks=pytest.mark.slow)])
def test_two_workers_that_crash_give_the_oracles_tables(tmp_path: Path, seed: int) -> None:
    """Caps hold over two workers of attach, each crashing at any time: every channel equals the oracle's."""
    scenario = scenarios.build("rec-events", seed)
    pipeline = _pipeline(tmp_path, scenario, shards=2)
    rng = np.random.default_rng(seed)
    for _ in range(160):
        role = str(rng.choice([*pipeline.roles, "attach", "attach.1"]))
        pipeline.turn(role, limit=int(rng.integers(1, 40)), commit=bool(rng.random() < 0.7))
        if rng.random() < 0.3:
            pipeline.start(role)
    for _ in range(20):
        pipeline.run()
    for role in pipeline.roles:
        assert not pipeline.stage(role).stopped()
    owned = {
        worker: {j for topic, j in pipeline.stage(worker).positions() if topic == "sealed"}
        for worker in ("attach", "attach.1")
    }
    assert owned == {"attach": {0, 2}, "attach.1": {1, 3}}
    scenarios.check(scenario, {(w.measurement, w.level, w.window.end_ms): w for w in pipeline.published})


def test_partitions_can_move_to_another_worker(tmp_path: Path) -> None:
    """Two workers become one in the middle of the day: what had counted is found, and tables equal the oracle's."""
    scenario = scenarios.build("rec-events", 22)
    pipeline = _pipeline(tmp_path, scenario, shards=2)
    for _ in range(12):
        for role in pipeline.roles:
            pipeline.turn(role, limit=25)
    pipeline.scale("attach", 1)
    assert pipeline.roles == ("seal", "attach", "a", "b")
    for _ in range(40):
        pipeline.run()
    stage = pipeline.stage("attach")
    assert isinstance(stage, AttachStage)
    assert not stage.stopped()
    scenarios.check(scenario, {(w.measurement, w.level, w.window.end_ms): w for w in pipeline.published})


ROTATING = """
id: {id}
purpose: rotation
source: {{topic: ev, arrival: record_time, member: m, time: ts, time_format: epoch_ms}}
cells: {{decision: {{field: r}}}}
windows: {{base: 1d, lateness: 1s}}
reference: white
privacy: {{contribution_cap: 1, rho_member_day: 0.1, cap_rule: first, rotation: {rotation}}}
test_only: {{noise_scale_units: 0.01}}
"""


def _rotating(name: str, rotation: str) -> Measurement:
    return parse_measurement(ROTATING.format(id=name, rotation=rotation), origin="test").with_effective_from(0)


def test_members_rotate_alike_over_workers_measurements_and_crashes(tmp_path: Path) -> None:
    """Over 60 days each member counts on its own days, k of any 30, whichever worker has it; sets are nested."""
    days, members = 60, [f"m{k}" for k in range(30)]
    pipeline = InProcessPipeline(tmp_path / "keys", partitions=PARTITIONS, sources={"ev": 1}, start_ms=days * DAY_MS)
    pipeline.scale("attach", 2)
    few, more = _rotating("few", "{days_in_30: 4, days_in_year: 40}"), _rotating("more", "{days_in_30: 12}")
    for measurement in (few, more):
        pipeline.approve(measurement)
    for member in members:
        pipeline.write_attributes(member.encode(), b'{"family_name": "Smith"}')
    for day in range(days):
        for again in range(2):
            stamp = (TIMESTAMP_CREATE, day * DAY_MS + again)
            for member in members:
                event = b'{"m": "%s", "ts": %d, "r": true}' % (member.encode(), stamp[1])
                pipeline.log.append("ev", 0, event, timestamp=stamp)
    pipeline.log.append("ev", 0, None, timestamp=(TIMESTAMP_CREATE, (days + 1) * DAY_MS), headers=((END_OF_LOG, b"1"),))
    rng = np.random.default_rng(1)
    for _ in range(30):
        role = str(rng.choice(pipeline.roles))
        pipeline.turn(role, limit=500, commit=bool(rng.random() < 0.7))
        pipeline.start(role)
    for _ in range(20):
        pipeline.run()
    rows: dict[str, Counter[int]] = {"few": Counter(), "more": Counter()}
    for window in pipeline.published:
        assert window.table is not None
        rows[window.measurement][(window.window.end_ms - 1) // DAY_MS] += round(float(np.sum(window.table.values)))
    keys = pipeline._keys["attach"]
    store = pipeline._members("attach", range(0, PARTITIONS, 2)).store
    tags = store.tag(np.array([member.encode() for member in members]))
    for name, terms in (("few", (4, 40)), ("more", (12, 365))):
        rotation = Rotation(*terms, keys.derive("rotation"))
        expected = [int(rotation.counts(tags, day).sum()) for day in range(days)]
        assert [rows[name][day] for day in range(days)] == expected
    assert sum(rows["more"].values()) == 2 * 12 * len(members)
