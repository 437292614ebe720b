"""The supervisor: which workers there are, and how long one that ended stays away."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from streams.errors import Fenced
from streams.free_ports import free_port
from streams.roles.supervisor import COMMANDS, Supervisor, command_of, find_complaint, workers_of


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


_ROLE = """
import signal, sys, threading, time
from pathlib import Path
from prometheus_client import CollectorRegistry
from streams.pulse import Pulse
from streams.watch.http import HealthServer
port, hang, deaf = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "deaf"
signal.signal(signal.SIGTERM, lambda *_: None if deaf else sys.exit(0))
pulse = Pulse(0.5)
pulse.start()
HealthServer("127.0.0.1", port, registry=CollectorRegistry(), healthy=pulse.hang, ready=pulse.hang)
while True:
    if hang.exists():
        hang.unlink()
        threading.Event().wait()  # it never turns again
    pulse.beat()
    time.sleep(0.01)
"""


def _serve(monkeypatch: pytest.MonkeyPatch, folder: Path, port: int, kind: str = "hears") -> Supervisor:
    """A supervised process with a loop that hangs when there is a file, and a /healthz of its own."""

    def spawn(supervisor: Supervisor, worker: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", _ROLE, str(port), str(folder / "hang"), kind])

    monkeypatch.setattr(Supervisor, "_spawn", spawn)
    monkeypatch.setattr("streams.roles.supervisor._ASK_SECONDS", 0.1)
    supervisor = Supervisor([], addresses={"attach": ("127.0.0.1", port)}, grace_seconds=1.0)
    supervisor.start(["attach"])
    return supervisor


def _until(supervisor: Supervisor, done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not done():
        assert time.monotonic() < deadline
        supervisor.watch()
        time.sleep(0.01)


def _is_up(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize(("kind", "status"), [("hears", 0), ("deaf", -signal.SIGKILL)])
def test_a_worker_that_hangs_is_ended_and_started_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str, status: int
) -> None:
    """A real process whose loop hangs says so; it is ended by SIGTERM, or after the grace by SIGKILL, and is back."""
    port = free_port()
    supervisor = _serve(monkeypatch, tmp_path, port, kind)
    try:
        _until(supervisor, lambda: _is_up(port))
        first = supervisor._children["attach"].process
        (tmp_path / "hang").touch()
        _until(supervisor, lambda: supervisor.pid("attach") != first.pid and _is_up(port))
        assert first.returncode == status
        assert (supervisor.hangs, supervisor.restarts) == (1, 1)
        assert "role attach is ended, and started again: it says 'the main loop has not turned for" in caplog.text
        assert find_complaint("127.0.0.1", port) is None
        second, later = supervisor.pid("attach"), time.monotonic() + 1
        _until(supervisor, lambda: time.monotonic() > later)
        assert supervisor.pid("attach") == second
    finally:
        supervisor.stop()


def test_a_worker_that_is_stopped_is_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Who does not answer is not ended, however long that lasts, and goes on when woken up."""
    monkeypatch.setattr("streams.roles.supervisor._ANSWER_SECONDS", 0.2)
    port = free_port()
    supervisor = _serve(monkeypatch, tmp_path, port)
    try:
        _until(supervisor, lambda: _is_up(port))
        pid, later = supervisor.pid("attach"), time.monotonic() + 2
        os.kill(pid, signal.SIGSTOP)
        _until(supervisor, lambda: time.monotonic() > later)
        os.kill(pid, signal.SIGCONT)
        later = time.monotonic() + 1
        _until(supervisor, lambda: time.monotonic() > later)
        assert (supervisor.pid("attach"), supervisor.hangs, supervisor.restarts) == (pid, 0, 0)
    finally:
        supervisor.stop()
