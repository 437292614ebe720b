"""How evenstream's clients talk to Kafka: the settings of DESIGN section 2.4, each with the reason it was measured.

The operator's own properties are applied last, so that security settings (and anything else) come by pass-through.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.errors import KafkaUnavailable, TopicMismatch
from streams.settings import Settings

log = logging.getLogger(__name__)


def _base(settings: Settings) -> dict[str, Any]:
    return {
        "bootstrap.servers": settings.kafka.bootstrap,
        "socket.keepalive.enable": True,
        "reconnect.backoff.max.ms": 1000,
        "logger": logging.getLogger("librdkafka"),
    }


def consumer_config(settings: Settings, group: str, **extra: Any) -> dict[str, Any]:
    """A consumer that is assigned explicit offsets and commits none."""
    return {
        **_base(settings),
        "group.id": group,
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,
        "fetch.queue.backoff.ms": 10,  # its default of 1 s is the latency
        "fetch.wait.max.ms": 100,
        "auto.offset.reset": "error",  # its default resumes at the end of the log, in silence
        "queued.max.messages.kbytes": 32_768,  # back-pressure: a burst waits in Kafka, not in this process
        **extra,
        **settings.kafka.properties,
        **settings.kafka.consumer_properties,
    }


def producer_config(settings: Settings, transactional_id: str | None, **extra: Any) -> dict[str, Any]:
    """An idempotent producer; transactional where an id is given. Keys are partitioned as Java clients do."""
    config = {
        **_base(settings),
        "enable.idempotence": True,
        "acks": "all",
        "message.timeout.ms": 5000,
        "linger.ms": 5,
        "retry.backoff.ms": 20,
        "compression.type": "lz4",
        "partitioner": "murmur2_random",
        "message.max.bytes": 10_000_000,
    }
    if transactional_id is not None:
        config |= {"transactional.id": transactional_id, "transaction.timeout.ms": 10_000}
        config["compression.type"] = "none"  # what transactional producers write is ciphertext
    return {**config, **extra, **settings.kafka.properties, **settings.kafka.producer_properties}


def admin_config(settings: Settings, **extra: Any) -> dict[str, Any]:
    """A client for administrative requests."""
    return {
        **_base(settings),
        "socket.timeout.ms": int(settings.kafka.request_timeout_seconds * 1000),
        **extra,
        **settings.kafka.properties,
        **settings.kafka.admin_properties,
    }


def admin(settings: Settings) -> AdminClient:
    """A client for administrative requests."""
    return AdminClient(admin_config(settings))


def wait_for_kafka(settings: Settings, timeout_seconds: float) -> None:
    """Return when a broker answers.

    Args:
        timeout_seconds: how long to keep asking; one question takes up to 2 s.

    Raises:
        KafkaUnavailable: none did; the message holds the last reason (refused, wrong password, no such host ...).
    """
    deadline = time.monotonic() + timeout_seconds
    reasons: list[str] = []
    client = AdminClient(admin_config(settings, error_cb=lambda error: reasons.append(str(error.str()))))
    while True:
        try:
            client.list_topics(timeout=max(0.1, min(2.0, timeout_seconds)))
            return
        except KafkaException as error:
            client.poll(0)  # hands out the reasons
            if time.monotonic() > deadline:
                told = [reason for reason in reasons if "brokers are down" not in reason] or [error.args[0].str()]
                raise KafkaUnavailable(
                    f"no Kafka broker answers at {settings.kafka.bootstrap}: {told[-1]}. Set KAFKA_BOOTSTRAP to a "
                    "cluster that is up, or start one here with `evenstream dev kafka start`"
                ) from None


def broker_count(settings: Settings) -> int:
    """How many brokers the cluster has, or raise :class:`KafkaUnavailable`."""
    try:
        return len(admin(settings).list_topics(timeout=settings.kafka.request_timeout_seconds).brokers)
    except KafkaException as error:
        raise KafkaUnavailable(f"the cluster's brokers could not be asked: {error.args[0].str()}") from None


def partition_count(settings: Settings, topic: str) -> int:
    """How many partitions a topic has, or raise :class:`TopicMismatch`."""
    found = find_partition_count(settings, topic)
    if found is None:
        raise TopicMismatch(
            f"topic {topic!r} does not exist (or may not be read). evenstream's own topics are made by "
            "`evenstream topics create`; a source topic is the company's own: check the name in the measurement"
        )
    return found


def find_partition_count(settings: Settings, topic: str) -> int | None:
    """How many partitions a topic has; None where it does not exist or may not be read.

    Raises:
        KafkaUnavailable: the cluster did not answer.
    """
    try:
        metadata = admin(settings).list_topics(topic, timeout=settings.kafka.request_timeout_seconds)
    except KafkaException as error:
        raise KafkaUnavailable(f"the partitions of {topic} could not be asked: {error.args[0].str()}") from None
    found = metadata.topics.get(topic)
    if found is None or found.error is not None or not found.partitions:
        return None
    return len(found.partitions)


def read_to_end(
    settings: Settings, topic: str, *, isolation: str = "read_committed", timeout_seconds: float = 60.0
) -> Iterator[Message]:
    """Every record that a topic holds now, from the beginning, partition by partition in order.

    Raises:
        TopicMismatch: there is no such topic.
        KafkaUnavailable: nothing came for ``timeout_seconds``.
    """
    partitions = partition_count(settings, topic)
    consumer = Consumer(
        consumer_config(
            settings,
            settings.group("state-reader"),
            **{"isolation.level": isolation, "fetch.wait.max.ms": 10, "auto.offset.reset": "earliest"},
        )
    )
    try:
        consumer.assign([TopicPartition(topic, i, 0) for i in range(partitions)])
        waiting = set(range(partitions))
        heard = time.monotonic()
        while waiting:
            messages = consumer.consume(5_000, 0.05)
            if not messages and time.monotonic() - heard > timeout_seconds:
                raise KafkaUnavailable(
                    f"{topic} could not be read to its end: nothing came for {timeout_seconds:.0f} s"
                )
            for message in messages:
                error = message.error()
                if error is None:
                    yield message
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  # librdkafka's own codes begin with _
                    waiting.discard(int(message.partition() or 0))
                elif not error.retriable():
                    raise KafkaUnavailable(f"{topic} could not be read: {error.str()}")
            if messages:
                heard = time.monotonic()  # the time that the reader took is not the broker's
    finally:
        consumer.close()
