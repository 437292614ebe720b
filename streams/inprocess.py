"""The whole pipeline in one process and without Kafka: the stages of all roles on a log in memory.

The same stages, records and control plane as on Kafka; only the log, the clock and the transactions are pretended.
It is the simulator in which property tests and the oracle live, and it can crash a role between any two turns: a
crashed role is built anew from its committed state, as the shard loop does it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import dropwhile
from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry

from estimator import RaceModel
from estimator.model import GroupModel
from privacy import Ledger, Limits, Measurement, approve, revoke
from secure_agg import EpochKeys, RoleKeys, StateKeys
from secure_agg.keyring import create, load_governance, load_operator, load_role
from secure_agg.partition_clocks import PartitionClocks
from streams.control import Approved, ControlPlane
from streams.data_keys import ReceivingKeys, SendingKeys
from streams.kafka.partitioner import partition_of
from streams.records.keys import KeyRecord, sign_epoch_key
from streams.records.layout import Layout, sign_layout
from streams.records.metric import FairnessMetric
from streams.records.punctuation import NEVER_MS
from streams.records.skip import GivenUp, Skip, SkippedTopic, VoidWindows
from streams.roles.aggregate import AggregateOptions, AggregateStage
from streams.roles.attach import AttachOptions, AttachStage, SelectionKeys
from streams.roles.member_directory import MemberDirectory
from streams.roles.publish import PublishCore
from streams.roles.seal import SealOptions, SealStage
from streams.roles.source_topics import SourceTopic
from streams.stage import TIMESTAMP_LOG_APPEND, Out, Partition, Stage
from streams.state import StateCodec
from streams.verified_once import Verified, VerifiedOnce
from streams.watch.health import RoleHealth

_TOPICS = (
    "sealed",
    "shares",
    "refused",
    "releases-a",
    "releases-b",
    "ledger-a",
    "ledger-b",
    "state-seal",
    "state-attach",
    "state-a",
    "state-b",
    "member-attributes",
)
_LIMITS = Limits.of_day(10.0)
_LIFETIME_MS = 30 * 86_400_000


@dataclass(frozen=True, slots=True)
class MemoryRecord:
    """A record of the log in memory; see ``streams.stage.Record``."""

    topic_: str
    partition_: int
    offset_: int
    key_: bytes | None
    value_: bytes | None
    timestamp_: tuple[int, int]
    headers_: tuple[tuple[str, bytes], ...] = ()

    def topic(self) -> str:
        return self.topic_

    def partition(self) -> int:
        return self.partition_

    def offset(self) -> int:
        return self.offset_

    def key(self) -> bytes | None:
        return self.key_

    def value(self) -> bytes | None:
        return self.value_

    def timestamp(self) -> tuple[int, int]:
        return self.timestamp_

    def headers(self) -> list[tuple[str, bytes]] | None:
        return list(self.headers_)


@dataclass
class MemoryLog:
    """Topics as lists. ``clock_ms`` is the broker's clock, for LogAppendTime."""

    clock_ms: int = 0
    partitions: dict[Partition, list[MemoryRecord]] = field(default_factory=dict)
    starts: dict[Partition, int] = field(default_factory=dict)
    """First offset that a partition still holds, where records were deleted."""

    def append(
        self,
        topic: str,
        partition: int,
        value: bytes | None,
        *,
        key: bytes | None = None,
        timestamp: tuple[int, int] | None = None,
        headers: tuple[tuple[str, bytes], ...] = (),
    ) -> None:
        """Write one record; it arrives now unless ``timestamp`` says otherwise."""
        records = self.partitions.setdefault((topic, partition), [])
        stamp = timestamp or (TIMESTAMP_LOG_APPEND, self.clock_ms)
        offset = self.starts.get((topic, partition), 0) + len(records)
        records.append(MemoryRecord(topic, partition, offset, key, value, stamp, headers))

    def read(self, topic: str, partition: int, offset: int = 0) -> list[MemoryRecord]:
        """Everything from ``offset`` on."""
        start = self.starts.get((topic, partition), 0)
        return self.partitions.get((topic, partition), [])[max(0, offset - start) :]

    def delete(self, topic: str, partition: int, before: int) -> None:
        """Delete the records of a partition before an offset, as DeleteRecords does."""
        self.partitions[topic, partition] = self.read(topic, partition, before)
        self.starts[topic, partition] = before

    def values(self, topic: str) -> list[bytes]:
        """All values of a topic, tombstones left out."""
        return [r.value_ for (t, _), rs in self.partitions.items() if t == topic for r in rs if r.value_ is not None]


