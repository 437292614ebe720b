"""The topics of DESIGN section 2.1: what each must be, how it is made, and how one that exists differs.

A wrong clean-up policy loses data in silence (a ledger that is compacted, a state topic that expires), so `topics
create` checks every topic that exists, names each difference, and changes none of them: that is the operator's word.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType  # type: ignore[attr-defined]  # its API

from streams.errors import KafkaUnavailable
from streams.kafka.clients import admin, may_describe, shared_admin
from streams.kafka.refusals import is_refusal, refused
from streams.settings import Settings

log = logging.getLogger(__name__)

_HOUR_MS = 3_600_000
_LARGE_BYTES = "10485760"
"""Of a window with the most values, 65,535 x 6 of 8 bytes are 3.1 MB; a full batch of 16 groups with a rectifier has
1.05 MB of masked values; the broker's default is 1 MB."""
METRIC_BYTES = 25_165_824
"""The largest record of `fairness-metrics`: a window with the most values and statistics is 12 MB of JSON, its table a
third of that."""

CONCERN_BYTES = 32_768
"""The largest batch of `concerns`: a record has at most 16 KB, and nobody else's need be read."""


@dataclass(frozen=True)
class TopicPlan:
    """What a topic must be."""

    name: str
    partitions: int
    replication_factor: int
    config: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Difference:
    """One way in which an existing topic is not what it must be."""

    topic: str
    name: str
    expected: str
    actual: str
    mend: str

    def __str__(self) -> str:
        if self.name == "exists":
            return f"{self.topic}: does not exist; {self.mend}"
        return f"{self.topic}: {self.name} is {self.actual or '(empty)'}, expected {self.expected}; {self.mend}"


@dataclass(frozen=True)
class Report:
    """What :func:`create` did."""

    created: tuple[str, ...]
    existing: tuple[str, ...]
    differences: tuple[Difference, ...]


def plan(settings: Settings) -> tuple[TopicPlan, ...]:
    """Every topic of evenstream's own, in the order of the data."""
    topics = settings.topics
    parallel = topics.partitions
    durable = {"min.insync.replicas": str(topics.min_insync_replicas)}
    forever = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
    compacted = {"cleanup.policy": "compact"}
    # Old checkpoints should go soon, and not only when there is much to clean; and a restart reads what compaction has
    # left. A record is compacted once its segment is rolled and the lag has passed, whatever the ratio of dirty bytes.
    segment_ms = str(int(topics.segment_minutes * 60_000))
    state = compacted | {
        "segment.ms": segment_ms,
        "min.cleanable.dirty.ratio": "0.1",
        "max.compaction.lag.ms": segment_ms,
        "delete.retention.ms": str(_HOUR_MS),  # of tombstones: far longer than a role needs to read its state
        "max.message.bytes": _LARGE_BYTES,
    }
    in_flight = {
        "cleanup.policy": "delete",
        "retention.ms": str(int(topics.retention_hours * _HOUR_MS)),
        "segment.ms": segment_ms,
        "message.timestamp.type": "LogAppendTime",
    }
    releases = forever | {"max.message.bytes": _LARGE_BYTES}
    metrics = {
        "cleanup.policy": "compact,delete",
        "retention.ms": str(int(topics.metrics_retention_hours * _HOUR_MS)),
        "max.message.bytes": str(METRIC_BYTES),
    }
    concerns = {
        "cleanup.policy": "delete",
        "retention.ms": str(int(topics.concerns_retention_hours * _HOUR_MS)),
        "message.timestamp.type": "CreateTime",  # which the writer sets to midnight: the broker's clock would tell more
        "max.message.bytes": str(CONCERN_BYTES),
    }
    table: list[tuple[str, int, dict[str, str]]] = [
        ("measurements", 1, forever),
        ("keys", 1, compacted),
        ("decisions", 1, forever),
        ("ledger-a", 1, forever),
        ("ledger-b", 1, forever),
        ("sealed", parallel, in_flight),
        ("shares", parallel, in_flight | {"max.message.bytes": _LARGE_BYTES}),
        ("releases-a", 1, releases),
        ("releases-b", 1, releases),
        ("fairness-metrics", 1, metrics),
        ("concerns", 1, concerns),
        ("refused", 1, {"cleanup.policy": "delete", "retention.ms": str(int(topics.retention_hours * _HOUR_MS))}),
        ("state-seal", 1, state),
        ("state-attach", 1, state),
        ("state-a", 1, state),
        ("state-b", 1, state),
    ]
    return tuple(
        TopicPlan(settings.topic(name), partitions, topics.replication_factor, config | durable)
        for name, partitions, config in table
    )


