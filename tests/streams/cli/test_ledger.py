"""`evenstream ledger` and `evenstream transparency`: what they say before they reach any Kafka."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from secure_agg.keyring import create
from streams.cli import main


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """Keys of a deployment called one."""
    create(tmp_path / "keys", "one")
    return tmp_path / "keys"


@pytest.mark.parametrize("command", [["ledger", "show"], ["ledger", "verify"]])
def test_a_party_must_be_named(command: list[str]) -> None:
    """There are two ledgers; none is the default."""
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 2
    assert "--party" in result.output


def test_a_day_is_a_day() -> None:
    """What is no UTC day is refused before anything is read."""
    result = CliRunner().invoke(main, ["ledger", "show", "--party", "a", "--day", "tomorrow"])
    assert result.exit_code == 2
    assert "expected a UTC day as YYYY-MM-DD, got 'tomorrow'" in result.output


@pytest.mark.parametrize(
    "command",
    [["ledger", "show", "--party", "a"], ["ledger", "verify", "--party", "b"], ["transparency", "--out", "page"]],
)
def test_keys_of_another_deployment_are_refused(keys: Path, command: list[str]) -> None:
    """Public keys of another deployment would make every signature look forged."""
    settings = ["--set", "deployment=two", "--set", "kafka.bootstrap=127.0.0.1:1"]
    result = CliRunner().invoke(main, [*settings, *command, "--trusted", str(keys / "publish" / "trusted.json")])
    assert result.exit_code == 1
    assert "is of deployment 'one', but this is 'two'" in result.output
    missing = CliRunner().invoke(main, [*settings, *command, "--trusted", str(keys / "nowhere")])
    assert missing.exit_code == 1
    assert "trusted.json does not exist" in missing.output
