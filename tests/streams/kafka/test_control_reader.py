"""The control topics on a real Kafka: what an open transaction hides is noticed, and comes once it has ended."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource

from privacy import Limits
from secure_agg.keyring import create, load_trusted
from streams.control import ControlPlane
from streams.errors import PositionLost
from streams.kafka import held_back, topics
from streams.kafka.clients import admin, make_producer
from streams.kafka.control_reader import ControlReader
from streams.settings import Settings

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]


def hang(settings: Settings, topic: str, name: str) -> Producer:
    """A producer with a transaction that stands open on a topic."""
    producer = make_producer(settings, f"{settings.deployment}.{name}")
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(settings.topic(topic), key=b"k", value=b"of a hanging producer", partition=0)
    assert producer.flush(10) == 0
    return producer


def append(settings: Settings, topic: str) -> None:
    """A record that is committed at once; what it holds does not matter here."""
    producer = make_producer(settings, None)
    producer.produce(settings.topic(topic), key=b"k", value=b"committed", partition=0)
    assert producer.flush(10) == 0


def test_an_open_transaction_is_noticed_and_revocations_count_as_hidden(
    kafka: str, make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a second or two; what it hides is applied when it has ended, and then nothing is hidden any more."""
    monkeypatch.setattr(held_back, "HELD_BACK_SECONDS", 2.0)
    settings = make_settings(kafka)
    topics.create(settings, topics.plan(settings))
    create(settings.keys.dir, settings.deployment)
    control = ControlPlane(load_trusted(settings.keys.dir / "a"), test_cluster=True, limits=Limits.of_day(1.0))
    seconds: dict[str, float] = {}
    reader = ControlReader(settings, "a", control, seconds.__setitem__)
    measurements, keys = settings.topic("measurements"), settings.topic("keys")

    def until(done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not done():
            assert time.monotonic() < deadline, seconds
            reader.poll()
            time.sleep(0.02)

    try:
        append(settings, "measurements")
        reader.catch_up()
        assert reader.revocations_hidden() is None
        assert control.measurements_offset == 1
        until(lambda: seconds == {measurements: 0.0, keys: 0.0})
        hanging = hang(settings, "measurements", "operator.hangs")
        append(settings, "measurements")
        until(lambda: seconds[measurements] > 0)
        assert reader.revocations_hidden() is None  # for so short a time a command may be at work
        until(lambda: reader.revocations_hidden() is not None)
        assert "a revocation may be there" in str(reader.revocations_hidden())
        assert control.measurements_offset == 1
        assert seconds[keys] == 0
        hanging.abort_transaction(10)
        until(lambda: reader.revocations_hidden() is None)
        assert control.measurements_offset == 3  # the record behind it; what was aborted is none
        until(lambda: seconds[measurements] == 0)
        # One who starts while it lasts does not wait for the time to pass: what is there was never read.
        hanging = hang(settings, "measurements", "operator.hangs")
        late = ControlReader(settings, "b", control)
        try:
            late.catch_up()
            assert late.revocations_hidden() is not None
        finally:
            late.close()
            hanging.abort_transaction(10)
    finally:
        reader.close()


def test_a_topic_that_was_cut_ends_its_reader(kafka: str, make_settings: Callable[..., Settings]) -> None:
    """librdkafka reads nothing more of it then: a role that went on would never hear of a revocation."""
    settings = make_settings(kafka)
    topics.create(settings, topics.plan(settings))
    create(settings.keys.dir, settings.deployment)
    control = ControlPlane(load_trusted(settings.keys.dir / "a"), test_cluster=True, limits=Limits.of_day(1.0))
    name = settings.topic("measurements")
    client = admin(settings)
    to_delete = ConfigEntry("cleanup.policy", "delete", incremental_operation=AlterConfigOpType.SET)
    policy = ConfigResource(ConfigResource.Type.TOPIC, name, incremental_configs=[to_delete])
    client.incremental_alter_configs([policy])[policy].result(10)
    for _ in range(3):
        append(settings, "measurements")
    (deleted,) = client.delete_records([TopicPartition(name, 0, 3)]).values()
    deleted.result(10)
    reader = ControlReader(settings, "a", control)
    try:
        with pytest.raises(PositionLost, match=r"measurements no longer holds what comes next .* restore it"):
            for _ in range(500):
                reader.poll()
                time.sleep(0.02)
    finally:
        reader.close()
