"""`aggregate`: one party. Folds its share of every row, and releases its noised share of every closed window.

Both parties read the same `shares` log, so both fold precisely the same rows and close precisely the same windows: a
window closes when every stream (source, i, j) has been punctuated past its end plus the lateness. Roll-ups are sums of
*un-noised* shares inside the party, noised once.

Two steps (DESIGN section 5, "noise once"). An aborted Kafka transaction stays readable, so a release must not leave in
the transaction that draws its noise: the noised bytes, the budget debit and the input offsets are first committed to
private state; only when that commit is durable do the same bytes go to `releases`, now or after any number of restarts.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from estimator.groups import GROUPS
from privacy import BudgetExceeded, Ledger, NoisePlan, plan_noise
from secure_agg import (
    CommitmentMismatch,
    Coverage,
    EnvelopeUnreadable,
    EpochKeys,
    Identity,
    SignatureInvalid,
    Stream,
    StreamCoverage,
    WindowShare,
)
from secure_agg.commitments import DIGEST_BYTES, SALT_BYTES, authenticate, check, combine
from secure_agg.sharing import expand
from streams.control import Approved, ControlPlane
from streams.data_keys import ReceivingKeys, SendingKeys
from streams.errors import ProtocolStop, RecordMalformed
from streams.records import frame
from streams.records.batches import CHANNEL_TABLE, SharesBatch
from streams.records.frame import Kind
from streams.records.header import digest
from streams.records.punctuation import NEVER_MS, SignedPunctuation
from streams.records.release import Release, SignedRelease
from streams.roles.log_partition import LogPartition, PartitionState, StreamProgress
from streams.stage import Out, Partition, Record
from streams.state import StateCodec
from streams.watch.health import RoleHealth

log = logging.getLogger(__name__)

_DAY_MS = 86_400_000
# A party that was down for long closes its backlog in pieces, so that no transaction grows without bound.
_WINDOWS_A_CHECKPOINT = 256


@dataclass(frozen=True)
class AggregateOptions:
    """What an operator may turn, as `aggregate` uses it."""

    partitions: int
    commit_interval_ms: int


class _WindowState(msgspec.Struct, array_like=True):
    """An open base window: its table share and its coverage."""

    table: bytes
    void_reason: str | None
    streams: list[tuple[bytes, int, int, int, int, int, bytes]]


class _RollupState(msgspec.Struct, array_like=True):
    """An open roll-up window: the sum of the base windows closed so far."""

    table: bytes
    void_reason: str | None
    coverage: bytes


class _ScheduleState(msgspec.Struct, array_like=True):
    """Where the closing of a measurement's base windows goes on."""

    next_start_ms: int


class _PendingState(msgspec.Struct, array_like=True):
    """A release that is noised and committed, but perhaps not yet sent."""

    release: bytes


@dataclass
class _Rollup:
    table: NDArray[np.uint64]
    coverage: bytes = bytes(DIGEST_BYTES)
    void_reason: str | None = None


