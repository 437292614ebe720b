"""Check: may this principal do all that the table gives its role (``streams.acl``), and nothing else?

Topics, groups and the cluster are asked about (authorized operations). A transactional id is tried, with
``init_transactions`` on an id that begins as a role's do and that no worker has, so that nobody is fenced.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from streams import acl
from streams.acl import Rule
from streams.doctor.findings import Finding
from streams.doctor.readiness.subject import Subject
from streams.errors import EvenstreamError, KafkaUnavailable, SettingsError
from streams.kafka import acls, topics
from streams.kafka.clients import make_producer, shared_admin
from streams.kafka.refusals import describe_groups, is_refusal, operation_names
from streams.settings import Settings

CHECK = "acls"

_EVERYTHING = frozenset({"Alter", "AlterConfigs", "ClusterAction", "Create"})
"""Of the cluster: whom these are allowed, everything is."""

_GROUPS = ("seal", "attach", "a", "b", "publish.doctor", "company.doctor", "state-reader")
"""Groups of the deployment, with one for each that only begins alike."""

_NO_WORKERS = "doctor"
"""Ends a transactional id: those of workers end in a number."""

_APPLY = "`evenstream acl apply`, as a principal that may alter the cluster (or let Strimzi apply its KafkaUser)"
_PRUNE = "`evenstream acl apply --prune`; ACLs of everyone (User:*) by hand"

Place = tuple[str, str]
"""A kind of resource and a name."""


def check(subject: Subject) -> Iterator[Finding]:
    """One finding for each set of operations that is missing, or too much, with where; else one that all is well."""
    settings, role = subject.settings, subject.role
    client = shared_admin(settings)
    seconds = settings.kafka.request_timeout_seconds
    described = client.describe_cluster(include_authorized_operations=True, request_timeout=seconds)
    cluster = operation_names(described.result(seconds).authorized_operations or ())
    subject.enforced = not cluster >= _EVERYTHING
    if not subject.enforced:
        yield _unenforced(subject)
        return
    try:
        found = acl.rules(settings)
    except SettingsError as error:
        yield Finding(CHECK, "wrong", str(error), "one principal a role: principals.pattern, principals.names")
        return
    granted: dict[Place, frozenset[str] | None] = {("cluster", ""): cluster}
    granted |= _of_topics(settings, client, seconds)
    granted |= _of_groups(settings, client, seconds)
    granted |= _of_transactions(settings)
    wanted = {place: _wanted(found, role, place) for place in granted}
    missing = {place: wanted[place] - ops for place, ops in granted.items() if ops is not None}
    surplus = {place: ops - wanted[place] for place, ops in granted.items() if ops is not None}
    well = True
    for differs, verb, do in ((missing, "may not", _APPLY), (surplus, "may, and must not,", _PRUNE)):
        for named, where in _alike(differs):
            well = False
            yield Finding(CHECK, "wrong", f"it {verb} {', '.join(named)} {where}", do)
    if well:
        untold = sum(ops is None for ops in granted.values())
        left = f"; of {untold} that do not exist Kafka does not tell" if untold else ""
        taken = acl.TABLE[role].transactions
        if taken is not None and not taken.endswith("."):
            left += f"; its transactional id {settings.group(taken)} is not tried, since that would end a command"
        yield Finding(CHECK, "ok", f"all that {role} needs, and nothing else, on {len(granted)} resources{left}")


def _wanted(found: tuple[Rule, ...], role: str, place: Place) -> frozenset[str]:
    kind, name = place
    if kind == "cluster":
        return frozenset()
    allowed = acl.allowed(found, role, kind, name)  # type: ignore[arg-type]  # the kinds below
    return allowed - {"Describe"} if kind == "transactional_id" else frozenset(allowed)  # which is not tried


def _alike(differences: Mapping[Place, frozenset[str]]) -> Iterator[tuple[list[str], str]]:
    """Operations, and in words all resources that differ by just these."""
    by: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (kind, name), operations in differences.items():
        if operations:
            by.setdefault((kind, tuple(sorted(operations))), []).append(name)
    for (kind, alike), names in by.items():
        shown = "the cluster" if kind == "cluster" else f"{kind.replace('_', ' ')} {', '.join(sorted(names))}"
        yield list(alike), shown


def _unenforced(subject: Subject) -> Finding:
    """Everything is allowed: to everybody, or to this principal. Whoever may do everything may read the ACLs as well.

    Where there are some, they bind others, and this principal is a super user.
    """
    if _has_acls(subject.settings):
        return Finding(
            CHECK,
            "wrong",
            "it may do everything on the cluster: a super user, for whom no ACL counts",
            f"give {subject.role} a user of its own; super users are for making users and ACLs, never for a role",
        )
    says = (
        "Kafka forbids nobody anything (no authorizer): that each role sees only what it must is not enforced here, "
        "and whoever reads both `releases` and `state` topics, or `shares` with both keys, puts the halves together"
    )
    if subject.settings.test_cluster:
        return Finding(CHECK, "ok", f"{says}. The settings call this a test cluster (test_cluster)")
    return Finding(
        CHECK,
        "wrong",
        says,
        "configure an authorizer and `evenstream acl apply`, or set test_cluster where this is a trial",
    )


def _has_acls(settings: Settings) -> bool:
    try:
        return bool(acls.described(settings))
    except KafkaUnavailable:  # a cluster without an authorizer may say so
        return False


# -- what the cluster allows ------------------------------------------------------------------------------------------


def _of_topics(settings: Settings, client: AdminClient, seconds: float) -> dict[Place, frozenset[str] | None]:
    """By topic: those of the protocol, the company's, and whatever else of the deployment this principal can see."""
    names = {plan.name for plan in topics.plan(settings)} | {settings.topic("member-attributes"), *settings.sources()}
    try:
        seen = client.list_topics(timeout=seconds).topics
    except KafkaException as error:
        raise EvenstreamError(f"the topics could not be listed: {error.args[0].str()}") from None
    names |= {name for name in seen if name.startswith(settings.topic(""))}
    asked = client.describe_topics(
        TopicCollection(sorted(names)), include_authorized_operations=True, request_timeout=seconds
    )
    return {("topic", name): _granted(answer, KafkaError.UNKNOWN_TOPIC_OR_PART) for name, answer in asked.items()}


