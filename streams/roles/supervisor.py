"""`evenstream up`: all five roles as processes on one machine, each restarted when it dies, and when it hangs.

Whether a role hangs is for the role itself to say (``streams.pulse``): its /healthz is asked every two seconds. Only an
answer counts. Whoever does not answer may be starting, or be stopped by a signal, and is left alone.

The roles stay apart as processes only: one machine that runs both parties can, of course, put their halves together.
"""

from __future__ import annotations

import http.client
import logging
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from streams.errors import Fenced
from streams.roles.process import SUPERVISOR

log = logging.getLogger(__name__)

COMMANDS: Mapping[str, tuple[str, ...]] = {
    "seal": ("seal",),
    "attach": ("attach",),
    "a": ("aggregate", "--party", "a"),
    "b": ("aggregate", "--party", "b"),
    "publish": ("publish",),
}
"""Role -> its command line after ``evenstream``."""

_QUICK_SECONDS = 5.0
_BACKOFF_SECONDS = 0.25
_MAX_BACKOFF_SECONDS = 10.0
_MAX_FENCED_SECONDS = 3600.0
_STOP_SECONDS = 15.0
_ASK_SECONDS = 2.0
_ANSWER_SECONDS = 2.0


def command_of(worker: str) -> list[str]:
    """The command line, after the global options, of a worker: "attach", or "attach.2" for its shard 2."""
    role, _, shard = worker.partition(".")
    return [*(("--set", f"{role}.shard={shard}") if shard else ()), *COMMANDS[role]]


def workers_of(seal: int, attach: int) -> list[str]:
    """The five roles, seal and attach with so many workers each."""
    further = [f"{role}.{shard}" for role, count in (("seal", seal), ("attach", attach)) for shard in range(1, count)]
    return [*COMMANDS, *further]


def find_complaint(host: str, port: int) -> str | None:
    """What /healthz says where it asks for a restart; None where all is well, and where nobody answers."""
    plain = http.client.HTTPConnection(host, port, timeout=_ANSWER_SECONDS)
    # Of our own child, whose certificate is made out to the name by which others know it.
    tls = http.client.HTTPSConnection(host, port, timeout=_ANSWER_SECONDS, context=ssl._create_unverified_context())  # noqa: S323, SLF001
    for connection in (plain, tls):
        try:
            connection.request("GET", "/healthz")
            answer = connection.getresponse()
            said = answer.read(500).decode(errors="replace").strip()
        except (ConnectionResetError, http.client.BadStatusLine):  # as where TLS is spoken
            continue
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
        return said if answer.status == http.client.SERVICE_UNAVAILABLE else None
    return None


@dataclass
class _Child:
    process: subprocess.Popen[bytes]
    started: float
    quick_ends: int = 0
    fenced_ends: int = 0
    restart_at: float | None = None
    hang: tuple[int, str] | None = None  # process id, and what it says
    kill_at: float | None = None


