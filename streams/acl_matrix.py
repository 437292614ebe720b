"""The matrix: every principal tries every operation on every topic and transactional id, and is held to the table.

On a secured broker of its own, where nothing is worth anything: a try that should be refused and is not has changed
something. Reading, writing, deleting records and topics, describing, asking for and changing configuration, creating,
adding partitions and beginning transactions are really tried, each with a client of that principal; what it may do
with consumer groups and the cluster is the broker's own answer (``include_authorized_operations``). Difference in
either direction counts: what is documented and refused, and what is allowed and not documented.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its API
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)
from rich.console import Console
from rich.table import Table

from streams import acl, scaling
from streams.acl import Rule
from streams.errors import EvenstreamError
from streams.kafka import topics
from streams.kafka.clients import admin, make_consumer, make_producer
from streams.kafka.dev_security import BrokerSecurity
from streams.kafka.refusals import describe_groups, is_refusal, operation_names
from streams.settings import PRINCIPALS, Settings
from streams.trial import Trial

LETTERS = {
    "Read": "R",
    "Write": "W",
    "Describe": "d",
    "DescribeConfigs": "c",
    "Create": "N",
    "Delete": "X",
    "Alter": "P",
    "AlterConfigs": "A",
}
"""How the printed table shows an operation."""

_LEGEND = (
    "R read, W write, d describe, c ask for configuration, N create, X delete records and the topic, "
    "P add partitions, A change configuration; a transactional id: W begin transactions"
)
_SECONDS = 60.0
_TRY_SECONDS = 3.0
Place = tuple[str, str, str]
"""(role, kind of resource, name)."""

Came = tuple[dict[Place, frozenset[str]], int]
"""By place, the operations that succeeded; and how many were tried."""


@dataclass(frozen=True)
class Matrix:
    """What was tried and what came of it.

    Attributes:
        topics, transactional_ids: names that were tried. observed: by place, the operations that succeeded.
        expected: the same, from the table.
    """

    topics: tuple[str, ...]
    transactional_ids: tuple[str, ...]
    groups: tuple[str, ...]
    observed: Mapping[Place, frozenset[str]]
    expected: Mapping[Place, frozenset[str]]
    tries: int

    def differences(self) -> list[str]:
        """One line for each operation that is documented and refused, or allowed and not documented."""
        lines = []
        for place, expected in self.expected.items():
            role, kind, name = place
            where = f"{kind.replace('_', ' ')} {name}".rstrip()
            observed = self.observed[place]
            lines += [f"{role}: {op} on {where} is documented, but refused" for op in sorted(expected - observed)]
            lines += [f"{role}: {op} on {where} is allowed, but not documented" for op in sorted(observed - expected)]
        return lines

    def print(self, console: Console) -> None:
        """The table, principals across and resources down."""
        shown = Table("resource", *PRINCIPALS)
        kinds = (
            ("topic", "", self.topics),
            ("transactional_id", "transactional id ", self.transactional_ids),
            ("group", "group ", self.groups),
            ("cluster", "the cluster", ("",)),
        )
        for kind, before, names in kinds:
            for name in names:
                cells = (self.observed[role, kind, name] for role in PRINCIPALS)
                shown.add_row(f"{before}{name}", *map(_letters, cells))
            shown.add_section()
        console.print(shown)
        console.print(_LEGEND)


def _letters(operations: frozenset[str]) -> str:
    """As the table shows them; what no letter stands for, and nobody should have, is written out."""
    strange = sorted(operations - LETTERS.keys())
    return " ".join(["".join(letter for operation, letter in LETTERS.items() if operation in operations), *strange])


def examine(settings_of: Callable[[str], Settings], plans: tuple[topics.TopicPlan, ...], foreign: str) -> Matrix:
    """Try everything.

    Args:
        settings_of: the settings of each of ``PRINCIPALS``, and of "admin".
        plans: topics to try; all must exist. They exist again afterwards, but what they held may be gone.
        foreign: name of another deployment.

    Raises:
        EvenstreamError: a try had no clear answer.
    """
    base = settings_of("admin")
    names = tuple(plan.name for plan in plans)
    ids = (
        *(f"{base.group(role)}.1.0" for role in ("seal", "attach", "a", "b", "publish")),
        scaling.transactional_id(base, "seal"),
        f"{base.group('operator')}.1.0",
        base.group("governance"),
        base.group("governance-2"),  # of which the one above is a beginning
        f"{foreign}.seal.1.0",
    )
    groups = (
        *(base.group(name) for name in ("seal", "attach", "a", "b", "publish.0123abcd", "state-reader")),
        f"{foreign}.publish.0123abcd",
    )
    _await_coordinators(base, groups, names[0])
    observed: dict[Place, frozenset[str]] = {}
    tries = 0

    def note(came: Came) -> None:
        nonlocal tries
        observed.update(came[0])
        tries += came[1]

    with ThreadPoolExecutor(12) as pool:
        works: list[Future[Came]] = []
        for role in PRINCIPALS:
            principal = _Principal(role, settings_of(role))
            works.append(pool.submit(principal.try_topics, names))
            works += [pool.submit(principal.try_transaction, transactional_id) for transactional_id in ids]
            works.append(pool.submit(principal.ask, groups))
        for work in works:
            note(work.result())
        for role in PRINCIPALS:  # last and one by one: what succeeds here is gone, and is made anew for the next
            note(_Principal(role, settings_of(role)).try_deletion(names, observed))
            if any("Delete" in observed[role, "topic", name] for name in names):
                topics.create(base, plans)
    found = acl.rules(base)
    return Matrix(names, ids, groups, observed, {place: _expected(found, place) for place in observed}, tries)


def _await_coordinators(settings: Settings, groups: tuple[str, ...], topic: str) -> None:
    """Return when the cluster answers for each group: a new one makes their topic when the first is asked for.

    Each try has a client of its own: one that asked too early may wait until its time is over.
    """
    deadline = time.monotonic() + _SECONDS
    for group in groups:
        while (error := _without_coordinator(settings, group, topic)) is not None:
            if time.monotonic() > deadline:
                raise EvenstreamError(f"group {group} has no coordinator: {error.name()}")
            time.sleep(0.1)


def _without_coordinator(settings: Settings, group: str, topic: str) -> KafkaError | None:
    consumer = make_consumer(settings, group)
    try:
        consumer.committed([TopicPartition(topic, 0)], timeout=_TRY_SECONDS)
    except KafkaException as error:
        found: KafkaError = error.args[0]
        return found
    finally:
        consumer.close()
    return None


def _expected(found: tuple[Rule, ...], place: Place) -> frozenset[str]:
    role, kind, name = place
    if kind == "cluster":
        return frozenset()
    allowed = acl.allowed(found, role, kind, name)  # type: ignore[arg-type]  # the kinds above
    return allowed - {"Describe"} if kind == "transactional_id" else allowed  # which is not tried


class _Principal:
    """One principal's clients."""

    def __init__(self, role: str, settings: Settings) -> None:
        self._role = role
        self._settings = settings

    # -- topics ---------------------------------------------------------------------------------------------------

    def try_topics(self, names: tuple[str, ...]) -> Came:
        client = admin(self._settings)
        seen = self._asked(client.describe_topics(TopicCollection(list(names)), request_timeout=_SECONDS))
        succeeded = {
            "Read": self._read(tuple(sorted(seen))),  # a client that may not see a topic never comes to fetch from it
            "Write": self._write(names),
            "Describe": seen,
            "DescribeConfigs": self._resources(client.describe_configs, names),
            "AlterConfigs": self._resources(client.incremental_alter_configs, names, change=True),
            "Create": self._asked(
                client.create_topics([NewTopic(n, 1, 1) for n in names], validate_only=True, request_timeout=_SECONDS)
            ),
            "Alter": self._asked(client.create_partitions([NewPartitions(n, 64) for n in names], validate_only=True)),
            "Delete": {
                partition.topic
                for partition in self._asked(
                    client.delete_records([TopicPartition(n, 0, 0) for n in names], request_timeout=_SECONDS)
                )
            },
        }
        found = {
            (self._role, "topic", name): frozenset(op for op, where in succeeded.items() if name in where)
            for name in names
        }
        return found, len(succeeded) * len(names)

    def try_deletion(self, names: tuple[str, ...], observed: Mapping[Place, frozenset[str]]) -> Came:
        """Whoever may delete a topic's records may, for Kafka, delete the topic as well; nobody else may."""
        client = admin(self._settings)  # kept until the answers are there: one that is let go drops its questions
        gone = self._asked(client.delete_topics(list(names), request_timeout=_SECONDS))
        places = [(self._role, "topic", name) for name in names]
        for place in places:
            if (place[2] in gone) != ("Delete" in observed[place]):
                raise EvenstreamError(f"{place}: Kafka answers otherwise for the topic than for its records")
        return {}, len(names)

    def _resources(self, ask: Callable[..., Any], names: tuple[str, ...], *, change: bool = False) -> set[str]:
        entry = ConfigEntry("file.delete.delay.ms", "60001", incremental_operation=AlterConfigOpType.SET)
        entries = [entry] if change else None
        resources = [ConfigResource(ResourceType.TOPIC, n, incremental_configs=entries) for n in names]
        options = {"validate_only": True} if change else {}
        return {r.name for r in self._asked(ask(resources, request_timeout=_SECONDS, **options))}

    def _asked(self, answers: Mapping[Any, Future[Any]]) -> set[Any]:
        """For what the answer is no refusal; another error, such as that a topic exists, is none."""
        allowed = set()
        for place, answer in answers.items():
            try:
                answer.result(_SECONDS)
                allowed.add(place)
            except KafkaException as error:
                if self._is_answer(error.args[0]):
                    allowed.add(place)
        return allowed

    def _is_answer(self, error: KafkaError) -> bool:
        """False for a refusal, True for whatever a broker says after it has looked; else there is no clear answer."""
        if is_refusal(error):
            return False
        if error.code() < 0 or error.retriable():  # librdkafka's own, such as a time-out
            raise EvenstreamError(f"{self._role}: a try had no clear answer: {error.str()}")
        return True

    def _read(self, names: tuple[str, ...]) -> set[str]:
        consumer: Consumer = make_consumer(
            self._settings, self._settings.group("matrix"), **{"auto.offset.reset": "earliest"}
        )
        allowed: set[str] = set()
        refused: set[str] = set()
        try:
            consumer.assign([TopicPartition(name, 0, 0) for name in names])
            deadline = time.monotonic() + _SECONDS
            while len(allowed) + len(refused) < len(names):
                if time.monotonic() > deadline:
                    raise EvenstreamError(f"{self._role}: no answer to reading {set(names) - allowed - refused}")
                for message in consumer.consume(1000, 0.1):
                    error, topic = message.error(), message.topic()
                    if topic is None:  # of the group, which the broker is asked about apart
                        continue
                    refusal = error is not None and is_refusal(error)
                    (refused if refusal else allowed).add(str(topic))
        finally:
            consumer.close()
        return allowed

    def _write(self, names: tuple[str, ...]) -> set[str]:
        answers: dict[str, KafkaError | None] = {}
        # Not idempotent: for that a producer must be allowed to write to some topic, and not all of these are.
        producer: Producer = make_producer(self._settings, None, **{"enable.idempotence": False})

        def delivered(error: KafkaError | None, message: Message) -> None:
            answers[str(message.topic())] = error

        for name in names:
            producer.produce(name, b"matrix", key=b"matrix", partition=0, on_delivery=delivered)
        producer.flush(_SECONDS)
        if len(answers) < len(names):
            raise EvenstreamError(f"{self._role}: no answer to writing {set(names) - answers.keys()}")
        return {name for name, error in answers.items() if error is None or self._is_answer(error)}

    # -- the rest -------------------------------------------------------------------------------------------------

    def try_transaction(self, transactional_id: str) -> Came:
        producer = make_producer(self._settings, transactional_id)
        operations = {"Write"}
        try:
            producer.init_transactions(_SECONDS)
        except KafkaException as error:
            if not self._is_answer(error.args[0]):
                operations = set()
        return {(self._role, "transactional_id", transactional_id): frozenset(operations)}, 1

    def ask(self, groups: tuple[str, ...]) -> Came:
        client = admin(self._settings)
        found: dict[Place, frozenset[str]] = {}
        for group, answer in describe_groups(client, groups, _SECONDS).items():
            try:
                operations = operation_names(answer.result().authorized_operations or ())
            except KafkaException as error:
                if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                    operations = frozenset({"Describe"})
                elif self._is_answer(error.args[0]):
                    raise EvenstreamError(f"{self._role}: group {group}: {error.args[0].name()}") from None
                else:
                    operations = frozenset()
            found[self._role, "group", group] = operations
        cluster = client.describe_cluster(include_authorized_operations=True, request_timeout=_SECONDS)
        found[self._role, "cluster", ""] = operation_names(cluster.result(_SECONDS).authorized_operations or ())
        return found, len(groups) + 1