@dataclass(frozen=True)
class RetainedMemory:
    """`shares` and `sealed` in memory; see ``streams.roles.sent_shares.RetainedLog``."""

    log: MemoryLog

    def tails(self, partitions: Sequence[int]) -> dict[int, list[bytes]]:
        return {j: list(self.whole(j))[-100:] for j in partitions}

    def whole(self, j: int) -> Iterator[bytes]:
        return (record.value_ or b"" for record in self.log.read("shares", j))

    def trimmed(self, j: int) -> bool:
        records = self.log.read("shares", j)
        return bool(records) and records[0].offset_ > 0

    def sealed_start(self, j: int) -> int:
        return self.log.starts.get(("sealed", j), 0)


@cache
def _race_model() -> RaceModel:
    """The race model, made once a process: nothing of it changes, and tests make hundreds of pipelines."""
    return RaceModel.load()


@cache
def _home(member: bytes, partitions: int) -> int:
    return int(partition_of(np.array([member]), partitions)[0])


def _verifying_once(keys: RoleKeys, verified: set[Verified]) -> RoleKeys:
    pinned = keys.trusted.identities
    return replace(
        keys, trusted=replace(keys.trusted, identities=VerifiedOnce(pinned.deployment, pinned.keys, verified))
    )


def _split(worker: str) -> tuple[str, int]:
    """Role and shard of a worker."""
    role, _, shard = worker.partition(".")
    return role, int(shard or 0)


@dataclass(eq=False)
class _Running:
    """A stage with its place in the inputs, the layout that it was built for, and the id under which it may commit."""

    worker: str
    stage: Stage
    positions: dict[Partition, int]
    layout: Layout
    id: tuple[str, int, int]


