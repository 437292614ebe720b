"""What `publish` counts, shows and emits when a budget refuses, a release is not in order, or its spec is revoked."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from privacy import Limits, Measurement, parse_measurement
from streams.errors import KafkaUnavailable
from streams.inprocess import InProcessPipeline
from streams.pulse import Pulse
from streams.records.metric import FairnessMetric
from streams.records.published import PublishedRecord
from streams.records.release import SignedRelease
from streams.roles.publish import PublishCore
from streams.roles.publish_app import Publisher, _beat
from streams.settings import Settings
from streams.watch.access import OperatorAccess

START_MS = 20_000 * 86_400_000
FAR_MS = 253_402_300_799_999
SPEC = """
id: feed
purpose: refusals
source: {topic: ev, member: m, time: ts, time_format: epoch_ms}
cells: {decision: {field: r}}
windows: {base: 10s, rollups: [1m], lateness: 1s}
reference: white
privacy: {contribution_cap: 24, rho_member_day: 0.1, cap_rule: first}
test_only: {noise_scale_units: 0.01}
"""


def spec() -> Measurement:
    """The measurement."""
    return parse_measurement(SPEC, origin="test").with_effective_from(START_MS)


def run(folder: Path, seconds: int, *, budget_of_a: float | None = None) -> InProcessPipeline:
    """A pipeline after so many seconds, whose party a may have a smaller budget than the registry knows of."""
    pipeline = InProcessPipeline(folder / "keys", partitions=1, sources={"ev": 1}, start_ms=START_MS)
    pipeline.approve(spec())
    if budget_of_a is not None:
        limits, pipeline._limits = pipeline._limits, Limits.of_day(budget_of_a)
        pipeline.start("a")
        pipeline._limits = limits
    for number in range(20):
        member = b"m%d" % number
        value = json.dumps({"family_name": "Garcia", "state": "CA"}).encode()
        pipeline.write_attributes(member, value)
    for second in range(seconds):
        pipeline.log.clock_ms = START_MS + 1000 * second
        for number in range(20):
            event = {"m": f"m{number}", "ts": pipeline.log.clock_ms, "r": True}
            pipeline.log.append("ev", 0, json.dumps(event).encode())
        pipeline.run()
    return pipeline


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> InProcessPipeline:
    """A pipeline after 75 seconds, in which nothing went wrong."""
    return run(tmp_path_factory.mktemp("honest"), 75)


def core_of(pipeline: InProcessPipeline) -> PublishCore:
    """A new `publish` that has read nothing yet."""
    return PublishCore(pipeline.controls["publish"], confidence=0.95, rho_limit=10.0)


def test_a_refusal_by_the_budget_is_counted_by_party_and_reason(tmp_path: Path) -> None:
    """A party that may not spend says so: the window is void with the reason, and the party's refusals are counted."""
    pipeline = run(tmp_path, 34, budget_of_a=0.05)
    releases = [SignedRelease.decode(value).release for value in pipeline.log.values("releases-a")]
    assert {(release.status, release.reason) for release in releases} == {("refused", "budget_exceeded_day")}
    assert {(record.status, record.reason) for record in pipeline.published} == {("void", "budget_exceeded_day")}
    assert pipeline.core.refused == {("feed", "a", "budget_exceeded_day"): len(releases)}
    assert len(releases) == 3


def _resigned(pipeline: InProcessPipeline, value: bytes, **changes: Any) -> bytes:
    """A release of party a with other contents, under its own signature."""
    signed = SignedRelease.decode(value)
    release = msgspec.structs.replace(signed.release, **changes)
    values = {channel.name: signed.channel(channel.name) for channel in release.channels}
    identity = pipeline._keys["a"].identity
    return SignedRelease.signed(identity, release, {n: v for n, v in values.items() if v is not None}).encode()


