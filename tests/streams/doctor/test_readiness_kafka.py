"""`evenstream doctor --as ROLE` on a secured Kafka, each role with its own credentials: all well, and what is not.

One deployment, before any role has run; each fault is made and mended by its test.
"""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from click.testing import CliRunner
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its API
    AclBinding,
    AclOperation,
    AclPermissionType,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourcePatternType,
    ResourceType,
)

from privacy import parse_measurement
from secure_agg.keyring import create
from streams import acl
from streams.cli import main
from streams.doctor.findings import Finding, exit_status
from streams.doctor.readiness import access
from streams.doctor.readiness import keys as readiness_keys
from streams.doctor.readiness import topics as readiness_topics
from streams.doctor.readiness.examination import examine
from streams.doctor.readiness.reach import check
from streams.doctor.readiness.subject import Subject
from streams.doctor.report import line
from streams.free_ports import free_port
from streams.kafka import acls, topics
from streams.kafka.clients import admin
from streams.kafka.dev_broker import DevBroker
from streams.kafka.dev_security import BrokerSecurity
from streams.settings import PRINCIPALS, Settings
from streams.trial import Trial

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

SPEC = """
id: feed
purpose: readiness
source: {{topic: {topic}, member: m, time: ts, time_format: epoch_ms}}
cells: {{decision: {{field: r}}}}
windows: {{base: 1s, lateness: 1s, max_future: 1s}}
reference: white
privacy: {{contribution_cap: 24, cap_rule: first, rho_member_day: 0.1}}
review: {{owner: the tests, harm_considered: none, data_used: made up, retention: until the test ends}}
test_only: {{noise_scale_units: 0.01}}
"""


@pytest.fixture(scope="module")
def security(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, BrokerSecurity]]:
    """A secured broker: its address, and who may reach it."""
    broker = DevBroker(tmp_path_factory.mktemp("readiness-kafka") / "kafka", secure=True)
    try:
        process = broker.start(progress=print)
        assert broker.security is not None
        yield process.bootstrap, broker.security
    finally:
        broker.stop()


@pytest.fixture(scope="module")
def trial(security: tuple[str, BrokerSecurity], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    """A deployment with its topics, keys and a measurement in force; no role has ever run."""
    overrides = [
        "topics.partitions=2",
        "test_cluster=true",
        "keys.governance_threshold=1",
        "http.port=0",
        "privacy.rho_member_day_limit=1",
        "privacy.rho_30_days_limit=100",
        "privacy.rho_year_limit=1000",
    ]
    made = Trial(tmp_path_factory.mktemp("readiness"), print, name="t", overrides=overrides, secure=True)
    try:
        made.start_kafka(*security)
        source = made.settings.topic("rec-events")
        made.prepare([source])
        now_ms = time.time_ns() // 1_000_000
        spec = parse_measurement(SPEC.format(topic=source), origin="test")
        made.approve(spec.with_effective_from((now_ms // 1000 + 1) * 1000), now_ms)
        yield made
    finally:
        made.stop()


def asked(settings: Settings, role: str) -> list[Finding]:
    """What the checks say."""
    return examine(Subject(settings, role))


def wrong(findings: list[Finding]) -> list[Finding]:
    """What is not ok."""
    return [finding for finding in findings if finding.verdict != "ok"]


@pytest.mark.parametrize("role", PRINCIPALS)
def test_all_is_well_before_a_role_has_run(trial: Trial, role: str) -> None:
    """Every principal of the table has all that it needs and nothing else, by the command, in lines and as JSON."""
    command = ["--config", str(trial.config_of(role)), "doctor", "--as", role]
    result = CliRunner().invoke(main, [*command, "--json"] if role == "b" else command)
    assert result.exit_code == 0, result.output
    if role == "b":
        told = json.loads(result.output)
        assert (told["as"], told["status"]) == ("b", 0)
        checks = [finding["check"] for finding in told["findings"]]
        assert list(dict.fromkeys(checks)) == [
            "brokers", "authentication", "acls", "topics", "specs", "clock", "keys", "certificates", "http",
        ]  # fmt: skip
    else:
        assert all(text.startswith("ok ") for text in result.output.splitlines())


# -- credentials and ACLs ---------------------------------------------------------------------------------------------


def with_properties(settings: Settings, **properties: str) -> Settings:
    """The same, with some of Kafka's properties changed."""
    changed = settings.kafka.properties | {name.replace("_", "."): value for name, value in properties.items()}
    return settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"properties": changed})})


