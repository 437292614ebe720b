"""A deployment of its own for as long as a trial lasts: Kafka, topics, keys, approved measurements, roles.

The demo, the chaos run and the canary stand on it. What it starts, it stops: roles first, Kafka last.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import time
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from confluent_kafka import TopicPartition

from privacy import Measurement
from secure_agg.keyring import create as create_keys
from secure_agg.keyring import load_governance
from streams.errors import EvenstreamError
from streams.governance import Governance
from streams.kafka import topics
from streams.kafka.clients import broker_count, make_consumer, wait_for_kafka
from streams.kafka.dev_broker import DevBroker
from streams.records.metric import FairnessMetric
from streams.roles.supervisor import COMMANDS, Supervisor
from streams.settings import Settings, load_settings

_READY_SECONDS = 180.0  # a machine that does other things besides takes its time
_KAFKA_SECONDS = 30.0


class Trial:
    """One deployment, in one folder.

    Args:
        folder: for Kafka's data, keys and logs.
        say: shows a line.
        name: begins the deployment's name; the rest is drawn.
        overrides: further settings, ``name=value``.
    """

    def __init__(
        self, folder: Path, say: Callable[[str], None], *, name: str = "trial", overrides: Sequence[str] = ()
    ) -> None:
        self.folder = folder
        self._say = say
        self._further = tuple(overrides)
        self.broker: DevBroker | None = None
        """The broker that was started here; None where KAFKA_BOOTSTRAP names one."""
        self._supervisor: Supervisor | None = None
        self._made: tuple[str, ...] = ()
        self.deployment = f"{name}-{secrets.token_hex(3)}"
        self._keys = folder / "keys"
        self._epochs = _memory_folder(folder, self.deployment)
        self.settings: Settings = load_settings()
        self.ports: dict[str, int] = {}

    def start_kafka(self, bootstrap: str | None = None) -> None:
        """Use the cluster that is given, or that KAFKA_BOOTSTRAP names, or start one."""
        overrides = [
            f"deployment={self.deployment}",
            f"keys.dir={self._keys}",
            f"keys.epoch_dir={self._epochs}",
            *self._further,
        ]
        bootstrap = bootstrap or os.environ.get("KAFKA_BOOTSTRAP")
        if bootstrap:
            self._say(f"using the Kafka at {bootstrap}")
        else:
            self.broker = DevBroker(self.folder / "kafka")
            bootstrap = self.broker.start(progress=self._say).bootstrap
        overrides.append(f"kafka.bootstrap={bootstrap}")
        reached = load_settings(None, overrides)
        wait_for_kafka(reached, _KAFKA_SECONDS)
        copies = min(3, broker_count(reached))
        overrides += [f"topics.replication_factor={copies}", f"topics.min_insync_replicas={max(1, copies - 1)}"]
        self.overrides = overrides
        self.settings = load_settings(None, overrides)
        self._write_config()

    @property
    def config(self) -> Path:
        """A file of these settings: with it every command speaks to this deployment."""
        return self.folder / "evenstream.yaml"

    def _write_config(self) -> None:
        content: dict[str, Any] = {}
        for override in self.overrides:
            name, _, value = override.partition("=")
            *groups, last = name.split(".")
            place = content
            for group in groups:
                place = place.setdefault(group, {})
            place[last] = value
        self.config.write_text(yaml.safe_dump(content, sort_keys=False))

    def prepare(self, live: Iterable[str], logged: Iterable[str] = ()) -> None:
        """Make topics and keys.

        Args:
            live, logged: full names of the company's source topics (``streams.kafka.topics.input_plan``).
        """
        plans = topics.plan(self.settings) + topics.input_plan(self.settings, tuple(live), tuple(logged))
        self._made = tuple(plan.name for plan in plans)  # before they are: an interruption must not leave them behind
        topics.create(self.settings, plans)
        create_keys(self.settings.keys.dir, self.deployment)

    def approve(self, spec: Measurement, now_ms: int) -> Measurement:
        """Propose a measurement, and have as many reviewers approve it as it takes."""
        folder = self.settings.keys.dir / "governance"
        count = self.settings.keys.governance_threshold
        keys = [load_governance(folder / f"reviewer-{number}.key") for number in range(1, count + 1)]
        governance = Governance(self.settings)
        proposal = governance.propose(spec, keys[0], now_ms)
        for key in keys:
            proposal = governance.approve(proposal, key, now_ms)
        return proposal.measurement

    def start_roles(self, workers: Sequence[str] = tuple(COMMANDS)) -> None:
        """Start workers (by default the five roles) and wait until all are at work."""
        self.ports = {worker: free_port() for worker in workers}
        self._supervisor = Supervisor(self.arguments, self.folder / "logs", self.ports)
        self._supervisor.start(workers)
        deadline = time.monotonic() + _READY_SECONDS
        waiting = set(workers)
        while waiting:
            self._supervisor.watch()
            waiting = {worker for worker in waiting if not self.is_ready(worker)}
            if waiting and time.monotonic() > deadline:
                raise EvenstreamError(
                    f"these roles did not become ready within {_READY_SECONDS:.0f} s: {', '.join(sorted(waiting))}; "
                    f"their logs are in {self.folder / 'logs'}"
                )
            time.sleep(0.1)

    @property
    def arguments(self) -> list[str]:
        """Global options with which every command speaks to this deployment."""
        return [part for override in self.overrides for part in ("--set", override)]

    @property
    def supervisor(self) -> Supervisor:
        """Keeps the workers; there is one once :meth:`start_roles` was called."""
        assert self._supervisor is not None
        return self._supervisor

    def is_ready(self, worker: str) -> bool:
        """Whether a worker's /readyz says that it is at work."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[worker]}/readyz", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    @property
    def metrics_address(self) -> str:
        """Where `publish` shows its metrics."""
        return f"http://127.0.0.1:{self.ports['publish']}/metrics"

    def scrape(self, worker: str = "publish") -> str:
        """What a worker's /metrics says now; empty where nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[worker]}/metrics", timeout=2) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""

    def all_values(self, topic: str) -> list[bytes]:
        """Every value of one of the deployment's topics with one partition."""
        follower = TopicFollower(self.settings, self.settings.topic(topic))
        values = follower.poll(1.0)
        follower.close()
        return values

    def watch(self) -> None:
        """Restart roles that died."""
        if self._supervisor is not None:
            self._supervisor.watch()

    @property
    def restarts(self) -> int:
        """How many times a role had to be restarted."""
        return 0 if self._supervisor is None else self._supervisor.restarts

    def stop(self) -> None:
        """Stop what was started, roles first, and remove what no one needs afterwards; logs and the truth stay."""
        if self._supervisor is not None:
            self._supervisor.stop()
        if self.broker is not None:
            self.broker.stop()
        elif self._made:
            topics.delete(self.settings, self._made)  # a cluster that was there before gets none of it to keep
        for folder in (self.folder / "kafka", self._keys, self._epochs):
            shutil.rmtree(folder, ignore_errors=True)


class TopicFollower:
    """Follows one single-partition topic from its beginning, as a subscriber would."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self._consumer = make_consumer(settings, settings.group("trial"), **{"fetch.wait.max.ms": 10})
        self._consumer.assign([TopicPartition(topic, 0, 0)])

    def poll(self, seconds: float) -> list[bytes]:
        """Values that came within ``seconds``, at the latest when the end is reached."""
        values: list[bytes] = []
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            messages = self._consumer.consume(1000, 0.05)
            values += [value for m in messages if m.error() is None and (value := m.value()) is not None]
            if any(m.error() is not None for m in messages):
                break
        return values

    def windows(self, seconds: float) -> list[FairnessMetric]:
        """The same, as records of `fairness-metrics`."""
        return [FairnessMetric.decode(value) for value in self.poll(seconds)]

    def close(self) -> None:
        """Give the connection back."""
        self._consumer.close()


def _memory_folder(fallback: Path, deployment: str) -> Path:
    """Where epoch keys lie: memory-backed storage where there is some."""
    shared = Path("/dev/shm")  # noqa: S108  # a folder of our own with mode 0700 is made in it
    return shared / f"evenstream-{deployment}" if os.access(shared, os.W_OK) else fallback / "epochs"


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
