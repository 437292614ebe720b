"""Who may do what on Kafka: one principal a role, and the least that each needs.

Pure; ``streams.kafka.acls`` applies it.

Everything else follows from the table here: what `evenstream acl` prints and applies, which topics a role compares at
its start, what the matrix (``streams.acl_matrix``) expects, and the section *Principals and ACLs* of
docs/operations.md.

What is not in it, and why. Nobody has an ACL on the cluster: a broker since 3.0 lets whoever may write to some topic
produce idempotently. librdkafka asks who coordinates the group that a consumer names, and takes a refusal for an
error, so whoever reads may describe the deployment's groups. No role's positions are a group's offsets, but four roles
commit a copy of theirs to the group of their own name, by which ``retention`` deletes: nobody else may write there.
``publish`` joins a group, because Faust knows no other way, and the company's subscribers have groups of their own.
Kafka's own rules are used as they are: to read, write or delete implies to describe; and whoever may delete a topic's
records may delete the topic.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import yaml

from streams.errors import SettingsError
from streams.settings import PRINCIPALS, Settings

Resource = Literal["topic", "group", "transactional_id"]
Operation = Literal["Read", "Write", "Describe", "DescribeConfigs", "Create", "Delete", "Alter", "AlterConfigs"]

SOURCES = "SOURCES"
"""Stands for the company's source topics, which ``topics.sources`` names."""

INPUTS = frozenset((SOURCES, "member-attributes"))
"""The company's own topics."""

_IMPLIED: Mapping[str, tuple[Operation, ...]] = {
    "Read": ("Describe",),
    "Write": ("Describe",),
    "Delete": ("Describe",),
    "Alter": ("Describe",),
    "AlterConfigs": ("DescribeConfigs",),
}


@dataclass(frozen=True)
class Access:
    """What one principal needs.

    Attributes:
        who: whom it stands for.
        reads, writes, trims: short names of topics; to trim is to delete records (Kafka's Delete on the topic).
        asks: topics whose configuration it compares or shows, beside those of its own that it compares at start.
        every: operations on every topic of the deployment, those of later versions as well.
        transactions: beginning of its transactional ids, after the deployment's name; None: it has none.
        group: the consumer group to which it commits, after the deployment's name; with a dot at its end, the
            beginning of such groups.
    """

    who: str
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    trims: tuple[str, ...] = ()
    asks: tuple[str, ...] = ()
    every: tuple[Operation, ...] = ()
    transactions: str | None = None
    group: str | None = None


def _party(name: str) -> Access:
    state, ledger, releases = f"state-{name}", f"ledger-{name}", f"releases-{name}"
    return Access(
        f"role aggregate, party {name}",
        reads=("measurements", "keys", "shares", state, ledger, releases),
        writes=("keys", state, ledger, releases),
        transactions=f"{name}.",
        group=name,
    )


TABLE: Mapping[str, Access] = {
    "seal": Access(
        "role seal",
        reads=(SOURCES, "measurements", "keys", "state-seal"),
        writes=("keys", "sealed", "refused", "state-seal"),
        asks=(SOURCES,),
        transactions="seal.",
        group="seal",
    ),
    "attach": Access(
        "role attach",
        reads=("member-attributes", "measurements", "keys", "sealed", "shares", "state-attach"),
        writes=("keys", "shares", "state-attach"),
        asks=("member-attributes",),
        transactions="attach.",
        group="attach",
    ),
    "a": _party("a"),
    "b": _party("b"),
    "publish": Access(
        "role publish, with its page",
        reads=("measurements", "keys", "decisions", "releases-a", "releases-b", "fairness-metrics", "concerns"),
        writes=("fairness-metrics", "concerns"),
        transactions="publish.",
        group="publish.",
    ),
    "retention": Access(
        "deletes records that their readers have read, and looks what still lies there; holds no key",
        reads=("keys", "sealed", "shares", "state-seal", "state-attach", "state-a", "state-b"),
        trims=("sealed", "shares"),
    ),
    "governance": Access(
        "reviewers' commands: measurement, review, concern, ledger, transparency",
        reads=(
            "measurements", "keys", "decisions", "concerns", "ledger-a", "ledger-b", "releases-a", "releases-b",
            "fairness-metrics",
        ),
        writes=("measurements", "decisions", "concerns"),
        every=("Describe", "DescribeConfigs"),
        transactions="governance",
    ),
    "operator": Access(
        "the operator's commands: topics, skips, doctor",
        reads=("measurements", "keys", "sealed", "shares"),
        writes=("measurements",),
        every=("Create", "Describe", "DescribeConfigs"),
    ),
    "company": Access(
        "the company's own producers, and the subscribers to results",
        reads=("measurements", "fairness-metrics", "refused"),
        writes=(SOURCES, "member-attributes"),
        group="company.",
    ),
}  # fmt: skip
"""By role, in the order of ``PRINCIPALS``."""