def test_a_wrong_password_is_told_within_seconds(trial: Trial) -> None:
    """As such, with the principal's name and without the password, and what Kafka would have told is unseen."""
    begun = time.monotonic()
    found = asked(with_properties(trial.settings_of("seal"), sasl_password="guessed-wrong"), "seal")
    assert time.monotonic() - begun < 20
    first = wrong(found)[0]
    assert (first.check, first.verdict) == ("authentication", "wrong")
    assert trial.settings.principal("seal") in first.says
    assert "guessed-wrong" not in "".join(map(line, found))
    assert [f.check for f in found if f.verdict == "unseen"] == ["brokers"]
    assert exit_status(found) == 1


def test_tls_is_told_from_a_refusal(trial: Trial, tmp_path: Path) -> None:
    """An authority that did not sign, a listener that speaks otherwise, a closed port and an unknown name, each so."""
    settings = trial.settings_of("publish")
    stranger = BrokerSecurity.create(tmp_path / "stranger").authority
    open_ = settings.kafka.model_copy(update={"properties": {}})
    closed = f"127.0.0.1:{free_port()}"

    def first(asked_with: Settings) -> str:
        (only,) = [f for f in check(Subject(asked_with, "publish")) if f.verdict == "wrong"]
        assert only.check == "brokers"
        return only.says

    def at(address: str) -> Settings:
        return settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"bootstrap": address})})

    with ThreadPoolExecutor() as pool:
        says = list(
            pool.map(
                first,
                (
                    with_properties(settings, ssl_ca_location=str(stranger)),
                    settings.model_copy(update={"kafka": open_}),
                    at(closed),
                    at("nosuch.invalid:9092"),
                ),
            )
        )
    assert "its certificate is not believed" in says[0]
    assert "does not speak as it was asked" in says[1]
    assert f"nothing answers at {closed}" in says[2]
    assert "refused" in says[2]
    assert "name of nosuch.invalid:9092 is not known" in says[3]


@contextmanager
def stranger_with_tls(folder: Path) -> Iterator[str]:
    """Something that speaks TLS, with a certificate of another authority; its address."""
    BrokerSecurity.create(folder / "stranger")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "stranger" / "broker.pem")
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as plain, context.wrap_socket(plain, server_side=True) as server:
        server.settimeout(0.2)

        def accept() -> None:
            while not ended.is_set():
                with suppress(OSError):
                    server.accept()[0].close()

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            ended.set()
            thread.join()


def test_one_address_of_two_that_is_dead(trial: Trial, tmp_path: Path) -> None:
    """While the other answers it is only told: a broker is being maintained. One that refuses this role is wrong."""
    settings = trial.settings_of("b")

    def at(address: str) -> list[Finding]:
        kafka = settings.kafka.model_copy(update={"bootstrap": f"{settings.kafka.bootstrap},{address}"})
        return list(check(Subject(settings.model_copy(update={"kafka": kafka}), "b")))

    dead = f"127.0.0.1:{free_port()}"
    found = at(dead)
    assert [f.verdict for f in found] == ["ok", "ok", "ok"]
    assert found[0].says.startswith(f"nothing answers at {dead}")
    assert found[0].says.endswith("Another address answers, which is enough while this one is down")
    unknown = at("nosuch.invalid:9092")[0]
    assert (unknown.verdict, "name of nosuch.invalid:9092 is not known" in unknown.says) == ("ok", True)
    with stranger_with_tls(tmp_path) as address:
        refused = at(address)[0]
    assert (refused.verdict, "its certificate is not believed" in refused.says) == ("wrong", True)


def test_fewer_brokers_than_copies(trial: Trial) -> None:
    """It is told while every topic is there, to the operator too; where a topic is yet to be made, it is wrong."""

    def of_brokers(role: str) -> Finding:
        settings = trial.settings_of(role)
        three = settings.topics.model_copy(update={"replication_factor": 3})
        (only,) = [
            f for f in check(Subject(settings.model_copy(update={"topics": three}), role)) if f.check == "brokers"
        ]
        return only

    for role in ("seal", "attach", "publish", "operator"):
        found = of_brokers(role)
        assert found.verdict == "ok", found
        assert found.says.startswith("there are 1 brokers, and topics.replication_factor is 3. All topics that")
    gone = trial.settings.topic("state-a")
    topics.delete(trial.settings_of("admin"), (gone,))
    try:
        await_topics(trial, "a", 1)
        assert {role: of_brokers(role).verdict for role in ("a", "operator", "b")} == {
            "a": "wrong",
            "operator": "wrong",
            "b": "ok",
        }
    finally:
        topics.create(trial.settings_of("operator"), topics.plan(trial.settings))
    assert await_topics(trial, "a", 0) == []


