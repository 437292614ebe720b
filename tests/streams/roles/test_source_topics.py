"""Where a worker of seal begins with a source partition, when partitions change hands and when a topic grows."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from privacy import parse_measurement
from streams.control import Approved
from streams.records.header import source_digest
from streams.records.punctuation import NEVER_MS
from streams.roles.source_partition import SourceState
from streams.roles.source_topics import SourceTopic, SourceTopics

SPEC = """
id: feed
purpose: x
source: {topic: ev, arrival: record_time, member: m, time: ts, time_format: epoch_ms}
cells: {decision: {field: r}}
windows: {base: 10s, lateness: 1s}
reference: white
privacy: {contribution_cap: 2, cap_rule: first, rho_member_day: 0.1}
test_only: {noise_scale_units: 0.01}
"""
START = 40, NEVER_MS


@dataclass(frozen=True)
class Part:
    """A worker's part."""

    shard: int
    shards: int
    partitions: int = 2


def follow(part: Part, count: int, stored: dict[int, SourceState]) -> dict[int, SourceState]:
    """What a worker has of a topic with ``count`` partitions, after it has restored this state."""
    measurement = parse_measurement(SPEC, origin="test").with_effective_from(0)
    approved = Approved(measurement, bytes(32), source_digest("ev"), 0, 1 << 50, 0)
    sources = SourceTopics(part, lambda _: SourceTopic("", count), lambda topic, i, _: START)
    for i, state in stored.items():
        sources.restore("ev", i, state)
    sources.follow({"ev": [approved]}, 0)
    return {source.i: source.state for source in sources}


def state(arrival_ms: int, *, begun_with: int) -> SourceState:
    """Committed state of a partition that has been read for a while."""
    return SourceState(7, arrival_ms, [3, 4], {bytes(32).hex(): 5}, partitions=begun_with, begun_with=begun_with)


def test_a_partition_that_changes_hands_goes_on() -> None:
    """Its committed state is taken as it is, whoever wrote it; the others are left to their workers."""
    stored = {i: state(1000 + i, begun_with=3) for i in range(3)}
    assert follow(Part(1, 2), 3, stored) == {1: stored[1]}
    assert follow(Part(0, 1), 3, stored) == stored


@pytest.mark.parametrize("known", [0, 1])
def test_a_partition_whose_worker_never_committed_begins_at_the_beginning(known: int) -> None:
    """It was there when the others were begun, so no window has closed without it: nothing of it is late."""
    found = follow(Part(0, 1), 3, {known: state(5000, begun_with=3)})
    for i in {0, 1, 2} - {known}:
        assert (found[i].offset, found[i].arrival_ms, found[i].begun_with) == (40, NEVER_MS, 3)


@pytest.mark.parametrize("part", [Part(0, 1), Part(3, 4)])
def test_a_partition_that_was_added_begins_where_the_others_are(part: Part) -> None:
    """The others were begun without it, so windows may have closed: what came to it before is late.

    Whether this worker has one of the others itself makes no difference, nor that one of them has seen it already.
    """
    stored = {i: state(5000 + i, begun_with=3) for i in range(3)}
    stored[0].partitions = 4
    found = follow(part, 4, stored)[3]
    assert (found.arrival_ms, found.begun_with) == (5002, 4)
    assert list(found.since_ms.values()) == [5003]
