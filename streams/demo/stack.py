"""Everything that the demo starts: Kafka, topics, keys, approved measurements, roles. What it starts, it stops."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from confluent_kafka import TopicPartition

from privacy import Measurement, parse_measurement
from secure_agg.keyring import create as create_keys
from secure_agg.keyring import load_governance
from streams.errors import EvenstreamError, InputError
from streams.governance import Governance, starting
from streams.kafka import topics
from streams.kafka.clients import broker_count, make_consumer, wait_for_kafka
from streams.kafka.dev_broker import DevBroker
from streams.records.metric import FairnessMetric
from streams.records.refused import decode_refused
from streams.roles.supervisor import COMMANDS, Supervisor
from streams.settings import Settings, load_settings

_READY_SECONDS = 60.0
_KAFKA_SECONDS = 30.0
_NOTICE_MS = 5_000


class DemoStack:
    """One run's deployment, in one folder.

    Args:
        folder: for Kafka's data, keys, logs and the truth.
        say: shows a line.
    """

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.folder = folder
        self._say = say
        self._broker: DevBroker | None = None
        self._supervisor: Supervisor | None = None
        self._made: tuple[str, ...] = ()
        self.deployment = f"demo-{secrets.token_hex(3)}"
        self._keys = folder / "keys"
        self._epochs = _memory_folder(folder, self.deployment)
        self.settings: Settings = load_settings()
        self.ports: dict[str, int] = {}

    def start_kafka(self) -> None:
        """Use the cluster that KAFKA_BOOTSTRAP names, or start one."""
        overrides = [
            f"deployment={self.deployment}",
            f"keys.dir={self._keys}",
            f"keys.epoch_dir={self._epochs}",
            # Both measurements on two UTC days, in case the run passes midnight.
            "privacy.rho_30_days_limit=1.2",
        ]
        bootstrap = os.environ.get("KAFKA_BOOTSTRAP")
        if bootstrap:
            self._say(f"using the Kafka at {bootstrap} (KAFKA_BOOTSTRAP)")
        else:
            self._broker = DevBroker(self.folder / "kafka")
            bootstrap = self._broker.start(progress=self._say).bootstrap
        overrides.append(f"kafka.bootstrap={bootstrap}")
        reached = load_settings(None, overrides)
        wait_for_kafka(reached, _KAFKA_SECONDS)
        copies = min(3, broker_count(reached))
        overrides += [f"topics.replication_factor={copies}", f"topics.min_insync_replicas={max(1, copies - 1)}"]
        self._overrides = overrides
        self.settings = load_settings(None, overrides)
        self._write_config()

    @property
    def config(self) -> Path:
        """A file of these settings: with it every command speaks to this deployment."""
        return self.folder / "evenstream.yaml"

    def _write_config(self) -> None:
        content: dict[str, Any] = {}
        for override in self._overrides:
            name, _, value = override.partition("=")
            *groups, last = name.split(".")
            place = content
            for group in groups:
                place = place.setdefault(group, {})
            place[last] = value
        self.config.write_text(yaml.safe_dump(content, sort_keys=False))

    def prepare(self) -> None:
        """Make topics and keys."""
        plans = topics.plan(self.settings) + topics.input_plan(self.settings, tuple(self._sources().values()))
        self._made = tuple(plan.name for plan in plans)  # before they are: an interruption must not leave them behind
        topics.create(self.settings, plans)
        create_keys(self.settings.keys.dir, self.deployment)

    def _sources(self) -> dict[str, str]:
        """Source topic of each example."""
        names = {"simulated-feed": "rec-events", "primaries-2022": "primaries"}
        return {example: self.settings.topic(topic) for example, topic in names.items()}

    def approve(self, examples: Path) -> dict[str, Measurement]:
        """Have two of three reviewers approve the two measurements, from a minute on that leaves every role time."""
        now_ms = time.time_ns() // 1_000_000
        folder = self.settings.keys.dir / "governance"
        first, second = (load_governance(folder / f"reviewer-{number}.key") for number in (1, 2))
        governance = Governance(self.settings)
        approved = {}
        for example, topic in self._sources().items():
            path = examples / example / "measurement.yaml"
            try:
                text = path.read_text()
            except OSError:
                raise InputError(f"{path} is missing: run the demo from a checkout of evenstream") from None
            spec = parse_measurement(text, origin=str(path))
            spec = spec.model_copy(update={"source": spec.source.model_copy(update={"topic": topic})})
            spec = starting(spec, now_ms, days=1, notice_ms=_NOTICE_MS)
            proposal = governance.propose(spec, first, now_ms)
            for key in (first, second):
                proposal = governance.approve(proposal, key, now_ms)
            approved[spec.id] = proposal.measurement
        return approved

    def start_roles(self) -> None:
        """Start the five roles and wait until all are at work."""
        self.ports = {role: _free_port() for role in COMMANDS}
        arguments = [part for override in self._overrides for part in ("--set", override)]
        self._supervisor = Supervisor(arguments, self.folder / "logs", self.ports)
        self._supervisor.start()
        deadline = time.monotonic() + _READY_SECONDS
        waiting = set(COMMANDS)
        while waiting:
            self._supervisor.watch()
            waiting = {role for role in waiting if not self._is_ready(role)}
            if waiting and time.monotonic() > deadline:
                raise EvenstreamError(
                    f"these roles did not become ready within {_READY_SECONDS:.0f} s: {', '.join(sorted(waiting))}; "
                    f"their logs are in {self.folder / 'logs'}"
                )
            time.sleep(0.1)

    def _is_ready(self, role: str) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[role]}/readyz", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    @property
    def metrics_address(self) -> str:
        """Where `publish` shows its metrics."""
        return f"http://127.0.0.1:{self.ports['publish']}/metrics"

    def scrape(self) -> str:
        """What /metrics says now; empty where nobody answers."""
        try:
            with urllib.request.urlopen(self.metrics_address, timeout=2) as answer:  # noqa: S310
                return str(answer.read().decode())
        except OSError:
            return ""

    def refused(self) -> dict[str, int]:
        """Rows refused so far, by reason."""
        counts: dict[str, int] = {}
        for value in self._all_values("refused"):
            reason = decode_refused(value).reason
            counts[reason] = counts.get(reason, 0) + 1
        return counts

    def _all_values(self, topic: str) -> list[bytes]:
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
        if self._broker is not None:
            self._broker.stop()
        elif self._made:
            topics.delete(self.settings, self._made)  # a cluster that was there before gets none of the demo to keep
        for folder in (self.folder / "kafka", self._keys, self._epochs):
            shutil.rmtree(folder, ignore_errors=True)


class TopicFollower:
    """Follows one single-partition topic from its beginning, as a subscriber would."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self._consumer = make_consumer(settings, settings.group("demo"), **{"fetch.wait.max.ms": 10})
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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
