"""The command line: what it prints, and how it ends."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from privacy.errors import PrivacyError
from streams.cli import Invocation, main
from streams.errors import EvenstreamError
from streams.settings import Settings


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(main, arguments, env={"KAFKA_BOOTSTRAP": None, **environment})


def test_help_names_every_command() -> None:
    """The first thing that a user sees lists all commands without loading any of them."""
    result = run("--help")
    assert result.exit_code == 0
    for name in ("demo", "settings", "topics", "seal", "attach", "aggregate", "publish", "up", "dev"):
        assert name in result.output


def test_help_is_quick() -> None:
    """Asking for help loads neither Kafka nor numpy."""
    loaded = subprocess.run(
        [sys.executable, "-c", "import streams.cli, sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert {"confluent_kafka", "faust", "numpy", "opendp", "cryptography"}.isdisjoint(loaded)


@pytest.mark.parametrize("name", main.list_commands(click.Context(main)))
def test_every_command_exists(name: str) -> None:
    """Each name in the list has its code, and can be asked for help."""
    try:
        result = run(name, "--help")
    except ModuleNotFoundError:  # pragma: no cover
        pytest.fail(f"streams/cli has nothing for {name!r}")
    assert result.exit_code == 0, result.output


def test_an_unknown_command_is_a_usage_error() -> None:
    """A misspelt command exits with 2, as usage errors do."""
    assert run("no-such-command").exit_code == 2


@pytest.mark.parametrize("kind", [EvenstreamError, PrivacyError])
def test_errors_of_all_rooms_are_messages(monkeypatch: pytest.MonkeyPatch, kind: type[Exception]) -> None:
    """A user's mistake is one message on standard error and exit code 1, never a traceback."""

    def fail(invocation: Invocation) -> Settings:
        raise kind("the field is wrong")

    monkeypatch.setattr(Invocation, "settings", fail)
    result = run("settings", "--current")
    assert result.exit_code == 1
    assert result.stderr == "evenstream: the field is wrong\n"
    assert result.stdout == ""


def test_our_own_mistakes_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug is not dressed up as a user's mistake."""

    def fail(invocation: Invocation) -> Settings:
        raise ZeroDivisionError

    monkeypatch.setattr(Invocation, "settings", fail)
    assert isinstance(run("settings", "--current").exception, ZeroDivisionError)


def test_an_interrupt_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C gives the exit code that a shell expects."""

    def interrupt(invocation: Invocation) -> Settings:
        raise KeyboardInterrupt

    monkeypatch.setattr(Invocation, "settings", interrupt)
    assert run("settings", "--current").exit_code == 130


def test_the_reference_is_a_table() -> None:
    """`evenstream settings` prints one line a setting, with default, meaning and variable."""
    lines = run("settings").output.splitlines()
    assert lines[0] == "| setting | default | meaning, unit | environment |"
    assert any(
        line.startswith("| `seal.batch_rows` | `4096` |") and "`EVENSTREAM_SEAL__BATCH_ROWS`" in line for line in lines
    )


def test_current_settings_hide_properties(tmp_path: Path) -> None:
    """`--current` shows what is in force from every source, and no password."""
    file = tmp_path / "settings.yaml"
    file.write_text("kafka: {properties: {sasl.password: hunter2}}\n")
    result = run("--config", str(file), "--set", "deployment=blue", "settings", "--current", KAFKA_BOOTSTRAP="k:1")
    current = json.loads(result.output)
    assert current["deployment"] == "blue"
    assert current["kafka"]["bootstrap"] == "k:1"
    assert current["kafka"]["properties"] == {"sasl.password": "(set)"}
    assert "hunter2" not in result.output


def test_a_settings_mistake_ends_with_1() -> None:
    """A wrong setting is told by name."""
    result = run("--set", "topics.partitions=x", "settings", "--current")
    assert result.exit_code == 1
    assert "topics.partitions" in result.stderr


def test_global_options_reach_child_processes() -> None:
    """A process started from this one gets the same options, in the same order."""
    invocation = Invocation(Path("s.yaml"), ("a=1", "b=2"))
    assert invocation.arguments() == ["--config", "s.yaml", "--set", "a=1", "--set", "b=2"]


def test_dev_kafka_leaves_a_named_cluster_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With KAFKA_BOOTSTRAP set, nothing is started, and there is nothing of ours to stop; it says so."""
    broker: Any = importlib.import_module("streams.kafka.dev_broker")
    monkeypatch.setattr(broker.DevBroker, "start", lambda *args, **kwargs: pytest.fail("started"))
    folder = ("--dir", str(tmp_path))
    for command in (("start", *folder), ("stop", *folder), ("status", *folder), ("fetch",)):
        result = run("dev", "kafka", *command, KAFKA_BOOTSTRAP="k:1")
        assert result.exit_code == 0
        assert "KAFKA_BOOTSTRAP is set: using k:1" in result.output


