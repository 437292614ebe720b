"""What the chart says to evenstream is what evenstream understands: settings, command lines, ACLs and topics.

Settings files are read by the code that the roles read them with, so that a setting that is renamed in the code and not
in the chart breaks a test; command lines are parsed by the command itself, and not run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import click
import pytest
import yaml
from chart.matrix import MATRIX, Pod, Release, release
from chart.rendering import render
from click.testing import CliRunner

from streams.cli import main
from streams.kafka.topics import plan
from streams.settings import PRINCIPALS, Settings, load_settings

pytestmark = pytest.mark.chart
everywhere = pytest.mark.parametrize("name", MATRIX)


def _settings(found: Release, pod: Pod, folder: Path) -> Settings:
    """What a pod's process would read, from its ConfigMap and its variables."""
    config = found.one("ConfigMap", pod.volumes["settings"]["configMap"]["name"])
    (path := folder / f"{pod.name}.yaml").write_text(config["data"]["settings.yaml"])
    environment = {one["name"]: one.get("value", "0") for one in pod.container["env"]}
    mount = _mounts(pod)["settings"]
    assert environment.pop("EVENSTREAM_CONFIG") == f"{mount}/settings.yaml"
    return load_settings(path, environment=environment)


def _mounts(pod: Pod) -> dict[str, str]:
    return {mount["name"]: mount["mountPath"] for mount in pod.container["volumeMounts"]}


def _configured(found: Release) -> list[Pod]:
    return [pod for pod in found.pods() if "settings" in pod.volumes]


@everywhere
def test_settings_are_evenstream_s_own(name: str, tmp_path: Path) -> None:
    """Each pod's settings are read without complaint, and say the deployment, the user and the port of its probes."""
    found = release(name)
    for pod in _configured(found):
        settings = _settings(found, pod, tmp_path)
        assert settings.deployment == pod.labels["app.kubernetes.io/part-of"]
        assert (settings.http.host, settings.http.port) == ("0.0.0.0", 9100)
        protocol = settings.kafka.properties["security.protocol"]
        if protocol.startswith("sasl"):
            assert settings.kafka.properties["sasl.username"]
            assert set(settings.kafka.property_files) == {"sasl.password"}
        expected = {"Kafka by certificates": "ssl", "Kafka without security": "plaintext"}.get(name, "sasl_ssl")
        assert protocol == expected


@everywhere
def test_paths_of_settings_are_mounted(name: str, tmp_path: Path) -> None:
    """Each file and folder that a pod's settings name lies in one of its mounts, and is there in it."""
    found = release(name)
    for pod in _configured(found):
        settings = _settings(found, pod, tmp_path)
        properties = settings.kafka.properties
        named = [value for key, value in properties.items() if key.endswith(".location")]
        named += [*settings.kafka.property_files.values()]
        http = settings.http
        named += [path for path in (http.certificate_file, http.key_file, http.token_file) if path]
        for path in named:
            assert str(path) in _files(pod), f"{pod}: {path}"
        role = pod.component.split("-")[0]
        if "keys" in pod.volumes:
            assert str(settings.keys.dir / role) == _mounts(pod)["keys"]
        if "state" in pod.volumes:
            for folder in (settings.keys.state_dir, settings.keys.epoch_dir):
                assert folder is not None
                assert PurePosixPath(_mounts(pod)["state"]) in PurePosixPath(folder).parents


def _files(pod: Pod) -> set[str]:
    found = set()
    for name, volume in pod.volumes.items():
        for source in (volume, *volume.get("projected", {}).get("sources", ())):
            of = source.get("secret") or source.get("configMap") or {}
            found |= {f"{_mounts(pod)[name]}/{item['path']}" for item in of.get("items", ())}
    return found


def test_one_role_s_settings_are_its_own(tmp_path: Path) -> None:
    """A role's own settings go over those of the release, and reach its hooks and its test, and no other role."""
    objects = render([
        *MATRIX["everything"].values,
        {"settings": {"logging": {"format": "text"}, "topics": {"partitions": 5}},
         "roles": {"seal": {"settings": {"logging": {"format": "json"}, "seal": {"commit_interval_seconds": 3}}}}},
    ])  # fmt: skip
    found = Release("changed", objects)
    for pod in _configured(found):
        settings = _settings(found, pod, tmp_path)
        of_seal = pod.component.startswith("seal")
        assert settings.topics.partitions == 5
        assert settings.logging.format == ("json" if of_seal else "text")
        assert settings.seal.commit_interval_seconds == (3 if of_seal else 2)


def parsed(arguments: Sequence[str], command: click.Command = main, parent: click.Context | None = None) -> list[str]:
    """The names of the commands that a command line calls, each with options and arguments that it takes.

    Raises:
        click.UsageError: a command does not know what it is given.
    """
    context = command.make_context(command.name or "evenstream", list(arguments), parent=parent)
    if not isinstance(command, click.Group):
        assert not context.args
        return []
    name, sub, rest = command.resolve_command(context, [*context._protected_args, *context.args])
    assert name is not None
    assert sub is not None
    return [name, *parsed(rest, sub, context)]


