"""The settings module: where values come from, which wins, and what a mistake says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from streams.cli import main
from streams.errors import SettingsError
from streams.settings import DEFAULT_PORTS, PROTOCOL_PROPERTIES, Settings, environment_name, load_settings, reference


def load(*overrides: str, file: Path | None = None, **environment: str) -> Settings:
    return load_settings(file, overrides, environment)


def test_defaults_are_those_of_production() -> None:
    """Without any source, durability is what production needs and nothing listens beyond this machine."""
    settings = load()
    assert (settings.topics.replication_factor, settings.topics.min_insync_replicas) == (3, 2)
    assert settings.http.host == "127.0.0.1"
    assert not settings.test_cluster


def test_the_stronger_source_wins(tmp_path: Path) -> None:
    """--set wins over the environment, the environment over the file, the file over the default."""
    file = tmp_path / "settings.yaml"
    file.write_text("topics: {partitions: 5, retention_hours: 1, segment_minutes: 2}\n")
    settings = load(
        "topics.partitions=7", file=file, EVENSTREAM_TOPICS__PARTITIONS="6", EVENSTREAM_TOPICS__RETENTION_HOURS="9"
    )
    topics = settings.topics
    assert (topics.partitions, topics.retention_hours, topics.segment_minutes) == (7, 9.0, 2.0)


def test_the_environment_may_name_the_file(tmp_path: Path) -> None:
    """EVENSTREAM_CONFIG is where --config is not given, and is itself no setting."""
    file = tmp_path / "settings.yaml"
    file.write_text("deployment: blue\n")
    assert load(EVENSTREAM_CONFIG=str(file)).deployment == "blue"


@pytest.mark.parametrize("order", [1, -1])
def test_our_own_name_wins_over_the_shared_one(order: int) -> None:
    """EVENSTREAM_KAFKA__BOOTSTRAP wins over KAFKA_BOOTSTRAP, in whatever order the environment lists them."""
    both = [("KAFKA_BOOTSTRAP", "shared:1"), ("EVENSTREAM_KAFKA__BOOTSTRAP", "own:1")][::order]
    assert load_settings(None, (), dict(both)).kafka.bootstrap == "own:1"
    assert load(KAFKA_BOOTSTRAP="shared:1").kafka.bootstrap == "shared:1"


def test_properties_pass_through_as_they_stand(tmp_path: Path) -> None:
    """A librdkafka property keeps its text whatever YAML would make of it, from each of the three sources."""
    file = tmp_path / "settings.yaml"
    file.write_text("kafka: {properties: {security.protocol: SASL_SSL, socket.timeout.ms: 5000, a: yes}}\n")
    settings = load(
        "kafka.properties.sasl.password=0123", file=file, EVENSTREAM_KAFKA__PROPERTIES__SASL_USERNAME="[seal"
    )
    assert settings.kafka.properties == {
        "security.protocol": "SASL_SSL",
        "socket.timeout.ms": "5000",
        "a": "yes",
        "sasl.password": "0123",
        "sasl.username": "[seal",
    }


def test_a_table_of_properties_may_be_one_variable() -> None:
    """JSON in one environment variable gives the whole table."""
    settings = load(EVENSTREAM_KAFKA__CONSUMER_PROPERTIES='{"fetch.min.bytes": "7"}')
    assert settings.kafka.consumer_properties == {"fetch.min.bytes": "7"}


@pytest.mark.parametrize("name", sorted(PROTOCOL_PROPERTIES))
def test_what_exactness_rests_on_cannot_be_passed_through(name: str) -> None:
    """Each property that the protocol needs as it is, is refused by name."""
    with pytest.raises(SettingsError, match=re.escape(f"{name} cannot be passed through")):
        load(f"kafka.consumer_properties.{name}=x")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("topics.partitions=x", ["topics.partitions", "integer", "'x'"]),
        ("topics.partitions=0", ["topics.partitions", "greater than or equal to 1", "'0'"]),
        ("topics.partition=4", ["topics.partition", "no such setting", "evenstream settings"]),
        ("nothing.here=4", ["nothing", "no such setting"]),
        ("deployment=A_B", ["deployment", "pattern", "'A_B'"]),
        ("logging.level=LOUD", ["logging.level", "'DEBUG'", "'LOUD'"]),
        ("seal.shard=-1", ["seal.shard", "greater than or equal to 0"]),
        ("attach.shards=2", ["attach.shards", "no such setting"]),
        ("topics.min_insync_replicas=4", ["topics", "may not pass replication_factor"]),
        ("topics", ["expected name=value"]),
        ("deployment.x=1", ["deployment", "string"]),
        ("topics.partitions=[", ["topics.partitions", "not a YAML value"]),
    ],
)
def test_a_mistake_is_named(override: str, words: list[str]) -> None:
    """An error names the setting, what was expected and what came."""
    with pytest.raises(SettingsError) as raised:
        load(override)
    assert all(word in str(raised.value) for word in words), str(raised.value)


def test_every_mistake_is_told_at_once() -> None:
    """Two mistakes give two lines."""
    with pytest.raises(SettingsError) as raised:
        load("topics.partitions=x", "seal.batch_rows=5000")
    assert len(str(raised.value).splitlines()) == 2


def test_an_unknown_variable_with_our_prefix_is_an_error() -> None:
    """A misspelt environment variable is not ignored in silence."""
    with pytest.raises(SettingsError, match="no such setting"):
        load(EVENSTREAM_KAFKA_BOOTSTRAP="x:1")


def test_what_kubernetes_adds_is_not_a_setting() -> None:
    """Variables for a Service named evenstream-publish do not stop a pod, and set nothing."""
    settings = load(
        EVENSTREAM_PUBLISH_SERVICE_HOST="10.0.0.1",
        EVENSTREAM_PUBLISH_SERVICE_PORT_METRICS="9100",
        EVENSTREAM_PUBLISH_PORT="tcp://10.0.0.1:9100",
        EVENSTREAM_PUBLISH_PORT_9100_TCP_ADDR="10.0.0.1",
    )
    assert settings == load()
    assert load(EVENSTREAM_HTTP__PORT="8000").http.port == 8000


def test_a_password_is_not_repeated_in_an_error() -> None:
    """What stands in a table of properties never appears in a message."""
    with pytest.raises(SettingsError) as raised:
        load(EVENSTREAM_KAFKA__PROPERTIES="{sasl.password: [hunter2]}")
    assert "sasl.password" in str(raised.value)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    "password", ["@hunter2", "%hunter2", "!hunter2 x", "*hunter2", '"hunter2', "hunter2: x", "`hunter2", "[hunter2"]
)
def test_a_file_that_is_not_yaml_is_told_by_its_place_alone(tmp_path: Path, password: str) -> None:
    """The parser's own message quotes the line, and a password that was not quoted may be what it stumbles over."""
    file = tmp_path / "seal.yaml"
    file.write_text(f"kafka:\n  properties:\n    sasl.password: {password}\n")
    with pytest.raises(SettingsError) as raised:
        load(file=file)
    assert "hunter2" not in str(raised.value)
    assert re.search(r"is not YAML: line [34], column \d+", str(raised.value))