def prepare(
    folder: Path, say: Callable[[str], None], bootstrap: str | None = None, security: BrokerSecurity | None = None
) -> tuple[Trial, tuple[topics.TopicPlan, ...], str]:
    """A secured deployment with topics of its own and of others, on a broker of its own unless one is given.

    Returns:
        the trial, which the caller stops; the topics to try; the other deployment's name.
    """
    trial = Trial(folder, say, name="matrix", overrides=("kafka.request_timeout_seconds=60",), secure=True)
    trial.start_kafka(bootstrap, security)
    try:
        source = trial.settings.topic("rec-events")
        trial.prepare([source])
        foreign = f"{trial.deployment}-2"  # which this one is a beginning of
        others = tuple(topics.TopicPlan(f"{foreign}.{name}", 1, 1) for name in ("sealed", "measurements"))
        topics.create(trial.settings_of("admin"), others)
        plans = (*topics.plan(trial.settings), *topics.input_plan(trial.settings, (source,)), *others)
    except BaseException:
        trial.stop()
        raise
    return trial, plans, foreign


def run(folder: Path, console: Console) -> int:
    """Start a broker, try everything, print the table. 0: it is as documented. 1: it is not."""
    started = time.monotonic()
    trial, plans, foreign = prepare(folder, lambda line: console.print(line, highlight=False))
    try:
        begun = time.monotonic()
        matrix = examine(trial.settings_of, plans, foreign)
        seconds = time.monotonic() - begun
    finally:
        trial.stop()
    matrix.print(console)
    differences = matrix.differences()
    for line in differences:
        console.print(line, highlight=False, soft_wrap=True)
    verdict = f"{len(differences)} DIFFERENCES from" if differences else "precisely as in"
    console.print(
        f"{matrix.tries:,} tries by {len(PRINCIPALS)} principals in {seconds:.0f} s (and {begun - started:.0f} s to "
        f"start Kafka): {verdict} the table of `evenstream acl list`",
        highlight=False,
        soft_wrap=True,
    )
    return 1 if differences else 0
