"""The events of a run: written once, read by every contender.

A record's key is the event's group and its partition is chosen round robin, so that no contender has to repartition:
each partition holds every group. The record's timestamp is the event's time, never falling within a partition, as a
replayed log has it. The last record of each partition is the end-of-log record that lets `seal` close the last window;
its value is empty, and contenders pass it over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec
import numpy as np
from confluent_kafka.admin import NewTopic

from estimator import GROUPS
from streams.kafka.clients import admin, make_producer, produce
from streams.roles.seal import END_OF_LOG
from streams.settings import Settings
from streams.simulate import SimulatedMembers

WINDOW_MS = 1_000
"""What contenders count by."""

LATENESS_MS = 1_000
"""Of evenstream's measurements: the end-of-log record comes so much later, and closes the last window."""

Counts = Counter[tuple[str, bool, int]]
"""Events by (group, recommended, start of the window, epoch milliseconds)."""

_SHARES = (0.60, 0.12, 0.06, 0.18, 0.01, 0.03)
_BEGIN_MS = 1_760_000_400_000  # the start of an hour, so that windows of every length begin with it
_PIECE = 50_000
_SEED = 9


@dataclass(frozen=True)
class Traffic:
    """What events are written.

    Attributes:
        count: of all partitions together. partitions: of the topic. members: how many are shown something.
        rate: events a second of event time.
        begin_ms: time of the first one, epoch milliseconds.
    """

    count: int
    partitions: int = 4
    members: int = 100_000
    rate: float = 100_000.0
    begin_ms: int = _BEGIN_MS

    @property
    def end_ms(self) -> int:
        """The end of the last window that holds an event."""
        last_ms = self.begin_ms + int(1000 * (self.count - 1) / self.rate)
        return (last_ms // WINDOW_MS + 1) * WINDOW_MS


class Event(msgspec.Struct):
    """One event, as a company might write it."""

    event_id: str
    member_id: str
    shown_at: int
    surface: str
    score: float
    recommended: bool
    clicked: bool
    rank: int
    group: str


def draw(traffic: Traffic) -> Iterator[list[Event]]:
    """All events, in time order, a piece at a time."""
    rng = np.random.default_rng(_SEED)
    for first in range(0, traffic.count, _PIECE):
        number = np.arange(first, min(first + _PIECE, traffic.count))
        score = np.round(rng.beta(2.0, 2.0, number.size), 4)
        columns = (
            number.tolist(),
            rng.integers(0, traffic.members, number.size).tolist(),
            (traffic.begin_ms + (1000 * number / traffic.rate).astype(np.int64)).tolist(),
            score.tolist(),
            (rng.random(number.size) < 0.3).tolist(),
            (rng.random(number.size) < 0.1 + 0.6 * score).tolist(),
            rng.integers(1, 26, number.size).tolist(),
            rng.choice(len(GROUPS), number.size, p=_SHARES).tolist(),
        )
        yield [
            Event(
                f"e{number:012d}",
                SimulatedMembers.member_id(member).decode(),
                shown_at,
                "feed",
                score,
                recommended,
                clicked,
                rank,
                GROUPS[group],
            )
            for number, member, shown_at, score, recommended, clicked, rank, group in zip(*columns, strict=True)
        ]


def write(settings: Settings, topic: str, traffic: Traffic, progress: Callable[[int], None] = lambda sent: None) -> int:
    """Make the topic and write all events; returns the bytes of their values."""
    create(settings, topic, traffic.partitions)
    producer = make_producer(settings, None, **{"linger.ms": 20, "queue.buffering.max.messages": 200_000})
    encoder, sent, size = msgspec.json.Encoder(), 0, 0
    for piece in draw(traffic):
        for event in piece:
            value = encoder.encode(event)
            size += len(value)
            produce(
                producer,
                topic,
                key=event.group.encode(),
                value=value,
                partition=sent % traffic.partitions,
                timestamp=event.shown_at,
            )
            sent += 1
        producer.poll(0)
        progress(sent)
    for i in range(traffic.partitions):
        produce(
            producer,
            topic,
            value=b"",
            partition=i,
            timestamp=traffic.end_ms + LATENESS_MS,
            headers=[(END_OF_LOG, b"")],
        )
    producer.flush()
    return size


def create(settings: Settings, topic: str, partitions: int) -> None:
    """Make a topic whose records keep the times that they are given, and wait until it is there."""
    config = {"message.timestamp.type": "CreateTime", "retention.ms": "-1"}
    client = admin(settings)
    client.create_topics([NewTopic(topic, partitions, 1, config=config)])[topic].result()


def truth(traffic: Traffic, count: int | None = None) -> Counts:
    """What a count of the first ``count`` events (a multiple of the partitions) must find."""
    left = traffic.count if count is None else count
    counts: Counts = Counter()
    for piece in draw(traffic):
        counts.update(
            (event.group, event.recommended, event.shown_at // WINDOW_MS * WINDOW_MS) for event in piece[:left]
        )
        left -= len(piece)
        if left <= 0:
            break
    return counts
