"""The role that is looked at: who it is, what it was given, and what the checks have learnt of it so far."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from confluent_kafka import Message

from secure_agg import KeyFileError, Trusted
from secure_agg.keyring import load_trusted
from streams.acl import TABLE
from streams.control import ControlPlane
from streams.doctor.look import Worker, WorkerSeen
from streams.doctor.workers import addresses, ask
from streams.errors import InputError
from streams.kafka.clients import read_to_end
from streams.public_topics import trusted_keys
from streams.settings import DEFAULT_PORTS, PRINCIPALS, Settings
from streams.watch.access import asking_context

WORKERS = tuple(role for role in PRINCIPALS if role in DEFAULT_PORTS)
"""Principals that run as workers, with keys, and answer /metrics: seal, attach, a, b, publish."""

_READ_SECONDS = 15.0


@dataclass
class Subject:
    """One role, from where this process stands.

    Attributes:
        settings: the role's own.
        role: one of ``PRINCIPALS``.
        trusted_file: a ``trusted.json`` that was named; None: that of the role's key folder.
        named: where workers answer, as ``ROLE=HOST:PORT``.
        token: a bearer token for their metrics.
        now_ms: this machine's clock when the command began, epoch milliseconds.
        reached: whether a broker takes these credentials; checks that ask Kafka come after the one that finds out.
        enforced: whether Kafka forbids anybody anything; None while that is not known.
    """

    settings: Settings
    role: str
    trusted_file: Path | None = None
    named: tuple[str, ...] = ()
    token: str | None = None
    now_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)
    reached: bool = False
    enforced: bool | None = None

    @cached_property
    def trusted(self) -> Trusted:
        """The public keys that this role goes by.

        Raises:
            KeyFileError: there are none, or they cannot be read. InputError: they are of another deployment.
        """
        if self.trusted_file is not None:
            return trusted_keys(self.settings, self.trusted_file)
        own = [self.role] if self.role in WORKERS else [self.role, "operator", "governance"]
        folders = [self.settings.keys.dir / name for name in own]
        there = [folder for folder in folders if (folder / "trusted.json").exists()]
        return trusted_keys(self.settings, there[0]) if there else load_trusted(folders[0])

    @property
    def has_trusted(self) -> bool:
        """Whether public keys lie where this role looks for them; one that works without may have none."""
        try:
            return self.trusted is not None
        except KeyFileError:
            return False
        except InputError:  # there are, of another deployment: whoever asks for them is told
            return True

    @cached_property
    def control(self) -> ControlPlane:
        """What `measurements` and `keys` hold now, as far as this principal may read them.

        Raises:
            EvenstreamError: they are not there or cannot be read. KeyFileError: see :attr:`trusted`.
        """
        control = ControlPlane.of(self.trusted, self.settings)
        reads = TABLE[self.role].reads
        if "measurements" in reads:
            for message in self.measurements:
                control.apply_measurement(int(message.offset() or 0), message.value())
        if "keys" in reads:
            for message in self._records("keys"):
                control.apply_key(message.value())
        return control

    @cached_property
    def measurements(self) -> tuple[Message, ...]:
        """Every record of `measurements`."""
        return tuple(self._records("measurements"))

    def _records(self, short: str) -> Iterator[Message]:
        name = self.settings.topic(short)
        return read_to_end(self.settings, name, await_transactions=False, timeout_seconds=_READ_SECONDS)

    # -- its workers ----------------------------------------------------------------------------------------------

    @cached_property
    def workers(self) -> tuple[Worker, ...]:
        """Where the role's workers are asked: where --role says, else this very one, by the settings."""
        if self.role not in WORKERS:
            return ()
        found = [worker for worker in addresses(self.settings, self.named, None) if worker.role == self.role]
        if self.is_elsewhere:
            given = {name.partition("=")[0].removesuffix(".0") for name in self.named}
            return tuple(worker for worker in found if worker.name in given)
        shard, port = self.settings.shard(self.role), self.settings.port(self.role)
        name = f"{self.role}.{shard}" if shard else self.role
        return (Worker(name, found[0].host, port),)

    @property
    def is_elsewhere(self) -> bool:
        """Whether an address was named for the role: then folders, memory and ports here need not be its own."""
        return any(name.partition("=")[0].partition(".")[0] == self.role for name in self.named)

    def ask_workers(self) -> tuple[WorkerSeen, ...]:
        """What they say now."""
        if not self.workers or any(worker.port == 0 for worker in self.workers):
            return ()
        return ask(self.workers, self.token, asking_context(self.settings.http))

    @cached_property
    def at_first(self) -> tuple[WorkerSeen, ...]:
        """What they said when they were asked first."""
        return self.ask_workers()

    @property
    def runs(self) -> bool:
        """Whether a worker of this role answers: what else is normal before a start is a fault then."""
        return any(is_of(seen, self.role) for seen in self.at_first)


def is_of(seen: WorkerSeen, role: str) -> bool:
    """Whether what answers is a worker of this role; where it shows no metrics, that it speaks as one is believed."""
    if seen.silence == "refused" and seen.health:
        return True
    builds = seen.series.get("evenstream_build_info", ())
    return seen.answers and any(labels.get("role") == role for labels, _ in builds)
