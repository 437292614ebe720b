"""How clients are configured, and what they do against a real broker."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]  # its API

from streams.errors import KafkaUnavailable, TopicMismatch
from streams.kafka.clients import (
    admin,
    admin_config,
    consumer_config,
    partition_count,
    producer_config,
    read_to_end,
    wait_for_kafka,
)
from streams.settings import Settings

MakeSettings = Callable[..., Settings]


def test_consumers_read_committed_records_from_explicit_positions(make_settings: MakeSettings) -> None:
    """The settings of DESIGN 2.4, none of which librdkafka has by default."""
    config = consumer_config(make_settings(), "a-group")
    expected = {
        "group.id": "a-group",
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,
        "fetch.queue.backoff.ms": 10,
        "auto.offset.reset": "error",
    }
    assert expected.items() <= config.items()
    Consumer(config).close()  # librdkafka knows each of the names


def test_producers_are_idempotent_and_transactional_where_named(make_settings: MakeSettings) -> None:
    """A transactional id brings the time-out of DESIGN 2.4; keys are partitioned as Java does, everywhere."""
    plain, transactional = producer_config(make_settings(), None), producer_config(make_settings(), "x.seal.0")
    for config in (plain, transactional):
        assert config["enable.idempotence"] is True
        assert config["partitioner"] == "murmur2_random"
        assert (config["message.timeout.ms"], config["linger.ms"], config["retry.backoff.ms"]) == (5000, 5, 20)
        Producer(config)
    assert "transactional.id" not in plain
    assert (transactional["transactional.id"], transactional["transaction.timeout.ms"]) == ("x.seal.0", 10_000)


def test_the_operators_properties_come_last(make_settings: MakeSettings) -> None:
    """A property for every client wins over ours, and one for a kind of client over that."""
    settings = make_settings(
        "127.0.0.1:1",
        "kafka.properties.linger.ms=50",
        "kafka.properties.security.protocol=PLAINTEXT",
        "kafka.consumer_properties.fetch.wait.max.ms=7",
        "kafka.producer_properties.linger.ms=70",
        "kafka.admin_properties.client.id=me",
    )
    assert producer_config(settings, None)["linger.ms"] == "70"
    assert consumer_config(settings, "g")["fetch.wait.max.ms"] == "7"
    assert admin_config(settings)["client.id"] == "me"
    for config in (consumer_config(settings, "g"), producer_config(settings, None), admin_config(settings)):
        assert config["security.protocol"] == "PLAINTEXT"


def test_no_broker_is_a_clear_error_with_its_reason(make_settings: MakeSettings) -> None:
    """An address where nobody listens is told within the time given, with what to do."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        started = time.monotonic()
        with pytest.raises(KafkaUnavailable) as raised:
            wait_for_kafka(make_settings(address), 0.5)
    assert time.monotonic() - started < 5
    message = str(raised.value)
    assert address in message
    assert "refused" in message
    assert "KAFKA_BOOTSTRAP" in message


def make_topic(settings: Settings, partitions: int) -> str:
    topic = settings.topic("any")
    client = admin(settings)  # the answer comes only while the client lives
    client.create_topics([NewTopic(topic, partitions, 1)])[topic].result()
    return topic


def test_a_broker_that_is_there_answers(kafka: str, make_settings: MakeSettings) -> None:
    """Waiting for a Kafka that is up takes no time."""
    started = time.monotonic()
    wait_for_kafka(make_settings(kafka), 10)
    assert time.monotonic() - started < 2


def test_an_unknown_topic_is_named(kafka: str, make_settings: MakeSettings) -> None:
    """A topic that is missing is an error that names it, and asking does not make it."""
    settings = make_settings(kafka)
    for _ in range(2):
        with pytest.raises(TopicMismatch, match="'no-such-topic'"):
            partition_count(settings, "no-such-topic")
        with pytest.raises(TopicMismatch, match="'no-such-topic'"):
            list(read_to_end(settings, "no-such-topic"))


def test_reading_to_the_end_ends(kafka: str, make_settings: MakeSettings) -> None:
    """All records of all partitions come, each partition in order; an empty topic gives none; neither waits."""
    settings = make_settings(kafka)
    topic = make_topic(settings, 3)
    started = time.monotonic()
    assert list(read_to_end(settings, topic)) == []
    producer = Producer(producer_config(settings, None))
    for k in range(2_000):
        producer.produce(topic, value=str(k).encode(), partition=k % 2)  # the third partition stays empty
    assert producer.flush(10) == 0
    read: dict[int, list[int]] = {0: [], 1: []}
    for message in read_to_end(settings, topic):
        read[message.partition() or 0].append(int(message.value() or b""))
    assert read == {0: list(range(0, 2_000, 2)), 1: list(range(1, 2_000, 2))}
    assert time.monotonic() - started < 10


def test_aborted_records_are_seen_only_by_those_who_ask(kafka: str, make_settings: MakeSettings) -> None:
    """read_to_end leaves out what was aborted, and ends behind it; read_uncommitted shows it."""
    settings = make_settings(kafka)
    topic = make_topic(settings, 1)
    producer = Producer(producer_config(settings, settings.transactional_id("test", 0)))
    producer.init_transactions(20)
    for value, end in (
        (b"kept", producer.commit_transaction),
        (b"aborted", producer.abort_transaction),
        (b"kept too", producer.commit_transaction),
        (b"aborted too", producer.abort_transaction),
    ):
        producer.begin_transaction()
        producer.produce(topic, value=value)
        producer.flush(10)
        end(10)
    assert [message.value() for message in read_to_end(settings, topic)] == [b"kept", b"kept too"]
    everything = [message.value() for message in read_to_end(settings, topic, isolation="read_uncommitted")]
    assert everything == [b"kept", b"aborted", b"kept too", b"aborted too"]


def test_a_successor_fences_its_predecessor(kafka: str, make_settings: MakeSettings) -> None:
    """With the same transactional id, the older producer can no longer commit."""
    settings = make_settings(kafka)
    topic = make_topic(settings, 1)
    config = producer_config(settings, settings.transactional_id("test", 0))
    old, new = Producer(config), Producer(config)
    old.init_transactions(20)
    old.begin_transaction()
    old.produce(topic, value=b"zombie")
    old.flush(10)
    new.init_transactions(20)
    with pytest.raises(Exception, match=r"(?i)fenced|epoch"):
        old.commit_transaction(10)
    new.begin_transaction()
    new.produce(topic, value=b"successor")
    new.commit_transaction(10)
    assert [message.value() for message in read_to_end(settings, topic)] == [b"successor"]


def test_librdkafka_speaks_through_logging(make_settings: MakeSettings, caplog: pytest.LogCaptureFixture) -> None:
    """What a client has to say goes to Python's logging, not past it to standard error."""
    with caplog.at_level(logging.DEBUG, logger="librdkafka"), socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        consumer = Consumer(consumer_config(make_settings(f"127.0.0.1:{nobody.getsockname()[1]}"), "g"))
        deadline = time.monotonic() + 10
        while not caplog.records and time.monotonic() < deadline:
            consumer.poll(0.1)
        consumer.close()
    assert any("refused" in record.getMessage() for record in caplog.records)
