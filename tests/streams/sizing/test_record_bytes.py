"""The lengths of records that a size is made of are those of the records that the roles write."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import scenario as scenarios
from scenario_pipeline import end_log, feed, pipeline_of

from privacy import Measurement
from streams.inprocess import InProcessPipeline, MemoryRecord
from streams.records import frame
from streams.records.batches import SealedBatch, SharesBatch
from streams.records.frame import Kind
from streams.records.punctuation import Punctuation, SignedPunctuation
from streams.records.release import SignedRelease
from streams.sizing import record_bytes as sizes

PARTITIONS = 4
NUMBER_BYTES = 8
"""A number takes up to so many bytes less than one of the size that is taken for granted."""

Ran = tuple[InProcessPipeline, dict[str, Measurement]]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Three measurements, with all, two and one of the channels, from the first row to what is published."""
    scenario = scenarios.build("rec-events", seed=3)
    pipeline = pipeline_of(scenario, tmp_path_factory.mktemp("sizing"), PARTITIONS)
    # A window is in state only while it is open: so some is committed before the log ends.
    feed(pipeline, scenario.records[: len(scenario.records) // 2])
    pipeline.run()
    feed(pipeline, scenario.records[len(scenario.records) // 2 :])
    end_log(pipeline, scenario.end_ms)
    for _ in range(8):
        pipeline.run()
    return pipeline, {measurement.id: measurement for measurement in scenario.measurements}


def of_kind(pipeline: InProcessPipeline, topic: str, kind: Kind) -> Iterator[bytes]:
    """Values of one kind of a topic; one at least."""
    found = [value for value in pipeline.log.values(topic) if frame.kind_of(value) is kind]
    assert found
    yield from found


def state(pipeline: InProcessPipeline, topic: str, prefix: str) -> list[MemoryRecord]:
    """Records of a state topic whose key begins so, tombstones left out; one at least."""
    found = [
        record
        for record in pipeline.log.read(topic, 0)
        if record.value_ is not None and (record.key_ or b"").startswith(prefix.encode())
    ]
    assert found
    return found


def test_a_sealed_batch_is_as_long_as_counted(ran: Ran) -> None:
    """To the byte, given its header; and the header is as long as taken for granted, but for smaller numbers."""
    pipeline, measurements = ran
    for value in of_kind(pipeline, "sealed", Kind.SEALED):
        batch = SealedBatch.decode(value)
        measurement, rows = measurements[batch.header.measurement], batch.header.rows
        assert sizes.sealed_bytes(measurement, rows, len(batch.header_bytes)) == len(value)
        assert 0 <= sizes.header_bytes(measurement, rows) - len(batch.header_bytes) <= NUMBER_BYTES
        assert 0 <= sizes.sealed_bytes(measurement, rows) - len(value) <= NUMBER_BYTES


def test_a_batch_of_shares_is_as_long_as_counted(ran: Ran) -> None:
    """To the byte, given its header, with and without a rectifier and moments."""
    pipeline, measurements = ran
    seen = set()
    for value in of_kind(pipeline, "shares", Kind.SHARES):
        batch = SharesBatch.decode(value)
        measurement = measurements[batch.header.measurement]
        seen.add(measurement.id)
        assert sizes.shares_bytes(measurement, batch.header.rows, len(batch.header_bytes)) == len(value)
    assert seen == set(measurements)


@pytest.mark.parametrize(
    ("topic", "counted"),
    [("sealed", sizes.punctuation_bytes), ("shares", sizes.passed_punctuation_bytes)],
)
def test_punctuation_is_as_long_as_counted(ran: Ran, topic: str, counted: object) -> None:
    """To the byte, but for sequence numbers and clocks that are smaller."""
    assert callable(counted)
    for value in of_kind(ran[0], topic, Kind.PUNCTUATION):
        told: Punctuation = SignedPunctuation.decode(value).punctuation
        expected = counted(len(told.sources), len(told.counting))
        assert 0 <= expected - len(value) <= NUMBER_BYTES * (1 + len(told.sources))


def test_a_release_is_as_long_as_counted(ran: Ran) -> None:
    """To the byte, at every level; so is its wait in a party's state."""
    pipeline, measurements = ran
    for value in of_kind(pipeline, "releases-a", Kind.RELEASE):
        release = SignedRelease.decode(value).release
        measurement = measurements[release.measurement]
        assert release.status == "released"
        assert sizes.release_bytes(measurement, release.level) == len(value)
        assert sizes.released_values(measurement, release.level) == release.size
    for record in state(pipeline, "state-a", "pending/"):
        _, name, level, _ = (record.key_ or b"").decode().split("/")
        assert abs(sizes.pending_bytes(measurements[name], level) - len(record.value_ or b"")) <= NUMBER_BYTES


def test_a_published_window_is_about_as_long_as_counted(ran: Ran) -> None:
    """Within a fifth: it is JSON, and its numbers have as many digits as they need."""
    pipeline, measurements = ran
    for record in pipeline.published:
        measurement = measurements[record.measurement]
        if len(record.results) == sizes.results(measurement):  # none was pooled with another
            expected = sizes.metric_bytes(measurement, record.level)
            assert expected == pytest.approx(len(record.encode()), rel=0.2)


def test_checkpoints_are_about_as_long_as_counted(tmp_path: Path) -> None:
    """Sources, positions and windows in state once 64 digests of each stream are kept, but for smaller numbers."""
    scenario = scenarios.build("rec-events", seed=3)
    pipeline = pipeline_of(scenario, tmp_path, 1)
    for start in range(0, len(scenario.records), 5):
        feed(pipeline, scenario.records[start : start + 5])
        pipeline.log.clock_ms += 1_000
        for role in ("seal", "attach", "a"):
            pipeline.turn(role)
    streams, count = scenarios.SOURCE_PARTITIONS, len(scenario.measurements)
    by_spec = {measurement.digest().hex(): measurement for measurement in scenario.measurements}

    def left(topic: str, prefix: str, expected: int) -> int:
        return expected - len(state(pipeline, topic, prefix)[-1].value_ or b"")

    no_id = 22  # topics in memory have a short one
    assert 0 <= left("state-seal", "source/", sizes.source_state_bytes(1, count)) <= NUMBER_BYTES + no_id
    assert 0 <= left("state-a", "position/", sizes.position_bytes(streams, count)) <= NUMBER_BYTES * streams
    assert (
        0
        <= left("state-attach", "position/", sizes.attached_position_bytes(streams, count))
        <= NUMBER_BYTES * (streams + count)
    )
    for spec, measurement in by_spec.items():
        fullest = max(len(record.value_ or b"") for record in state(pipeline, "state-a", f"window/{spec}"))
        assert 0 <= sizes.window_state_bytes(measurement, streams) - fullest <= NUMBER_BYTES * (1 + streams)
        assert abs(left("state-a", f"rollup/{spec}", sizes.rollup_state_bytes(measurement))) <= NUMBER_BYTES