class InProcessPipeline:
    """Five roles on one log.

    Args:
        folder: for the keys.
        partitions: P.
        sources: source topic -> number of its partitions.
        limits, test_cluster, batch_rows: as in the settings.
        few_rows_wait_ms: as in the settings, but 0 unless it is the point: whoever steps through a failure, such as a
            skip or lost state, counts on a batch for each second that has a row.
        model: in the race model's place.
        state_lifetime_ms: how long a state key seals.

    A worker is named as the supervisor names it: "attach", and for a further shard of several "attach.1".
    """

    def __init__(
        self,
        folder: Path,
        *,
        partitions: int,
        sources: dict[str, int],
        limits: Limits = _LIMITS,
        test_cluster: bool = True,
        batch_rows: int = 4096,
        few_rows_wait_ms: int = 0,
        deployment: str = "inprocess",
        start_ms: int = 0,
        model: GroupModel | None = None,
        state_lifetime_ms: int = _LIFETIME_MS,
    ) -> None:
        create(folder, deployment)
        self.log = MemoryLog(start_ms)
        self.partitions = partitions
        self.sources = sources
        self.topic_ids: dict[str, str] = {}
        """By source topic, once it was made again: the id that tells it from the one before."""
        self._folder = folder
        self._deployment = deployment
        self._batch_rows = batch_rows
        self._few_rows_wait_ms = few_rows_wait_ms
        self._topics = {name: name for name in _TOPICS}
        self._limits = limits
        self._model = model
        verified: set[Verified] = set()
        self._keys: dict[str, RoleKeys] = {
            role: _verifying_once(load_role(folder, role, deployment), verified)
            for role in ("seal", "attach", "a", "b", "publish")
        }
        self.controls = {
            role: ControlPlane(keys.trusted, test_cluster=test_cluster, limits=limits)
            for role, keys in self._keys.items()
        }
        self.registries = {role: CollectorRegistry() for role in self._keys}
        self._health = {role: RoleHealth(role, self.registries[role]) for role in self._keys}
        self.epochs = {role: EpochKeys(role, folder / role / "epochs", _LIFETIME_MS) for role in ("attach", "a", "b")}
        self.state_keys = {
            role: StateKeys(folder / role / "state", state_lifetime_ms) for role in ("seal", "attach", "a", "b")
        }
        self._receiving = {
            role: ReceivingKeys(role, deployment, self.controls[role], epochs) for role, epochs in self.epochs.items()
        }
        self._measurements: list[bytes] = []
        for role, control in self.controls.items():
            control.catch_up = partial(self.tell, role)
        self.renew_epochs()
        self._clocks = PartitionClocks(folder / "attach" / "epochs", partitions)
        self._directories: dict[str, MemberDirectory] = {}
        self.core = PublishCore(self.controls["publish"], confidence=0.95, rho_limit=limits.rho_member_day)
        self._published_offset = {"a": 0, "b": 0}
        self.published: list[FairnessMetric] = []
        self._running: dict[str, _Running] = {}
        self._holders: dict[tuple[str, int, int], _Running | None] = {}

    @property
    def roles(self) -> tuple[str, ...]:
        """All workers that the layouts have a part for, in the direction of the data."""
        workers = [
            f"{role}.{shard}" if shard else role
            for role in ("seal", "attach")
            for shard in range(self.controls[role].layout(role).shards)
        ]
        return (*workers, "a", "b")

    # -- control --------------------------------------------------------------------------------------------------

    def _announce(self, record: KeyRecord) -> None:
        for control in self.controls.values():
            control.apply_key(record.value)

    def renew_epochs(self) -> None:
        """Have each recipient begin and announce an epoch that is good for half its lifetime at least."""
        for role, epochs in self.epochs.items():
            current = epochs.ensure_current(self.log.clock_ms)
            self._announce(sign_epoch_key(self._keys[role].identity, current.public()))

    def scale(self, role: str, shards: int) -> None:
        """Divide a role's partitions among so many workers; each follows at its next turn in which it hears."""
        record = self.controls[role].layout(role).next(role, shards, self.log.clock_ms)
        self._announce(sign_layout(self._keys[role].identity, record))

    def approve(self, measurement: Measurement) -> None:
        """Sign a measurement and have every role read it."""
        key = load_governance(self._folder / "governance" / "reviewer-1.key")
        self.submit(approve(measurement, self._deployment, key).encode(), roles=tuple(self.controls))

    def revoke(self, measurement: Measurement, at_ms: int, *, roles: Sequence[str] | None = None) -> None:
        """Revoke a measurement and have these roles read it, or all; the others do when they are told."""
        key = load_governance(self._folder / "governance" / "reviewer-1.key")
        value = revoke(measurement, self._deployment, key, at_ms=at_ms, reason="in-process").encode()
        self.submit(value, roles=tuple(self.controls) if roles is None else roles)

    def skip(
        self,
        topic: SkippedTopic,
        partition: int,
        streams: tuple[GivenUp, ...],
        windows: tuple[VoidWindows, ...],
        *,
        offset: int = 0,
        roles: Sequence[str] | None = None,
    ) -> None:
        """Let a stopped partition go on under the operator's key, and have these roles read it, or all."""
        skip = Skip.signed(
            load_operator(self._folder / "operator" / "operator.key"),
            deployment=self._deployment,
            topic=topic,
            partition=partition,
            offset=offset,
            streams=streams,
            windows=windows,
            reason="in-process",
            at_ms=self.log.clock_ms,
        )
        self.submit(skip.encode(), roles=tuple(self.controls) if roles is None else roles)

    def submit(self, value: bytes, *, roles: Sequence[str]) -> None:
        """Put a record on `measurements` and have these roles read it."""
        self._measurements.append(value)
        for role in roles:
            self.tell(role)

    def tell(self, role: str) -> None:
        """Have a role read `measurements` to its end."""
        control = self.controls[role]
        for offset in range(control.measurements_offset, len(self._measurements)):
            control.apply_measurement(offset, self._measurements[offset])

    # -- members --------------------------------------------------------------------------------------------------

    def write_attributes(self, member: bytes, value: bytes | None) -> None:
        """Write a member's attributes (None: a tombstone) into the partition where every client writes them."""
        self.log.append("member-attributes", _home(member, self.partitions), value, key=member)

    # -- stages ---------------------------------------------------------------------------------------------------

    def _build(self, worker: str, layout: Layout) -> Stage:
        role, shard = _split(worker)
        keys, control = self._keys[role], self.controls[role]
        codec, health = StateCodec(keys.derive("state"), role, self.state_keys[role]), self._health[role]
        sending = SendingKeys(keys.identity, control, self._announce)
        if role == "seal":

            def start_offset(topic: str, i: int, approved: Approved) -> tuple[int, int]:
                return 0, NEVER_MS

            options = SealOptions(
                partitions=self.partitions,
                batch_rows=self._batch_rows,
                commit_interval_ms=1000,
                few_rows_wait_ms=self._few_rows_wait_ms,
                max_event_bytes=1_000_000,
                shard=shard,
                shards=layout.shards,
            )

            def found(approved: Approved) -> SourceTopic | None:
                topic = approved.measurement.source.topic
                count = self.sources.get(topic)
                return None if count is None else SourceTopic(self.topic_ids.get(topic, topic), count)

            return SealStage(options, self._topics, keys.identity, control, sending, codec, health, found, start_offset)
        if role == "attach":
            return AttachStage(
                AttachOptions(self.partitions, 1000, shard, layout.shards, misplaced_ratio=0.01),
                self._topics,
                keys.identity,
                control,
                sending,
                self._receiving[role],
                codec,
                health,
                self._members(worker, layout.owns(shard, self.partitions)),
                SelectionKeys.of(keys),
                self._clocks,
            )
        return AggregateStage(
            role,
            AggregateOptions(self.partitions, 1000),
            self._topics,
            keys.identity,
            control,
            self._receiving[role],
            codec,
            health,
            Ledger(role, self._limits),
            (sending, keys.derive("coverage")) if role == "a" else None,
        )

    def _members(self, worker: str, owned: range) -> MemberDirectory:
        """A worker's member directory, read to the topic's end; it outlives a crash, as it outlives an abort."""
        directory = self._directories.get(worker)
        if directory is None or any(("member-attributes", j) not in directory.positions for j in owned):
            model = self._model or _race_model()
            directory = MemberDirectory(model, self._keys["attach"].derive("members"), self.partitions)
            directory.positions = {("member-attributes", j): 0 for j in owned}
            self._directories[worker] = directory
        directory.keep_only(owned)
        for (topic, j), offset in list(directory.positions.items()):
            directory.load(self.log.read(topic, j, offset))
        return directory

    def start(self, role: str) -> None:
        """Build a worker from its committed state; called again, it is what a crash and a restart do.

        Ids of earlier generations are fenced first. A worker that the layout has no part for stands by.
        """
        name, shard = _split(role)
        layout = self.controls[name].layout(name)
        self._running.pop(role, None)
        if shard >= layout.shards:
            return
        for known in layout.history:
            for place in range(known.shards):
                self._holders[name, known.generation, place] = None
        own = name, layout.generation, shard
        self._holders[own] = None  # what the predecessor has not committed it never will
        stage = self._build(role, layout)
        for topic in (f"state-{name}", f"ledger-{name}"):
            compacted: dict[bytes, bytes | None] = {}
            for record in self.log.read(topic, 0):
                compacted[record.key_ or str(record.offset_).encode()] = record.value_
            for key, value in compacted.items():
                stage.restore(topic, key, value)
        if isinstance(stage, AttachStage):
            stage.check_sent(RetainedMemory(self.log), self.log.clock_ms)
        if isinstance(stage, AggregateStage):
            stage.check_sent(partial(self._sent_since, f"releases-{name}"), self.log.clock_ms)
        stage.refresh(self.log.clock_ms)
        self._holders[own] = self._running[role] = _Running(role, stage, dict(stage.positions()), layout, own)

    def _sent_since(self, topic: str, time_ms: int) -> Iterator[bytes]:
        """What lies on a party's topic from its first record of this time on."""
        records = dropwhile(lambda record: record.timestamp_[1] < time_ms, self.log.read(topic, 0))
        return (record.value_ or b"" for record in records)

    def stage(self, role: str) -> Stage:
        """A running stage, for tests to look at."""
        return self._running[role].stage

    def turn(self, role: str, *, limit: int | None = None, commit: bool = True, hears: bool = True) -> None:
        """One turn of a worker's loop: read what is there (at most ``limit`` records a partition), perhaps commit.

        Args:
            commit: False leaves the turn uncommitted: starting the role again then undoes it, as a crash would.
            hears: False: the worker has not heard of a new layout yet.
        """
        running, name = self._running.get(role), _split(role)[0]
        if running is None or (hears and running.layout != self.controls[name].layout(name)):
            self.start(role)
            running = self._running.get(role)
        if running is not None and not self._turn(running, limit=limit, commit=commit):
            self.start(role)  # fenced

    def pause(self, role: str) -> _Running | None:
        """Take a worker's process away, stopped where it is; :meth:`wake` lets it go on. Another may be started."""
        return self._running.pop(role, None)

    def wake(self, paused: _Running) -> bool:
        """One turn of a process that was stopped for a while; whether it may still commit, which a zombie may not."""
        return self._turn(paused, limit=None, commit=True)

    def _turn(self, running: _Running, *, limit: int | None, commit: bool) -> bool:
        """One turn; False where the worker was fenced, and nothing of what it did was written."""
        now, stage = self.log.clock_ms, running.stage
        if stage.refresh(now):
            running.positions = dict(stage.positions())
        if stage.blocked(now) is not None:
            return True
        records: list[MemoryRecord] = []
        for partition, offset in list(running.positions.items()):
            if offset < self.log.starts.get(partition, 0):
                assert stage.lose_position(*partition, "records were deleted before they were read")
                continue
            part = self.log.read(*partition, offset)[:limit]
            records += part
            running.positions[partition] = offset + len(part)
        if records:
            stage.step(records, now)
        if isinstance(stage, SealStage):
            ends = [(t, i, len(self.log.read(t, i))) for t, i in stage.quiet_partitions(now)]
            stage.advance_idle(ends, now)
        while commit and stage.due(now):
            outputs = stage.checkpoint(now)
            if self._holders[running.id] is not running:
                return False
            self._write(outputs)
            stage.committed()
        return True

    def _write(self, outputs: Sequence[Out]) -> None:
        for out in outputs:
            self.log.append(out.topic, out.partition, out.value, key=out.key)

    def run(self, roles: Sequence[str] | None = None) -> None:
        """One turn of each role, in the direction of the data, and what `publish` makes of it."""
        for role in self.roles if roles is None else roles:
            self.turn(role)
        self.publish()

    def publish(self) -> None:
        """Let `publish` read on."""
        self.published += self.core.withdrawals()
        for party, offset in self._published_offset.items():
            records = self.log.read(f"releases-{party}", 0, offset)
            self._published_offset[party] = offset + len(records)
            for record in records:
                window = self.core.apply(party, record.value_ or b"")
                if window is not None:
                    self.published.append(window)
