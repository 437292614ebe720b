"""What every role's process has in common: hardening, keys, control plane, health server, and an orderly end."""

from __future__ import annotations

import ctypes
import logging
import os
import resource
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

from prometheus_client import CollectorRegistry

from secure_agg import EpochKeys, KeyFileError, RoleKeys
from secure_agg.keyring import load_role
from streams.acl import compared_topics
from streams.control import ControlPlane
from streams.data_keys import ReceivingKeys, SendingKeys
from streams.errors import EvenstreamError, TopicMismatch
from streams.kafka import topics
from streams.kafka.clients import admin, wait_for_kafka
from streams.kafka.control_reader import ControlReader
from streams.kafka.refusals import lacking, lacks
from streams.kafka.shard import ShardLoop
from streams.log import configure_logging
from streams.records.keys import sign_epoch_key
from streams.settings import Settings
from streams.stage import Stage
from streams.state import StateCodec
from streams.watch.health import RoleHealth
from streams.watch.http import HealthServer, Route

log = logging.getLogger(__name__)

SUPERVISOR = "EVENSTREAM_SUPERVISOR"
"""Set by ``evenstream up`` for the roles that it starts: its process id. They end when it does, however it ends."""

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_KAFKA_SECONDS = 60.0
_EPOCH_CHECK_MS = 1000


def harden() -> None:
    """No core dumps, and no other process of this user may read this one's memory (Linux)."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    except (OSError, AttributeError):
        log.warning("this system has no prctl: the process stays dumpable")


def end_with_supervisor() -> None:
    """Where a supervisor started this role, have the kernel send SIGTERM when that supervisor is gone (Linux)."""
    supervisor = os.environ.get(SUPERVISOR)
    if supervisor is None:
        return
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    except (OSError, AttributeError):
        log.warning("this system has no prctl: should `evenstream up` be killed, end this role by hand")
    if str(os.getppid()) != supervisor:  # it was gone before we could ask
        raise EvenstreamError("the `evenstream up` that started this role has ended; so does the role")


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set."""
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    return stop


@dataclass
class RoleProcess:
    """One role's own things, ready to be wired into its stage."""

    role: str
    settings: Settings
    keys: RoleKeys
    control: ControlPlane
    reader: ControlReader
    registry: CollectorRegistry
    health: RoleHealth
    codec: StateCodec

    @classmethod
    def start(cls, role: str, settings: Settings) -> RoleProcess:
        """Load keys, reach Kafka, check that the topics are there and may be used.

        Raises:
            EvenstreamError: a key file, the cluster, the topics or this principal's ACLs are not as they must be.
        """
        configure_logging(role, settings.logging)
        end_with_supervisor()
        harden()
        try:
            keys = load_role(settings.keys.dir, role, settings.deployment)
        except KeyFileError as error:
            raise EvenstreamError(str(error)) from None
        wait_for_kafka(settings, _KAFKA_SECONDS)
        missing = lacking(settings, role, admin(settings))
        if missing:
            raise lacks(settings, missing)
        own = {settings.topic(name) for name in compared_topics(role)}  # a role's principal may not see the others
        plans = tuple(plan for plan in topics.plan(settings) if plan.name in own)
        differences = [str(difference) for difference in topics.compare(settings, plans)]
        if differences:
            raise TopicMismatch("the topics are not as the protocol needs them:\n" + "\n".join(differences))
        control = ControlPlane.of(keys.trusted, settings)
        registry = CollectorRegistry()
        return cls(
            role=role,
            settings=settings,
            keys=keys,
            control=control,
            reader=ControlReader(settings, role, control),
            registry=registry,
            health=RoleHealth(role, registry),
            codec=StateCodec(keys.derive("state"), role),
        )

    def topics(self, *names: str) -> dict[str, str]:
        """Full names of topics, by their short ones."""
        return {name: self.settings.topic(name) for name in names}

    def sending_keys(self) -> SendingKeys:
        """The role's data keys as a sender; a new process id."""
        return SendingKeys(self.keys.identity, self.control, self.reader.announce)

    def epoch_keys(self) -> EpochKeys:
        """The role's epochs as a recipient."""
        lifetime_ms = int(self.settings.keys.epoch_lifetime_hours * 3_600_000)
        return EpochKeys(self.role, self.settings.epoch_folder(self.role), lifetime_ms)

    def receiving_keys(self, epochs: EpochKeys) -> ReceivingKeys:
        """The role's data keys as a recipient."""
        return ReceivingKeys(self.role, self.settings.deployment, self.control, epochs)

    def announce_epoch(self, epochs: EpochKeys, now_ms: int) -> None:
        """Make sure that senders have an epoch of this role with enough life left."""
        epoch = epochs.ensure_current(now_ms)
        known = self.control.epoch_public(self.role, now_ms)
        if known is None or known.epoch < epoch.number:
            self.reader.announce(sign_epoch_key(self.keys.identity, epoch.public()))
            self.reader.catch_up()

    def epoch_keeper(self, epochs: EpochKeys) -> Callable[[Stage, int], None]:
        """A tick for the shard loop that announces the next epoch in time."""
        checked_ms = 0

        def tick(stage: Stage, now_ms: int) -> None:
            nonlocal checked_ms
            if now_ms - checked_ms > _EPOCH_CHECK_MS:
                checked_ms = now_ms
                self.announce_epoch(epochs, now_ms)

        return tick

    def work(self, loop: ShardLoop, stop: threading.Event) -> None:
        """Drive the role's stage, and answer its health server, until ``stop`` is set."""
        server = self.serve(loop.healthy, loop.ready)
        try:
            loop.run(stop)
        finally:
            server.close()
            self.reader.close()

    def serve(
        self,
        healthy: Callable[[], str | None],
        ready: Callable[[], str | None],
        routes: dict[str, Route] | None = None,
        forms: dict[str, Route] | None = None,
    ) -> HealthServer:
        """Begin to answer /metrics, /healthz and /readyz."""
        host, port = self.settings.http.host, self.settings.port(self.role)
        try:
            server = HealthServer(
                host, port, registry=self.registry, healthy=healthy, ready=ready, routes=routes, forms=forms
            )
        except OSError as error:
            raise EvenstreamError(
                f"role {self.role!r} cannot listen on {host}:{port} ({error.strerror}); set http.port to a free port, "
                "or to 0 for any"
            ) from None
        log.info("metrics on http://%s:%d/metrics", host, server.port)
        return server
