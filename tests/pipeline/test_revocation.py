"""Revocation in every role: one measurement stops, and of the others nothing changes, to the last unit.

Each role may learn of it at another turn, and crash between any two. What `publish` says last of each window does not
depend on which topic it reads first.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import scenario as scenarios
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from in_force import put_in_force
from scenario_pipeline import end_log, feed, pipeline_of

from secure_agg.keyring import create as create_keys
from secure_agg.keyring import load_governance
from streams.feed import Feed
from streams.governance import Governance
from streams.inprocess import InProcessPipeline
from streams.kafka import topics
from streams.kafka.clients import read_to_end
from streams.records.batches import SealedBatch
from streams.records.frame import Kind, kind_of
from streams.records.metric import FairnessMetric
from streams.records.release import SignedRelease
from streams.roles.publish import PublishCore
from streams.roles.seal import END_OF_LOG
from streams.roles.supervisor import Supervisor
from streams.settings import Settings, load_settings
from streams.stage import TIMESTAMP_CREATE

ROLES = ("seal", "attach", "a", "b", "publish")
TURNS = 12
SCENARIO = scenarios.build("rec-events", 5, events_a_window=40)
FEED = SCENARIO.measurements[0]
AT_MS = scenarios.START_MS + 47_000
"""Within the fifth base window and the first minute."""

_BY_WINDOW = dict[scenarios.Key, FairnessMetric]


def end(pipeline: InProcessPipeline) -> None:
    """End the log, and let every role read all of it."""
    end_log(pipeline, SCENARIO.end_ms)
    for _ in range(6):
        pipeline.log.clock_ms += 2000
        pipeline.run()


def last_words(published: Iterable[FairnessMetric]) -> _BY_WINDOW:
    """What stands of each window on a compacted topic."""
    return {(record.measurement, record.level, record.window.end_ms): record for record in published}


def check_others(windows: _BY_WINDOW) -> None:
    """The measurements that stand equal the oracle's in full."""
    for name in ("candidates", "plain"):
        expected = {key: table for key, table in SCENARIO.tables.items() if key[0] == name}
        assert {key for key in windows if key[0] == name} == set(expected)
        for key, table in expected.items():
            found = windows[key].table
            assert found is not None, (key, windows[key].reason)
            assert np.array_equal(np.array(found.values) * scenarios.SCALE, table), key


