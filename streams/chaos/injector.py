"""Carries out faults on a running deployment: signals to the roles and to the broker, by process id.

Every role is a child of the trial's supervisor, which goes on restarting what dies while a fault is under way.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from streams.chaos.schedule import SHARDS, Fault
from streams.chaos.timings import Injection
from streams.chaos.transactions import OpenTransactions
from streams.errors import EvenstreamError, KafkaUnavailable
from streams.free_ports import free_port
from streams.roles.process import SUPERVISOR
from streams.roles.supervisor import command_of
from streams.scaling import scale
from streams.trial import Trial

STALL_SECONDS = 20.0
TIMEOUT_SECONDS = 13.0
"""More than transaction.timeout.ms (10 s) and the second that the broker takes to look for such transactions."""

_STEP_SECONDS = 0.02
_SEARCH_SECONDS = 30.0
_UNDECIDED_SECONDS = 0.03
_RESTART_SECONDS = 60.0
_BROKER_SECONDS = 180.0
_FENCE_SECONDS = 120.0
_TWICE_SECONDS = 1.0


@dataclass
class Done:
    """What was injected.

    Attributes:
        injections: in order. kills: by role, kill -9 of role processes.
        open_kills: of these, how many struck while a transaction of the role was open and undecided. starting_kills:
            how many struck a role that was starting. twice_kills: how many came within a second of the one before.
        others: faults that are no kills of a role, by kind.
        shortfalls: what a fault should have led to and did not, in words.
    """

    injections: list[Injection] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)
    open_kills: int = 0
    starting_kills: int = 0
    twice_kills: int = 0
    others: Counter[str] = field(default_factory=Counter)
    shortfalls: list[str] = field(default_factory=list)


def now_ms() -> int:
    """This machine's clock, epoch milliseconds."""
    return time.time_ns() // 1_000_000