@dataclass(frozen=True, order=True)
class Rule:
    """What one principal may do with one resource, or with all whose names begin so.

    Attributes:
        role: one of ``PRINCIPALS``. principal: its name on this cluster, such as "User:evenstream-seal".
        name: the resource's name, or with ``prefixed`` the beginning of names.
    """

    role: str
    principal: str
    resource: Resource
    name: str
    prefixed: bool
    operations: tuple[Operation, ...]


def compared_topics(role: str) -> frozenset[str]:
    """Short names of evenstream's own topics that a role uses, and so compares with the protocol when it starts."""
    access = TABLE[role]
    return frozenset((*access.reads, *access.writes, *access.trims)) - INPUTS


def needs(role: str) -> tuple[Mapping[str, frozenset[Operation]], str | None]:
    """What a role can ask the broker about at its start: by short name of a topic the operations, and a group.

    Without source topics, which measurements name. The group's name is without the deployment; a role whose groups only
    begin alike has one of them here.
    """
    access = TABLE[role]
    found: dict[str, set[Operation]] = {}
    for topic in access.reads:
        found.setdefault(topic, set()).add("Read")
    for topic in access.writes:
        found.setdefault(topic, set()).add("Write")
    for topic in compared_topics(role):
        found.setdefault(topic, set()).add("DescribeConfigs")
    found.pop(SOURCES, None)
    group = access.group
    return {topic: frozenset(ops) for topic, ops in found.items()}, f"{group}0" if group and group[-1] == "." else group


def rules(settings: Settings) -> tuple[Rule, ...]:
    """Everything that is allowed in a deployment, in the order of the table.

    Raises:
        SettingsError: two roles would be one principal, and either could do what only the other may.
    """
    names = {role: settings.principal(role) for role in PRINCIPALS}
    for role, name in names.items():
        twin = next((other for other in PRINCIPALS if other != role and names[other] == name), None)
        if twin is not None:
            raise SettingsError(
                f"{role} and {twin} are both {name}: each role needs a principal of its own (principals.pattern, "
                "principals.names)"
            )
    return tuple(rule for role, access in TABLE.items() for rule in _of(settings, role, access))


def _of(settings: Settings, role: str, access: Access) -> Iterator[Rule]:
    principal = settings.principal(role)
    found: dict[str, list[Operation]] = {}
    own = compared_topics(role) if role in _ROLES else frozenset()
    for operation, topics in (
        ("Read", access.reads),
        ("Write", access.writes),
        ("Delete", access.trims),
        ("DescribeConfigs", (*access.asks, *(t for t in (*access.reads, *access.writes) if t in own))),
    ):
        for topic in dict.fromkeys(topics):
            found.setdefault(topic, []).append(operation)  # type: ignore[arg-type]  # the literals above
    for topic, operations in found.items():
        for name in settings.sources() if topic == SOURCES else (settings.topic(topic),):
            yield Rule(role, principal, "topic", name, False, tuple(operations))
    if access.every:
        yield Rule(role, principal, "topic", settings.topic(""), True, access.every)
    if access.transactions is not None:
        prefixed = access.transactions.endswith(".")
        yield Rule(role, principal, "transactional_id", settings.group(access.transactions), prefixed, ("Write",))
    if access.reads:
        yield Rule(role, principal, "group", settings.group(""), True, ("Describe",))
    if access.group is not None:
        yield Rule(role, principal, "group", settings.group(access.group), access.group.endswith("."), ("Read",))


_ROLES = frozenset(("seal", "attach", "a", "b", "publish"))
"""Those that run as processes and compare their topics at start."""