@everywhere
def test_command_lines_are_evenstream_s_own(name: str) -> None:
    """Each container's arguments are a command that evenstream knows, with options that this command takes."""
    expected = {"a": ["aggregate"], "b": ["aggregate"], "retention": ["retention", "run"], "keys": ["keys", "init"]}
    for pod in release(name).pods():
        assert "command" not in pod.container, "the image's own entry point is evenstream"
        called = parsed(pod.container["args"])
        if not pod.hook or pod.component == "keys":
            assert called == expected.get(pod.component, [pod.component])
        else:
            assert called in (["doctor"], ["scale"], ["topics", "create"])
        if pod.component in ("a", "b"):
            assert pod.container["args"] == ["aggregate", "--party", pod.component]


def test_a_command_line_that_is_not_known_is_found() -> None:
    """The check above is one: a misspelt command and an option that is not there are refused."""
    for wrong in (["seals"], ["doctor", "--at", "seal"], ["topics", "make"]):
        with pytest.raises(click.UsageError):
            parsed(wrong)


_TOPICS: Mapping[str, Mapping[str, Any]] = {
    "defaults": {},
    "larger and shorter": {"partitions": 12, "replication_factor": 5, "min_insync_replicas": 3, "retention_hours": 0.5},
    "other spans": {"segment_minutes": 1.5, "metrics_retention_hours": 48, "concerns_retention_hours": 72},
    "names of a company's own": {"sources": ["web.clicks", "app_events"], "member_attributes": "people"},
}


@pytest.mark.parametrize("topics", _TOPICS)
@pytest.mark.parametrize("deployment", ["evenstream", "shop-eu"])
@pytest.mark.parametrize("authentication", ["scram-sha-512", "tls"])
def test_strimzi_s_resources_are_those_of_the_code(
    topics: str, deployment: str, authentication: str, tmp_path: Path
) -> None:
    """KafkaUsers are what `evenstream acl strimzi` prints, KafkaTopics what `evenstream topics create` would make."""
    chosen = {"deployment": deployment, "settings": {"topics": _TOPICS[topics]}}
    found = Release("strimzi", render([*MATRIX["Strimzi"].values, chosen, {"strimzi": {
        "authentication": authentication}}]))  # fmt: skip
    same = {"deployment": deployment, "topics": _TOPICS[topics]}
    if authentication == "tls":
        same["principals"] = {"pattern": "User:CN={deployment}-{role}"}
    (config := tmp_path / "same.yaml").write_text(yaml.safe_dump(same))
    command = ["--config", str(config), "acl", "strimzi", "--cluster", "my-kafka"]
    printed = CliRunner().invoke(main, command, catch_exceptions=False)
    assert printed.exit_code == 0, printed.output
    assert [_bare(one) for one in found.of("KafkaUser")] == list(yaml.safe_load_all(printed.output))
    expected = [
        (t.name, {"partitions": t.partitions, "replicas": t.replication_factor, "config": t.config})
        for t in plan(load_settings(config, environment={}))
    ]
    assert [(one["metadata"]["name"], one["spec"]) for one in found.of("KafkaTopic")] == expected


def _bare(one: Mapping[str, Any]) -> dict[str, Any]:
    """A KafkaUser without what Helm adds to it."""
    cluster = one["metadata"]["labels"]["strimzi.io/cluster"]
    return {**one, "metadata": {"name": one["metadata"]["name"], "labels": {"strimzi.io/cluster": cluster}}}


def test_strimzi_s_users_are_those_that_roles_log_in_as() -> None:
    """Without further values, a role's user name and Secret are the name of its KafkaUser; everyone has one."""
    users = [one["metadata"]["name"] for one in release("Strimzi").of("KafkaUser")]
    assert users == [f"evenstream-{principal}" for principal in PRINCIPALS]
    for role in ("seal", "a", "publish"):
        found = release(f"only {role}")
        (pod,) = found.roles()
        settings = yaml.safe_load(found.one("ConfigMap", f"fair-evenstream-{role}")["data"]["settings.yaml"])
        assert settings["kafka"]["properties"]["sasl.username"] in users
        assert pod.volumes["kafka"]["secret"]["secretName"] in users
    assert [one["metadata"]["name"] for one in release("Strimzi, a party's user").of("KafkaUser")] == ["evenstream-a"]


def test_topics_outlive_the_release() -> None:
    """A KafkaTopic is kept when the release goes: with it would go the ledgers of privacy."""
    topics = release("Strimzi").of("KafkaTopic")
    assert topics
    assert {one["metadata"]["annotations"]["helm.sh/resource-policy"] for one in topics} == {"keep"}
    assert all(re.fullmatch(r"[a-z0-9.-]+", one["metadata"]["name"]) for one in topics)