def _of_groups(settings: Settings, client: AdminClient, seconds: float) -> dict[Place, frozenset[str] | None]:
    answers = describe_groups(client, [settings.group(name) for name in _GROUPS], seconds)
    return {("group", name): _granted(answer, KafkaError.GROUP_ID_NOT_FOUND) for name, answer in answers.items()}


def _granted(answer: Any, unknown: int) -> frozenset[str] | None:
    """Operations that are allowed; None where there is nothing to be allowed yet."""
    try:
        return operation_names(answer.result().authorized_operations or ())
    except KafkaException as error:
        if is_refusal(error.args[0]):
            return frozenset()
        if error.args[0].code() == unknown:
            return None
        raise


def _of_transactions(settings: Settings) -> dict[Place, frozenset[str] | None]:
    """Every beginning of transactional ids that the table has, of this role and of the others."""
    begins = [access.transactions for access in acl.TABLE.values() if access.transactions is not None]
    ids = [settings.group(f"{begin}{_NO_WORKERS}") for begin in begins if begin.endswith(".")]
    with ThreadPoolExecutor(max_workers=len(ids)) as pool:
        answers = pool.map(lambda transactional_id: _may_begin(settings, transactional_id), ids)
        return {("transactional_id", name): ops for name, ops in zip(ids, answers, strict=True)}


def _may_begin(settings: Settings, transactional_id: str) -> frozenset[str]:
    producer = make_producer(settings, transactional_id)
    try:
        producer.init_transactions(settings.kafka.request_timeout_seconds)
    except KafkaException as error:
        if is_refusal(error.args[0]):
            return frozenset()
        raise
    return frozenset({"Write"})