def allowed(found: Iterable[Rule], role: str, resource: Resource, name: str) -> frozenset[Operation]:
    """Every operation that rules allow a role on one resource, with those that Kafka implies."""
    stated = {
        operation
        for rule in found
        if rule.role == role and rule.resource == resource and _covers(rule, name)
        for operation in rule.operations
    }
    return frozenset(stated | {implied for operation in stated for implied in _IMPLIED.get(operation, ())})


def _covers(rule: Rule, name: str) -> bool:
    return name.startswith(rule.name) if rule.prefixed else name == rule.name


# -- as text ------------------------------------------------------------------------------------------------------


def kafka_acls_command(rule: Rule, bootstrap: str) -> str:
    """The command of Kafka's own tool that adds a rule."""
    option = {"topic": "--topic", "group": "--group", "transactional_id": "--transactional-id"}[rule.resource]
    words = [
        f"kafka-acls.sh --bootstrap-server {bootstrap} --command-config admin.properties --add",
        f"--allow-principal '{rule.principal}'",
        *(f"--operation {operation}" for operation in rule.operations),
        f"{option} '{rule.name}'",
    ]
    return " ".join([*words, *(["--resource-pattern-type prefixed"] if rule.prefixed else [])])


def strimzi_users(found: Iterable[Rule], cluster: str) -> str:
    """KafkaUser resources for Strimzi's operator, one YAML document a principal.

    Strimzi gives a user the principal ``User:NAME`` with SCRAM and ``User:CN=NAME`` with mutual TLS; which of the two
    follows from the principal's name.

    Args:
        cluster: the name of the Kafka resource.

    Raises:
        SettingsError: a principal has a name that no KafkaUser can have.
    """
    by_principal: dict[str, list[Rule]] = {}
    for rule in found:
        by_principal.setdefault(rule.principal, []).append(rule)
    documents = [_strimzi_user(principal, of, cluster) for principal, of in by_principal.items()]
    return yaml.safe_dump_all(documents, sort_keys=False, explicit_start=True, width=120)


def _strimzi_user(principal: str, found: list[Rule], cluster: str) -> dict[str, object]:
    name = principal.removeprefix("User:")
    authentication = "tls" if name.startswith("CN=") else "scram-sha-512"
    name = name.removeprefix("CN=")
    if not name or not set(name) <= _KUBERNETES_NAME or not name[0].isalnum() or not name[-1].isalnum():
        raise SettingsError(
            f"{principal} cannot be a KafkaUser: Strimzi knows User:NAME and User:CN=NAME, where NAME has lower-case "
            "letters, digits, - and . only (principals.pattern, principals.names)"
        )
    kinds = {"topic": "topic", "group": "group", "transactional_id": "transactionalId"}
    acls = [
        {
            "resource": {
                "type": kinds[rule.resource],
                "name": rule.name,
                "patternType": "prefix" if rule.prefixed else "literal",
            },
            "operations": list(rule.operations),
            "host": "*",
        }
        for rule in found
    ]
    return {
        "apiVersion": "kafka.strimzi.io/v1",
        "kind": "KafkaUser",
        "metadata": {"name": name, "labels": {"strimzi.io/cluster": cluster}},
        "spec": {
            "authentication": {"type": authentication},
            "authorization": {"type": "simple", "acls": acls},
        },
    }


_KUBERNETES_NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-.")


def markdown_table() -> str:
    """The table as docs/operations.md holds it."""

    def shown(topics: Iterable[str]) -> str:
        return ", ".join("the source topics" if topic == SOURCES else f"`{topic}`" for topic in topics) or "-"

    lines = ["| principal | who | reads | writes | also |", "|---|---|---|---|---|"]
    for role, access in TABLE.items():
        also = [
            *(["compares the configuration of its topics"] if role in _ROLES else []),
            *([f"deletes records of {shown(access.trims)}"] if access.trims else []),
            *([f"{', '.join(access.every)} on every topic of the deployment"] if access.every else []),
            *([f"transactional id `DEPLOYMENT.{access.transactions}`"] if access.transactions else []),
            *([f"consumer group `DEPLOYMENT.{access.group}`"] if access.group else []),
        ]
        lines.append(
            f"| `{role}` | {access.who} | {shown(access.reads)} | {shown(access.writes)} | {'; '.join(also) or '-'} |"
        )
    return "\n".join(lines) + "\n"
