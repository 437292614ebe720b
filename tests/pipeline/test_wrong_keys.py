"""Each role's process, given a wrong key: it says which file is wrong and what to do, and it never begins."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from secure_agg.keyring import create
from streams.roles.supervisor import COMMANDS

pytestmark = pytest.mark.slow

DEPLOYMENT = "wrong-keys"


def run_role(role: str, keys: Path, deployment: str = DEPLOYMENT) -> tuple[int, str]:
    """Exit status and output of a role; no Kafka is there, and none is needed to see that a key is wrong."""
    options = [f"deployment={deployment}", f"keys.dir={keys}", "kafka.bootstrap=127.0.0.1:1", "http.port=0"]
    arguments = [part for option in options for part in ("--set", option)]
    command = [sys.executable, "-m", "streams.cli", *arguments, *COMMANDS[role]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def _another_roles(keys: Path, role: str) -> None:
    other = "b" if role == "a" else "a"
    (keys / role / "identity.key").write_bytes((keys / other / "identity.key").read_bytes())


def _a_foreign_sets(keys: Path, role: str) -> None:
    foreign = keys.with_name("foreign")
    create(foreign, DEPLOYMENT)
    (keys / role / "identity.key").write_bytes((foreign / role / "identity.key").read_bytes())


def _open_to_others(keys: Path, role: str) -> None:
    (keys / role / "identity.key").chmod(0o644)


def _cut(keys: Path, role: str) -> None:
    (keys / role / "state.key").write_bytes((keys / role / "state.key").read_bytes()[:20])


def _missing(keys: Path, role: str) -> None:
    (keys / role / "state.key").unlink()


WRONG: dict[str, tuple[Callable[[Path, str], None], str]] = {
    "another role's": (_another_roles, "is not the identity that trusted.json pins"),
    "a foreign set's": (_a_foreign_sets, "is not the identity that trusted.json pins"),
    "open to others": (_open_to_others, "expected 0600"),
    "cut": (_cut, "must hold 32 bytes"),
    "missing": (_missing, "evenstream keys init"),
}


# A start takes a second: every role meets one fault, and one role meets all of them.
CASES = [(role, "another role's") for role in COMMANDS] + [
    ("seal", fault) for fault in WRONG if fault != "another role's"
]


@pytest.mark.parametrize(("role", "fault"), CASES)
def test_a_wrong_key_is_named_and_nothing_begins(tmp_path: Path, role: str, fault: str) -> None:
    """Whatever is wrong with a role's key file, the role exits with 1, one message and no traceback."""
    spoil, message = WRONG[fault]
    create(tmp_path / "keys", DEPLOYMENT)
    spoil(tmp_path / "keys", role)
    status, output = run_role(role, tmp_path / "keys")
    assert status == 1
    assert message in output
    assert "Traceback" not in output


def test_keys_of_another_deployment_are_refused(tmp_path: Path) -> None:
    """Keys that were made for one deployment do not serve another."""
    create(tmp_path / "keys", DEPLOYMENT)
    status, output = run_role("attach", tmp_path / "keys", deployment="elsewhere")
    assert status == 1
    assert "made for deployment 'wrong-keys'" in output