class AggregateStage:
    """Party "a" or "b"; one worker folds all partitions."""

    def __init__(
        self,
        party: str,
        options: AggregateOptions,
        topics: Mapping[str, str],
        identity: Identity,
        control: ControlPlane,
        receiving: ReceivingKeys,
        epochs: EpochKeys,
        codec: StateCodec,
        health: RoleHealth,
        ledger: Ledger,
        coverage_sender: tuple[SendingKeys, bytes] | None,
    ) -> None:
        """Args:
        party: "a" or "b".
        coverage_sender: for party a, its sending keys and the secret under which coverage is shown; party b
            receives that secret by HPKE and passes None.
        """
        self._party = party
        self._options = options
        self._topics = topics
        self._identity = identity
        self._control = control
        self._receiving = receiving
        self._epochs = epochs
        self._codec = codec
        self._health = health
        self._ledger = ledger
        self._coverage_sender = coverage_sender
        self._coverage_key: bytes | None = None if coverage_sender is None else coverage_sender[1]
        self._partitions = {j: LogPartition(j) for j in range(options.partitions)}
        self._windows: dict[tuple[bytes, int], WindowShare] = {}
        self._rollups: dict[tuple[bytes, str, int], _Rollup] = {}
        self._schedule: dict[bytes, int] = {}
        self._plans: dict[bytes, NoisePlan] = {}
        self._pending: dict[bytes, bytes] = {}
        self._sendable: dict[bytes, bytes] = {}
        self._changed: set[bytes] = set()
        self._removed: set[bytes] = set()
        self._ledger_records: list[bytes] = []
        self._last_commit_ms = 0

    # -- state and assignment -------------------------------------------------------------------------------------

    def restore(self, topic: str, key: bytes, value: bytes | None) -> None:
        """Take in one record of the party's state or of its ledger."""
        if value is None:
            return
        if topic == self._topics[f"ledger-{self._party}"]:
            self._ledger.restore(value)
            return
        kind, *rest = key.decode().split("/")
        if kind == "position":
            self._partitions[int(rest[0])].restore(self._codec.decode(key, value, PartitionState))
        elif kind == "window":
            self._windows[bytes.fromhex(rest[0]), int(rest[1])] = _window(self._codec.decode(key, value, _WindowState))
        elif kind == "rollup":
            stored = self._codec.decode(key, value, _RollupState)
            self._rollups[bytes.fromhex(rest[0]), rest[1], int(rest[2])] = _Rollup(
                _table(stored.table), stored.coverage, stored.void_reason
            )
        elif kind == "schedule":
            self._schedule[bytes.fromhex(rest[0])] = self._codec.decode(key, value, _ScheduleState).next_start_ms
        elif kind == "pending":
            self._sendable[key] = self._codec.decode(key, value, _PendingState).release
        elif kind == "coverage-key":
            self._coverage_key = self._codec.decode(key, value, bytes)

    def positions(self) -> Mapping[Partition, int]:
        """All partitions of `shares`."""
        return {(self._topics["shares"], j): partition.offset for j, partition in self._partitions.items()}

    def refresh(self, now_ms: int) -> bool:
        """Partitions are fixed. Party a hands the coverage secret to each new epoch of b; b looks for it."""
        if self._coverage_sender is not None:
            keys, secret = self._coverage_sender
            keys.share_secret("coverage", "b", secret, now_ms)
        elif self._coverage_key is None:
            self._find_coverage_key()
        return False

    def _find_coverage_key(self) -> None:
        for record in self._control.wrapped_for("coverage", self._party):
            try:
                key = self._receiving.find("coverage", "a", record.process, record.epoch)
            except EnvelopeUnreadable:
                continue  # wrapped for an epoch that is gone; a newer one comes, or came
            self._coverage_key = key.secret
            self._changed.add(b"coverage-key")
            return

    def blocked(self, now_ms: int) -> str | None:
        """Folding needs nothing but the records themselves."""
        return None

    def waiting(self) -> str | None:
        """Why windows cannot be closed although they are complete, or None."""
        if self._coverage_key is None:
            return "waiting for party a's coverage key on the keys topic"
        return None

    def stopped(self) -> Mapping[Partition, str]:
        """Partitions of `shares` that were stopped."""
        return {
            (self._topics["shares"], j): partition.stopped
            for j, partition in self._partitions.items()
            if partition.stopped is not None
        }

    # -- records --------------------------------------------------------------------------------------------------

    def step(self, records: Sequence[Record], now_ms: int) -> None:
        """Fold batches and take in punctuation."""
        for record in records:
            partition = self._partitions[record.partition()]
            if partition.stopped is None:
                self._take(partition, record, now_ms)

    def _take(self, partition: LogPartition, record: Record, now_ms: int) -> None:
        try:
            value = record.value() or b""
            if frame.kind_of(value) is Kind.PUNCTUATION:
                self._punctuation(partition, value)
            else:
                self._batch(partition, value)
        except (RecordMalformed, SignatureInvalid) as error:
            # Not part of the log: anyone who may write to Kafka could have put it there.
            self._health.refused("malformed" if isinstance(error, RecordMalformed) else "signature")
        except (ProtocolStop, EnvelopeUnreadable, CommitmentMismatch) as error:
            partition.stopped = str(error)
            self._health.stop(record.topic(), record.partition(), record.offset(), str(error))
            return
        partition.offset = record.offset() + 1
        partition.changed = True
        self._health.progress(record.topic(), record.partition(), now_ms / 1000)

    def _punctuation(self, partition: LogPartition, value: bytes) -> None:
        signed = SignedPunctuation.decode(value)
        signed.verify(self._control.trusted.identities, passed=True)
        if signed.punctuation.j != partition.j or signed.passage is None:
            raise RecordMalformed("punctuation lies in another partition than it was signed for")
        clock_ms = min(signed.punctuation.clock_ms, signed.passage.clock_ms)
        if not partition.punctuate(signed.punctuation, clock_ms):
            self._health.refused("repeat")

    def _batch(self, partition: LogPartition, value: bytes) -> None:
        batch = SharesBatch.decode(value)
        batch.verify(self._control.trusted.identities)
        header = batch.header
        if header.j != partition.j:
            raise RecordMalformed("a batch lies in another partition than it was signed for")
        if not partition.is_next(header, batch.header_bytes):
            self._health.refused("repeat")
            return
        approved = self._control.find(header.spec)
        if approved is None:
            raise ProtocolStop(
                f"a batch was signed for revision {header.revision} of a measurement that is not approved"
            )
        self._check_window(approved, header.window_end_ms)
        cells = self._open_cells(batch, approved)
        values = self._open_share(batch)
        slot = (approved.spec, header.window_end_ms)
        window = self._windows.get(slot)
        if window is None:
            window = self._windows[slot] = WindowShare.empty(approved.measurement.cell_count, len(GROUPS))
        window.fold(
            values,
            cells,
            stream=header.stream,
            sequence=header.sequence,
            header_digest=digest(batch.header_bytes),
        )
        self._changed.add(_window_key(*slot))
        partition.advance(header, batch.header_bytes)
        self._health.batch()

    def _check_window(self, approved: Approved, end_ms: int) -> None:
        base = approved.measurement.base_ms
        start = end_ms - base
        if end_ms % base or not approved.covers(start):
            raise ProtocolStop("a batch names a window that its measurement does not have")
        if start < self._schedule.get(approved.spec, approved.from_ms):
            raise ProtocolStop("a batch came for a window that its own punctuation had closed")

    def _open_cells(self, batch: SharesBatch, approved: Approved) -> NDArray[np.uint16]:
        header = batch.header
        epoch = header.a_epoch if self._party == "a" else header.b_epoch
        key = self._receiving.find("cells", "seal", header.process, epoch)
        plain = key.open(batch.cells_a if self._party == "a" else batch.cells_b, batch.header_bytes)
        salt, cell_bytes = plain[:SALT_BYTES], plain[SALT_BYTES:]
        check(header.commitment, cell_bytes, salt)
        if len(cell_bytes) != 2 * header.rows:
            raise ProtocolStop(f"expected {header.rows} cells, got {len(cell_bytes)} bytes of them")
        cells = np.frombuffer(cell_bytes, dtype="<u2").astype(np.uint16)
        if cells.size and int(cells.max()) >= approved.measurement.cell_count:
            raise ProtocolStop("a batch holds a cell that its measurement does not have")
        return cells

    def _open_share(self, batch: SharesBatch) -> NDArray[np.uint64]:
        """This party's share of the rows: (n, columns) uint64."""
        header, extension = batch.header, batch.extension
        if extension.channels != CHANNEL_TABLE or extension.columns != len(GROUPS) or extension.tail:
            raise ProtocolStop("a batch carries channels that this version does not know: upgrade this party first")
        count = header.rows * extension.columns
        binding = SharesBatch.binding(batch.header_bytes, batch.extension_bytes)
        epoch = extension.a_epoch if self._party == "a" else extension.b_epoch
        key = self._receiving.find("share", "attach", extension.process, epoch)
        plain = key.open(batch.share_a if self._party == "a" else batch.share_b, binding)
        if self._party == "a":
            values = expand(plain, count)
        elif len(plain) == 8 * count:
            values = np.frombuffer(plain, dtype="<u8").astype(np.uint64)
        else:
            raise ProtocolStop(f"expected {count} masked values, got {len(plain)} bytes of them")
        return values.reshape(header.rows, extension.columns)

    # -- windows --------------------------------------------------------------------------------------------------

    def _progress(self, approved: Approved) -> tuple[int, int] | None:
        """(arrival that every stream has passed, time since which all workers have counted), or None.

        None while some stream of the measurement's source has not been heard of, or a worker does not know the
        measurement yet: its windows stay open until they can be judged.
        """
        seen: dict[Stream, StreamProgress] = {
            stream: progress
            for partition in self._partitions.values()
            for stream, progress in partition.streams()
            if stream.source == approved.source and progress.partitions
        }
        if not seen:
            return None
        expected = max(progress.partitions for progress in seen.values()) * self._options.partitions
        if len(seen) < expected or any(approved.spec not in progress.since_ms for progress in seen.values()):
            return None
        arrival = min(progress.arrival_ms for progress in seen.values())
        return arrival, max(progress.since_ms[approved.spec] for progress in seen.values())

    def _closable(self, approved: Approved) -> Iterable[tuple[int, int]]:
        """Base windows that are complete, in order: (start, time since which all workers have counted)."""
        progress = self._progress(approved)
        if progress is None or self._coverage_key is None:
            return
        arrival, since = progress
        base = approved.measurement.base_ms
        start = self._schedule.get(approved.spec, approved.from_ms)
        while start + base <= arrival - approved.measurement.lateness_ms and start < approved.until_ms:
            yield start, since
            start += base

    def at_end(self, topic: str, partition: int, offset: int) -> None:
        """Time moves by punctuation only: the end of a partition means nothing here."""

    def due(self, now_ms: int) -> bool:
        """At once when a window can close or a release can be sent; otherwise once in a commit interval."""
        if self._sendable or any(True for a in self._control.approved() for _ in self._closable(a)):
            return True
        changed = bool(self._changed) or any(partition.changed for partition in self._partitions.values())
        return changed and now_ms - self._last_commit_ms >= self._options.commit_interval_ms

    def _close_windows(self, now_ms: int) -> None:
        room = _WINDOWS_A_CHECKPOINT
        for approved in self._control.approved():
            for start, since in self._closable(approved):
                if not room:
                    return
                room -= 1
                # A row may arrive as early as max_future before its event time.
                late_start = since > start - approved.measurement.max_future_ms
                self._close(approved, start, "measurement_applied_late" if late_start else None, now_ms)

    def _close(self, approved: Approved, start_ms: int, void_reason: str | None, now_ms: int) -> None:
        """Close one base window: release it, add it to the roll-ups, and release those that end with it."""
        measurement = approved.measurement
        base, *rollups = measurement.levels
        end = start_ms + base.length_ms
        window = self._windows.pop((approved.spec, end), None)
        if window is None:
            window = WindowShare.empty(measurement.cell_count, len(GROUPS))
        reason = window.void_reason or void_reason
        coverage = window.coverage.digest()
        self._release(approved, base.name, start_ms, end, window.table, coverage, reason, now_ms)
        for level in rollups:
            level_end = (start_ms // level.length_ms + 1) * level.length_ms
            slot = (approved.spec, level.name, level_end)
            rollup = self._rollups.get(slot)
            if rollup is None:
                rollup = self._rollups[slot] = _Rollup(np.zeros_like(window.table))
                if start_ms != max(level_end - level.length_ms, approved.from_ms):
                    rollup.void_reason = "incomplete_rollup"
            rollup.table += window.table
            rollup.coverage = combine(rollup.coverage, coverage)
            rollup.void_reason = rollup.void_reason or reason
            self._changed.add(_rollup_key(*slot))
            if level_end == end:
                self._release(
                    approved,
                    level.name,
                    end - level.length_ms,
                    end,
                    rollup.table,
                    rollup.coverage,
                    rollup.void_reason,
                    now_ms,
                )
                del self._rollups[slot]
                self._drop(_rollup_key(*slot))
        self._drop(_window_key(approved.spec, end))
        self._schedule[approved.spec] = end
        self._changed.add(_schedule_key(approved.spec))

    def _drop(self, key: bytes) -> None:
        self._changed.discard(key)
        self._removed.add(key)

    def _release(
        self,
        approved: Approved,
        level: str,
        start_ms: int,
        end_ms: int,
        table: NDArray[np.uint64],
        coverage: bytes,
        void_reason: str | None,
        now_ms: int,
    ) -> None:
        """Noise a closed window's share, once, and keep the signed bytes until they are committed."""
        plan = self._plans.get(approved.spec)
        if plan is None:
            plan = self._plans[approved.spec] = plan_noise(approved.measurement)
        channel = plan.level(level).table
        status, reason = ("void", void_reason) if void_reason else ("released", "")
        if status == "released":
            refusal = self._debit(approved, start_ms, plan, now_ms)
            if refusal is not None:
                status, reason = "refused", refusal
        assert self._coverage_key is not None  # _closable waits for it
        measurement = approved.measurement
        release = Release(
            party=self._party,  # type: ignore[arg-type]  # "a" or "b", as the constructor was told
            measurement=measurement.id,
            revision=measurement.revision,
            spec=approved.spec,
            level=level,
            start_ms=start_ms,
            end_ms=end_ms,
            status=status,  # type: ignore[arg-type]  # one of the three literals above
            reason=reason,
            coverage=bytes(DIGEST_BYTES),
            cells=measurement.cell_count,
            columns=len(GROUPS),
            sigma_units=channel.scale_units,
            rho=channel.rho,
        )
        release = msgspec.structs.replace(
            release, coverage=authenticate(self._coverage_key, coverage, release.coverage_binding())
        )
        noised: NDArray[np.uint64] | None = None
        if status == "released":
            # The noise is drawn on zeros and added in the ring: OpenDP's own integers saturate at their ends.
            noised = table + channel.sample(table.size).view(np.uint64).reshape(table.shape)
        signed = SignedRelease.signed(self._identity, release, noised)
        self._pending[b"pending/" + release.topic_key()] = signed.encode()
        self._health.window(measurement.id, level, status)

    def _debit(self, approved: Approved, start_ms: int, plan: NoisePlan, now_ms: int) -> str | None:
        """Debit the member-day before its first window; the reason for a refusal, or None."""
        measurement = approved.measurement
        try:
            record = self._ledger.debit(
                day=_utc_day(start_ms),
                measurement=measurement.id,
                revision=measurement.revision,
                spec_sha256=approved.spec.hex(),
                rho=plan.rho_member_day,
                at_ms=now_ms,
            )
        except BudgetExceeded as error:
            log.error("release refused: %s", error)
            return "budget_exceeded"
        if record is not None:
            self._ledger_records.append(record)
        return None

    # -- checkpoints ----------------------------------------------------------------------------------------------

    def checkpoint(self, now_ms: int) -> list[Out]:
        """First what earlier commits have made sendable, then this commit's own state."""
        state = self._topics[f"state-{self._party}"]
        outputs = []
        for key, value in self._sendable.items():
            topic_key = key.removeprefix(b"pending/")
            outputs.append(Out(self._topics[f"releases-{self._party}"], 0, topic_key, value))
            outputs.append(Out(state, 0, key, None))
        self._sendable = {}
        self._close_windows(now_ms)
        ledger = self._topics[f"ledger-{self._party}"]
        outputs += [Out(ledger, 0, None, record) for record in self._ledger_records]
        self._ledger_records = []
        for key, value in self._pending.items():
            outputs.append(Out(state, 0, key, self._codec.encode(key, _PendingState(value))))
        outputs += [Out(state, 0, key, self._codec.encode(key, self._stored(key))) for key in sorted(self._changed)]
        outputs += [Out(state, 0, key, None) for key in sorted(self._removed)]
        self._changed.clear()
        self._removed.clear()
        for partition in self._partitions.values():
            if partition.changed:
                outputs.append(Out(state, 0, partition.key, self._codec.encode(partition.key, partition.state())))
                partition.changed = False
        self._last_commit_ms = now_ms
        return outputs

    def _stored(self, key: bytes) -> object:
        kind, *rest = key.decode().split("/")
        if kind == "window":
            return _window_state(self._windows[bytes.fromhex(rest[0]), int(rest[1])])
        if kind == "rollup":
            rollup = self._rollups[bytes.fromhex(rest[0]), rest[1], int(rest[2])]
            return _RollupState(rollup.table.astype("<u8").tobytes(), rollup.void_reason, rollup.coverage)
        if kind == "schedule":
            return _ScheduleState(self._schedule[bytes.fromhex(rest[0])])
        return self._coverage_key

    def committed(self) -> None:
        """Releases of the last checkpoint are durable and may leave; ended epochs are destroyed."""
        self._sendable, self._pending = self._pending, {}
        clocks = [progress.clock_ms for partition in self._partitions.values() for _, progress in partition.streams()]
        covered = {stream.j for partition in self._partitions.values() for stream, _ in partition.streams()}
        if covered == set(self._partitions) and min(clocks, default=NEVER_MS) > NEVER_MS:
            self._receiving.forget(self._epochs.destroy_ended(min(clocks)))


def _window_key(spec: bytes, end_ms: int) -> bytes:
    return f"window/{spec.hex()}/{end_ms}".encode()


def _rollup_key(spec: bytes, level: str, end_ms: int) -> bytes:
    return f"rollup/{spec.hex()}/{level}/{end_ms}".encode()


def _schedule_key(spec: bytes) -> bytes:
    return f"schedule/{spec.hex()}".encode()


def _table(data: bytes) -> NDArray[np.uint64]:
    return np.frombuffer(data, dtype="<u8").astype(np.uint64).reshape(-1, len(GROUPS))


def _window_state(window: WindowShare) -> _WindowState:
    streams = [
        (s.source, s.i, s.j, seen.last_sequence, seen.batches, seen.rows, seen.chain)
        for s, seen in window.coverage.streams.items()
    ]
    return _WindowState(window.table.astype("<u8").tobytes(), window.void_reason, streams)


def _window(state: _WindowState) -> WindowShare:
    coverage = Coverage(
        {
            Stream(source, i, j): StreamCoverage(last, batches, rows, chain)
            for source, i, j, last, batches, rows, chain in state.streams
        }
    )
    return WindowShare(_table(state.table), coverage, state.void_reason)


def _utc_day(start_ms: int) -> str:
    return str(np.datetime64(start_ms // _DAY_MS, "D"))