@pytest.mark.parametrize(
    "given", ["kafka=[hunter2]", "kafka={properties: {sasl.password: hunter2", "kafka.properties={hunter2"]
)
def test_the_group_that_holds_passwords_is_not_repeated_either(given: str) -> None:
    """Whatever is wrong with it, and wherever it comes from."""
    name, _, value = given.partition("=")
    environment = {environment_name(name): value}
    for overrides, sources in (((given,), {}), ((), environment)):
        with pytest.raises(SettingsError) as raised:
            load(*overrides, **sources)
        assert "hunter2" not in str(raised.value)
        assert "kafka" in str(raised.value).lower()


@pytest.mark.parametrize("content", ["- a\n- b\n", "a: [\n"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, content: str) -> None:
    """A settings file must be a YAML mapping."""
    file = tmp_path / "settings.yaml"
    file.write_text(content)
    with pytest.raises(SettingsError, match="settings file"):
        load(file=file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A settings file that is not there is an error, never an empty one."""
    with pytest.raises(SettingsError, match="cannot be read"):
        load(file=tmp_path / "none.yaml")


def test_an_empty_group_in_a_file_is_its_defaults(tmp_path: Path) -> None:
    """A group that a file names and leaves empty can still be filled from elsewhere."""
    file = tmp_path / "settings.yaml"
    file.write_text("topics:\n")
    assert load("topics.partitions=2", file=file).topics.partitions == 2


def test_names_carry_the_deployment() -> None:
    """Topics, groups and transactional ids begin with the deployment, except a topic that is the company's own."""
    settings = load("deployment=blue", "topics.member_attributes=crm.members")
    assert settings.topic("sealed") == "blue.sealed"
    assert settings.topic("member-attributes") == "crm.members"
    assert load("deployment=blue").topic("member-attributes") == "blue.member-attributes"
    assert settings.group("attach") == "blue.attach"
    assert settings.transactional_id("attach", 3) == "blue.attach.0.3"
    assert settings.transactional_id("attach", 3, 7) == "blue.attach.7.3"


def test_ports_and_folders_have_defaults_by_role() -> None:
    """Five roles fit on one machine without a port set; epoch keys lie with the role unless told otherwise."""
    assert {role: load().port(role) for role in DEFAULT_PORTS} == DEFAULT_PORTS
    assert load("http.port=0").port("a") == 0
    assert [load(f"attach.shard={shard}").port("attach") for shard in (0, 1, 2)] == [9102, 9112, 9122]
    assert load("keys.dir=k").epoch_folder("a") == Path("k/a/epochs")
    assert load("keys.dir=k", "keys.epoch_dir=m").epoch_folder("a") == Path("m/a/epochs")


def test_the_reference_is_complete() -> None:
    """Each setting has a meaning, and its environment variable really sets it."""
    settings = list(reference())
    assert len({setting.name for setting in settings}) == len(settings) > 30
    assert all(setting.meaning for setting in settings)
    for setting in settings:
        if setting.default:
            assert load_settings(None, (), {setting.environment: setting.default}) == load()
    assert environment_name("seal.batch_rows") == "EVENSTREAM_SEAL__BATCH_ROWS"


def test_the_document_is_the_reference() -> None:
    """docs/settings.md holds exactly what `evenstream settings` prints; to mend it, put that output there."""
    document = (Path(__file__).parents[2] / "docs" / "settings.md").read_text()
    printed = CliRunner().invoke(main, ["settings"]).output
    assert document.endswith(printed)
