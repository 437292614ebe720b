"""Seal and attach go from one worker to three and back at once, under load, on a real Kafka, amid kill -9 and zombies.

Nothing that happens here may change a number: the tables equal the oracle's to the last unit, and each window is
released once by each party.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest
import scenario as scenarios

from streams.feed import Feed
from streams.free_ports import free_port
from streams.kafka import topics
from streams.kafka.clients import read_to_end
from streams.records.layout import SHARDED_ROLES
from streams.records.metric import FairnessMetric
from streams.roles.seal import END_OF_LOG
from streams.roles.supervisor import Supervisor, workers_of
from streams.scaling import scale
from streams.trial import Trial

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1800)]

_PATIENCE_SECONDS = 300.0
_PACE_SECONDS = 0.03
_KILL_AFTER_SECONDS = 0.3
_FENCED_SECONDS = 0.5


@dataclass
class Deployment:
    """Nine processes of one deployment, the oracle's stream, and how much of it has been fed."""

    trial: Trial
    scenario: scenarios.Scenario
    supervisor: Supervisor
    ports: dict[str, int]
    feed: Feed
    fed: int = 0
    mistaken: list[Supervisor] = field(default_factory=list)

    def watch(self) -> None:
        """Let the supervisors do their work."""
        for supervisor in (self.supervisor, *self.mistaken):
            supervisor.watch()

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait, with the supervisors at work."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"waited {_PATIENCE_SECONDS:.0f} s: {what}"
            self.watch()
            time.sleep(0.1)

    def rest(self, seconds: float) -> None:
        """Let time pass."""
        deadline = time.monotonic() + seconds
        self.until(lambda: time.monotonic() >= deadline, "time to pass")

    def get(self, worker: str, path: str) -> str:
        """What a worker answers; empty where it does not, or says that it is not ready."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[worker]}{path}", timeout=2) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""

    def at_work(self, role: str, generation: int, shards: int) -> bool:
        """Whether all shards of a generation are at work."""
        workers = [f"{role}.{shard}" if shard else role for shard in range(shards)]
        line = f'evenstream_layout_generation{{role="{role}"}} {float(generation)}'
        return all(line in self.get(worker, "/metrics") and self.get(worker, "/readyz") == "ok\n" for worker in workers)

    def change(self, shards: int, *, kill: Sequence[str], zombies: Sequence[str] = ()) -> None:
        """Scale both roles; some workers are killed (-9) amid it, others were stopped just before and wake up after."""
        stopped = [self.supervisor.pid(worker) for worker in zombies]
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            now_ms = time.time_ns() // 1_000_000
            layouts = {role: scale(self.trial.settings, role, shards, now_ms) for role in SHARDED_ROLES}
            self.rest(_KILL_AFTER_SECONDS)
            for worker in kill:
                os.kill(self.supervisor.pid(worker), signal.SIGKILL)
            for role, layout in layouts.items():
                self.until(
                    lambda: self.at_work(role, layout.generation, shards),  # noqa: B023  # ends with the turn
                    f"generation {layout.generation} of {role}",
                )
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)

    @contextmanager
    def load(self, through: float, *, patience: float = 10.0) -> Iterator[None]:
        """Feed the stream up to a part of it while something goes on; evenly, the last third ever more patiently."""
        done = threading.Event()
        records = self.scenario.records[self.fed : int(through * len(self.scenario.records))]
        source = self.trial.settings.topic("rec-events")

        def run() -> None:
            for number, record in enumerate(records):
                self.feed.send(
                    source, record.key, record.value, timestamp_ms=record.timestamp_ms, partition=record.partition
                )
                self.feed.flush()
                done.wait(_PACE_SECONDS * (1.0 if number < 0.7 * len(records) else patience))

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            done.set()
            while thread.is_alive():
                self.watch()
                thread.join(0.05)
            self.fed += len(records)


@pytest.fixture(scope="module")
def deployment(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """The scenario on real processes, scaled 1 -> 3 -> 1 for both roles while its records flow."""
    folder = tmp_path_factory.mktemp("shards")
    overrides = [
        "test_cluster=true",
        "keys.governance_threshold=1",
        "privacy.rho_member_day_limit=1",
        "privacy.rho_30_days_limit=100",
        "privacy.rho_year_limit=1000",
    ]
    trial = Trial(folder, print, name="t-shards", overrides=overrides)
    trial.start_kafka(kafka)
    supervisors: list[Supervisor] = []
    try:
        trial.prepare(())
        source = trial.settings.topic("rec-events")
        # The stream's times are long past: with retention by time the broker would delete it from under seal.
        plan = topics.TopicPlan(source, scenarios.SOURCE_PARTITIONS, 1, topics.LOGGED_SOURCE)
        topics.create(trial.settings, (plan,))
        scenario = scenarios.build(source, 7)
        for measurement in scenario.measurements:
            trial.approve(measurement, scenario.end_ms)
        feed = Feed(trial.settings)
        for key, value in scenario.members:
            feed.send(trial.settings.topic("member-attributes"), key, value)
        feed.flush()
        workers = workers_of(3, 3)
        ports = {worker: free_port() for worker in workers}
        supervisor = Supervisor(trial.arguments, folder / "logs", ports, fenced_seconds=_FENCED_SECONDS)
        supervisors.append(supervisor)
        supervisor.start(workers)
        running = Deployment(trial, scenario, supervisor, ports, feed)
        _run(running, folder, supervisors)
        yield running
    finally:
        for one in supervisors:
            one.stop()
        topics.delete(trial.settings, (trial.settings.topic("rec-events"),))
        trial.stop()


def _run(running: Deployment, folder: Path, supervisors: list[Supervisor]) -> None:
    supervisor, workers = running.supervisor, list(running.ports)
    running.until(lambda: all(running.get(worker, "/readyz") for worker in workers), "all workers to be ready")
    for worker in ("seal.1", "attach.2"):
        assert running.get(worker, "/readyz").startswith("standing by: ")
    with running.load(0.1):
        running.rest(1)
    with running.load(0.4):
        running.change(3, kill=["seal.1", "attach.2"])
    with running.load(0.7):
        running.change(1, kill=["attach", "seal"], zombies=["attach.1", "seal.2"])
    with running.load(0.95, patience=50.0):  # someone starts a second attach by mistake, under a supervisor of its own
        mistaken = Supervisor(
            [*running.trial.arguments, "--set", "http.port=0"], folder / "mistaken", fenced_seconds=_FENCED_SECONDS
        )
        supervisors.append(mistaken)
        running.mistaken.append(mistaken)
        mistaken.start(["attach"])
        running.until(lambda: supervisor.fenced("attach") + mistaken.fenced("attach") >= 2, "two take-overs")
    with running.load(1.0):
        running.rest(1)
    for partition in range(scenarios.SOURCE_PARTITIONS):
        running.feed.send(
            running.trial.settings.topic("rec-events"),
            None,
            None,
            timestamp_ms=running.scenario.end_ms,
            partition=partition,
            headers=[(END_OF_LOG, b"1")],
        )
    running.feed.flush()
    running.until(lambda: len(_windows(running)) >= len(running.scenario.tables), "all windows")


def _windows(running: Deployment) -> dict[scenarios.Key, FairnessMetric]:
    running.rest(0.3)
    settings = running.trial.settings
    found = [FairnessMetric.decode(r.value() or b"") for r in read_to_end(settings, settings.topic("fairness-metrics"))]
    return {(window.measurement, window.level, window.window.end_ms): window for window in found}


def test_tables_equal_the_oracle(deployment: Deployment, capsys: pytest.CaptureFixture[str]) -> None:
    """Over two changes of both layouts, kills and zombies amid them and a duel, every table equals the oracle's."""
    pauses = ", ".join(f"{topic} {seconds:.1f} s" for topic, seconds in _longest_pauses(deployment).items())
    with capsys.disabled():
        print(f"\nlongest pauses, with restarts of what was killed: {pauses}")  # for whoever measures
    scenarios.check(deployment.scenario, _windows(deployment))
    settings = deployment.trial.settings
    for topic in ("releases-a", "releases-b", "fairness-metrics"):
        keys = Counter(record.key() for record in read_to_end(settings, settings.topic(topic)))
        assert len(keys) == len(deployment.scenario.tables)
        assert set(keys.values()) == {1}


