"""Each role that the supervisor starts has its own settings file, which may hold its password."""

from __future__ import annotations

import stat
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from streams.cli import Invocation
from streams.cli.roles import _address
from streams.roles.supervisor import Supervisor


def test_a_role_has_its_own_file_and_a_shard_its_roles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last --config counts, so a role's own comes after the common one; others keep the common one."""
    program = tmp_path / "python"
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(program))
    own = {role: tmp_path / f"{role}.yaml" for role in ("seal", "attach")}
    supervisor = Supervisor(["--config", "common.yaml"], tmp_path / "logs", configs=own)
    supervisor.start(["seal", "attach.2", "publish"])
    for child in supervisor._children.values():
        child.process.wait(60)
    told = {worker: (tmp_path / "logs" / f"{worker}.log").read_text().split() for worker in supervisor._children}
    configs = {w: [b for a, b in pairwise(words) if a == "--config"] for w, words in told.items()}
    assert configs == {
        "seal": ["common.yaml", str(own["seal"])],
        "attach.2": ["common.yaml", str(own["attach"])],
        "publish": ["common.yaml"],
    }
    assert told["seal"][-1] == "seal"


def test_up_knows_where_each_worker_answers(tmp_path: Path) -> None:
    """By the worker's own settings: its file's, its shard's port; this machine's where it listens everywhere."""
    own = tmp_path / "a.yaml"
    own.write_text("http: {host: 127.0.0.9, port: 7000}")
    invocation = Invocation(None, ("http.host=0.0.0.0",))
    assert _address(invocation, {}, "seal") == ("127.0.0.1", 9101)
    assert _address(invocation, {}, "attach.2") == ("127.0.0.1", 9122)
    assert _address(Invocation(None, ()), {"a": own}, "a") == ("127.0.0.9", 7000)