def test_credentials_of_another_role(trial: Trial) -> None:
    """They are taken, and named for whose they are; what that principal may not do is named as well."""
    found = wrong(asked(trial.settings_of("a"), "b"))
    says = [f.says for f in found if f.check == "authentication"]
    assert says == [
        f"these are the credentials of {trial.settings.principal('a')}, and b is {trial.settings.principal('b')}"
    ]
    acl_says = " ".join(f.says for f in found if f.check == "acls")
    assert f"may not Describe, DescribeConfigs, Read, Write topic {trial.settings.topic('ledger-b')}" in acl_says
    assert f"may, and must not, Write transactional id {trial.settings.group('a.doctor')}" in acl_says


def test_a_super_user_is_no_role(trial: Trial) -> None:
    """Whoever may do everything is told so, in one line."""
    settings = trial.settings_of("admin")
    (only,) = [f for f in asked(settings, "seal") if f.check == "acls"]
    assert (only.verdict, "super user" in only.says) == ("wrong", True)


@contextmanager
def changed_acls(trial: Trial, taken: list[AclBinding], given: list[AclBinding]) -> Iterator[None]:
    """ACLs taken away and given, until the test is over."""
    settings = trial.settings_of("admin")
    acls.delete(settings, taken)
    acls.create(settings, given)
    try:
        yield
    finally:
        acls.create(settings, taken)
        acls.delete(settings, given)


def acl_findings(trial: Trial, role: str, count: int) -> list[Finding]:
    """What is said of a role's ACLs, once the broker knows of so many changes of them."""
    deadline = time.monotonic() + 10
    while True:
        subject = Subject(trial.settings_of(role), role, reached=True)
        found = [f for f in access.check(subject) if f.verdict == "wrong"]
        if len(found) == count or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


def test_an_acl_that_is_missing(trial: Trial) -> None:
    """Of a topic, of the group and of the transactional id: operation and resource, and how it is given."""
    bindings = acls.bindings(rule for rule in acl.rules(trial.settings) if rule.role == "attach")
    settings = trial.settings
    lost = {
        ("WRITE", settings.topic("shares")),
        ("READ", settings.group("attach")),
        ("WRITE", settings.group("attach.")),
    }
    taken = [b for b in bindings if (AclOperation(b.operation).name, b.name) in lost]
    with changed_acls(trial, taken, []):
        found = acl_findings(trial, "attach", 3)
    assert {f.says for f in found} == {
        f"it may not Write topic {settings.topic('shares')}",
        f"it may not Read group {settings.group('attach')}",
        f"it may not Write transactional id {settings.group('attach.doctor')}",
    }
    assert all("evenstream acl apply" in f.do for f in found)
    assert acl_findings(trial, "attach", 0) == []


def test_an_acl_that_is_too_much(trial: Trial) -> None:
    """Another party's state, its transactional ids, and the cluster: named, though nothing is missing."""
    settings = trial.settings
    who = settings.principal("b")

    def binding(kind: ResourceType, name: str, operation: AclOperation, pattern: ResourcePatternType) -> AclBinding:
        return AclBinding(kind, name, pattern, who, "*", operation, AclPermissionType.ALLOW)

    literal, prefixed = ResourcePatternType.LITERAL, ResourcePatternType.PREFIXED
    given = [
        binding(ResourceType.TOPIC, settings.topic("state-a"), AclOperation.READ, literal),
        binding(ResourceType.TRANSACTIONAL_ID, settings.group("a."), AclOperation.WRITE, prefixed),
        binding(ResourceType.BROKER, "kafka-cluster", AclOperation.ALTER, literal),
    ]
    with changed_acls(trial, [], given):
        found = acl_findings(trial, "b", 3)
    assert {f.says for f in found} == {
        f"it may, and must not, Describe, Read topic {settings.topic('state-a')}",
        f"it may, and must not, Write transactional id {settings.group('a.doctor')}",
        "it may, and must not, Alter, Describe the cluster",
    }
    assert all("--prune" in f.do for f in found)


# -- topics and keys --------------------------------------------------------------------------------------------------


def set_config(trial: Trial, topic: str, name: str, value: str) -> None:
    """Change one property of a topic."""
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    client = admin(trial.settings_of("admin"))
    client.incremental_alter_configs([resource])[resource].result(20)


def topic_findings(trial: Trial, role: str) -> list[Finding]:
    """What is wrong with a role's topics."""
    subject = Subject(trial.settings_of(role), role, reached=True, enforced=True)
    return [f for f in readiness_topics.check(subject) if f.verdict != "ok"]