@pytest.mark.parametrize(
    "changes",
    [
        {"level": "1h"},
        {"revision": 2},
        {"measurement": "other"},
        {"start_ms": START_MS + 1000},
        {"start_ms": START_MS - 10_000, "end_ms": START_MS},
        {"start_ms": START_MS + 5_000, "end_ms": START_MS + 15_000},
        {"level": "1m"},
    ],
    ids=str,
)
def test_a_release_of_no_such_window_takes_no_ones_place(honest: InProcessPipeline, changes: dict[str, Any]) -> None:
    """It is counted, and the true release of the window is joined as if it had never come."""
    core = core_of(honest)
    true_a, true_b = (honest.log.values(f"releases-{party}")[0] for party in "ab")
    assert core.apply("a", _resigned(honest, true_a, **changes)) is None
    assert core.refused == {("feed", "a", "not_in_spec"): 1}
    assert core.apply("a", true_a) is None
    record = core.apply("b", true_b)
    assert record is not None
    assert record.status in ("published", "suppressed")


def test_whose_refusal_it_was(honest: InProcessPipeline) -> None:
    """What carries no valid signature names no measurement; a second release names measurement and party."""
    core = core_of(honest)
    value = honest.log.values("releases-a")[0]
    core.apply("a", value[:-1])
    core.apply("b", value)
    flipped = bytearray(value)
    flipped[-1] ^= 1
    core.apply("a", bytes(flipped))
    core.apply("a", value)
    core.apply("a", _resigned(honest, value, coverage=bytes(32)))
    assert core.refused == {
        ("", "a", "malformed"): 1,
        ("", "b", "malformed"): 1,
        ("", "a", "signature"): 1,
        ("feed", "a", "second_release"): 1,
    }


# -- what is emitted ------------------------------------------------------------------------------------------------


def publisher_of(pipeline: InProcessPipeline) -> Publisher:
    """`publish` around the in-process releases, without Kafka."""
    process: Any = SimpleNamespace(
        settings=Settings(),
        control=pipeline.controls["publish"],
        registry=CollectorRegistry(),
        pulse=Pulse(60.0),
        access=OperatorAccess(),
    )
    return Publisher(process)


def counted(publisher: Publisher) -> dict[tuple[str, str], float]:
    """`evenstream_windows_total` by status and reason, over all levels."""
    publisher.collector.open()
    found: dict[tuple[str, str], float] = {}
    for family in publisher.process.registry.collect():
        for sample in family.samples:
            if sample.name == "evenstream_windows_total":
                outcome = sample.labels["status"], sample.labels["reason"]
                found[outcome] = found.get(outcome, 0) + sample.value
    return found


def emit(publisher: Publisher, records: list[FairnessMetric], topic: dict[bytes, tuple[bytes, int]]) -> None:
    """As the app does it."""
    for record in publisher.take_new(records):
        topic[record.topic_key()] = record.encode(), record.version


def test_a_withdrawal_replaces_numbers_once(tmp_path: Path) -> None:
    """Numbers that went out before the revocation was read give way to it; a restart emits nothing again."""
    pipeline = run(tmp_path, 75)
    publisher, topic = publisher_of(pipeline), dict[bytes, tuple[bytes, int]]()
    assert publisher.refresh_measurements() == []
    for party in "ab":
        for value in pipeline.log.values(f"releases-{party}"):
            record = publisher.take(party, value, live=True)
            emit(publisher, [record] if record else [], topic)
    assert len(topic) == 8  # seven base windows and a minute
    pipeline.revoke(spec(), START_MS + 45_000)
    emit(publisher, publisher.refresh_measurements(), topic)
    assert publisher.refresh_measurements() == []
    statuses = {key.decode(): FairnessMetric.decode(value).status for key, (value, _) in topic.items()}
    ends = {"10s": 10_000, "1m": 60_000}
    for level, length in ends.items():
        for end in range(START_MS + length, START_MS + 70_001, length):
            assert (statuses[f"feed/{level}/{end}"] == "withdrawn") == (end > START_MS + 45_000)
    again = publisher_of(pipeline)
    for key, (value, version) in topic.items():
        again.held.read(PublishedRecord(key, value, version))
    before = dict(topic)
    for party in "ba":
        for value in pipeline.log.values(f"releases-{party}"):
            record = again.take(party, value, live=False)
            emit(again, [record] if record else [], topic)
    emit(again, again.refresh_measurements(), topic)
    assert topic == before
    for order in ("ab", "ba"):  # one that knew before it read the first release says the same
        knowing, rebuilt = publisher_of(pipeline), dict[bytes, tuple[bytes, int]]()
        emit(knowing, knowing.refresh_measurements(), rebuilt)
        for party in order:
            for value in pipeline.log.values(f"releases-{party}"):
                record = knowing.take(party, value, live=False)
                emit(knowing, [record] if record else [], rebuilt)
        assert rebuilt == topic
        assert counted(knowing) == counted(publisher)
    assert counted(again) == counted(publisher)
    # Eight that were joined, and of them the minute and those that end at 50, 60 and 70 s.
    assert (sum(counted(publisher).values()), counted(publisher)["withdrawn", "revoked"]) == (12, 4)