def delete(settings: Settings, names: tuple[str, ...]) -> None:
    """Delete topics; those that are not there, or may not be deleted, are left. For trials, which clean up."""
    client = admin(settings)
    for name, future in client.delete_topics(list(names)).items():
        try:
            future.result(settings.kafka.request_timeout_seconds)
        except (KafkaException, TimeoutError) as error:
            log.warning("topic %s was not deleted: %s", name, error)


LIVE_SOURCE = {"message.timestamp.type": "LogAppendTime"}
"""A running recommender's topic: arrival is the broker's clock."""

LOGGED_SOURCE = {"message.timestamp.type": "CreateTime", "retention.ms": "-1"}
"""A replayed log's topic: arrival is the log's own time, so a broker's retention would find it long expired."""


def input_plan(settings: Settings, live: tuple[str, ...] = (), logged: tuple[str, ...] = ()) -> tuple[TopicPlan, ...]:
    """The company's own topics, as a developer's machine needs them: sources, and member-attributes.

    Args:
        live: source topics of running recommenders (``source.arrival: live``).
        logged: source topics of replays that keep a log's own times (``source.arrival: record_time``).
    """
    topics = settings.topics
    durable = {"min.insync.replicas": str(topics.min_insync_replicas)}
    sources = tuple(
        TopicPlan(name, topics.partitions, topics.replication_factor, config | durable)
        for names, config in ((live, LIVE_SOURCE), (logged, LOGGED_SOURCE))
        for name in names
    )
    members = TopicPlan(
        settings.topic("member-attributes"),
        topics.partitions,
        topics.replication_factor,
        {"cleanup.policy": "compact"} | durable,
    )
    return (*sources, members)


def create(settings: Settings, plans: tuple[TopicPlan, ...]) -> Report:
    """Make the topics that are missing, and compare those that exist.

    Raises:
        KafkaUnavailable: the cluster could not make one, with its reason. AccessRefused: this principal may not.
    """
    client = admin(settings)
    timeout = settings.kafka.request_timeout_seconds
    created, existing = [], []
    futures = client.create_topics(
        [NewTopic(p.name, p.partitions, p.replication_factor, config=p.config) for p in plans],
        operation_timeout=timeout,
        request_timeout=timeout,
    )
    for name, future in futures.items():
        try:
            future.result()
            created.append(name)
        except KafkaException as error:
            kafka_error: KafkaError = error.args[0]
            if is_refusal(kafka_error):
                raise refused(settings, f"it may not create topic {name}") from None
            if kafka_error.code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise KafkaUnavailable(
                    f"topic {name} could not be made: {kafka_error.str()}. On a cluster with fewer than "
                    f"{settings.topics.replication_factor} brokers set topics.replication_factor and "
                    "topics.min_insync_replicas"
                ) from None
            existing.append(name)
    _await_metadata(client, {p.name for p in plans}, timeout)
    checked = tuple(p for p in plans if p.name in existing)
    return Report(tuple(created), tuple(existing), tuple(compare(settings, checked)))


