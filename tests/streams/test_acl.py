"""The table of who may do what: one writer where there must be one, nothing that a role must not see, its texts."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from itertools import pairwise

import pytest
import yaml
from click.testing import CliRunner

from streams.acl import INPUTS, TABLE, allowed, compared_topics, kafka_acls_command, rules, strimzi_users
from streams.cli import main
from streams.errors import SettingsError
from streams.kafka.topics import plan
from streams.settings import PRINCIPALS, Settings

ROLES = ("seal", "attach", "a", "b", "publish")


def test_the_table_has_every_principal(make_settings: Callable[..., Settings]) -> None:
    """In the settings' order, each with rules, and all topics that it names exist."""
    settings = make_settings()
    assert tuple(TABLE) == PRINCIPALS
    assert {rule.role for rule in rules(settings)} == set(PRINCIPALS)
    own = {topic.name.partition(".")[2] for topic in plan(settings)}
    named = {t for access in TABLE.values() for t in (*access.reads, *access.writes, *access.trims, *access.asks)}
    assert named - INPUTS == own


@pytest.mark.parametrize(
    ("topic", "writers"),
    [
        ("state-seal", {"seal"}),
        ("state-attach", {"attach"}),
        ("state-a", {"a"}),
        ("state-b", {"b"}),
        ("ledger-a", {"a"}),
        ("ledger-b", {"b"}),
        ("releases-a", {"a"}),
        ("releases-b", {"b"}),
        ("sealed", {"seal"}),
        ("shares", {"attach"}),
        ("refused", {"seal"}),
        ("fairness-metrics", {"publish"}),
        ("decisions", {"governance"}),
        ("member-attributes", {"company"}),
    ],
)
def test_one_writer(topic: str, writers: set[str]) -> None:
    """What must have one writer has one; ACLs cannot tell keys apart within a topic."""
    assert {role for role, access in TABLE.items() if topic in access.writes} == writers


def test_reviewers_may_read_what_their_commands_read() -> None:
    """The transparency page is made by `governance`, and tells until when the recipients' epochs last."""
    assert {"measurements", "keys", "decisions", "ledger-a", "ledger-b"} <= set(TABLE["governance"].reads)
    assert "keys" not in TABLE["governance"].writes


def test_nobody_reads_what_it_must_not_see(make_settings: Callable[..., Settings]) -> None:
    """As DESIGN's table has it: events, member attributes, another's state and shares without noise."""
    settings = make_settings()
    found = rules(settings)

    def readers(topic: str) -> set[str]:
        return {role for role in PRINCIPALS if "Read" in allowed(found, role, "topic", settings.topic(topic))}

    assert readers("rec-events") == {"seal"}
    assert readers("member-attributes") == {"attach"}
    assert readers("sealed") == {"attach", "operator", "retention"}
    assert readers("shares") == {"attach", "a", "b", "operator", "retention"}
    for role in ROLES[:4]:
        assert readers(f"state-{role}") == {role, "retention"}
    assert "publish" not in readers("ledger-a") | readers("state-a")
    assert {role for role in PRINCIPALS for r in found if r.role == role and "Alter" in r.operations} == set()
    assert all(rule.name.startswith(f"{settings.deployment}.") for rule in found)


def test_offsets_by_which_records_are_deleted_have_one_writer(make_settings: Callable[..., Settings]) -> None:
    """Only a role itself may commit to the group of its name; a prefix of one is no other's."""
    settings = make_settings()
    found = rules(settings)
    for role in ROLES[:4]:
        group = settings.group(role)
        assert [r for r in PRINCIPALS if "Read" in allowed(found, r, "group", group)] == [role]


def test_a_shards_transactional_id_is_its_roles(make_settings: Callable[..., Settings]) -> None:
    """Whatever generation and shard: only the role itself may use it, and neither another role nor deployment."""
    settings = make_settings()
    found = rules(settings)
    for role in ROLES:
        name = f"{settings.group(role)}.7.12"
        assert [r for r in PRINCIPALS if allowed(found, r, "transactional_id", name)] == [role]
        assert not any(allowed(found, r, "transactional_id", f"x{name}") for r in PRINCIPALS)


def test_a_role_compares_what_it_uses() -> None:
    """And nothing that its principal may not see."""
    assert compared_topics("publish") == {
        "measurements", "keys", "decisions", "releases-a", "releases-b", "fairness-metrics", "concerns",
    }  # fmt: skip
    assert not compared_topics("seal") & {"shares", "state-attach", "rec-events"}


