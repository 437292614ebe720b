"""What is said when the cluster refuses a principal: who it is, what it lacks, and where that is documented.

A role asks the broker at its start what it may do, so that all that is missing is told at once, and before it begins.
Its transactional id cannot be asked about; ``init_transactions`` tells.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from streams.acl import TABLE, needs
from streams.errors import AccessRefused, KafkaUnavailable, SettingsError
from streams.kafka.properties import client_properties
from streams.settings import Settings

_REFUSALS = frozenset(
    (
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    )
)

_UNSETTLED = frozenset(
    (
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
    )
)
_AGAIN_SECONDS = 0.2


def is_refusal(error: KafkaError) -> bool:
    """Whether an error says that this principal may not do that; trying again does not help."""
    return error.code() in _REFUSALS


def principal(settings: Settings) -> str:
    """Who these settings are on the cluster, as far as they tell."""
    try:
        properties = client_properties(settings.kafka)
    except SettingsError:  # a file has gone since the client was made: an error is being told here, not another one
        return "of this client"
    user = properties.get("sasl.username")
    if user is not None:
        return f"User:{user}"
    named = properties.keys() & {"ssl.certificate.location", "ssl.certificate.pem", "ssl.keystore.location"}
    return "of this client" if named else "ANONYMOUS"


def refused_reading(settings: Settings, topic: str | None, error: KafkaError) -> AccessRefused:
    """The error for a consumer that was refused.

    Args:
        topic: None where it was the group that was refused.
    """
    where = f"the group of its consumer ({settings.group('...')})" if topic is None else f"topic {topic}"
    return refused(settings, f"it may not read {where} ({error.str()})")


def refused(settings: Settings, what: str) -> AccessRefused:
    """The error for a principal that may not do something.

    Args:
        what: such as "it may not read topic evenstream.shares".
    """
    return AccessRefused(
        f"Kafka refuses the principal {principal(settings)}: {what}. `evenstream acl list` says what each principal "
        "needs, `evenstream acl apply` gives it; the role that runs here may also have another's credentials "
        "(kafka.properties, kafka.property_files)"
    )


def lacking(settings: Settings, role: str, client: AdminClient) -> list[str]:
    """What the broker says that this principal may not do, of what the role needs on its topics and its group.

    A topic that does not exist lacks nothing here, and a broker that has no authorizer allows everything.

    Raises:
        KafkaUnavailable: the cluster did not answer.
    """
    if role not in TABLE:  # a test's
        return []
    topics, group = needs(role)
    names = {settings.topic(topic): wanted for topic, wanted in topics.items()}
    groups = [] if group is None else [settings.group(group)]
    seconds = settings.kafka.request_timeout_seconds
    found: list[str] = []
    try:
        # Both questions are under way before the first answer is waited for: a role's start should be short.
        asked = client.describe_topics(
            TopicCollection(list(names)), include_authorized_operations=True, request_timeout=seconds
        )
        asked_groups = describe_groups(client, groups, seconds)
        for kind, answers in (("topic", asked), ("group", asked_groups)):
            for name, answer in answers.items():
                wanted = names.get(name, frozenset({"Read"}))
                found += [f"{operation} {kind} {name}" for operation in sorted(wanted - _granted(answer, wanted))]
    except KafkaException as error:
        raise KafkaUnavailable(f"what this principal may do could not be asked: {error.args[0].str()}") from None
    return found


def describe_groups(client: AdminClient, groups: Sequence[str], seconds: float) -> dict[str, Future[Any]]:
    """What the broker says of each group and of what may be done with it, all of it answered.

    A new cluster makes the topic of its groups when the first of them is asked about. Until that is done, and whenever
    groups move to another broker, it answers that it does not coordinate them; that says nothing of the principal, so
    it is asked again until ``seconds`` are over. Each question has all of the time: librdkafka 2.16 may end the process
    when one that waits for a coordinator runs out of it.
    """
    deadline = time.monotonic() + seconds
    answers: dict[str, Future[Any]] = {}
    unsettled = list(groups)
    while unsettled:
        answers |= client.describe_consumer_groups(
            unsettled, include_authorized_operations=True, request_timeout=seconds
        )
        unsettled = [group for group in unsettled if _is_unsettled(answers[group])]
        if time.monotonic() > deadline:
            break
        if unsettled:
            time.sleep(_AGAIN_SECONDS)
    return answers


def _is_unsettled(answer: Future[Any]) -> bool:
    error = answer.exception()
    return isinstance(error, KafkaException) and error.args[0].code() in _UNSETTLED


def explained(settings: Settings, role: str, what: str, client: AdminClient) -> AccessRefused:
    """The error for a role that was refused while it works; what it lacks now comes first, where the broker tells.

    Args:
        what: what was refused, in the client's words.
    """
    try:
        missing = lacking(settings, role, client)
    except KafkaUnavailable:
        missing = []
    return refused(settings, f"it may not {', '.join(missing)} ({what})" if missing else what)


def _granted(answer: Any, unknown: frozenset[str]) -> frozenset[str]:
    """Operations that the broker allows; ``unknown`` where there is nothing to be allowed, or it does not tell."""
    try:
        operations = answer.result().authorized_operations
    except KafkaException as error:
        if is_refusal(error.args[0]):
            return frozenset()
        if error.args[0].code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.GROUP_ID_NOT_FOUND):
            return unknown
        raise
    return operation_names(operations) if operations else unknown


def operation_names(operations: Iterable[Any]) -> frozenset[str]:
    """Kafka's names of operations, as the table writes them."""
    return frozenset("".join(part.title() for part in operation.name.split("_")) for operation in operations)


def lacks(settings: Settings, missing: list[str]) -> AccessRefused:
    """The error for a principal that lacks what :func:`lacking` has found."""
    return refused(settings, f"it may not {', '.join(missing)}")