def await_topics(trial: Trial, role: str, wanted: int) -> list[Finding]:
    """The same, once the broker shows so many differences."""
    deadline = time.monotonic() + 10
    while len(found := topic_findings(trial, role)) != wanted and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def test_a_topic_with_a_wrong_setting(trial: Trial) -> None:
    """A ledger that would be compacted is told to its party, with the command; to the other party nothing is."""
    name = trial.settings.topic("ledger-a")
    set_config(trial, name, "cleanup.policy", "compact")
    try:
        (only,) = await_topics(trial, "a", 1)
        assert topic_findings(trial, "b") == []
    finally:
        set_config(trial, name, "cleanup.policy", "delete")
    assert only.says == f"{name}: cleanup.policy is compact, expected delete"
    assert "kafka-configs.sh" in only.do


def test_a_source_whose_clock_is_the_producers(trial: Trial) -> None:
    """Seal is told that arrival would be the producers' word, with the command that mends it."""
    name = trial.settings.topic("rec-events")
    set_config(trial, name, "message.timestamp.type", "CreateTime")
    try:
        (only,) = await_topics(trial, "seal", 1)
    finally:
        set_config(trial, name, "message.timestamp.type", "LogAppendTime")
    assert only.says == f"{name}: message.timestamp.type is CreateTime, expected LogAppendTime"
    assert "message.timestamp.type=[LogAppendTime]" in only.do


def test_members_that_would_be_forgotten(trial: Trial) -> None:
    """Attach is told of a topic of attributes that deletes by age: members would leave it unseen, and opt-outs too."""
    name = trial.settings.topic("member-attributes")
    set_config(trial, name, "cleanup.policy", "compact,delete")
    try:
        (only,) = await_topics(trial, "attach", 1)
    finally:
        set_config(trial, name, "cleanup.policy", "compact")
    assert only.says == f"{name}: cleanup.policy is compact,delete, expected compact"
    assert "cleanup.policy=[compact]" in only.do


def test_topics_that_are_not_there(trial: Trial) -> None:
    """An own one, the members' and a source, each with who makes it; retention, which compares nothing, sees it too."""
    settings = trial.settings
    gone = [settings.topic(name) for name in ("state-attach", "member-attributes", "rec-events")]
    topics.delete(trial.settings_of("admin"), tuple(gone))
    try:
        assert [(f.verdict, f.says) for f in await_topics(trial, "attach", 2)] == [
            ("wrong", f"{gone[0]}: does not exist"),
            ("wrong", f"{gone[1]}: does not exist"),
        ]
        assert [f.says for f in await_topics(trial, "seal", 1)] == [f"{gone[2]}: does not exist"]
        (only,) = await_topics(trial, "retention", 1)
        assert (only.says, "evenstream topics create" in only.do) == (f"{gone[0]}: does not exist", True)
    finally:
        plans = (*topics.plan(settings), *topics.input_plan(settings, (gone[2],)))
        topics.create(trial.settings_of("operator"), plans)
    assert await_topics(trial, "attach", 0) == []


def test_keys_of_another_role(trial: Trial, tmp_path: Path) -> None:
    """Seal's folder in attach's place, and keys of another deployment, are told before a role refuses to start."""
    settings = trial.settings_of("attach")
    shutil.copytree(settings.keys.dir / "seal", tmp_path / "keys" / "attach")
    create(tmp_path / "others", "elsewhere")

    def key_findings(folder: Path) -> list[str]:
        keys = settings.keys.model_copy(update={"dir": folder})
        subject = Subject(settings.model_copy(update={"keys": keys}), "attach", reached=True)
        return [f.says for f in readiness_keys.check(subject) if f.verdict == "wrong"]

    (says,) = key_findings(tmp_path / "keys")
    assert "is not the identity that trusted.json pins for 'attach'" in says
    (says,) = key_findings(tmp_path / "others")
    assert "were made for deployment 'elsewhere'" in says


def test_a_cluster_that_forbids_nothing(kafka: str, make_settings: Callable[..., Settings]) -> None:
    """It is wrong, but on what the settings call a test cluster; that nobody is authenticated is said as well."""
    for test_cluster, verdict in (("true", "ok"), ("false", "wrong")):
        settings = make_settings(kafka, f"test_cluster={test_cluster}")
        found = {f.check: f for f in asked(settings, "a")}
        assert found["acls"].verdict == verdict
        assert "forbids nobody anything" in found["acls"].says
        assert "without authentication" in found["authentication"].says
