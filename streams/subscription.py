"""Reading `fairness-metrics` as any subscriber does: in order by partition, from a chosen place on, committing nothing.

It needs what the principal `company` has: to read the topic, and to describe the deployment's groups (``streams.acl``).
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams.errors import KafkaUnavailable, TopicMismatch
from streams.kafka.clients import make_consumer, partition_count, wait_for_kafka
from streams.kafka.refusals import is_refusal, refused_reading
from streams.settings import Settings

BEGINNING, NOW = "beginning", "now"

_POLL_SECONDS = 0.2
_GONE = frozenset((KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION))  # noqa: SLF001  # its API


@dataclass(frozen=True)
class Delivery:
    """A record as Kafka delivers it; nothing of it has been believed yet."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    value: bytes | None

    @classmethod
    def of(cls, message: Message) -> Delivery:
        """From the client's own."""
        headers: Any = message.headers() or ()
        return cls(
            topic=str(message.topic()),
            partition=int(message.partition() or 0),
            offset=int(message.offset() or 0),
            timestamp_ms=int(message.timestamp()[1]),
            key=_bytes(message.key()),
            headers=tuple((str(name), _bytes(value)) for name, value in headers),
            value=_bytes(message.value()),
        )

    @property
    def place(self) -> str:
        """Where it lies, for messages."""
        return f"{self.topic} partition {self.partition} offset {self.offset}"

    def as_json(self) -> dict[str, Any]:
        """One object: where it lies, its key and headers as text, and its value as it is; base64 where it is no JSON.

        Numbers of the value come out as they went in: double precision both times.
        """
        try:
            value = {"value": json.loads(self.value or b"")}
        except ValueError:
            value = {"value_base64": base64.b64encode(self.value or b"").decode()}
        return {
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
            "timestamp_ms": self.timestamp_ms,
            "key": None if self.key is None else _text(self.key),
            "headers": {name: None if value is None else _text(value) for name, value in self.headers},
            **value,
        }


def _bytes(value: Any) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def _text(value: bytes) -> str:
    return value.decode(errors="replace")


def follow(
    settings: Settings, begin: str | int, *, to_end: bool = False, say: Callable[[str], None] = lambda _: None
) -> Generator[Delivery | None]:
    """Records of `fairness-metrics`, and None whenever a moment has passed without any.

    Args:
        begin: ``BEGINNING``, ``NOW``, or epoch milliseconds: the first record that was written then or later.
        to_end: stop at the end that each partition has when it is reached, instead of waiting for more.
        say: is told when no broker answers, and when one does again.

    Raises:
        TopicMismatch: there is no such topic, or it was deleted. KafkaUnavailable: no broker answers at the start.
        AccessRefused: this principal may not read it.
    """
    topic = settings.topic("fairness-metrics")
    wait_for_kafka(settings, settings.kafka.request_timeout_seconds)
    partitions = range(partition_count(settings, topic))
    outage = _Outage(say)
    consumer = make_consumer(
        settings, settings.group("tail"), **{"auto.offset.reset": "earliest", "error_cb": outage.begins}
    )
    try:
        consumer.assign(_places(settings, consumer, topic, partitions, begin))
        waiting = set(partitions)
        while waiting or not to_end:
            messages = consumer.consume(500, _POLL_SECONDS)
            for message in messages:
                error = message.error()
                if error is None:
                    outage.ends()
                    yield Delivery.of(message)
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  # librdkafka's own codes begin with _
                    outage.ends()
                    waiting.discard(int(message.partition() or 0))
                elif is_refusal(error):
                    raise refused_reading(settings, topic, error)
                elif error.code() in _GONE:
                    raise TopicMismatch(f"topic {topic!r} is not there any more: {error.str()}")
            if to_end and outage.lasts(settings.kafka.request_timeout_seconds):
                raise KafkaUnavailable(f"{topic} could not be read to its end: no broker answers")
            yield None
    finally:
        consumer.close()


def _places(
    settings: Settings, consumer: Consumer, topic: str, partitions: range, begin: str | int
) -> list[TopicPartition]:
    """Where to begin in each partition."""
    if isinstance(begin, str):
        at = {BEGINNING: OFFSET_BEGINNING, NOW: OFFSET_END}[begin]
        return [TopicPartition(topic, i, at) for i in partitions]
    try:
        wanted = [TopicPartition(topic, i, begin) for i in partitions]
        found = consumer.offsets_for_times(wanted, timeout=settings.kafka.request_timeout_seconds)
    except KafkaException as error:
        raise KafkaUnavailable(f"where to begin with {topic} could not be asked: {error.args[0].str()}") from None
    return [TopicPartition(topic, place.partition, place.offset) for place in found]


class _Outage:
    """Whether brokers answer; told once when it begins and once when it ends."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._since: float | None = None

    def begins(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN and self._since is None:  # noqa: SLF001  # its API
            self._since = time.monotonic()
            self._say("no Kafka broker answers; waiting for one")

    def ends(self) -> None:
        if self._since is not None:
            self._since = None
            self._say("a Kafka broker answers again")

    def lasts(self, seconds: float) -> bool:
        return self._since is not None and time.monotonic() - self._since > seconds