def test_two_roles_are_never_one_principal(make_settings: Callable[..., Settings]) -> None:
    """A name given twice is refused, as is one for a role that does not exist or that is no principal."""
    with pytest.raises(SettingsError, match="a and b are both User:x"):
        rules(make_settings("h:1", "principals.names={a: 'User:x', b: 'User:x'}"))
    with pytest.raises(SettingsError, match="there is no principal 'c'"):
        make_settings("h:1", "principals.names.c=User:c")
    with pytest.raises(SettingsError, match="expected User:NAME"):
        make_settings("h:1", "principals.names.a=CN=a")
    with pytest.raises(SettingsError, match="pattern"):
        make_settings("h:1", "principals.pattern=User:everyone")


def test_names_are_the_clusters_own(make_settings: Callable[..., Settings]) -> None:
    """A pattern for certificates, an exception to it, and the company's source topics."""
    settings = make_settings(
        "h:1",
        "principals.pattern=User:CN={role}.{deployment}",
        "principals.names.company=User:shop",
        "topics.sources=[shop.events, shop.clicks]",
    )
    found = rules(settings)
    assert {r.principal for r in found if r.role == "seal"} == {f"User:CN=seal.{settings.deployment}"}
    assert {r.principal for r in found if r.role == "company"} == {"User:shop"}
    sources = {r.name for r in found if r.role == "seal" and "shop" in r.name}
    assert sources == {"shop.events", "shop.clicks"}


def test_commands_say_each_rule(make_settings: Callable[..., Settings]) -> None:
    """A line of kafka-acls.sh holds principal, operations, resource and whether it is a prefix, quoted for a shell."""
    settings = make_settings("h:1", "principals.pattern=User:CN={role}, O=Us")
    lines = [shlex.split(kafka_acls_command(rule, "h:1")) for rule in rules(settings)]
    assert len(lines) == len(rules(settings))
    seal = next(line for line in lines if "--transactional-id" in line)
    assert seal[seal.index("--allow-principal") + 1] == "User:CN=seal, O=Us"
    assert seal[seal.index("--transactional-id") + 1] == f"{settings.deployment}.seal."
    assert seal[-2:] == ["--resource-pattern-type", "prefixed"]
    operations = {word for line in lines for before, word in pairwise(line) if before == "--operation"}
    assert operations == {"Read", "Write", "Describe", "DescribeConfigs", "Create", "Delete"}


def test_strimzi_users_hold_every_rule(make_settings: Callable[..., Settings]) -> None:
    """One document a principal, with the same rules; a name that Kubernetes would refuse is refused here."""
    settings = make_settings()
    documents = list(yaml.safe_load_all(strimzi_users(rules(settings), "my-kafka")))
    assert [d["metadata"]["name"] for d in documents] == [f"{settings.deployment}-{role}" for role in PRINCIPALS]
    assert {d["apiVersion"] for d in documents} == {"kafka.strimzi.io/v1"}
    assert {d["spec"]["authentication"]["type"] for d in documents} == {"scram-sha-512"}
    entries = [
        (f"User:{d['metadata']['name']}", a["resource"]["name"], a["resource"]["patternType"], tuple(a["operations"]))
        for d in documents
        for a in d["spec"]["authorization"]["acls"]
    ]
    assert entries == [
        (rule.principal, rule.name, "prefix" if rule.prefixed else "literal", rule.operations)
        for rule in rules(settings)
    ]
    tls = make_settings("h:1", "principals.pattern=User:CN={role}")
    assert "type: tls" in strimzi_users(rules(tls), "k")
    with pytest.raises(SettingsError, match="cannot be a KafkaUser"):
        strimzi_users(rules(make_settings("h:1", "principals.pattern=User:CN={role},O=Us")), "k")


def test_the_commands_print_without_kafka() -> None:
    """list, commands and strimzi need no cluster."""
    runner = CliRunner()
    listed = runner.invoke(main, ["acl", "list"])
    assert listed.exit_code == 0
    assert "User:evenstream-retention" in listed.output
    lines = runner.invoke(main, ["acl", "commands"]).output.splitlines()
    assert all(line.startswith("kafka-acls.sh --bootstrap-server") for line in lines)
    users = runner.invoke(main, ["acl", "strimzi", "--cluster", "k"]).output
    assert len(list(yaml.safe_load_all(users))) == len(PRINCIPALS)