@pytest.mark.kafka
def test_dev_kafka_stops_its_own_broker_in_the_shell_that_names_it(tmp_path: Path) -> None:
    """`start` asks for KAFKA_BOOTSTRAP to be exported; `status` and `stop` in that shell still see our own broker."""
    folder = ("--dir", str(tmp_path / "kafka"))
    started = run("dev", "kafka", "start", *folder, "--port", "0")
    bootstrap = started.output.strip().rpartition("KAFKA_BOOTSTRAP=")[2]
    try:
        assert f"running: {bootstrap}" in run("dev", "kafka", "status", *folder, KAFKA_BOOTSTRAP=bootstrap).output
    finally:
        stopped = run("dev", "kafka", "stop", *folder, KAFKA_BOOTSTRAP=bootstrap)
    assert stopped.output.strip() == "stopped"
    assert run("dev", "kafka", "status", *folder).exit_code == 3


def test_dev_kafka_status_without_a_broker(tmp_path: Path) -> None:
    """No broker is exit code 3, so that a script can tell; stopping what does not run is no error."""
    assert run("dev", "kafka", "status", "--dir", str(tmp_path)).exit_code == 3
    assert run("dev", "kafka", "stop", "--dir", str(tmp_path)).exit_code == 0


def test_topics_without_a_broker_is_a_message() -> None:
    """A cluster that is not there is an error that names it."""
    result = run(
        "--set", "kafka.bootstrap=127.0.0.1:1", "--set", "kafka.request_timeout_seconds=0.3", "topics", "create"
    )
    assert result.exit_code == 1
    assert "no Kafka broker answers at 127.0.0.1:1" in result.stderr


def test_topics_are_made_and_checked(kafka: str, make_settings: Callable[..., Settings]) -> None:
    """--check names what is missing with exit code 1 and makes nothing; create makes it; then --check is content."""
    deployment = make_settings().deployment
    options = [
        f"--set={name}"
        for name in (f"deployment={deployment}", "topics.replication_factor=1", "topics.min_insync_replicas=1")
    ]

    def topics(*arguments: str) -> Result:
        return run(*options, "topics", "create", *arguments, KAFKA_BOOTSTRAP=kafka)

    missing = topics("--check")
    assert missing.exit_code == 1
    assert f"{deployment}.sealed: does not exist" in missing.stderr
    assert topics("--check").exit_code == 1
    source = f"{deployment}-events"
    made = topics("--with-inputs", source)
    assert made.exit_code == 0, made.output
    assert f"created {source}" in made.output
    assert f"created {deployment}.member-attributes" in made.output
    content = topics("--check", "--with-inputs", source)
    assert content.exit_code == 0
    assert "18 topics are as they must be" in content.output
    different = run(*options, "--set=topics.partitions=5", "topics", "create", KAFKA_BOOTSTRAP=kafka)
    assert different.exit_code == 1
    assert f"{deployment}.sealed: partitions is 4, expected 5" in different.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--set", "keys.dir={folder}/file", "keys", "init"), "cannot be used"),
        (("simulate", "--truth", "{folder}/none/truth.npz"), "there is no folder"),
        (("simulate", "--members", "0"), "--members"),
        (("simulate", "--rate", "0"), "--rate"),
        (("simulate", "--duration", "-2"), "--duration"),
    ],
)
def test_a_path_or_number_that_cannot_be_is_a_message(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    """A path that cannot be written, or a number out of range, ends with a message and before anything is done."""
    (tmp_path / "file").write_text("")
    result = run(*(argument.format(folder=tmp_path) for argument in arguments))
    assert result.exit_code in (1, 2)
    assert said in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)


def test_keys_are_made_for_as_many_reviewers_as_must_approve(tmp_path: Path) -> None:
    """Three by default, any number up to 64 by the option; fewer than must approve is an error, and makes nothing."""
    folder = tmp_path / "keys"
    few = run("--set", f"keys.dir={folder}", "keys", "init", "--reviewers", "1")
    assert few.exit_code == 1
    assert "nothing could ever be approved. Use --reviewers 2" in " ".join(few.output.split())
    assert not folder.exists()
    assert run("--set", f"keys.dir={folder}", "keys", "init", "--reviewers", "65").exit_code == 2
    made = run("--set", f"keys.dir={folder}", "keys", "init")
    assert "3 reviewers, 2 must approve" in made.output
    assert len(list((folder / "governance").glob("reviewer-*.key"))) == 3


def test_up_wants_a_file_for_each_role(tmp_path: Path) -> None:
    """--configs names a folder with one settings file a role; before anything starts, the missing ones are named."""
    (tmp_path / "seal.yaml").write_text("deployment: d\n")
    told = CliRunner().invoke(main, ["up", "--configs", str(tmp_path)])
    assert told.exit_code == 1
    assert f"missing: {tmp_path / 'attach.yaml'}, " in told.output
    assert "seal.yaml" not in told.output