class Injector:
    """Injects one fault after the other.

    Args:
        trial: the deployment; its broker must be its own for faults of the broker.
        seed: decides the moments within a search for an open transaction.
        flows_since: whether metrics have flowed since a moment (``timings.Visible``).
        turn: called again and again while a fault is under way, for a screen.
    """

    def __init__(
        self, trial: Trial, seed: int, flows_since: Callable[[int], bool], turn: Callable[[], None] = lambda: None
    ) -> None:
        self._trial = trial
        self._rng = np.random.default_rng(seed)
        self._flows_since = flows_since
        self._turn = turn
        self._open = OpenTransactions(trial.settings)
        self._stopped: set[int] = set()
        self.done = Done()

    def inject(self, fault: Fault) -> Injection:
        """Inject a fault; returns when its last stroke has come, or what it held up was let go."""
        begun_ms = now_ms()
        strokes: dict[str, Callable[[Fault], None]] = {
            "kill": self._kill,
            "kill in a transaction": self._kill_in_transaction,
            "kill twice in a second": self._kill_twice,
            "kill in start-up": self._kill_twice,
            "kills all over": self._kill_all_over,
            "broker kill": self._broker_kill,
            "broker stall": self._broker_stall,
            "transaction time-out": self._time_out,
            "zombie": self._zombie,
            "hand-over": self._hand_over,
            "hand-over with kills": self._hand_over,
        }
        strokes[fault.kind](fault)
        injection = Injection(fault.kind, fault.roles, begun_ms, now_ms())
        self.done.injections.append(injection)
        return injection

    def wait(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Let time pass while the supervisor works; True as soon as ``until`` holds."""
        deadline = time.monotonic() + seconds
        while True:
            self._trial.watch()
            self._turn()
            if until():
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(_STEP_SECONDS, left))

    def close(self) -> None:
        """Let go on what is stopped, so that it can end."""
        for pid in list(self._stopped):
            self._go_on(pid)

    # -- kills ----------------------------------------------------------------------------------------------------

    def _kill(self, fault: Fault) -> None:
        self._kill_role(fault.roles[0])

    def _kill_in_transaction(self, fault: Fault) -> None:
        role = fault.roles[0]
        pid = self._stop_in_transaction(role)
        if pid is not None:
            self._stopped.discard(pid)
            self.done.open_kills += 1
        self._kill_role(role, looked=True)

    def _kill_twice(self, fault: Fault) -> None:
        """Two kills of one role; the second some time after it was started again."""
        role = fault.roles[0]
        first, at = self._kill_role(role)
        if not self.wait(_RESTART_SECONDS, lambda: self._trial.supervisor.pid(role) != first):
            raise EvenstreamError(f"role {role} was not started again within {_RESTART_SECONDS:.0f} s")
        self.wait(fault.offsets_seconds[1])
        starting = not self._trial.is_ready(role)
        _, again_at = self._kill_role(role)
        self.done.starting_kills += starting
        self.done.twice_kills += again_at - at < _TWICE_SECONDS

    def _kill_all_over(self, fault: Fault) -> None:
        begun = time.monotonic()
        for role, offset in zip(fault.roles, fault.offsets_seconds, strict=True):
            self.wait(begun + offset - time.monotonic())
            self._kill_role(role)

    def _kill_role(self, worker: str, *, looked: bool = False) -> tuple[int, float]:
        """Kill a role's process; returns its id and when."""
        if not self.wait(_RESTART_SECONDS, lambda: _is_child(self._trial.supervisor.pid(worker))):
            raise EvenstreamError(f"role {worker} was not started again within {_RESTART_SECONDS:.0f} s")
        pid = self._trial.supervisor.pid(worker)
        _signal(pid, signal.SIGKILL)
        at = time.monotonic()
        self.done.kills[worker.partition(".")[0]] += 1
        if not looked:
            self.done.open_kills += self._open.of(worker)
        return pid, at

    # -- transactions ---------------------------------------------------------------------------------------------

    def _stop_in_transaction(self, worker: str) -> int | None:
        """Stop a role's process while a transaction of its own is open and no longer moving; its id, or None.

        A transaction lasts some 20 ms a second, so the process is stopped again and again until one is found open.
        """
        deadline = time.monotonic() + _SEARCH_SECONDS
        while time.monotonic() < deadline:
            pid = self._trial.supervisor.pid(worker)
            self._stop(pid)
            # What is decided already only waits for its marker: looked at again a moment later, it is not open.
            if self._open.of(worker):
                time.sleep(_UNDECIDED_SECONDS)
                if self._open.of(worker):
                    return pid
            self._go_on(pid)
            self.wait(float(self._rng.uniform(0.002, 0.03)))
        return None

    def _time_out(self, fault: Fault) -> None:
        """Stop a role in a transaction until the broker has ended that, and let it go on."""
        role = fault.roles[0]
        pid = self._stop_in_transaction(role)
        if pid is None:
            self.done.shortfalls.append(f"no open transaction of {role} was found to time out")
            return
        self.wait(TIMEOUT_SECONDS)
        if self._open.of(role) and not self.wait(5.0, lambda: not self._open.of(role)):
            self.done.shortfalls.append(f"the broker did not end a transaction of {role} that had timed out")
        self.done.others[fault.kind] += 1
        self._go_on(pid)

    # -- zombies --------------------------------------------------------------------------------------------------

    def _zombie(self, fault: Fault) -> None:
        """Stop a worker, let a second process of it take over, and let the first go on: one of the two must end.

        As a rule it is the first, which finds itself fenced; the supervisor then starts it again, which takes over from
        the second, so that one must end as well. A first that was stopped while it committed sees that commit time out
        when it wakes up, begins anew, and takes over: then it is the second that ends.
        """

        def ended() -> bool:
            return self._trial.supervisor.pid(worker) != first or not _is_child(first)

        worker = fault.roles[0]
        first = self._trial.supervisor.pid(worker)
        self._stop(first)
        stopped_ms = now_ms()
        second = self._second_process(worker)
        try:
            if not self.wait(_FENCE_SECONDS, lambda: self._flows_since(stopped_ms)):
                self.done.shortfalls.append(f"a second process of {worker} did not take over from a stopped one")
            self._go_on(first)
            if not self.wait(_FENCE_SECONDS, lambda: ended() or second.poll() is not None):
                self.done.shortfalls.append(f"a zombie of {worker} woke up, and two processes went on side by side")
            elif ended() and not self.wait(_FENCE_SECONDS, lambda: second.poll() is not None):
                self.done.shortfalls.append(f"{worker} was started anew, and two processes went on side by side")
            self.done.others[fault.kind] += 1
        finally:
            self._go_on(first)
            if second.poll() is None:
                second.kill()
                second.wait()

    def _second_process(self, worker: str) -> subprocess.Popen[bytes]:
        arguments = [*self._trial.arguments, "--set", "http.port=0", *command_of(worker)]
        with (self._trial.folder / "logs" / f"{worker}.second.log").open("ab") as out:
            return subprocess.Popen(
                [sys.executable, "-m", "streams.cli", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=os.environ | {SUPERVISOR: str(os.getpid())},
                start_new_session=True,
            )

    def _stop(self, pid: int) -> None:
        self._stopped.add(pid)
        _signal(pid, signal.SIGSTOP)

    def _go_on(self, pid: int) -> None:
        self._stopped.discard(pid)
        _signal(pid, signal.SIGCONT)

    # -- hand-over ------------------------------------------------------------------------------------------------

    def _hand_over(self, fault: Fault) -> None:
        """One worker becomes three and one again; in each of both one may be killed amid."""
        role = fault.roles[0].partition(".")[0]
        self._start_further(role)
        for turn, shards in enumerate((SHARDS, 1)):
            layout = scale(self._trial.settings, role, shards, now_ms())
            if fault.kills:
                self.wait(fault.offsets_seconds[turn])
                self._kill_role(fault.roles[turn])
            since_ms = now_ms()
            if shards > 1 and not self.wait(_FENCE_SECONDS, lambda: self._flows_since(since_ms)):  # noqa: B023  # as above
                self.done.shortfalls.append(f"no metrics flow in generation {layout.generation} of {role}")
        self.done.others[fault.kind] += 1

    def _start_further(self, role: str) -> None:
        """Start the further workers of a role, which stand by until a layout has a place for them."""
        for worker in (f"{role}.{shard}" for shard in range(1, SHARDS)):
            if worker in self._trial.ports:
                continue
            self._trial.ports[worker] = free_port()
            self._trial.supervisor.start([worker])
            if not self.wait(_RESTART_SECONDS, lambda: self._trial.is_ready(worker)):  # noqa: B023  # ends with the turn
                raise EvenstreamError(f"worker {worker} did not begin to stand by within {_RESTART_SECONDS:.0f} s")

    # -- the broker -----------------------------------------------------------------------------------------------

    def _broker_kill(self, fault: Fault) -> None:
        """Kill the broker, and a role while it is away; start it again."""
        broker = self._trial.broker
        running = None if broker is None else broker.running()
        if broker is None or running is None:
            raise EvenstreamError("faults of the broker need a broker that was started here: unset KAFKA_BOOTSTRAP")
        _signal(running.pid, signal.SIGKILL)
        self.done.others[fault.kind] += 1
        self.wait(_RESTART_SECONDS, lambda: _has_ended(running.pid))
        failures: list[Exception] = []

        def start() -> None:
            deadline = time.monotonic() + _BROKER_SECONDS
            while True:
                try:
                    broker.start()
                    return
                except KafkaUnavailable as error:  # its port may be a client's own for a moment
                    if time.monotonic() > deadline:
                        failures.append(error)
                        return
                    time.sleep(0.5)

        starting = threading.Thread(target=start, daemon=True)
        starting.start()
        self.wait(fault.offsets_seconds[0])
        self._kill_role(fault.roles[0], looked=True)
        self.wait(2 * _BROKER_SECONDS, lambda: not starting.is_alive())
        if failures:
            raise EvenstreamError(f"the broker did not come back: {failures[0]}") from failures[0]

    def _broker_stall(self, fault: Fault) -> None:
        """Stop the broker for a while, and kill a role meanwhile."""
        broker = self._trial.broker
        running = None if broker is None else broker.running()
        if running is None:
            raise EvenstreamError("faults of the broker need a broker that was started here: unset KAFKA_BOOTSTRAP")
        self._stop(running.pid)
        self.done.others[fault.kind] += 1
        self.wait(fault.offsets_seconds[0])
        self._kill_role(fault.roles[0], looked=True)
        self.wait(STALL_SECONDS - fault.offsets_seconds[0])
        self._go_on(running.pid)


def _is_child(pid: int) -> bool:
    """Whether this is a process that was started here and has not ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return False
    return fields[0] != "Z" and int(fields[1]) == os.getpid()


def _has_ended(pid: int) -> bool:
    """Whether a child is gone with all its threads, and so with all that it listened on; takes its status."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:  # its status was taken by another
        return not _is_child(pid)


def _signal(pid: int, number: int) -> None:
    """Send a signal, but never to a stranger who has got the number of a process that ended."""
    if _is_child(pid):
        os.kill(pid, number)
