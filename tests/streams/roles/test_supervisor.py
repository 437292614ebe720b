"""The supervisor: which workers there are, and how long one that ended stays away."""

from __future__ import annotations

import subprocess
import sys
import time
from itertools import pairwise

import pytest

from streams.errors import Fenced
from streams.roles.supervisor import COMMANDS, Supervisor, command_of, workers_of


def test_further_workers_have_their_shard() -> None:
    """Five roles, and for each further worker of seal and attach its number on the command line."""
    assert workers_of(1, 1) == list(COMMANDS)
    assert workers_of(2, 3) == [*COMMANDS, "seal.1", "attach.1", "attach.2"]
    assert command_of("attach.2") == ["--set", "attach.shard=2", "attach"]
    assert command_of("attach") == ["attach"]


def _ends_with(monkeypatch: pytest.MonkeyPatch, status: int) -> list[float]:
    """Have every worker end at once with a status; when each was started."""
    starts: list[float] = []

    def spawn(supervisor: Supervisor, worker: str) -> subprocess.Popen[bytes]:
        starts.append(time.monotonic())
        process = subprocess.Popen([sys.executable, "-S", "-c", f"raise SystemExit({status})"])
        process.wait()
        return process

    monkeypatch.setattr(Supervisor, "_spawn", spawn)
    return starts


def test_a_fenced_worker_stays_away_longer_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pause after status 75 is twice the last, so two that fence each other meet ever more rarely."""
    starts = _ends_with(monkeypatch, Fenced.exit_status)
    supervisor = Supervisor([], fenced_seconds=0.2)
    supervisor.start(["attach"])
    while len(starts) < 4:
        supervisor.watch()
        time.sleep(0.005)
    pauses = [later - one for one, later in pairwise(starts)]
    for pause, least in zip(pauses, (0.2, 0.4, 0.8), strict=True):
        assert pause >= least
    assert supervisor.fenced("attach") == 3
    assert [supervisor.pause_after_fence(times) for times in (1, 2, 3, 30)] == [0.2, 0.4, 0.8, 3600.0]


def test_a_worker_that_was_killed_is_back_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else ended a worker that had run for a while, it is started again without a pause."""
    supervisor = Supervisor([])
    starts = _ends_with(monkeypatch, 1)
    supervisor.start(["attach"])
    supervisor._children["attach"].started -= 60
    supervisor.watch()
    assert len(starts) == 2
    assert supervisor.fenced("attach") == 0
