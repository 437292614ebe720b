"""What each contender has written into its topic of counts, brought into one form, to be held against the truth."""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Callable, Iterator

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, TopicPartition

from bench.performance.contenders.program import WINDOW_MS

Counted = tuple[str, bool, int]
"""Group, whether recommended, start of the window (epoch milliseconds)."""

Update = tuple[object, Counted, int]
"""(who counted it, what was counted, the count so far): a later one of the same two takes the place of an earlier."""

_TIMEOUT_SECONDS = 10.0


def faust(key: bytes, value: bytes, place: tuple[int, int]) -> Iterator[Update]:
    """Changes of a table; the partition that was counted is in the key. Every change is an update."""
    name, (start, _) = json.loads(key)
    partition, group, recommended = name.split("|")
    yield partition, (group, recommended == "1", round(1000 * start)), json.loads(value)


def quix(key: bytes, value: bytes, place: tuple[int, int]) -> Iterator[Update]:
    """One record a window and partition once it is closed: all are added up."""
    window = json.loads(value)
    shown, recommended = window["value"]
    yield place, (key.decode(), True, window["start"]), recommended
    yield place, (key.decode(), False, window["start"]), shown - recommended


def bytewax(key: bytes, value: bytes, place: tuple[int, int]) -> Iterator[Update]:
    """One record a window once it is closed."""
    group, recommended = key.decode().split("|")
    window = json.loads(value)
    yield place, (group, recommended == "1", window["start"]), window["count"]


def kafka_streams(key: bytes, value: bytes, place: tuple[int, int]) -> Iterator[Update]:
    """Updates, as the record cache lets them out; the partition that was counted is in the value."""
    (start,) = struct.unpack_from(">q", key, len(key) - 8)
    partition, passed_over, recommended = struct.unpack(">iqq", value)
    group = key[:-8].decode()
    yield partition, (group, True, start), recommended
    yield partition, (group, False, start), passed_over


def read(
    decode: Callable[[bytes, bytes, tuple[int, int]], Iterator[Update]], bootstrap: str, topic: str
) -> Counter[Counted]:
    """All that is counted in a topic of counts; counts of zero are left out.

    Raises:
        KafkaException: the topic is not there, or cannot be read.
    """
    latest: dict[tuple[object, Counted], int] = {}
    for message in _records(bootstrap, topic):
        place = (message.partition() or 0, message.offset() or 0)
        for counter, counted, count in decode(message.key() or b"", message.value() or b"", place):
            latest[counter, counted] = count
    counts: Counter[Counted] = Counter()
    for (_, counted), count in latest.items():
        if count:
            counts[counted] += count
    return counts


def mistakes(counts: Counter[Counted], truth: Counter[Counted], *, last_window_open: bool) -> list[str]:
    """What a contender has counted wrongly, in words; nothing where all is right.

    Args:
        last_window_open: the contender closes a window when a later event comes, so it has not told the last ones.
    """
    last = max(start for _, _, start in truth) if last_window_open else None
    differing = [
        f"{counted}: {counts[counted]}, should be {truth[counted]}"
        for counted in sorted(counts.keys() | truth.keys())
        if counts[counted] > truth[counted] or (counts[counted] < truth[counted] and counted[2] != last)
    ]
    if last is not None and last - WINDOW_MS < min(start for _, _, start in truth):
        differing.append("all events are in one window, which is never closed: nothing was checked")
    return differing


def _records(bootstrap: str, topic: str) -> Iterator[Message]:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "counts",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    try:
        found = consumer.list_topics(topic, _TIMEOUT_SECONDS).topics[topic]
        if found.error is not None:
            raise KafkaException(found.error)
        consumer.assign([TopicPartition(topic, i, OFFSET_BEGINNING) for i in found.partitions])
        left = set(found.partitions)
        while left:
            message = consumer.poll(_TIMEOUT_SECONDS)
            if message is None:
                raise TimeoutError(f"{topic} was not read to its end within {_TIMEOUT_SECONDS:.0f} s")
            error = message.error()
            if error is None:
                yield message
            elif error.name() == "_PARTITION_EOF":
                left.discard(message.partition())
            else:
                raise KafkaException(error)
    finally:
        consumer.close()
