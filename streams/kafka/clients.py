"""How evenstream's clients talk to Kafka: the settings of DESIGN section 2.4, each with the reason it was measured.

The operator's own properties (``streams.kafka.properties``) are applied last, so that security settings (and anything
else) come by pass-through.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # its API

from streams.errors import AccessRefused, KafkaUnavailable, SettingsError, TopicMismatch
from streams.kafka.properties import client_properties
from streams.kafka.refusals import is_refusal, principal, refused, refused_reading
from streams.settings import Settings

log = logging.getLogger(__name__)

_QUESTION_SECONDS = 5.0
_AUTHENTICATION_SECONDS = 5.0
_RETRY_SECONDS = 0.1

POSITION_GONE = frozenset(
    (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._LOG_TRUNCATION)  # noqa: SLF001  # its API
)
"""What a consumer is told whose partition no longer holds what comes next; nothing more comes of it then."""

COMMIT_SECONDS = 9.0
"""For how long a commit may take: below transaction.timeout.ms, so that the broker does not abort behind our back."""

_asked: dict[str, Any] = {}


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
        # Back-pressure: a burst waits in Kafka, not in this process. By default 100,000 records lie ready, which is
        # memory that no cache holds, and brings nothing: four polls' worth does.
        "queued.max.messages.kbytes": 32_768,
        "queued.min.messages": 20_000,
        **extra,
        **client_properties(settings.kafka),
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
    return {**config, **extra, **client_properties(settings.kafka), **settings.kafka.producer_properties}


def transaction_timeout_seconds(settings: Settings) -> float:
    """For how long a transaction may stand open until the broker ends it."""
    return float(producer_config(settings, "any")["transaction.timeout.ms"]) / 1000


def admin_config(settings: Settings, **extra: Any) -> dict[str, Any]:
    """A client for administrative requests."""
    return {
        **_base(settings),
        "socket.timeout.ms": int(settings.kafka.request_timeout_seconds * 1000),
        # By default an answer of a broker that was still starting (no leader, an old leader epoch) is believed for 15
        # minutes, and every question about offsets fails meanwhile.
        "metadata.max.age.ms": 1000,
        **extra,
        **client_properties(settings.kafka),
        **settings.kafka.admin_properties,
    }


def make_consumer(settings: Settings, group: str, **extra: Any) -> Consumer:
    """A consumer with :func:`consumer_config`, or :class:`SettingsError` where librdkafka refuses a property."""
    with _properties_explained():
        return Consumer(consumer_config(settings, group, **extra))


def make_producer(settings: Settings, transactional_id: str | None, **extra: Any) -> Producer:
    """A producer with :func:`producer_config`, or :class:`SettingsError` where librdkafka refuses a property."""
    with _properties_explained():
        return Producer(producer_config(settings, transactional_id, **extra))


def produce(producer: Producer, topic: str, **record: Any) -> None:
    """Hand a record to a producer, as its own ``produce`` takes it; waits only while the local queue is full."""
    while True:
        try:
            producer.produce(topic, **record)
        except BufferError:
            producer.poll(0.05)  # lets deliveries drain it
        else:
            return


def admin(settings: Settings, **extra: Any) -> AdminClient:
    """A client for administrative requests, or :class:`SettingsError` where librdkafka refuses a property."""
    with _properties_explained():
        return AdminClient(admin_config(settings, **extra))


def shared_admin(settings: Settings) -> AdminClient:
    """The client for questions, one a process: each new one takes some 60 ms to know the cluster.

    A process speaks to one cluster; where settings name another, or a file of theirs holds another password than it
    did, the client is made anew.
    """
    kafka = settings.kafka, client_properties(settings.kafka)
    if _asked.get("kafka") != kafka:
        _asked.update(kafka=kafka, client=admin(settings))
    client: AdminClient = _asked["client"]
    return client


@contextmanager
def _properties_explained() -> Iterator[None]:
    try:
        yield
    except KafkaException as error:
        raise SettingsError(
            f"librdkafka refuses a property: {error.args[0].str()}. See kafka.properties, kafka.property_files, "
            "kafka.consumer_properties, kafka.producer_properties and kafka.admin_properties"
        ) from None


def wait_for_kafka(settings: Settings, timeout_seconds: float) -> None:
    """Return when a broker answers.

    Args:
        timeout_seconds: how long to keep asking; one question takes up to 2 s.

    Raises:
        KafkaUnavailable: none did; the message holds the last reason (refused, no such host ...).
        AccessRefused: none takes these credentials, for 5 s: a user that was just made is not known everywhere.
    """
    deadline = time.monotonic() + timeout_seconds
    begun = time.monotonic()
    reasons: list[str] = []
    unknown: list[str] = []

    def note(error: KafkaError) -> None:
        reasons.append(str(error.str()))
        if error.code() == KafkaError._AUTHENTICATION:  # noqa: SLF001  # librdkafka's own codes begin with _
            unknown.append(str(error.str()))

    client = admin(settings, error_cb=note)
    while True:
        try:
            client.list_topics(timeout=max(0.1, min(2.0, timeout_seconds)))
            return
        except KafkaException as error:
            client.poll(0)  # hands out the reasons
            if unknown and time.monotonic() - begun > _AUTHENTICATION_SECONDS:
                raise AccessRefused(
                    f"Kafka at {settings.kafka.bootstrap} does not take the credentials of {principal(settings)}: "
                    f"{unknown[-1]}. See kafka.properties and kafka.property_files"
                ) from None
            if time.monotonic() > deadline:
                told = [reason for reason in reasons if "brokers are down" not in reason] or [error.args[0].str()]
                raise KafkaUnavailable(
                    f"no Kafka broker answers at {settings.kafka.bootstrap}: {told[-1]}. Set KAFKA_BOOTSTRAP to a "
                    "cluster that is up, or unset it and start one here with `evenstream dev kafka start`"
                ) from None


def broker_count(settings: Settings) -> int:
    """How many brokers the cluster has, or raise :class:`KafkaUnavailable`."""
    try:
        return len(shared_admin(settings).list_topics(timeout=settings.kafka.request_timeout_seconds).brokers)
    except KafkaException as error:
        raise KafkaUnavailable(f"the cluster's brokers could not be asked: {error.args[0].str()}") from None


def partition_count(settings: Settings, topic: str) -> int:
    """How many partitions a topic has, or raise :class:`TopicMismatch` or :class:`AccessRefused`."""
    found = _partitions(settings, topic, shared_admin(settings))
    if isinstance(found, KafkaError) and is_refusal(found):
        raise refused(settings, f"it may not describe topic {topic}")
    if not isinstance(found, int):
        raise TopicMismatch(
            f"topic {topic!r} does not exist. evenstream's own topics are made by "
            "`evenstream topics create`; a source topic is the company's own: check the name in the measurement"
        )
    return found


def _partitions(settings: Settings, topic: str, client: AdminClient) -> int | KafkaError | None:
    """How many partitions a topic has, or the error in place of them."""
    try:
        metadata = client.list_topics(topic, timeout=settings.kafka.request_timeout_seconds)
    except KafkaException as error:
        raise KafkaUnavailable(f"the partitions of {topic} could not be asked: {error.args[0].str()}") from None
    found = metadata.topics.get(topic)
    if found is None or found.error is not None:
        return None if found is None else found.error
    return len(found.partitions) or None


def may_describe(settings: Settings, topic: str, client: AdminClient) -> bool:
    """Whether the cluster lets this principal see a topic, which need not exist."""
    found = _partitions(settings, topic, client)
    return not (isinstance(found, KafkaError) and is_refusal(found))


def read_to_end(
    settings: Settings,
    topic: str,
    *,
    isolation: str = "read_committed",
    partitions: Sequence[int] | None = None,
    begin: int | Mapping[int, int] = 0,
    await_transactions: bool = True,
    timeout_seconds: float = 60.0,
    alive: Callable[[], None] = lambda: None,
) -> Iterator[Message]:
    """Every record that a topic holds now, from ``begin`` on (an offset, or one by partition), in order by partition.

    "Now" is each partition's high watermark. A read_committed reader's own end is the last stable offset, which another
    producer's open transaction holds back: whoever stopped there would miss what was committed behind it, so this waits
    until such a transaction has ended (the broker ends it after its time-out).

    Args:
        partitions: which; all of them by default.
        await_transactions: False stops at the last stable offset, for topics whose producers are not ours to wait for.
        alive: called at each poll and with each record: to wait for Kafka, or to read for long, is no hang.

    Raises:
        TopicMismatch: there is no such topic.
        KafkaUnavailable: nothing came for ``timeout_seconds``.
    """
    count = partition_count(settings, topic)
    wanted = range(count) if partitions is None else partitions
    ends = _high_watermarks(settings, topic, wanted) if await_transactions else dict.fromkeys(wanted, 0)
    consumer = make_consumer(
        settings,
        settings.group("state-reader"),
        **{"isolation.level": isolation, "fetch.wait.max.ms": 10, "auto.offset.reset": "earliest"},
    )
    try:
        begins = dict.fromkeys(wanted, begin) if isinstance(begin, int) else begin
        consumer.assign([TopicPartition(topic, i, begins[i]) for i in wanted])
        waiting = {i for i, end in ends.items() if end > 0 or not await_transactions}
        heard = time.monotonic()
        while waiting:
            alive()
            messages = consumer.consume(5_000, 0.05)
            if not messages and time.monotonic() - heard > timeout_seconds:
                raise KafkaUnavailable(
                    f"{topic} could not be read to its end: nothing came for {timeout_seconds:.0f} s"
                )
            for message in messages:
                i, error = int(message.partition() or 0), message.error()
                if error is None:
                    alive()
                    yield message
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  # librdkafka's own codes begin with _
                    if int(message.offset() or 0) >= ends[i]:
                        waiting.discard(i)
                elif is_refusal(error):
                    raise refused_reading(settings, message.topic(), error)
                elif not error.retriable():
                    raise KafkaUnavailable(f"{topic} could not be read: {error.str()}")
            if messages:
                heard = time.monotonic()  # the time that the reader took is not the broker's
    finally:
        consumer.close()


def read_since(
    settings: Settings, topic: str, time_ms: int, alive: Callable[[], None] = lambda: None
) -> Iterator[Message]:
    """A topic with one partition, from its first record of this time on, uncommitted records as well.

    Args:
        time_ms: epoch milliseconds; 0 reads all of it, whatever timestamps there are.
        alive: as for :func:`read_to_end`.

    Raises:
        KafkaUnavailable: where to begin could not be asked, or nothing came for long.
    """
    begin = _offset_of(settings, topic, time_ms) if time_ms > 0 else 0
    yield from read_to_end(settings, topic, isolation="read_uncommitted", begin=begin, alive=alive)


def _offset_of(settings: Settings, topic: str, time_ms: int) -> int:
    """The first offset whose record has this time or a later one; the end where none has."""
    end = _high_watermarks(settings, topic, (0,))[0]
    consumer = make_consumer(settings, settings.group("state-reader"), **{"isolation.level": "read_uncommitted"})
    try:
        wanted = [TopicPartition(topic, 0, time_ms)]
        found = consumer.offsets_for_times(wanted, timeout=settings.kafka.request_timeout_seconds)[0]
    except KafkaException as error:
        raise KafkaUnavailable(f"where to begin with {topic} could not be asked: {error.args[0].str()}") from None
    finally:
        consumer.close()
    if found.error is not None:
        raise KafkaUnavailable(f"where to begin with {topic} could not be asked: {found.error.str()}")
    return end if found.offset < 0 else int(found.offset)


def read_tails(
    settings: Settings, topic: str, partitions: Sequence[int], count: int, alive: Callable[[], None] = lambda: None
) -> Iterator[Message]:
    """Committed records of the last ``count`` offsets of each partition."""
    ends = _high_watermarks(settings, topic, partitions)
    yield from read_to_end(
        settings, topic, partitions=partitions, begin={i: max(0, end - count) for i, end in ends.items()}, alive=alive
    )


def first_offset(settings: Settings, topic: str, i: int) -> int:
    """The first offset that a partition still holds, or raise :class:`KafkaUnavailable`."""
    consumer = make_consumer(settings, settings.group("state-reader"))
    try:
        return _watermarks(consumer, topic, i, settings.kafka.request_timeout_seconds)[0]
    finally:
        consumer.close()


def _high_watermarks(settings: Settings, topic: str, partitions: Iterable[int]) -> dict[int, int]:
    """Where partitions end, uncommitted records as well: one question for all of them."""
    wanted = {TopicPartition(topic, i): OffsetSpec.latest() for i in partitions}  # type: ignore[no-untyped-call]
    timeout = settings.kafka.request_timeout_seconds
    deadline = time.monotonic() + timeout
    while wanted:
        try:
            answers = shared_admin(settings).list_offsets(
                wanted, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=_QUESTION_SECONDS
            )
            return {asked.partition: int(answer.result().offset) for asked, answer in answers.items()}
        except KafkaException as error:  # a topic that was just made, or whose leader moves, has none for a moment
            if time.monotonic() > deadline:
                why = error.args[0].str()
                raise KafkaUnavailable(f"the ends of {topic} could not be asked in {timeout:.0f} s: {why}") from None
            time.sleep(_RETRY_SECONDS)
    return {}


def partition_end(consumer: Consumer, topic: str, i: int, timeout_seconds: float) -> int:
    """Where a partition ends for this consumer's isolation level, or raise :class:`KafkaUnavailable`."""
    return _watermarks(consumer, topic, i, timeout_seconds)[1]


def _watermarks(consumer: Consumer, topic: str, i: int, timeout_seconds: float) -> tuple[int, int]:
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            watermarks = consumer.get_watermark_offsets(TopicPartition(topic, i), timeout=_QUESTION_SECONDS)
            if watermarks is not None:
                return int(watermarks[0]), int(watermarks[1])
            why = "no answer"
        except KafkaException as error:  # a topic that was just made, or whose leader moves, has none for a moment
            why = error.args[0].str()
            if is_refusal(error.args[0]):
                raise AccessRefused(f"Kafka refuses to tell this principal the end of {topic} [{i}]: {why}") from None
        if time.monotonic() > deadline:
            raise KafkaUnavailable(f"the end of {topic} [{i}] could not be asked in {timeout_seconds:.0f} s: {why}")
        time.sleep(_RETRY_SECONDS)
