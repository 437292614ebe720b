"""What every role's process has in common: hardening, keys, control plane, health server, and an orderly end."""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from types import FrameType

from prometheus_client import CollectorRegistry

from secure_agg import EpochKeys, KeyFileError, RoleKeys, StateKeys
from secure_agg.keyring import load_role
from streams.acl import compared_topics
from streams.control import ControlPlane
from streams.data_keys import ReceivingKeys, SendingKeys
from streams.errors import EvenstreamError, KafkaUnavailable, TopicMismatch
from streams.hardening import harden
from streams.kafka import topics
from streams.kafka.clients import shared_admin, wait_for_kafka
from streams.kafka.control_reader import ControlReader
from streams.kafka.refusals import lacking, lacks
from streams.kafka.shard import ShardLoop
from streams.log import configure_logging
from streams.pulse import Pulse
from streams.records.destroyed import KeyKind, sign_key_destroyed
from streams.records.keys import KeyRecord, sign_epoch_key
from streams.settings import Settings
from streams.stage import Stage
from streams.state import StateCodec
from streams.watch.access import OperatorAccess, server_tls
from streams.watch.health import RoleHealth
from streams.watch.http import HealthServer
from streams.watch.routes import Route

log = logging.getLogger(__name__)

SUPERVISOR = "EVENSTREAM_SUPERVISOR"
"""Set by ``evenstream up`` for the roles that it starts: its process id. They end when it does, however it ends."""

_PR_SET_PDEATHSIG = 1
_KAFKA_SECONDS = 60.0
_EPOCH_CHECK_MS = 1000
_SAY_AGAIN_MS = 60_000
_OBJECTS_A_COLLECTION = 50_000  # several batches of records, which are gone by then


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


