"""Topics: the plan, and a real cluster compared with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its API
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from streams.errors import KafkaUnavailable
from streams.kafka.clients import admin
from streams.kafka.topics import compare, create, input_plan, plan
from streams.roles.channel_layout import ChannelLayout
from streams.settings import Settings

MakeSettings = Callable[..., Settings]


def test_the_plan_is_that_of_the_design(make_settings: MakeSettings) -> None:
    """Each topic of DESIGN 2.1 has its partitions and clean-up policy; measurements alone differs: it is kept."""
    settings = make_settings("127.0.0.1:1", "topics.partitions=6", "deployment=d")
    found = {
        topic.name.removeprefix("d."): (topic.partitions, topic.config["cleanup.policy"]) for topic in plan(settings)
    }
    compacted = dict.fromkeys(("keys", "state-seal", "state-attach", "state-a", "state-b"), (1, "compact"))
    names = ("measurements", "decisions", "ledger-a", "ledger-b", "releases-a", "releases-b")
    kept = dict.fromkeys(names, (1, "delete"))
    assert found == {
        **compacted,
        **kept,
        "sealed": (6, "delete"),
        "shares": (6, "delete"),
        "fairness-metrics": (1, "compact,delete"),
        "concerns": (1, "delete"),
        "refused": (1, "delete"),
    }
    by_name = {topic.name.removeprefix("d."): topic for topic in plan(settings)}
    assert all(by_name[name].config["retention.ms"] == "-1" for name in kept)
    for name in ("sealed", "shares"):
        assert by_name[name].config["message.timestamp.type"] == "LogAppendTime"
        assert by_name[name].config["retention.ms"] == str(7 * 24 * 3_600_000)
    for name in ("state-seal", "state-attach", "state-a", "state-b"):  # an old checkpoint is cleaned away in time
        config = by_name[name].config
        assert config["segment.ms"] == config["max.compaction.lag.ms"] == str(10 * 60_000)
        assert int(config["delete.retention.ms"]) <= 3_600_000
    assert all(topic.config["min.insync.replicas"] == "1" for topic in plan(settings))


def test_the_largest_records_fit(make_settings: MakeSettings) -> None:
    """A full batch of the most groups with all channels, and a window of the most values, are what topics take."""
    taken = {
        topic.name.removeprefix("d."): topic.config for topic in plan(make_settings("127.0.0.1:1", "deployment=d"))
    }
    batch = 8 * ChannelLayout(("table", "rectifier", "moments"), 16, 1, "1m").size(4096) + 2 * 2 * 4096 + 1000
    assert batch > 1 << 20  # a broker's default would refuse it for ever
    assert int(taken["shares"]["max.message.bytes"]) > batch
    for name in ("releases-a", "releases-b", "state-a", "state-b"):
        assert int(taken[name]["max.message.bytes"]) > 8 * 65_535 * 6 + 10_000


def test_inputs_are_the_companys(make_settings: MakeSettings) -> None:
    """No plan of evenstream's own holds a source or the attributes; a developer's machine may ask for both."""
    settings = make_settings()
    own = {topic.name for topic in plan(settings)}
    sources, members = input_plan(settings, ("rec-events",))
    assert own.isdisjoint({"rec-events", members.name})
    assert sources.config["message.timestamp.type"] == "LogAppendTime"
    assert members.config["cleanup.policy"] == "compact"
    assert members.partitions == settings.topics.partitions


def test_topics_are_made_once_and_found_right_again(kafka: str, make_settings: MakeSettings) -> None:
    """The first run makes every topic, the second none, and neither finds a difference."""
    settings = make_settings(kafka)
    plans = plan(settings) + input_plan(settings, (settings.topic("rec-events"),))
    missing = [(difference.topic, difference.name) for difference in compare(settings, plans)]
    assert missing == [(topic.name, "exists") for topic in plans]
    first = create(settings, plans)
    assert set(first.created) == {topic.name for topic in plans}
    assert first.differences == ()
    second = create(settings, plans)
    assert (second.created, second.differences) == ((), ())
    assert set(second.existing) == set(first.created)
    assert list(compare(settings, plans)) == []


def test_each_difference_is_named_with_the_command_that_mends_it(kafka: str, make_settings: MakeSettings) -> None:
    """A wrong policy, wrong partitions and a missing topic are three lines, and nothing is changed by itself."""
    settings = make_settings(kafka)
    plans = {topic.name: topic for topic in plan(settings)}
    ledger, sealed, keys = (settings.topic(name) for name in ("ledger-a", "sealed", "keys"))
    wrong = [
        replace(plans[ledger], config=plans[ledger].config | {"cleanup.policy": "compact"}),
        replace(plans[sealed], partitions=3),
        replace(plans[keys], partitions=2),
    ]
    create(settings, tuple(wrong))
    asked = tuple(plans[name] for name in (ledger, sealed, keys, settings.topic("shares")))
    for _ in range(2):
        found = {(d.topic, d.name): str(d) for d in create(settings, asked[:3]).differences}
        assert set(found) == {(ledger, "cleanup.policy"), (sealed, "partitions"), (keys, "partitions")}
    policy = found[ledger, "cleanup.policy"]
    assert "cleanup.policy is compact, expected delete" in policy
    assert f"--bootstrap-server {kafka} --alter --entity-type topics --entity-name {ledger}" in policy
    assert "--add-config 'cleanup.policy=[delete]'" in policy
    assert "topics.partitions" in found[sealed, "partitions"]
    assert "topics.partitions" not in found[keys, "partitions"]
    assert f"{settings.topic('shares')}: does not exist" in {str(d).partition(";")[0] for d in compare(settings, asked)}


def test_the_order_of_a_list_is_no_difference(kafka: str, make_settings: MakeSettings) -> None:
    """`delete,compact` is `compact,delete`: Kafka gives a list back in the order in which it was set."""
    settings = make_settings(kafka)
    metrics = next(topic for topic in plan(settings) if topic.name.endswith("fairness-metrics"))
    create(settings, (replace(metrics, config=metrics.config | {"cleanup.policy": "delete,compact"}),))
    assert list(compare(settings, (metrics,))) == []


def test_a_dynamic_change_is_seen(kafka: str, make_settings: MakeSettings) -> None:
    """Somebody who shortens the retention of a ledger is found out."""
    settings = make_settings(kafka)
    ledger = next(topic for topic in plan(settings) if topic.name.endswith("ledger-b"))
    create(settings, (ledger,))
    shorter = ConfigEntry("retention.ms", "60000", incremental_operation=AlterConfigOpType.SET)
    client = admin(settings)
    change = ConfigResource(ResourceType.TOPIC, ledger.name, incremental_configs=[shorter])
    for future in client.incremental_alter_configs([change]).values():
        future.result()
    assert [(d.name, d.expected, d.actual) for d in compare(settings, (ledger,))] == [("retention.ms", "-1", "60000")]


def test_too_few_brokers_is_explained(kafka: str, make_settings: MakeSettings) -> None:
    """A replication factor that the cluster cannot give names the settings to change."""
    settings = make_settings(kafka, "topics.replication_factor=9")
    with pytest.raises(KafkaUnavailable, match=r"fewer than 9 brokers set topics\.replication_factor"):
        create(settings, plan(settings)[:1])
