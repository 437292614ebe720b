"""ACLs on a cluster: what is there, what is missing, what is too much; and how the table is put in force."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its API
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from streams.acl import Rule
from streams.errors import KafkaUnavailable
from streams.kafka.clients import admin
from streams.settings import Settings

EVERYONE = "User:*"
_ANY_HOST = "*"
_RESOURCES = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional_id": ResourceType.TRANSACTIONAL_ID,
}
_OPERATIONS = {
    "Read": AclOperation.READ,
    "Write": AclOperation.WRITE,
    "Describe": AclOperation.DESCRIBE,
    "DescribeConfigs": AclOperation.DESCRIBE_CONFIGS,
    "Create": AclOperation.CREATE,
    "Delete": AclOperation.DELETE,
    "Alter": AclOperation.ALTER,
    "AlterConfigs": AclOperation.ALTER_CONFIGS,
}


@dataclass(frozen=True)
class Differences:
    """How a cluster's ACLs differ from the table, each in words, and as what Kafka's client takes."""

    missing: tuple[AclBinding, ...]
    undocumented: tuple[AclBinding, ...]

    def lines(self) -> list[str]:
        """One line each."""
        return [f"missing: {told(b)}" for b in self.missing] + [f"undocumented: {told(b)}" for b in self.undocumented]


def told(binding: AclBinding) -> str:
    """An ACL in words."""
    permission = "may" if binding.permission_type == AclPermissionType.ALLOW else "is denied"
    beginning = " beginning with" if binding.resource_pattern_type == ResourcePatternType.PREFIXED else ""
    host = "" if binding.host == _ANY_HOST else f" from {binding.host}"
    operation, kind = AclOperation(binding.operation), ResourceType(binding.restype)
    return f"{binding.principal} {permission} {operation.name} {kind.name.lower()}{beginning} {binding.name}{host}"


def bindings(found: Iterable[Rule]) -> list[AclBinding]:
    """Rules as Kafka's client takes them."""
    return [
        AclBinding(
            _RESOURCES[rule.resource],
            rule.name,
            ResourcePatternType.PREFIXED if rule.prefixed else ResourcePatternType.LITERAL,
            rule.principal,
            _ANY_HOST,
            _OPERATIONS[operation],
            AclPermissionType.ALLOW,
        )
        for rule in found
        for operation in rule.operations
    ]


def differences(settings: Settings, found: tuple[Rule, ...]) -> Differences:
    """Compare the cluster's ACLs with the table.

    Undocumented are those of the table's principals, and those of everyone (``User:*``), that the table does not have.

    Raises:
        KafkaUnavailable: they could not be asked: the cluster has no authorizer, or this principal may not ask.
    """
    wanted = bindings(found)
    principals = {*(rule.principal for rule in found), EVERYONE}
    there = [binding for binding in described(settings) if binding.principal in principals]
    return Differences(
        tuple(binding for binding in wanted if binding not in there),
        tuple(sorted((binding for binding in there if binding not in wanted), key=told)),
    )


def described(settings: Settings) -> list[AclBinding]:
    """Every ACL of the cluster.

    Raises:
        KafkaUnavailable: they could not be asked: the cluster has no authorizer, or this principal may not ask.
    """
    everything = AclBindingFilter(
        ResourceType.ANY,
        None,  # type: ignore[arg-type]  # None is any, which its stub does not know
        ResourcePatternType.ANY,
        None,  # type: ignore[arg-type]
        None,  # type: ignore[arg-type]
        AclOperation.ANY,
        AclPermissionType.ANY,
    )
    timeout = settings.kafka.request_timeout_seconds
    client = admin(settings)
    try:
        found: list[AclBinding] = client.describe_acls(everything, request_timeout=timeout).result(timeout)
    except (KafkaException, TimeoutError) as error:
        raise KafkaUnavailable(f"the cluster's ACLs could not be asked: {_why(error)}") from None
    return found


def create(settings: Settings, wanted: Iterable[AclBinding]) -> None:
    """Add ACLs; those that are there stay as they are.

    Raises:
        KafkaUnavailable: one could not be added.
    """
    timeout = settings.kafka.request_timeout_seconds
    added = list(wanted)
    if not added:  # librdkafka takes an empty request for a mistake
        return
    client = admin(settings)
    for binding, future in client.create_acls(added, request_timeout=timeout).items():
        try:
            future.result(timeout)
        except (KafkaException, TimeoutError) as error:
            raise KafkaUnavailable(f"an ACL could not be added ({told(binding)}): {_why(error)}") from None


def delete(settings: Settings, unwanted: Iterable[AclBinding]) -> None:
    """Take ACLs away.

    Raises:
        KafkaUnavailable: one could not be taken away.
    """
    timeout = settings.kafka.request_timeout_seconds
    filters = [_exactly(binding) for binding in unwanted]
    if not filters:
        return
    client = admin(settings)
    for future in client.delete_acls(filters, request_timeout=timeout).values():
        try:
            future.result(timeout)
        except (KafkaException, TimeoutError) as error:
            raise KafkaUnavailable(f"an ACL could not be taken away: {_why(error)}") from None


def _exactly(binding: AclBinding) -> AclBindingFilter:
    return AclBindingFilter(
        binding.restype,
        binding.name,
        binding.resource_pattern_type,
        binding.principal,
        binding.host,
        binding.operation,
        binding.permission_type,
    )


def _why(error: Exception) -> str:
    return str(error.args[0].str()) if isinstance(error, KafkaException) else "no answer"
