"""How old the oldest record is that a role has not read, in each of its input partitions, against what is retained.

An outage becomes a loss once a record is deleted before it was read; half-way there is time enough to act, so that this
is what an alert watches. It runs beside the shard loop, in a thread of its own with a client of its own: a loop that is
blocked, or waits for an operator, is what it is there for.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping

from confluent_kafka import Consumer, KafkaException, TopicPartition

from streams.errors import EvenstreamError
from streams.kafka.clients import make_consumer
from streams.kafka.topics import configurations
from streams.settings import Settings
from streams.stage import Partition
from streams.watch.health import RoleHealth

log = logging.getLogger(__name__)

_INTERVAL_SECONDS = 15.0
_ANSWER_SECONDS = 5.0
_CONFIG_SECONDS = 3600.0


class RetentionWatch:
    """Looks at the positions that it was told last, every 15 s, until it is closed."""

    def __init__(self, settings: Settings, role: str, health: RoleHealth) -> None:
        self._settings = settings
        self._health = health
        self._group = settings.group(f"{role}-retention")
        self._positions: Mapping[Partition, int] = {}
        self._retention: dict[str, float | None] = {}
        self._asked_at: dict[str, float] = {}
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def tell(self, positions: Mapping[Partition, int]) -> None:
        """Where the role reads on, by input partition."""
        self._positions = dict(positions)

    def close(self) -> None:
        """Stop looking."""
        self._closed.set()
        self._thread.join(2 * _ANSWER_SECONDS)

    def _run(self) -> None:
        if self._closed.wait(_INTERVAL_SECONDS):  # a start has better to do
            return
        # What an aborted transaction left is looked at too: an open one must not hide how old a record is.
        extra = {"isolation.level": "read_uncommitted", "auto.offset.reset": "earliest", "fetch.wait.max.ms": 10}
        consumer = make_consumer(self._settings, self._group, **extra)
        shown: set[Partition] = set()
        try:
            while not self._closed.is_set():
                positions = self._positions
                for partition in shown - positions.keys():  # another worker's by now, which tells how it stands
                    self._health.reads_no_more(*partition)
                shown = set(positions)
                for (topic, i), offset in positions.items():
                    if not self._closed.is_set():
                        self._look(consumer, topic, i, offset)
                self._closed.wait(_INTERVAL_SECONDS)
        finally:
            consumer.close()

    def _look(self, consumer: Consumer, topic: str, i: int, offset: int) -> None:
        try:
            age = oldest_unread_seconds(consumer, topic, i, offset)
            if age is not None:
                self._health.oldest_unread(topic, i, age, self._retention_seconds(topic))
        except (KafkaException, EvenstreamError) as error:
            log.warning("%s [%d]: how old its oldest unread record is could not be asked: %s", topic, i, error)

    def _retention_seconds(self, topic: str) -> float | None:
        """How long a topic keeps its records; None where it keeps them for ever, or does not say."""
        if time.monotonic() - self._asked_at.get(topic, -_CONFIG_SECONDS) >= _CONFIG_SECONDS:
            self._asked_at[topic] = time.monotonic()
            self._retention[topic] = retention_seconds(configurations(self._settings, (topic,)).get(topic, {}))
        return self._retention[topic]


def retention_seconds(config: Mapping[str, str]) -> float | None:
    """What a topic's properties say of how long it keeps records; None where for ever, or nothing."""
    milliseconds = int(config.get("retention.ms", "-1"))
    deletes = "delete" in config.get("cleanup.policy", "delete").split(",")
    return milliseconds / 1000 if deletes and milliseconds > 0 else None


def oldest_unread_seconds(consumer: Consumer, topic: str, i: int, offset: int) -> float | None:
    """The age of the first record at or after an offset, by its timestamp; 0 where there is none, None where unknown.

    Raises:
        KafkaException: the broker did not answer.
    """
    watermarks = consumer.get_watermark_offsets(TopicPartition(topic, i), timeout=_ANSWER_SECONDS)
    if watermarks is None:
        return None
    if watermarks[1] <= max(offset, 0):
        return 0.0
    consumer.assign([TopicPartition(topic, i, max(offset, watermarks[0]))])
    try:
        deadline = time.monotonic() + _ANSWER_SECONDS
        while time.monotonic() < deadline:
            for message in consumer.consume(1, 0.5):
                if message.error() is not None:  # the end: all that is left are markers of transactions
                    return 0.0
                return max(0.0, time.time() - int(message.timestamp()[1]) / 1000)
        return None
    finally:
        consumer.unassign()
