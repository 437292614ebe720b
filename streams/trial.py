"""A deployment of its own for as long as a trial lasts: Kafka, topics, keys, approved measurements, roles.

The demo, the chaos run and the canary stand on it. What it starts, it stops: roles first, Kafka last.

A secured trial has a broker with TLS, SCRAM and ACLs, and one principal a role, each with a settings file of its own
(mode 0600) that holds its password. The trial makes topics as `operator`, has measurements approved as `governance`,
and feeds and reads results as `company`; only its clean-up, and reading where no role may, is `admin`.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from confluent_kafka import TopicPartition

from privacy import Measurement
from secure_agg.keyring import create as create_keys
from secure_agg.keyring import load_governance, write_private
from streams import acl
from streams.errors import EvenstreamError, SettingsError
from streams.free_ports import free_port
from streams.governance import Governance
from streams.kafka import acls, topics
from streams.kafka.clients import broker_count, make_consumer, wait_for_kafka
from streams.kafka.dev_broker import DevBroker
from streams.kafka.dev_security import ADMIN, BrokerSecurity, client_file
from streams.records.metric import FairnessMetric
from streams.roles.supervisor import COMMANDS, Supervisor
from streams.settings import PRINCIPALS, Settings, load_settings, settings_file

_READY_SECONDS = 180.0  # a machine that does other things besides takes its time
_KAFKA_SECONDS = 30.0


class Trial:
    """One deployment, in one folder.

    Args:
        folder: for Kafka's data, keys and logs.
        say: shows a line.
        name: begins the deployment's name; the rest is drawn.
        overrides: further settings, ``name=value``.
        secure: on a secured broker, with one principal a role.
    """

    def __init__(
        self,
        folder: Path,
        say: Callable[[str], None],
        *,
        name: str = "trial",
        overrides: Sequence[str] = (),
        secure: bool = False,
    ) -> None:
        self.folder = folder
        self.secure = secure
        self._say = say
        self._further = tuple(overrides)
        self.broker: DevBroker | None = None
        """The broker that was started here; None where KAFKA_BOOTSTRAP names one."""
        self._supervisor: Supervisor | None = None
        self._made: tuple[str, ...] = ()
        self._security: BrokerSecurity | None = None
        self.deployment = f"{name}-{secrets.token_hex(3)}"
        self._keys = folder / "keys"
        self._epochs = _memory_folder(folder, self.deployment)
        self.settings: Settings = load_settings()
        self.ports: dict[str, int] = {}

    def start_kafka(self, bootstrap: str | None = None, security: BrokerSecurity | None = None) -> None:
        """Use the cluster that is given, or that KAFKA_BOOTSTRAP names, or start one.

        Args:
            security: of the developer's broker at ``bootstrap``, for a secured trial.

        Raises:
            SettingsError: KAFKA_BOOTSTRAP names a cluster whose users a secured trial cannot make.
        """
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
            self.broker = DevBroker(self.folder / "kafka", secure=self.secure)
            bootstrap = self.broker.start(progress=self._say).bootstrap
            security = self.broker.security
        if self.secure and security is None:
            raise SettingsError(
                f"the Kafka at {bootstrap} is not the secured broker of this trial, whose users it must be able to "
                "make: unset KAFKA_BOOTSTRAP, and it starts one"
            )
        overrides.append(f"kafka.bootstrap={bootstrap}")
        self._security = security if self.secure else None
        self.overrides = overrides
        self.settings = load_settings(None, overrides)
        if self._security is not None:
            self._security.add_users(bootstrap, map(self._user, PRINCIPALS))
            self._write_principals()
        reached = self.settings_of(ADMIN)
        wait_for_kafka(reached, _KAFKA_SECONDS)
        copies = min(3, broker_count(reached))
        overrides += [f"topics.replication_factor={copies}", f"topics.min_insync_replicas={max(1, copies - 1)}"]
        write_private(self.folder / "evenstream.yaml", settings_file(overrides).encode())
        if self._security is not None:
            self._write_principals()
        self.settings = self.settings_of("company")

    def _user(self, principal: str) -> str:
        return self.settings.principal(principal).removeprefix("User:") if principal != ADMIN else ADMIN

    def _write_principals(self) -> None:
        assert self._security is not None
        for principal in (*PRINCIPALS, ADMIN):
            properties = self._security.properties(self._user(principal))
            client_file(self.config_of(principal), self.overrides, properties)

    def config_of(self, principal: str) -> Path:
        """A file of the deployment's settings, with this principal's password where the trial is secured."""
        return self.folder / (f"principals/{principal}.yaml" if self._security is not None else "evenstream.yaml")

    def settings_of(self, principal: str) -> Settings:
        """The deployment's settings as one of ``PRINCIPALS``, or "admin", has them; in an open trial all have the same.

        The trial's own ``settings`` are the company's.
        """
        if self._security is None:
            return load_settings(None, self.overrides)
        return load_settings(self.config_of(principal), self.overrides)

    @property
    def config(self) -> Path:
        """A file of settings with which the commands of reviewers, ledgers and concerns speak to this deployment."""
        return self.config_of("governance")

    def prepare(self, live: Iterable[str], logged: Iterable[str] = ()) -> None:
        """Make topics and keys.

        Args:
            live, logged: full names of the company's source topics (``streams.kafka.topics.input_plan``).
        """
        live, logged = tuple(live), tuple(logged)
        if self._security is not None:
            self._name_sources(live + logged)
        plans = topics.plan(self.settings) + topics.input_plan(self.settings, live, logged)
        self._made = tuple(plan.name for plan in plans)  # before they are: an interruption must not leave them behind
        if self._security is not None:
            found = acl.rules(self.settings)
            acls.create(self.settings_of(ADMIN), acls.bindings(found))
        topics.create(self.settings_of("operator"), plans)
        create_keys(self.settings.keys.dir, self.deployment)

    def _name_sources(self, names: tuple[str, ...]) -> None:
        """Say in the settings which source topics there are: `seal` may read only those."""
        self.overrides.append(f"topics.sources=[{', '.join(names)}]")
        self._write_principals()
        self.settings = self.settings_of("company")

    def approve(self, spec: Measurement, now_ms: int) -> Measurement:
        """Propose a measurement, and have as many reviewers approve it as it takes."""
        folder = self.settings.keys.dir / "governance"
        count = self.settings.keys.governance_threshold
        keys = [load_governance(folder / f"reviewer-{number}.key") for number in range(1, count + 1)]
        governance = Governance(self.settings_of("governance"))
        proposal = governance.propose(spec, keys[0], now_ms)
        for key in keys:
            proposal = governance.approve(proposal, key, now_ms)
        return proposal.measurement

    def start_roles(self, workers: Sequence[str] = tuple(COMMANDS), *, ready_seconds: float = _READY_SECONDS) -> None:
        """Start workers (by default the five roles) and wait until all are at work."""
        self.ports = {worker: free_port() for worker in workers}
        roles = {worker.partition(".")[0] for worker in workers}
        configs = {role: self.config_of(role) for role in roles} if self.secure else {}
        self._supervisor = Supervisor(self.arguments, self.folder / "logs", self.ports, configs=configs)
        self._supervisor.start(workers)
        deadline = time.monotonic() + ready_seconds
        waiting = set(workers)
        while waiting:
            self._supervisor.watch()
            waiting = {worker for worker in waiting if not self.is_ready(worker)}
            if waiting and time.monotonic() > deadline:
                raise EvenstreamError(
                    f"these roles did not become ready within {ready_seconds:.0f} s: {', '.join(sorted(waiting))}; "
                    f"their logs are in {self.folder / 'logs'}"
                )
            time.sleep(0.1)

    @property
    def arguments(self) -> list[str]:
        """Global options with which every command speaks to this deployment; none of them is secret."""
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

    @property
    def page_address(self) -> str:
        """Where `publish` shows its live page."""
        return f"http://127.0.0.1:{self.ports['publish']}/"

    def scrape(self, worker: str = "publish") -> str:
        """What a worker's /metrics says now; empty where nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[worker]}/metrics", timeout=2) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""

    def all_values(self, topic: str) -> list[bytes]:
        """Every value of one of the deployment's topics with one partition."""
        follower = TopicFollower(self.settings_of(ADMIN), self.settings.topic(topic))
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
        try:
            if self._supervisor is not None:
                self._supervisor.stop()
            if self.broker is not None:
                self.broker.stop()
            elif self._made:
                topics.delete(
                    self.settings_of(ADMIN), self._made
                )  # a cluster that was there before gets none of it to keep
        finally:  # passwords and private keys go, whatever the cluster answers
            folders = [self.folder / "kafka", self.folder / "principals", self._keys, self._epochs]
            if self._supervisor is not None:  # its roles may have been killed, and killed ones leave theirs
                folders.append(self.settings.faust_folder())
            for folder in folders:
                shutil.rmtree(folder, ignore_errors=True)


class TopicFollower:
    """Follows one single-partition topic from its beginning, as a subscriber would."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self._consumer = make_consumer(settings, settings.group("trial"))
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
