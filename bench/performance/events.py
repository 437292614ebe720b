"""The events of a run: written once, at a steady rate, and read by every contender.

A record's key is the event's group and its partition is chosen round robin, so that no contender has to repartition:
each partition holds every group. The topic is a live one, as evenstream recommends it: the broker stamps its records.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec
import numpy as np
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]  # its API
from numpy.typing import NDArray

from estimator import GROUPS
from streams.kafka.clients import admin, make_producer, produce, read_to_end
from streams.kafka.topics import LIVE_SOURCE
from streams.settings import Settings
from streams.simulate import SimulatedMembers

WINDOW_MS = 1_000
"""What contenders count by."""

Counts = Counter[tuple[str, bool, int]]
"""Events by (group, recommended, start of the window, epoch milliseconds)."""

_SHARES = (0.60, 0.12, 0.06, 0.18, 0.01, 0.03)
_TICK_SECONDS = 0.01
_MOST_AT_ONCE = 20_000
"""Where the machine is too busy for the rate, events are fewer, and never shown long before they are written."""
_SEED = 9


@dataclass(frozen=True)
class Traffic:
    """What events are written.

    Attributes:
        count: of all partitions together. partitions: of the topic. members: how many are shown something.
        rate: events a second.
    """

    count: int
    partitions: int = 4
    members: int = 100_000
    rate: float = 100_000.0


@dataclass(frozen=True, eq=False)
class Written:
    """What was written, event k to partition k modulo the partitions.

    Attributes:
        begin_ms, end_ms: the windows that hold events, epoch milliseconds.
        value_bytes: of all values together.
        shown_at, appended_at, group, recommended: of each event, shape (n,): its own time and the broker's, int64 epoch
            milliseconds; its place in GROUPS; bool.
    """

    topic: str
    traffic: Traffic
    begin_ms: int
    end_ms: int
    value_bytes: int
    shown_at: NDArray[np.int64]
    appended_at: NDArray[np.int64]
    group: NDArray[np.uint8]
    recommended: NDArray[np.bool_]

    @property
    def windows(self) -> int:
        """How many windows there are."""
        return (self.end_ms - self.begin_ms) // WINDOW_MS

    @property
    def count(self) -> int:
        """How many events there are."""
        return self.shown_at.size

    def truth(self, count: int | None = None, *, by_record_time: bool = False) -> Counts:
        """What a count must find of the first ``count`` events: those that are first in each partition.

        Args:
            by_record_time: it goes by the broker's times, not by those that the events hold.
        """
        times = self.appended_at if by_record_time else self.shown_at
        start = times[:count] // WINDOW_MS * WINDOW_MS
        columns = self.group[:count].tolist(), self.recommended[:count].tolist(), start.tolist()
        return Counter((GROUPS[group], said, at) for group, said, at in zip(*columns, strict=True))


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


class Drawn:
    """Events as they are drawn, one after the other."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self._rng = np.random.default_rng(_SEED)
        self._drawn = 0

    def events(self, count: int, shown_at: int) -> Iterator[Event]:
        """The next ``count`` events, all shown at one time (epoch milliseconds)."""
        rng = self._rng
        score = np.round(rng.beta(2.0, 2.0, count), 4)
        columns = (
            range(self._drawn, self._drawn + count),
            rng.integers(0, self._traffic.members, count).tolist(),
            score.tolist(),
            (rng.random(count) < 0.3).tolist(),
            (rng.random(count) < 0.1 + 0.6 * score).tolist(),
            rng.integers(1, 26, count).tolist(),
            rng.choice(len(GROUPS), count, p=_SHARES).tolist(),
        )
        self._drawn += count
        for number, member, chance, recommended, clicked, rank, group in zip(*columns, strict=True):
            yield Event(
                f"e{number:012d}",
                SimulatedMembers.member_id(member).decode(),
                shown_at,
                "feed",
                chance,
                recommended,
                clicked,
                rank,
                GROUPS[group],
            )


def write(
    settings: Settings,
    topic: str,
    traffic: Traffic,
    progress: Callable[[int], None] = lambda sent: None,
    stop: Callable[[], bool] = lambda: False,
) -> Written:
    """Write events to a topic that is there, from the next whole second on, until all are written or it is to stop."""
    producer = make_producer(settings, None, **{"linger.ms": 5, "queue.buffering.max.messages": 50_000})
    encoder, drawn, sent, size = msgspec.json.Encoder(), Drawn(traffic), 0, 0
    shown_at, group = np.zeros(traffic.count, np.int64), np.zeros(traffic.count, np.uint8)
    recommended = np.zeros(traffic.count, bool)
    begin_ms = (now_ms() // WINDOW_MS + 1) * WINDOW_MS
    shown_ms = begin_ms
    while sent < traffic.count and not stop():
        time.sleep(_TICK_SECONDS)
        shown_ms = max(now_ms(), begin_ms)
        due = min(int(traffic.rate * (shown_ms - begin_ms) / 1000), sent + _MOST_AT_ONCE, traffic.count)
        for event in drawn.events(due - sent, shown_ms):
            value = encoder.encode(event)
            size += len(value)
            group[sent], recommended[sent] = GROUPS.index(event.group), event.recommended
            produce(producer, topic, key=event.group.encode(), value=value, partition=sent % traffic.partitions)
            shown_at[sent] = shown_ms
            sent += 1
        producer.poll(0)
        progress(sent)
    producer.flush()
    end_ms = (shown_ms // WINDOW_MS + 1) * WINDOW_MS
    appended_at = _appended_at(settings, topic, traffic.partitions, sent)
    return Written(
        topic, traffic, begin_ms, end_ms, size, shown_at[:sent], appended_at, group[:sent], recommended[:sent]
    )


def _appended_at(settings: Settings, topic: str, partitions: int, count: int) -> NDArray[np.int64]:
    """The broker's time of each event: record n of partition i is event n x partitions + i."""
    found = np.zeros(count, np.int64)
    for message in read_to_end(settings, topic):
        event = (message.offset() or 0) * partitions + (message.partition() or 0)
        found[event] = message.timestamp()[1]
    return found


def create(settings: Settings, topic: str, partitions: int) -> None:
    """Make a live source topic, and wait until it is there."""
    client = admin(settings)
    client.create_topics([NewTopic(topic, partitions, 1, config={**LIVE_SOURCE, "retention.ms": "-1"})])[topic].result()


def now_ms() -> int:
    """This machine's clock, epoch milliseconds."""
    return time.time_ns() // 1_000_000
