"""The way of concerns to and from Kafka."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from streams.errors import KafkaUnavailable
from streams.kafka.clients import make_consumer, make_producer
from streams.records.concern import Concern, encode_concern, midnight_ms
from streams.settings import Settings

log = logging.getLogger(__name__)

_ANSWER_SECONDS = 7.0
"""Longer than message.timeout.ms, after which the producer itself says that a record was not written."""
_POLL_RECORDS = 200


class ConcernWriter:
    """Writes concerns, one at a time or from several threads at once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topic = settings.topic("concerns")
        self._lock = threading.Lock()
        self._producer = make_producer(settings, None)

    def write(self, concern: Concern) -> None:
        """Write one and wait until it is durable.

        Raises:
            KafkaUnavailable: it was not acknowledged in time. It may be on the topic all the same.
        """
        results: list[KafkaError | None] = []
        with self._lock:
            producer = self._producer
        try:
            producer.produce(
                self._topic,
                key=concern.id.encode(),
                value=encode_concern(concern),
                partition=0,
                timestamp=midnight_ms(concern),
                on_delivery=lambda error, _: results.append(error),
            )
        except (KafkaException, BufferError) as error:
            self._give_up(producer, str(error))
        deadline = time.monotonic() + _ANSWER_SECONDS
        while not results and time.monotonic() < deadline:
            producer.poll(0.05)
        if not results or results[0] is not None:
            self._give_up(producer, results[0].str() if results and results[0] else "no acknowledgement")

    def _give_up(self, producer: object, why: str) -> None:
        with self._lock:
            if self._producer is producer:  # a fatal error of the old one would stay with it
                self._producer = make_producer(self._settings, None)
        raise KafkaUnavailable(f"a concern could not be written to {self._topic}: {why}; try again later")


class ConcernReader:
    """Follows `concerns` and `decisions` from their beginnings. Not thread-safe.

    Args:
        on_concern, on_decision: called for each record, in each topic's order.
    """

    def __init__(
        self, settings: Settings, on_concern: Callable[[Message], None], on_decision: Callable[[Message], None]
    ) -> None:
        self._handlers = {settings.topic("concerns"): on_concern, settings.topic("decisions"): on_decision}
        # Concerns expire: what comes first is no longer offset 0.
        self._consumer = make_consumer(
            settings,
            settings.group("publish-concerns"),
            **{"auto.offset.reset": "earliest", "fetch.wait.max.ms": 500},
        )
        self._consumer.assign([TopicPartition(topic, 0, 0) for topic in self._handlers])
        self._behind = dict.fromkeys(self._handlers, True)

    @property
    def caught_up(self) -> bool:
        """Whether both topics have been read to an end that they had."""
        return not any(self._behind.values())

    def poll(self) -> int:
        """Hand out what has come, without waiting; returns how many records, at most 200: a flood waits in Kafka."""
        count = 0
        for message in self._consumer.consume(_POLL_RECORDS, 0.0):
            topic, error = str(message.topic()), message.error()
            if error is None:
                count += 1
                self._handlers[topic](message)
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  # librdkafka's own codes begin with _
                self._behind[topic] = False
            else:
                log.warning("concerns: %s", error.str())
        return count

    def close(self) -> None:
        """Give the connection back."""
        self._consumer.close()