def check_revoked(windows: _BY_WINDOW) -> None:
    """Of windows that ended in time the numbers are exact, of later ones there are none, and each level is told."""
    revoked = {key: record for key, record in windows.items() if key[0] == "feed"}
    for key, record in revoked.items():
        assert (record.status == "withdrawn") == (key[2] > AT_MS), key
        if record.table is not None:
            assert np.array_equal(np.array(record.table.values) * scenarios.SCALE, SCENARIO.tables[key]), key
    for level, length in (("10s", 10_000), ("1m", 60_000)):
        key = ("feed", level, (AT_MS // length + 1) * length)
        assert (revoked[key].status, revoked[key].reason) == ("withdrawn", "revoked")
        assert revoked[key].privacy is None
        assert revoked[key].supersedes == revoked[key].event_id(1)  # whether or not that was ever said


def rebuilt(pipeline: InProcessPipeline, order: str) -> _BY_WINDOW:
    """What a new `publish` makes of the retained topics, read in another order."""
    live = pipeline.controls["publish"]
    core = PublishCore(live, confidence=0.95, rho_limit=10.0)
    records: list[FairnessMetric] = core.withdrawals()
    for party in order:
        for value in pipeline.log.values(f"releases-{party}"):
            record = core.apply(party, value)
            records += [] if record is None else [record]
    return last_words(records + core.withdrawals())


@pytest.mark.timeout(300)
@settings(max_examples=4, deadline=None, phases=[Phase.generate])  # seconds each: shrinking would take minutes
@given(data=st.data())
@pytest.mark.slow
def test_the_others_stay_exact_whenever_each_role_learns(data: st.DataObject) -> None:
    """One of three measurements is revoked; each role reads that at a turn of its own, under crashes."""
    learns = {role: data.draw(st.integers(0, TURNS - 1), label=f"{role} learns") for role in ROLES}
    crashes = data.draw(
        st.sets(st.tuples(st.integers(0, TURNS - 1), st.sampled_from(ROLES[:4])), max_size=12), label="crashes"
    )
    with tempfile.TemporaryDirectory() as folder:
        pipeline = pipeline_of(SCENARIO, Path(folder), 4)
        size = len(SCENARIO.records) // TURNS + 1
        pipeline.revoke(FEED, AT_MS, roles=())
        for turn in range(TURNS):
            feed(pipeline, SCENARIO.records[turn * size : (turn + 1) * size])
            pipeline.log.clock_ms += 1000
            for role in ROLES:
                if learns[role] == turn:
                    pipeline.tell(role)
                if role == "publish":
                    pipeline.publish()
                    continue
                crashed = (turn, role) in crashes
                pipeline.turn(role, commit=not crashed)
                if crashed:
                    pipeline.start(role)
        end(pipeline)
        assert not any(pipeline.stage(role).stopped() for role in ROLES[:4])
        windows = last_words(pipeline.published)
        check_others(windows)
        check_revoked(windows)
        assert rebuilt(pipeline, "ab") == rebuilt(pipeline, "ba") == windows


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> InProcessPipeline:
    """A pipeline in which every role has read the revocation half-way, and the log has ended."""
    pipeline = pipeline_of(SCENARIO, tmp_path_factory.mktemp("revoked"), 4)
    half = next(n for n, record in enumerate(SCENARIO.records) if record.timestamp_ms >= AT_MS)
    feed(pipeline, SCENARIO.records[:half])
    pipeline.run()  # rows of the open windows are folded, and releases drawn
    pipeline.sealed_before = set(pipeline.log.values("sealed"))  # type: ignore[attr-defined]
    pipeline.released_before = {p: len(pipeline.log.values(f"releases-{p}")) for p in "ab"}  # type: ignore[attr-defined]
    pipeline.revoke(FEED, AT_MS)
    pipeline.run()
    feed(pipeline, SCENARIO.records[half:])
    end(pipeline)
    return pipeline


def test_seal_makes_no_more_rows(stopped: InProcessPipeline) -> None:
    """No batch of the measurement is sealed once the role has read of it, and its events are refused no more."""
    before: set[bytes] = stopped.sealed_before  # type: ignore[attr-defined]
    later = [value for value in stopped.log.values("sealed") if value not in before]
    assert "feed" in {SealedBatch.decode(value).header.measurement for value in _batches(list(before))}
    assert {SealedBatch.decode(value).header.measurement for value in _batches(later)} == {"candidates", "plain"}


def test_rows_that_wait_for_their_batch_are_dropped(tmp_path: Path) -> None:
    """Rows that seal has read and not sealed go nowhere, and their streams go on without a gap."""
    pipeline = pipeline_of(SCENARIO, tmp_path, 4)
    half = len(SCENARIO.records) // 2
    feed(pipeline, SCENARIO.records[:half])
    pipeline.turn("seal", commit=False)
    pending = pipeline.stage("seal")._batcher._buffers  # type: ignore[attr-defined]
    assert FEED.digest() in {slot[0] for slot in pending}
    pipeline.revoke(FEED, AT_MS)
    feed(pipeline, SCENARIO.records[half:])
    end(pipeline)
    sealed = map(SealedBatch.decode, _batches(pipeline.log.values("sealed")))
    assert {batch.header.measurement for batch in sealed} == {"candidates", "plain"}
    assert not any(pipeline.stage(role).stopped() for role in ROLES[:4])
    check_others(last_words(pipeline.published))


def test_the_parties_let_go_of_everything(stopped: InProcessPipeline) -> None:
    """No open window, roll-up or unsent release of it is left in state, and none was sent after the revocation."""
    spec = FEED.digest().hex()
    for party in "ab":
        state = {record.key_: record.value_ for record in stopped.log.read(f"state-{party}", 0)}
        live = [key.decode() for key, value in state.items() if value is not None and key is not None]
        assert not [key for key in live if spec in key and not key.startswith("schedule/")]
        assert not [key for key in live if key.startswith("pending/feed/")]
        assert any(key.startswith(("window/", "rollup/")) and spec in key for key in (k.decode() for k in state if k))
        sent = stopped.log.values(f"releases-{party}")[stopped.released_before[party] :]  # type: ignore[attr-defined]
        assert {SignedRelease.decode(value).release.measurement for value in sent} == {"candidates", "plain"}


def test_what_is_published(stopped: InProcessPipeline) -> None:
    """Numbers up to the revocation, one withdrawal a level, and the others in full."""
    windows = last_words(stopped.published)
    check_others(windows)
    check_revoked(windows)
    assert sum(record.status == "withdrawn" for record in stopped.published) == 2


def test_attach_passes_zeros_on(tmp_path: Path) -> None:
    """Batches that seal wrote before it knew go on, one for one, with shares of zero, and no id of them is opened.

    The parties hear of it by attach's punctuation, and release nothing of what lacks rows.
    """
    pipeline = pipeline_of(SCENARIO, tmp_path, 4)
    pipeline.revoke(FEED, AT_MS, roles=("attach",))
    feed(pipeline, SCENARIO.records)
    opened: list[str] = []
    pipeline.start("attach")
    stage = pipeline.stage("attach")
    open_members = stage._open_members  # type: ignore[attr-defined]

    def spy(batch: SealedBatch, approved: object) -> object:
        opened.append(batch.header.measurement)
        return open_members(batch, approved)

    stage._open_members = spy  # type: ignore[attr-defined]
    end(pipeline)
    assert set(opened) == {"candidates", "plain"}
    assert len(pipeline.log.values("shares")) == len(pipeline.log.values("sealed"))
    sealed = {r.header.measurement for r in map(SealedBatch.decode, _batches(pipeline.log.values("sealed")))}
    assert sealed == {"feed", "candidates", "plain"}
    pipeline.tell("publish")
    check_others(last_words(pipeline.published))
    assert not [value for value in pipeline.log.values("releases-a") if _released(value) == "feed"]


def _batches(values: list[bytes]) -> list[bytes]:
    return [value for value in values if kind_of(value) is not Kind.PUNCTUATION]


def _released(value: bytes) -> str:
    return SignedRelease.decode(value).release.measurement


def test_a_release_that_was_not_sent_is_let_go(tmp_path: Path) -> None:
    """What a party has drawn and committed, but not sent, does not leave after the revocation, also over a restart."""
    pipeline = pipeline_of(SCENARIO, tmp_path, 4)
    feed(pipeline, SCENARIO.records)
    for _ in range(3):
        pipeline.log.clock_ms += 2000
        for role in ("seal", "attach"):
            pipeline.turn(role)
    for i in range(scenarios.SOURCE_PARTITIONS):
        pipeline.log.append(
            "rec-events", i, None, timestamp=(TIMESTAMP_CREATE, SCENARIO.end_ms), headers=((END_OF_LOG, b"1"),)
        )
    pipeline.run(("seal", "attach"))
    pipeline.turn("a", commit=False)
    stage = pipeline.stage("a")
    pipeline._write(stage.checkpoint(pipeline.log.clock_ms))  # drawn and committed, and then the process dies
    state = {record.key_ for record in pipeline.log.read("state-a", 0)}
    assert any((key or b"").startswith(b"pending/feed/") for key in state)
    pipeline.revoke(FEED, AT_MS)
    pipeline.start("a")
    end(pipeline)
    sent = {SignedRelease.decode(value).release.measurement for value in pipeline.log.values("releases-a")}
    assert sent == {"candidates", "plain"}
    left = {record.key_: record.value_ for record in pipeline.log.read("state-a", 0)}
    assert not [key for key, value in left.items() if (key or b"").startswith(b"pending/") and value is not None]


def test_a_revocation_that_comes_first_lets_nothing_begin(tmp_path: Path) -> None:
    """Revoked before its start: no batch, no release, and the first window of each level says so."""
    pipeline = pipeline_of(SCENARIO, tmp_path, 4)
    pipeline.revoke(FEED, scenarios.START_MS - 5)
    feed(pipeline, SCENARIO.records)
    end(pipeline)
    windows = last_words(pipeline.published)
    check_others(windows)
    assert {key[1:]: record.status for key, record in windows.items() if key[0] == "feed"} == {
        ("10s", scenarios.START_MS + 10_000): "withdrawn",
        ("1m", scenarios.START_MS + 60_000): "withdrawn",
    }
    assert not [r for p in "ab" for r in pipeline.log.read(f"releases-{p}", 0) if (r.key_ or b"").startswith(b"feed/")]


# -- on a real Kafka ------------------------------------------------------------------------------------------------


@pytest.mark.kafka
@pytest.mark.timeout(240)
def test_five_processes_stop_one_measurement(kafka: str, tmp_path: Path) -> None:
    """A reviewer's command stops it in every role while rows flow and a party is killed; the others stay exact."""
    overrides = [
        f"deployment=t-{os.urandom(4).hex()}",
        f"kafka.bootstrap={kafka}",
        "topics.replication_factor=1",
        "topics.min_insync_replicas=1",
        f"keys.dir={tmp_path / 'keys'}",
        "test_cluster=true",
        "keys.governance_threshold=1",
        "http.port=0",
        "privacy.rho_member_day_limit=1",
        "privacy.rho_30_days_limit=100",
        "privacy.rho_year_limit=1000",
    ]
    settings = load_settings(None, overrides, environment={})
    source = settings.topic("rec-events")
    scenario = scenarios.build(source, 5, events_a_window=40)  # the same rows as SCENARIO
    plan = topics.TopicPlan(source, scenarios.SOURCE_PARTITIONS, 1, topics.LOGGED_SOURCE)
    topics.create(settings, (*topics.plan(settings), *topics.input_plan(settings, ()), plan))
    create_keys(settings.keys.dir, settings.deployment)
    proposals = [put_in_force(settings, measurement, scenario.end_ms) for measurement in scenario.measurements]
    events = Feed(settings)
    for key, value in scenario.members:
        events.send(settings.topic("member-attributes"), key, value)
    supervisor = Supervisor([part for o in overrides for part in ("--set", o)], tmp_path / "logs")
    supervisor.start()
    try:
        half = next(n for n, record in enumerate(scenario.records) if record.timestamp_ms >= AT_MS)
        _send(events, source, scenario.records[:half])
        _until(supervisor, lambda: any(key[0] == "feed" for key in _metrics(settings)))
        key = load_governance(settings.keys.dir / "governance" / "reviewer-2.key")
        Governance(settings).revoke(proposals[0].measurement, key, "harm", AT_MS)
        _until(supervisor, lambda: sum(r.status == "withdrawn" for r in _metrics(settings).values()) == 2)
        os.kill(supervisor.pid("b"), signal.SIGKILL)
        _send(events, source, scenario.records[half:])
        for i in range(scenarios.SOURCE_PARTITIONS):
            events.send(source, None, None, timestamp_ms=scenario.end_ms, partition=i, headers=[(END_OF_LOG, b"1")])
        events.flush()
        others = sum(key[0] != "feed" for key in scenario.tables)
        _until(supervisor, lambda: sum(key[0] != "feed" for key in _metrics(settings)) == others)
        windows = _metrics(settings)
    finally:
        supervisor.stop()
    check_others(windows)
    check_revoked(windows)
    sealed = _batches([r.value() or b"" for r in read_to_end(settings, settings.topic("sealed"))])
    headers = [SealedBatch.decode(value).header for value in sealed]
    assert max(h.window_end_ms for h in headers if h.measurement == "feed") <= scenarios.START_MS + 50_000
    for party in "ab":
        sent = [r.key() or b"" for r in read_to_end(settings, settings.topic(f"releases-{party}"))]
        assert not [key for key in sent if key.startswith(b"feed/") and int(key.rpartition(b"/")[2]) > AT_MS]


def _send(events: Feed, source: str, records: Iterable[scenarios.SourceRecord]) -> None:
    for r in records:
        events.send(source, r.key, r.value, timestamp_ms=r.timestamp_ms, partition=r.partition)
    events.flush()


def _metrics(settings: Settings) -> _BY_WINDOW:
    values = [record.value() for record in read_to_end(settings, settings.topic("fairness-metrics"))]
    return last_words(FairnessMetric.decode(value) for value in values if value is not None)


def _until(supervisor: Supervisor, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, "it did not come about within a minute"
        supervisor.watch()
        time.sleep(0.2)