def collect_seldom() -> None:
    """Look for cycles of objects less often: a batch of records is thousands of objects that form none.

    By default each 700 of them are looked through, again and again, and now and then everything that was ever loaded
    as well; that was a twentieth of what a record costs `seal`.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_A_COLLECTION, *gc.get_threshold()[1:])


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
    pulse: Pulse
    not_stored_said_ms: int = 0

    @classmethod
    def start(cls, role: str, settings: Settings) -> RoleProcess:
        """Load keys, reach Kafka, check that the topics are there and may be used.

        Raises:
            EvenstreamError: a key file, the cluster, the topics or this principal's ACLs are not as they must be.
        """
        harden()  # the command line has, but not whoever starts a role in another way
        configure_logging(role, settings.logging)
        end_with_supervisor()
        try:
            keys = load_role(settings.keys.dir, role, settings.deployment)
        except KeyFileError as error:
            raise EvenstreamError(str(error)) from None
        wait_for_kafka(settings, _KAFKA_SECONDS)
        missing = lacking(settings, role, shared_admin(settings))
        if missing:
            raise lacks(settings, missing)
        own = {settings.topic(name) for name in compared_topics(role)}  # a role's principal may not see the others
        plans = tuple(plan for plan in topics.plan(settings) if plan.name in own)
        differences = [str(difference) for difference in topics.compare(settings, plans)]
        if differences:
            raise TopicMismatch("the topics are not as the protocol needs them:\n" + "\n".join(differences))
        control = ControlPlane.of(keys.trusted, settings)
        registry = CollectorRegistry()
        health = RoleHealth(role, registry)
        pulse = Pulse(settings.http.hang_seconds)
        return cls(
            role=role,
            settings=settings,
            keys=keys,
            control=control,
            reader=ControlReader(settings, role, control, health.control_held_back, pulse.beat),
            registry=registry,
            health=health,
            pulse=pulse,
        )

    @cached_property
    def state_keys(self) -> StateKeys:
        """The keys of the role's state; a role that keeps none has no use for them."""
        return StateKeys(self.settings.state_folder(self.role), self.settings.state_lifetime_ms)

    def state_codec(self) -> StateCodec:
        """What seals and opens the role's state, for one stage: a new one for each that is built."""
        return StateCodec(self.keys.derive("state"), self.role, self.state_keys)

    def topics(self, *names: str) -> dict[str, str]:
        """Full names of topics, by their short ones."""
        return {name: self.settings.topic(name) for name in names}

    def sending_keys(self) -> SendingKeys:
        """The role's data keys as a sender; a new process id."""
        return SendingKeys(self.keys.identity, self.control, self.reader.announce)

    def epoch_keys(self) -> EpochKeys:
        """The role's epochs as a recipient."""
        return EpochKeys(self.role, self.settings.epoch_folder(self.role), self.settings.epoch_lifetime_ms)

    def receiving_keys(self, epochs: EpochKeys) -> ReceivingKeys:
        """The role's data keys as a recipient."""
        return ReceivingKeys(self.role, self.settings.deployment, self.control, epochs)

    def announce_epoch(self, epochs: EpochKeys, now_ms: int) -> None:
        """Make sure that senders have an epoch of this role with enough life left.

        Where its key cannot be stored, the epoch that is there goes on until it ends, and then senders pause.
        """
        try:
            epoch = epochs.ensure_current(now_ms)
        except OSError as error:
            self._say_not_stored(error, now_ms)
            return
        known = self.control.epoch_public(self.role, now_ms)
        if known is None or known.epoch < epoch.number:
            self.reader.announce(sign_epoch_key(self.keys.identity, epoch.public()))
            self.reader.catch_up()

    def _say_not_stored(self, error: OSError, now_ms: int) -> None:
        if abs(now_ms - self.not_stored_said_ms) < _SAY_AGAIN_MS:
            return
        self.not_stored_said_ms = now_ms
        log.error(
            "the key of a new epoch cannot be written to %s (%s): the one that is there goes on until it ends, and "
            "then senders pause. Make room",
            self.settings.epoch_folder(self.role),
            error.strerror,
        )

    @cached_property
    def access(self) -> OperatorAccess:
        """Who may see what only operators may."""
        return OperatorAccess.of(self.settings.http)

    def epoch_keeper(self, epochs: EpochKeys, receiving: ReceivingKeys | None = None) -> Callable[[Stage, int], None]:
        """A tick for the shard loop that announces the next epoch in time, and does what :meth:`state_keeper` does.

        Args:
            receiving: of a role with several workers: lets go of the keys that another of them has destroyed.
        """
        return self._keeper(epochs, receiving)

    def state_keeper(self) -> Callable[[Stage, int], None]:
        """A tick for the shard loop that says which keys of this role were destroyed, and shows the oldest left."""
        return self._keeper(None, None)

    def let_go(self, receiving: ReceivingKeys | None = None) -> None:
        """Forget the keys that another worker of the role has destroyed: a process without a part has no tick."""
        self.state_keys.refresh()
        if receiving is not None:
            receiving.drop_destroyed()

    def _keeper(self, epochs: EpochKeys | None, receiving: ReceivingKeys | None) -> Callable[[Stage, int], None]:
        checked_ms = 0

        def tick(stage: Stage, now_ms: int) -> None:
            nonlocal checked_ms
            if abs(now_ms - checked_ms) > _EPOCH_CHECK_MS:  # a clock that was set back does not hold it
                checked_ms = now_ms
                self.let_go(receiving)
                self._announce_destroyed("state", self.state_keys, now_ms)
                if epochs is not None:
                    self.announce_epoch(epochs, now_ms)
                    self._announce_destroyed("epoch", epochs, now_ms)

        return tick

    def _announce_destroyed(self, kind: KeyKind, keys: EpochKeys | StateKeys, now_ms: int) -> None:
        """Say which keys were destroyed; what `keys` holds wrapped for such an epoch opens nowhere, and goes."""
        self.health.oldest_key(kind, min(keys.numbers()) / 1000 if keys.numbers() else None)
        self.health.key_lifetime(kind, keys.lifetime_ms / 1000)
        for number in keys.unannounced():
            wrapped = self.control.wrapped_to(self.role, number) if kind == "epoch" else []
            tombstones = [KeyRecord(record.topic_key(), None) for record in wrapped]
            try:
                # The word comes last: once it is read, nobody knows any more what was wrapped for the epoch.
                self.reader.announce(*tombstones, sign_key_destroyed(self.keys.identity, kind, number, now_ms))
            except KafkaUnavailable as error:  # it is destroyed; saying so can wait
                log.warning("that %s key %d is destroyed could not be said yet: %s", kind, number, error)
                return
            keys.announced(number)
            log.info("%s key %d is destroyed, and %s says so", kind, number, self.settings.topic("keys"))

    def work(self, loop: ShardLoop, stop: threading.Event) -> None:
        """Drive the role's stage, and answer its health server, until ``stop`` is set."""
        server = self.serve(loop.ready, note=loop.standing_by)
        collect_seldom()
        try:
            loop.run(stop)
        finally:
            self.pulse.close()
            server.close()
            self.reader.close()

    def serve(
        self,
        ready: Callable[[], str | None],
        routes: dict[str, Route] | None = None,
        forms: dict[str, Route] | None = None,
        note: Callable[[], str | None] = lambda: None,
    ) -> HealthServer:
        """Begin to answer /metrics, /healthz and /readyz; a main loop that hangs is neither healthy nor ready."""
        host, port = self.settings.http.host, self.settings.port(self.role)
        try:
            server = HealthServer(
                host,
                port,
                registry=self.registry,
                healthy=self.pulse.hang,
                ready=lambda: self.pulse.hang() or ready(),
                routes=routes,
                forms=forms,
                note=note,
                guard=self.access.guard,
                tls=server_tls(self.settings.http),
                hosts=self.settings.http.hosts,
            )
        except OSError as error:
            raise EvenstreamError(
                f"role {self.role!r} cannot listen on {host}:{port} ({error.strerror}); set http.port to a free port, "
                "or to 0 for any"
            ) from None
        self.pulse.start()
        scheme = "http" if self.settings.http.certificate_file is None else "https"
        log.info("metrics on %s://%s:%d/metrics", scheme, host, server.port)
        return server
