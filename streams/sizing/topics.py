"""Kafka: bytes a second and bytes kept of each topic that grows with traffic.

`keys`, `measurements`, `decisions`, the ledgers, `refused` and `concerns` are left out: together they are kilobytes a
minute. So are source topics, which are there without evenstream.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from privacy import Measurement
from streams.roles.counted_chunks import RUNS_A_LEVEL
from streams.sizing import record_bytes as records
from streams.sizing.load import Layout, Load
from streams.sizing.memory import ENTRY_BYTES, entries
from streams.sizing.traffic import Traffic

YEAR_SECONDS = 365 * 86_400
_DAY_SECONDS = 86_400
_LEAST_MEMBERS = 1024
_ATTRIBUTES_BYTES = 150
"""Of a member's record on `member-attributes`, key and value: names, place and Self-ID as JSON."""
_CLEANED_AFTER_SECONDS = 360
"""A broker looks for segments to delete each 5 minutes, and deletes a minute later."""


@dataclass(frozen=True)
class TopicSize:
    """One topic.

    Attributes:
        written: bytes a second, of one copy. readers: how often it is read.
        kept: bytes of one copy while every reader keeps up; most: after an outage as long as its retention.
    """

    name: str
    written: float
    readers: int
    kept: float
    most: float


def topics_of(load: Load, layout: Layout, traffic: Traffic) -> list[TopicSize]:
    """All of them, in the order of the data."""
    settings = load.settings
    segment = settings.topics.segment_minutes * 60
    # Deletion takes whole segments that every reader has passed.
    passing = segment + settings.retention.interval_seconds + _CLEANED_AFTER_SECONDS
    outage = max(settings.topics.retention_hours * 3600, passing)
    year = settings.topics.metrics_retention_hours * 3600
    sealed, shares = _sealed(load, layout, traffic), _shares(load, layout, traffic)
    releases, metrics = _releases(load, traffic), _metrics(load)
    members = load.members * (_ATTRIBUTES_BYTES + records.RECORD_BYTES)
    found = [
        TopicSize("member-attributes", 0.0, 1, members, members),
        TopicSize("sealed", sealed, 1, passing * sealed, outage * sealed),
        TopicSize("shares", shares, 2, passing * shares, outage * shares),
        *(TopicSize(f"releases-{p}", releases, 1, YEAR_SECONDS * releases, YEAR_SECONDS * releases) for p in "ab"),
        TopicSize("fairness-metrics", metrics, 1, year * metrics, year * metrics),
    ]
    states = [
        ("state-seal", _state_seal(load, layout, traffic), 0.0),
        ("state-attach", *_state_attach(load, layout, traffic)),
        *((f"state-{p}", _state_party(load, layout, traffic), 0.0) for p in "ab"),
    ]
    for name, written, live in states:
        kept = 2 * segment * written + live  # a segment that is written, and one that waits to be compacted
        found.append(TopicSize(name, written, 0, kept, kept))
    return found


def _framed(written: float, count: float, transactions: float, partitions: float) -> float:
    """With Kafka's own framing.

    Args:
        written: bytes of values and keys a second. count: of records. transactions: a second; partitions: that each
            touches.
    """
    touched = transactions * partitions * (records.BATCH_BYTES + records.MARKER_BYTES)
    return written + count * records.RECORD_BYTES + touched


def _batches(load: Load, traffic: Traffic) -> Iterator[tuple[Measurement, float, float]]:
    """(measurement, batches a second, rows of each in the mean)."""
    for demand, count in zip(load.demands, traffic.batches, strict=True):
        yield demand.measurement, count, demand.rows / count if count else 0.0


def _told(load: Load, layout: Layout) -> tuple[int, int]:
    """Sources and measurements that a punctuation names."""
    return math.ceil(layout.sources * len(load.topics) / layout.seal), len(load.demands)


def _sealed(load: Load, layout: Layout, traffic: Traffic) -> float:
    written = sum(count * records.sealed_bytes(m, rows) for m, count, rows in _batches(load, traffic))
    written += traffic.punctuations * records.punctuation_bytes(*_told(load, layout))
    count = sum(traffic.batches) + traffic.punctuations
    return _framed(written, count, layout.seal * traffic.seal, layout.partitions)


