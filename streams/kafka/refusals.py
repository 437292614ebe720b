"""What is said when the cluster refuses a principal: who it is, what it lacks, and where that is documented."""

from __future__ import annotations

from confluent_kafka import KafkaError

from streams.errors import AccessRefused
from streams.settings import Settings

_REFUSALS = frozenset(
    (
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    )
)


def is_refusal(error: KafkaError) -> bool:
    """Whether an error says that this principal may not do that; trying again does not help."""
    return error.code() in _REFUSALS


def principal(settings: Settings) -> str:
    """Who these settings are on the cluster, as far as they tell."""
    user = settings.kafka.properties.get("sasl.username")
    if user is not None:
        return f"User:{user}"
    return "of this client" if "ssl.certificate.location" in settings.kafka.properties else "ANONYMOUS"


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
        "(kafka.properties)"
    )
