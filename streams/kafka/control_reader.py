"""Feeds a :class:`streams.control.ControlPlane` from `measurements` and `keys`, and writes to `keys`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from streams.control import ControlPlane
from streams.errors import KafkaUnavailable, PositionLost
from streams.kafka.clients import POSITION_GONE, make_consumer, make_producer, partition_end
from streams.kafka.held_back import HeldBack
from streams.kafka.refusals import is_refusal, refused, refused_reading
from streams.records.keys import KeyRecord
from streams.settings import Settings

log = logging.getLogger(__name__)

_CATCH_UP_SECONDS = 15.0
_LOOK_SECONDS = 1.0


class ControlReader:
    """Follows the two control topics from their beginning.

    Not thread-safe: it belongs to the thread that runs the shard loop.

    Args:
        held_back: called with a topic and for how many seconds an open transaction has hidden what is behind it.
        alive: called whenever Kafka has answered, or is waited for once more: that is no hang.
    """

    def __init__(
        self,
        settings: Settings,
        role: str,
        control: ControlPlane,
        held_back: Callable[[str, float], None] = lambda topic, seconds: None,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self.control = control
        self._alive = alive
        control.catch_up = self.catch_up
        self._measurements = settings.topic("measurements")
        self._keys = settings.topic("keys")
        # A record is answered at once, whatever the wait; what comes later is news of an end that moved without one.
        self._consumer = make_consumer(settings, settings.group(f"{role}-control"), **{"fetch.wait.max.ms": 500})
        self._consumer.assign([TopicPartition(self._measurements, 0, 0), TopicPartition(self._keys, 0, 0)])
        self._settings = settings
        self._producer = make_producer(settings, None)
        self._next = {self._measurements: 0, self._keys: 0}
        self._held_back = HeldBack(held_back)
        self._looked_at = float("-inf")

    def poll(self) -> None:
        """Apply what has come, without waiting."""
        self._apply(0.0)
        if time.monotonic() - self._looked_at >= _LOOK_SECONDS:
            self._look()

    def _look(self) -> None:
        """Compare how far was read with the high watermarks that came with the last records, or without any."""
        self._looked_at = time.monotonic()
        for topic, position in self._next.items():
            try:
                watermarks = self._consumer.get_watermark_offsets(TopicPartition(topic, 0), cached=True)
            except KafkaException:  # no broker has told yet
                continue
            if watermarks is not None:
                self._held_back.look(topic, position, int(watermarks[1]))

    def revocations_hidden(self) -> str | None:
        """Why nothing may be released now: a revocation may be on `measurements` and cannot be seen; None else."""
        if not self._held_back.hidden(self._measurements):
            return None
        return (
            f"{self._measurements} is held back behind an open transaction: a revocation may be there, and nothing is "
            "released until it is read"
        )

    def _apply(self, timeout_seconds: float) -> None:
        for message in self._consumer.consume(500, timeout_seconds):
            topic, offset = message.topic(), message.offset()
            error = message.error()
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  # librdkafka's own codes begin with _
                    self._next[str(topic)] = max(self._next[str(topic)], int(offset or 0))
                elif is_refusal(error):  # without it a role would not hear of a revocation
                    raise refused_reading(self._settings, topic, error)
                elif error.code() in POSITION_GONE:  # nothing more would come of that topic, and nothing would tell
                    raise PositionLost(
                        f"{topic} no longer holds what comes next ({error.str()}), and this role would hear of no "
                        "revocation any more, so it ends. Where the topic was cut, it reads what is left when it is "
                        "started again; where its beginning was deleted, restore it"
                    )
                else:
                    log.warning("control topics: %s", error.str())
                continue
            if topic == self._measurements:
                self.control.apply_measurement(int(offset or 0), message.value())
            else:
                self.control.apply_key(message.value())
            self._next[str(topic)] = int(offset or 0) + 1

    def catch_up(self) -> None:
        """Apply everything that is on both topics now.

        Raises:
            KafkaUnavailable: that took longer than 15 s.
        """
        deadline = time.monotonic() + _CATCH_UP_SECONDS
        ends = {}
        for topic in self._next:
            self._alive()
            ends[topic] = partition_end(self._consumer, topic, 0, _CATCH_UP_SECONDS)
        while any(self._next[topic] < end for topic, end in ends.items()):
            if time.monotonic() > deadline:
                raise KafkaUnavailable(f"{', '.join(ends)} could not be read to the end in {_CATCH_UP_SECONDS:.0f} s")
            self._alive()
            self._apply(0.02)
        self._look()

    def announce(self, *records: KeyRecord) -> None:
        """Write records to `keys` and wait until they are durable, so that no batch can be ahead of its key."""
        self._alive()
        try:
            _write(self._settings, self._producer, self._keys, *((record.key, record.value) for record in records))
        except KafkaUnavailable:
            self._producer = make_producer(self._settings, None)  # a fatal error of the old one would stay with it
            raise

    def close(self) -> None:
        """Give the connections back."""
        self._consumer.close()


def write_control(settings: Settings, name: str, key: bytes, value: bytes) -> None:
    """Write a record to a control topic, by its short name, and wait until it is durable.

    Raises:
        KafkaUnavailable: it was not acknowledged.
    """
    _write(settings, make_producer(settings, None), settings.topic(name), (key, value))


def _write(settings: Settings, producer: Producer, topic: str, *records: tuple[bytes, bytes | None]) -> None:
    failures: list[KafkaError] = []
    for key, value in records:
        producer.produce(
            topic,
            key=key,
            value=value,
            partition=0,
            on_delivery=lambda error, _: failures.append(error) if error is not None else None,
        )
    if producer.flush(_CATCH_UP_SECONDS) or failures:
        why = failures[0].str() if failures else "no acknowledgement"
        if failures and is_refusal(failures[0]):
            raise refused(settings, f"it may not write to topic {topic} ({why})")
        raise KafkaUnavailable(f"a record could not be written to {topic}: {why}")