def _shares(load: Load, layout: Layout, traffic: Traffic) -> float:
    written = sum(count * records.shares_bytes(m, rows) for m, count, rows in _batches(load, traffic))
    written += traffic.punctuations * records.passed_punctuation_bytes(*_told(load, layout))
    count = sum(traffic.batches) + traffic.punctuations
    return _framed(written, count, traffic.attach, layout.partitions)


def _levels(load: Load) -> Iterator[tuple[Measurement, str, float]]:
    """(measurement, level, windows a second)."""
    for demand in load.demands:
        for level in demand.measurement.levels:
            yield demand.measurement, level.name, 1000 / level.length_ms


def _key(measurement: Measurement, level: str) -> int:
    return len(f"{measurement.id}/{level}/{records.NOW_MS}")


def _releases(load: Load, traffic: Traffic) -> float:
    written = sum(rate * (records.release_bytes(m, level) + _key(m, level)) for m, level, rate in _levels(load))
    return _framed(written, traffic.windows, traffic.windows, 1)


def _metrics(load: Load) -> float:
    headers = 400  # CloudEvents, and publish's signature
    written = sum(
        rate * (records.metric_bytes(m, level) + _key(m, level) + headers) for m, level, rate in _levels(load)
    )
    return written + sum(rate for _, _, rate in _levels(load)) * (records.RECORD_BYTES + records.BATCH_BYTES)


def _state_seal(load: Load, layout: Layout, traffic: Traffic) -> float:
    value = records.source_state_bytes(layout.partitions, len(load.demands))
    # Each transaction of a worker writes all source partitions that it owns.
    written = sum(traffic.seal * layout.sources * (value + len(f"source/{topic}/10")) for topic in load.topics)
    count = traffic.seal * layout.sources * len(load.topics)
    return _framed(written, count, layout.seal * traffic.seal, 1)


def _state_attach(load: Load, layout: Layout, traffic: Traffic) -> tuple[float, float]:
    """Bytes a second, and bytes that stay."""
    streams = layout.sources * len(load.topics)
    position = records.attached_position_bytes(streams, len(load.demands)) + 10
    count = traffic.attach * layout.partitions
    written, live = count * position, float(layout.partitions * position)
    members = load.members / layout.partitions
    padded = float(1 << math.ceil(math.log2(max(members, _LEAST_MEMBERS))))
    for demand in load.demands:
        entry = ENTRY_BYTES[demand.measurement.privacy.cap_rule]
        rows = demand.rows / layout.partitions
        written += entry * layout.partitions * _rewritten(rows, padded, traffic.attach)
        live += entry * layout.partitions * entries(rows, padded, traffic.attach)
    return _framed(written, 2 * count, layout.attach * traffic.attach, 1), live


def _rewritten(rows: float, padded: float, transactions: float) -> float:
    """Entries a second that chunks of one partition hold: each row once, and once more for each merge it goes through.

    Args:
        padded: the longest that a merged run is.
    """
    runs, length, found = transactions, rows / transactions, rows
    while runs * _DAY_SECONDS >= RUNS_A_LEVEL:
        runs, length = runs / RUNS_A_LEVEL, length * RUNS_A_LEVEL
        found += runs * min(length, padded)
    return found


def _state_party(load: Load, layout: Layout, traffic: Traffic) -> float:
    streams = layout.sources * len(load.topics)
    reading = traffic.party - traffic.sending  # the others have taken nothing in
    count = reading * layout.partitions
    written = count * (records.position_bytes(streams, len(load.demands)) + 10)
    for demand in load.demands:
        m, sent = demand.measurement, layout.sources * layout.partitions
        written += reading * (records.window_state_bytes(m, sent) + 90)
        closed = 1000 / m.base_ms
        written += closed * sum(records.rollup_state_bytes(m) + 100 for _ in m.levels[1:])
        written += sum(1000 / lv.length_ms * (records.pending_bytes(m, lv.name) + 60) for lv in m.levels)
        count += reading + closed * len(m.levels)
    return _framed(written, count, traffic.party, 1)
