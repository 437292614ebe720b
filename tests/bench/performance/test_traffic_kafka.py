"""The process that writes live traffic, on a real Kafka."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import msgspec
import pytest

from bench.performance.events import Event, create
from bench.performance.traffic import LiveTraffic
from streams.kafka import topics
from streams.kafka.clients import read_to_end
from streams.settings import Settings

PARTITIONS = 2


@pytest.fixture
def settings(kafka: str, make_settings: Callable[..., Settings]) -> Iterator[Settings]:
    settings = make_settings(kafka)
    topic = settings.topic("bench-events")
    create(settings, topic, PARTITIONS)
    yield settings
    topics.delete(settings, (topic,))


def test_what_is_written_is_what_is_told(settings: Settings, kafka: str) -> None:
    """All events at their rate, over all partitions, in windows that are told; the process has CPU of its own."""
    topic = settings.topic("bench-events")
    traffic = LiveTraffic(kafka, topic, rate=500, seconds=2, members=50, partitions=PARTITIONS)
    sent = traffic.end(early=False)
    found = [(m.partition(), msgspec.json.decode(m.value() or b"", type=Event)) for m in read_to_end(settings, topic)]
    assert sent.events == traffic.events == len(found) == 1_000
    assert {i: sum(1 for j, _ in found if i == j) for i in range(PARTITIONS)} == {0: 500, 1: 500}
    assert all(sent.begin_ms <= event.shown_at < sent.end_ms for _, event in found)
    assert sent.seconds >= 2.0
    assert 0 < sent.cpu_seconds < sent.seconds + 10
    assert not traffic.is_running()


def test_it_ends_early_in_order(settings: Settings, kafka: str) -> None:
    """Told to stop, it says how many it has written, and they are there."""
    topic = settings.topic("bench-events")
    traffic = LiveTraffic(kafka, topic, rate=200, seconds=600, members=50, partitions=PARTITIONS)
    deadline = time.monotonic() + 20
    while not traffic.events and time.monotonic() < deadline:
        time.sleep(0.05)
    sent = traffic.end()
    assert 0 < sent.events < 200 * 100
    assert len(list(read_to_end(settings, topic))) == sent.events