def test_one_transaction_holds_each_record_once_and_no_numbers_after_a_withdrawal(tmp_path: Path) -> None:
    """Of what waited for the transaction before, a repeat is left out, and numbers that come too late as well."""
    pipeline = run(tmp_path, 25)
    publisher = publisher_of(pipeline)
    windows = [
        publisher.take(party, value, live=True) for party in "ab" for value in pipeline.log.values(f"releases-{party}")
    ]
    numbers = next(window for window in windows if window is not None)
    pipeline.revoke(spec(), START_MS)
    withdrawal = next(w for w in publisher.refresh_measurements() if w.topic_key() == numbers.topic_key())
    assert publisher.take_new([numbers, numbers, withdrawal, withdrawal]) == [numbers, withdrawal]
    assert publisher.take_new([numbers, withdrawal]) == []
    assert publisher_of(pipeline).take_new([withdrawal, numbers]) == [withdrawal]


@pytest.mark.parametrize("moments", [(FAR_MS, 45_000), (60_000, 45_000), (45_000, FAR_MS)], ids=str)
def test_the_earliest_of_two_revocations_withdraws(tmp_path: Path, moments: tuple[int, int]) -> None:
    """One dated far ahead shadows no later one; what stands last is the same for who reads both at once."""
    pipeline = run(tmp_path, 75)
    publisher, topic = publisher_of(pipeline), dict[bytes, tuple[bytes, int]]()
    publisher.refresh_measurements()
    for party in "ab":
        for value in pipeline.log.values(f"releases-{party}"):
            record = publisher.take(party, value, live=True)
            emit(publisher, [record] if record else [], topic)
    for at_ms in moments:
        pipeline.revoke(spec(), min(START_MS + at_ms, FAR_MS))
        emit(publisher, publisher.refresh_measurements(), topic)
    statuses = {key.decode(): FairnessMetric.decode(value).status for key, (value, _) in topic.items()}
    for end in range(START_MS + 10_000, START_MS + 70_001, 10_000):
        assert (statuses[f"feed/10s/{end}"] == "withdrawn") == (end > START_MS + 45_000)
    knowing, rebuilt = publisher_of(pipeline), dict[bytes, tuple[bytes, int]]()
    emit(knowing, knowing.refresh_measurements(), rebuilt)
    for party in "ba":
        for value in pipeline.log.values(f"releases-{party}"):
            record = knowing.take(party, value, live=False)
            emit(knowing, [record] if record else [], rebuilt)
    assert rebuilt == topic


def test_a_publisher_that_has_failed_and_does_not_end_is_hung(honest: InProcessPipeline) -> None:
    """Its event loop may turn for ever in an orderly stop; only one that works beats."""
    publisher = publisher_of(honest)
    pulse = publisher.process.pulse
    loop = asyncio.new_event_loop()
    try:
        for failure, hangs in ((None, False), (KafkaUnavailable("no acknowledgement"), True)):
            publisher.failure = failure
            for _ in range(200):
                pulse.tick()
            _beat(loop, publisher)
            assert (pulse.hang() is not None) == hangs
        assert publisher.ready() == "no acknowledgement"
    finally:
        loop.close()


def test_the_period_budget_counts_released_days(honest: InProcessPipeline) -> None:
    """Each day of which numbers were released counts once at /metrics, whatever its windows."""
    publisher = publisher_of(honest)
    publisher.collector._clock = lambda: START_MS / 1000 + 60
    publisher.refresh_measurements()
    for party in "ab":
        for value in honest.log.values(f"releases-{party}"):
            publisher.take(party, value, live=False)
    publisher.collector.open()
    registry: CollectorRegistry = publisher.process.registry
    spent = registry.get_sample_value("evenstream_privacy_period_spent_ratio", {"period": "30-days"})
    assert spent == pytest.approx(0.1 / publisher.settings.privacy.rho_30_days_limit)