def test_zombies_stand_by(deployment: Deployment) -> None:
    """Workers that woke up after their generation was over are where the layout has them: standing by, still alive."""
    for worker in ("seal.1", "seal.2", "attach.1", "attach.2"):
        assert "is divided into 1 in generation 2" in deployment.get(worker, "/readyz")


def test_two_by_mistake_settle(deployment: Deployment) -> None:
    """Two supervisors with the same shard take over from each other ever more rarely; each loser ends with 75."""
    (mistaken,) = deployment.mistaken
    times = [supervisor.fenced("attach") for supervisor in (deployment.supervisor, mistaken)]
    # They take turns, and each pause is twice the last: in the time that has passed there can have been but few.
    assert abs(times[0] - times[1]) <= 1
    assert sum(times) >= 2
    assert sum(mistaken.pause_after_fence(n) for many in times for n in range(1, many)) < _PATIENCE_SECONDS
    assert all(deployment.supervisor.fenced(worker) == 0 for worker in deployment.ports if worker != "attach")


def _longest_pauses(running: Deployment) -> dict[str, float]:
    """Seconds between two records of one partition, the most for each topic, by the broker's clock.

    Restarts of what was killed, the duel and pauses of the stream itself are in it.
    """
    settings = running.trial.settings
    longest: dict[str, float] = {}
    for topic in ("sealed", "shares", "fairness-metrics"):
        stamps: dict[int, list[int]] = {}
        for record in read_to_end(settings, settings.topic(topic)):
            stamps.setdefault(int(record.partition() or 0), []).append(record.timestamp()[1])
        longest[topic] = max(later - one for times in stamps.values() for one, later in pairwise(times)) / 1000
    return longest