@dataclass
class Supervisor:
    """Starts the roles and keeps them up.

    Args:
        arguments: global options for every role (``--config``, ``--set``).
        log_folder: one log file a role; None leaves their lines on this process's standard error.
        ports: metrics port of each worker; empty for the defaults.
        configs: settings file of each role, which may hold its Kafka password (a command line would show it to every
            user of this machine); a role without one has the file of ``arguments``.
        fenced_seconds: how long a worker stays away when another instance has taken over its shard, the first time.
        addresses: (host, port) of each worker's /healthz, where ``ports`` does not name its port; of whom neither
            tells, nobody is asked.
        grace_seconds: from SIGTERM to SIGKILL.

    Attributes:
        restarts: how many times a worker was started again. hangs: how many times one was ended since it hung.
    """

    arguments: Sequence[str]
    log_folder: Path | None = None
    ports: Mapping[str, int] = field(default_factory=dict)
    configs: Mapping[str, Path] = field(default_factory=dict)
    restarts: int = 0
    fenced_seconds: float = 10.0
    addresses: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    grace_seconds: float = _STOP_SECONDS
    hangs: int = 0
    _children: dict[str, _Child] = field(default_factory=dict)
    _asking: threading.Thread | None = None
    _over: threading.Event = field(default_factory=threading.Event)

    def start(self, workers: Sequence[str] = tuple(COMMANDS)) -> None:
        """Start workers: a role's name, or for one of several shards the name and its number ("attach.2")."""
        for worker in workers:
            self._children[worker] = _Child(self._spawn(worker), time.monotonic())
        if self._asking is None:
            # Beside the watch, which must not wait for whoever does not answer.
            self._over = threading.Event()
            self._asking = threading.Thread(target=self._ask, args=(self._over,), name="healthz", daemon=True)
            self._asking.start()

    def _ask(self, over: threading.Event) -> None:
        while not over.wait(_ASK_SECONDS):
            for worker, child in list(self._children.items()):
                pid = child.process.pid
                address = ("127.0.0.1", self.ports[worker]) if worker in self.ports else self.addresses.get(worker)
                complaint = None if address is None else find_complaint(*address)
                if complaint is not None:
                    child.hang = pid, complaint

    def _spawn(self, worker: str) -> subprocess.Popen[bytes]:
        port = ("--set", f"http.port={self.ports[worker]}") if worker in self.ports else ()
        own = self.configs.get(worker.partition(".")[0])
        config = () if own is None else ("--config", str(own))  # the last one counts
        command = [sys.executable, "-m", "streams.cli", *self.arguments, *config, *port, *command_of(worker)]
        environment = os.environ | {SUPERVISOR: str(os.getpid())}
        # A session of its own: a Ctrl-C in the terminal is for the supervisor, which then stops the roles in order.
        if self.log_folder is None:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment, start_new_session=True)
        self.log_folder.mkdir(parents=True, exist_ok=True)
        with (self.log_folder / f"{worker}.log").open("ab") as out:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )

    def watch(self) -> None:
        """Restart what has ended or hangs: at once, and with back-off when it ends again within seconds.

        One that was fenced stays away for twice as long each time: whoever else runs the same shard works meanwhile,
        and two that were started by mistake take over from each other ever more rarely.
        """
        for worker, child in self._children.items():
            now = time.monotonic()
            if child.restart_at is None and child.process.poll() is None:
                self._end_if_hung(worker, child, now)
            if child.restart_at is None and child.process.poll() is not None:
                wait = self._pause(child, now - child.started)
                child.restart_at = now + wait
                log.warning("role %s ended with status %s; again in %.1f s", worker, child.process.returncode, wait)
            if child.restart_at is not None and now >= child.restart_at:
                child.process, child.started, child.restart_at = self._spawn(worker), now, None
                child.hang = child.kill_at = None
                self.restarts += 1

    def _end_if_hung(self, worker: str, child: _Child, now: float) -> None:
        """SIGTERM to a worker that says it hangs, and SIGKILL where that does not end it; then it is started again."""
        if child.kill_at is None and child.hang is not None and child.hang[0] == child.process.pid:
            log.error("role %s is ended, and started again: it says %r", worker, child.hang[1])
            self.hangs += 1
            child.kill_at = now + self.grace_seconds
            child.process.terminate()
        elif child.kill_at is not None and now >= child.kill_at:
            log.error("role %s did not end within %.0f s: killed", worker, self.grace_seconds)
            child.process.kill()
            child.process.wait()

    def _pause(self, child: _Child, lived_seconds: float) -> float:
        """How long to wait until a worker that has ended is started again."""
        if child.process.returncode == Fenced.exit_status:
            child.fenced_ends = 0 if lived_seconds > _MAX_FENCED_SECONDS else child.fenced_ends
            child.fenced_ends += 1
            return self.pause_after_fence(child.fenced_ends)
        child.quick_ends = times = child.quick_ends + 1 if lived_seconds < _QUICK_SECONDS else 0
        return min(_MAX_BACKOFF_SECONDS, _BACKOFF_SECONDS * float(2 ** (times - 1))) if times else 0.0

    def pause_after_fence(self, times: int) -> float:
        """How long a worker stays away that was fenced so many times: twice as long each time, an hour at most."""
        return min(_MAX_FENCED_SECONDS, self.fenced_seconds * float(2 ** (times - 1)))

    def fenced(self, worker: str) -> int:
        """How many times another instance has taken over from a worker; an hour of work without it wipes that out."""
        return self._children[worker].fenced_ends

    def run(self, stop: threading.Event, workers: Sequence[str] = tuple(COMMANDS)) -> None:
        """Start, watch, and stop everything when told to."""
        self.start(workers)
        try:
            while not stop.wait(0.1):
                self.watch()
        finally:
            self.stop()

    def pid(self, worker: str) -> int:
        """A worker's process id."""
        return self._children[worker].process.pid

    def stop(self) -> None:
        """End the roles: SIGTERM, and SIGKILL for what has not ended after the grace. Only processes started here."""
        self._over.set()
        self._asking = None
        children = [child.process for child in self._children.values() if child.process.poll() is None]
        for process in children:
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + self.grace_seconds
        for process in children:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