def _await_metadata(client: AdminClient, names: set[str], timeout_seconds: float) -> None:
    """Return when the broker's metadata shows all of these topics: it follows the controller's word by a moment."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            missing = names - client.list_topics(timeout=timeout_seconds).topics.keys()
        except KafkaException as error:
            raise KafkaUnavailable(f"the topics could not be listed: {error.args[0].str()}") from None
        if not missing:
            return
        if time.monotonic() > deadline:
            raise KafkaUnavailable(
                f"the cluster made {', '.join(sorted(missing))}, but did not show them within {timeout_seconds:.0f} s"
            )
        time.sleep(0.05)


def compare(settings: Settings, plans: tuple[TopicPlan, ...]) -> Iterator[Difference]:
    """Each way in which the cluster's topics differ from the plan.

    Raises:
        KafkaUnavailable: the cluster did not answer. AccessRefused: this principal may not see one of them.
    """
    if not plans:
        return
    client = shared_admin(settings)
    timeout = settings.kafka.request_timeout_seconds
    try:
        known = client.list_topics(timeout=timeout).topics
        present = [p for p in plans if p.name in known]
        resources = [ConfigResource(ResourceType.TOPIC, p.name) for p in present]
        # librdkafka takes an empty question for a mistake.
        described = client.describe_configs(resources, request_timeout=timeout) if resources else {}
        configs = {}
        for resource, future in described.items():
            try:
                configs[resource.name] = future.result()
            except KafkaException as error:
                if is_refusal(error.args[0]):
                    raise refused(settings, f"it may not ask for the configuration of topic {resource.name}") from None
                raise
        hidden = [p.name for p in plans if p.name not in known and not may_describe(settings, p.name, client)]
        if hidden:
            raise refused(settings, f"it may not describe topic {', '.join(hidden)}")
    except KafkaException as error:
        raise KafkaUnavailable(f"the topics could not be described: {error.args[0].str()}") from None
    for topic in plans:
        if topic.name not in configs:
            yield Difference(topic.name, "exists", "yes", "no", "run `evenstream topics create`")
            continue
        server = f"--bootstrap-server {settings.kafka.bootstrap}"
        partitions = known[topic.name].partitions
        if len(partitions) != topic.partitions:
            mend = (
                "P is fixed for a topic set: set topics.partitions to what is there, or use a new deployment name"
                if topic.partitions > 1
                else "its order must be total: use a new deployment name, or delete it if nothing uses it yet"
            )
            yield Difference(topic.name, "partitions", str(topic.partitions), str(len(partitions)), mend)
        copies = min(len(partition.replicas) for partition in partitions.values())
        if copies < topic.replication_factor:
            mend = f"to change it: kafka-reassign-partitions.sh {server}, or lower topics.replication_factor"
            yield Difference(topic.name, "replication.factor", str(topic.replication_factor), str(copies), mend)
        for name, expected in topic.config.items():
            actual = configs[topic.name][name].value if name in configs[topic.name] else ""
            if _normal(actual) != _normal(expected):
                mend = f"to change it: {change_command(settings, topic.name, name, expected)}"
                yield Difference(topic.name, name, expected, actual or "", mend)


def configurations(settings: Settings, names: tuple[str, ...]) -> dict[str, dict[str, str]]:
    """What the cluster says of these topics' properties; a topic that is missing, or may not be described, is left out.

    Raises:
        KafkaUnavailable: the cluster did not answer.
    """
    client = shared_admin(settings)
    timeout = settings.kafka.request_timeout_seconds
    try:
        known = client.list_topics(timeout=timeout).topics
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names if name in known]
        described = client.describe_configs(resources, request_timeout=timeout) if resources else {}
    except KafkaException as error:
        raise KafkaUnavailable(f"the topics could not be described: {error.args[0].str()}") from None
    found: dict[str, dict[str, str]] = {}
    for resource, future in described.items():
        try:
            config = future.result(timeout)
        except (KafkaException, TimeoutError):  # a principal that may read a topic need not be allowed to describe it
            continue
        found[resource.name] = {name: str(entry.value) for name, entry in config.items() if entry.value is not None}
    return found


def timestamp_type(settings: Settings, topic: str) -> str | None:
    """Whose clock stamps a topic's records: "CreateTime" or "LogAppendTime"; None where that may not be asked."""
    resource = ConfigResource(ResourceType.TOPIC, topic)
    timeout = settings.kafka.request_timeout_seconds
    client = admin(settings)  # kept until the answer is there: a client that is let go drops its questions
    try:
        config = client.describe_configs([resource], request_timeout=timeout)[resource].result(timeout)
    except (KafkaException, TimeoutError):  # a principal that may read a topic need not be allowed to describe it
        return None
    entry = config.get("message.timestamp.type")
    return None if entry is None else str(entry.value)


def change_command(settings: Settings, topic: str, name: str, value: str) -> str:
    """The command with which an operator changes one property of a topic, online."""
    return (
        f"kafka-configs.sh --bootstrap-server {settings.kafka.bootstrap} --alter --entity-type topics "
        f"--entity-name {topic} --add-config '{name}=[{value}]'"
    )


def _normal(value: str | None) -> str:
    return ",".join(sorted((value or "").replace(" ", "").split(",")))
