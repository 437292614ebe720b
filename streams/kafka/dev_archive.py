"""An archive of the classes that a developer's broker loads: with it, a start takes about half of the processor time.

Java finds classes in it parsed and verified (class data sharing, JEP 350). It is made once, by a secured broker that
lives for some seconds and is asked what clients ask. Java passes over an archive that does not fit.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # its API

from streams.kafka.dev_broker import DevBroker
from streams.kafka.dev_jars import class_archive, ensure_jars, find_java

_ANSWER_SECONDS = 30.0
_TOPIC = "asked"


def ensure_class_archive(progress: Callable[[str], None]) -> bool:
    """Make the archive for this machine's Java beside the jars, unless it is there; whether it is there then.

    Raises:
        PrerequisiteMissing, KafkaUnavailable.
    """
    jars = ensure_jars(progress)
    archive = class_archive(find_java())
    if archive.exists():
        return True
    progress("having Java keep the classes of Kafka, for quicker starts (some seconds, once) ...")
    with tempfile.TemporaryDirectory(dir=jars, prefix="partial-") as partial:
        draft = Path(partial) / archive.name
        broker = DevBroker(Path(partial) / "broker", secure=True, java_options=(f"-XX:ArchiveClassesAtExit={draft}",))
        try:
            bootstrap = broker.start().bootstrap
            _ask(bootstrap, broker.properties())
        finally:
            broker.stop()
        if draft.exists():
            draft.rename(archive)
    return archive.exists()


def _ask(bootstrap: str, properties: dict[str, str]) -> None:
    """What evenstream's clients ask of a broker: a topic, a transaction, its records, and a place in a group."""
    common: dict[str, Any] = {"bootstrap.servers": bootstrap, "log_level": 0, **properties}
    admin = AdminClient(common)
    admin.create_topics([NewTopic(_TOPIC, 1, 1)])[_TOPIC].result(_ANSWER_SECONDS)
    producer = Producer({**common, "transactional.id": _TOPIC, "compression.type": "lz4"})
    producer.init_transactions(_ANSWER_SECONDS)
    producer.begin_transaction()
    producer.produce(_TOPIC, value=b"1", partition=0)
    producer.commit_transaction(_ANSWER_SECONDS)
    consumer = Consumer({**common, "group.id": _TOPIC, "auto.offset.reset": "earliest"})
    try:
        consumer.subscribe([_TOPIC])
        consumer.consume(1, _ANSWER_SECONDS)
        consumer.commit(offsets=[TopicPartition(_TOPIC, 0, 1)], asynchronous=False)
    except KafkaException:  # whatever was not asked is read from the jars
        pass
    finally:
        consumer.close()
    admin.delete_topics([_TOPIC])[_TOPIC].result(_ANSWER_SECONDS)
