"""`aggregate`: one party. Folds its share of every row, and releases its noised share of every closed window.

Both parties read the same `shares` log, so both fold precisely the same rows and close precisely the same windows. This
file is the way of a record through the party; the windows are in `windows`, noise and the two-step release in
`releasing`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from privacy import Ledger, LedgerBroken
from secure_agg import EnvelopeUnreadable, Identity, SignatureInvalid
from secure_agg.commitments import SALT_BYTES, check
from secure_agg.sharing import SEED_BYTES, expand
from streams.control import Approved, ControlPlane
from streams.data_keys import ReceivingKeys, SendingKeys
from streams.errors import ProtocolStop, RecordMalformed
from streams.records import frame
from streams.records.batches import SharesBatch
from streams.records.header import digest
from streams.records.punctuation import SignedPunctuation
from streams.records.release import SignedRelease
from streams.roles.channel_layout import ChannelLayout
from streams.roles.log_partition import LogPartition, PartitionState
from streams.roles.releasing import ReleaseDesk, newest_debits, not_finished, read_back_to_ms
from streams.roles.signed_log import SignedLog
from streams.roles.windows import ClosedWindow, OpenWindows
from streams.stage import LEAST_PATIENCE_MS, Out, Partition, Record
from streams.state import StateCodec
from streams.watch.health import RoleHealth

APPLIED_LATE = "measurement_applied_late"
SKIPPED = "skipped"
"""An operator has given up batches that may belong to the window."""
_COVERAGE_KEY = b"coverage-key"
# A party that was down for long closes its backlog in pieces, so that no transaction grows without bound: by windows,
# and by table entries, since each costs a draw of noise (about 20 microseconds).
_WINDOWS_A_CHECKPOINT = 256
_DRAWS_A_CHECKPOINT = 200_000


@dataclass(frozen=True)
class AggregateOptions:
    """What an operator may turn, as `aggregate` uses it."""

    partitions: int
    commit_interval_ms: int


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
        self._control = control
        self._receiving = receiving
        self._codec = codec
        self._health = health
        self._coverage_sender = coverage_sender
        self._coverage_key: bytes | None = None if coverage_sender is None else coverage_sender[1]
        self._coverage_key_is_new = False
        self._log = SignedLog(topics["shares"], "shares", range(options.partitions), control, health)
        self._windows = OpenWindows()
        self._desk = ReleaseDesk(party, identity, ledger, health)
        self._control_version = -1
        self._last_commit_ms = 0

    # -- state and assignment -------------------------------------------------------------------------------------

    def restore(self, topic: str, key: bytes, value: bytes | None) -> None:
        """Take in one record of the party's state or of its ledger."""
        if topic == self._topics[f"state-{self._party}"]:
            self._codec.found(key, value)
        if value is None:
            return
        if topic == self._topics[f"ledger-{self._party}"]:
            self._desk.restore_ledger(value, self._control.trusted.identities)
            return
        with self._codec.reading(key):
            self._restore(key, value)

    def _restore(self, key: bytes, value: bytes) -> None:
        if key.startswith(b"position/"):
            self._log.restore(int(key.split(b"/")[1]), self._codec.decode(key, value, PartitionState))
        elif key == _COVERAGE_KEY:
            self._coverage_key = self._codec.decode(key, value, bytes)
        elif not self._windows.restore(key, value, self._codec) and not self._desk.restore(key, value, self._codec):
            raise self._codec.unknown(key)

    def check_sent(self, sent_since: Callable[[int], Iterable[bytes]], now_ms: int) -> None:
        """Hold the restored state and ledger against each other and against the party's own releases.

        Args:
            sent_since: what lies on the party's topic from this time on (epoch milliseconds, by the records' own
                timestamps; 0 is all of it), oldest first, whoever wrote it.

        Raises:
            LedgerBroken: a debit or a release is ahead of them.
        """
        unfinished = [
            approved.spec
            for approved in self._control.approved()
            if not_finished(approved, self._windows.closed_through_ms(approved.spec), now_ms)
        ]
        known = {approved.spec for approved in self._control.approved()}
        entries = self._desk.ledger.entries
        for debit in newest_debits(entries).values():
            self._desk.check_debit(debit, self._windows.closed_through_ms(bytes.fromhex(debit.spec_sha256)))
        for value in sent_since(read_back_to_ms(unfinished, known, entries)):
            self._check_release(value)

    def _check_release(self, value: bytes) -> None:
        trusted = self._control.trusted.identities
        if frame.is_newer(value, self._party, trusted):
            raise LedgerBroken(
                f"the party's own releases hold one of format version {frame.version_of(value)}, written by a newer "
                "version of this role, so whether a window was released already cannot be told: run that version"
            )
        try:
            signed = SignedRelease.decode(value)
            if signed.release.party != self._party:
                return
            self._desk.check_sent(signed, self._windows.closed_through_ms(signed.release.spec))
        except RecordMalformed:
            return  # not this party's
        except LedgerBroken:
            # Only now does it matter who wrote it: a long topic is read through without a check of each signature.
            try:
                signed.verify(trusted)
            except SignatureInvalid:
                return
            raise

    @property
    def ledger(self) -> Ledger:
        """The party's ledger, for its operator's metrics."""
        return self._desk.ledger

    def positions(self) -> Mapping[Partition, int]:
        """All partitions of `shares`."""
        return self._log.positions()

    def refresh(self, now_ms: int) -> bool:
        """A skip moves positions. Party a hands the coverage secret to each new epoch of b; b looks for it."""
        self._follow_measurements()
        if self._coverage_sender is not None:
            keys, secret = self._coverage_sender
            keys.share_secret("coverage", "b", secret, now_ms)
        elif self._coverage_key is None:
            self._find_coverage_key()
        return self._log.resume()

    def lose_position(self, topic: str, partition: int, why: str) -> bool:
        """A partition of `shares` waits for an operator."""
        self._log.lose_position(partition, why)
        return True

    def _follow_measurements(self) -> None:
        """Let go of windows that a later revision takes over, and of all that a revoked one has not sent yet."""
        if self._control.version == self._control_version:
            return
        self._control_version = self._control.version
        for approved in self._control.approved():
            if approved.revoked:
                self._windows.drop(approved.spec)
                self._desk.drop(approved.spec)
            else:
                self._desk.plan(approved)
                self._windows.forget_taken_over(approved)

    def _find_coverage_key(self) -> None:
        for record in self._control.wrapped_for("coverage", self._party):
            try:
                key = self._receiving.find("coverage", "a", record.process, record.epoch)
            except EnvelopeUnreadable:
                continue  # wrapped for an epoch that is gone; a newer one comes, or came
            self._coverage_key = key.secret
            self._coverage_key_is_new = True
            return

    def patience_ms(self, now_ms: int) -> int:
        """None: punctuation may be among what comes next."""
        return LEAST_PATIENCE_MS

    def blocked(self, now_ms: int) -> str | None:
        """Folding needs nothing but the records themselves."""
        return None

    def stopped(self) -> Mapping[Partition, str]:
        """Partitions of `shares` that were stopped."""
        return self._log.stopped()

    # -- records --------------------------------------------------------------------------------------------------

    def step(self, records: Sequence[Record], now_ms: int) -> None:
        """Fold batches and take in punctuation."""
        for record in records:
            self._log.take(record, now_ms, self._punctuation, self._batch)

    def _punctuation(self, partition: LogPartition, value: bytes) -> None:
        signed = SignedPunctuation.decode(value)
        signed.verify(self._control.trusted.identities, passed=True)
        if signed.punctuation.j != partition.j or signed.passage is None:
            raise RecordMalformed("punctuation lies in another partition than it was signed for")
        # Where a sender knew of a revocation it has left rows out: the party must know of it before it closes a window
        # on that sender's word, or it would release a window that lacks them.
        self._control.read_through(
            max(signed.punctuation.measurements_offset, signed.passage.measurements_offset),
        )
        clock_ms = min(signed.punctuation.clock_ms, signed.passage.clock_ms)
        if not partition.punctuate(signed.punctuation, clock_ms):
            self._health.refused("repeat")

    def _batch(self, partition: LogPartition, value: bytes) -> None:
        batch = SharesBatch.decode(value)
        batch.verify(self._control.trusted.identities)
        header = batch.header
        if not self._log.is_next(partition, header, batch.header_bytes):
            return
        approved = self._control.require(header.spec)
        if approved.revoked:
            partition.advance(header, batch.header_bytes)
            self._health.refused("revoked")
            return
        if not self._windows.takes(approved, header.window_end_ms):
            partition.advance(header, batch.header_bytes)
            self._health.refused("superseded")
            return
        cells = self._open_cells(batch, approved)
        share = self._open_share(batch, approved)
        values, tail = ChannelLayout.of(approved.measurement).parts(share, header.rows)
        try:
            self._windows.fold(
                approved,
                header.window_end_ms,
                values,
                cells,
                tail,
                stream=header.stream,
                sequence=header.sequence,
                header_digest=digest(batch.header_bytes),
            )
        finally:  # folded or not, nothing of a single row is kept
            share.fill(0)
            cells.fill(0)
        partition.advance(header, batch.header_bytes)
        self._health.batch()

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
        for opened in (plain, cell_bytes):
            opened[:] = bytes(len(opened))
        if cells.size and int(cells.max()) >= approved.measurement.cell_count:
            raise ProtocolStop("a batch holds a cell that its measurement does not have")
        return cells

    def _open_share(self, batch: SharesBatch, approved: Approved) -> NDArray[np.uint64]:
        """This party's share of the rows and of the batch's tail: ``ChannelLayout.parts``; overwrite it after use."""
        header, extension, layout = batch.header, batch.extension, ChannelLayout.of(approved.measurement)
        expected = layout.bits, layout.columns, layout.tail
        if (extension.channels, extension.columns, extension.tail) != expected:
            raise ProtocolStop(
                f"expected channels {layout.bits}, {layout.columns} columns and a tail of {layout.tail}, as the "
                f"measurement has them; a batch says {extension.channels}, {extension.columns} and {extension.tail}: "
                "attach and this party are of different versions, or do not read the same spec"
            )
        count = layout.size(header.rows)
        binding = SharesBatch.binding(batch.header_bytes, batch.extension_bytes)
        epoch = extension.a_epoch if self._party == "a" else extension.b_epoch
        key = self._receiving.find("share", "attach", extension.process, epoch)
        plain = key.open(batch.share_a if self._party == "a" else batch.share_b, binding)
        if self._party == "a" and len(plain) == SEED_BYTES:
            share = expand(plain, count)
        elif self._party == "b" and len(plain) == 8 * count:
            return np.frombuffer(plain, dtype="<u8")  # where they lie: whoever overwrites the share overwrites them
        else:
            raise ProtocolStop(f"expected a seed, or {count} masked values, and got {len(plain)} bytes")
        plain[:] = bytes(len(plain))
        return share

    # -- windows --------------------------------------------------------------------------------------------------

    def _progress(self, approved: Approved) -> tuple[int, int] | None:
        """(arrival that every stream has passed, time since which all workers have counted), or None.

        None while some stream of the measurement's source has not been heard of, or a worker does not know the
        measurement yet: its windows stay open until they can be judged.
        """
        streams = self._log.every_stream(approved.source)
        if streams is None or any(approved.spec not in stream.since_ms for stream in streams):
            return None
        arrived = min(stream.arrival_ms for stream in streams)
        return arrived, max(stream.since_ms[approved.spec] for stream in streams)

    def _closable(self) -> Iterator[tuple[Approved, int, str | None]]:
        """Base windows that are complete, each measurement's in order: (measurement, start, why it is void or None)."""
        if self._coverage_key is None:
            return
        for approved in self._control.approved():
            progress = None if approved.revoked else self._progress(approved)
            if progress is None:
                continue
            arrival, since = progress
            for start in self._windows.closable(approved, arrival):
                # A row may arrive as early as max_future before its event time.
                late = since > start - approved.measurement.max_future_ms
                yield approved, start, APPLIED_LATE if late else None

    def _close_windows(self, coverage_key: bytes, now_ms: int) -> None:
        draws = 0
        for approved, start, void_reason in list(islice(self._closable(), _WINDOWS_A_CHECKPOINT)):
            for window in self._windows.close(approved, start, void_reason):
                self._desk.release(self._unless_skipped(window), coverage_key, now_ms)
                draws += window.table.size + window.tail.size
            if draws >= _DRAWS_A_CHECKPOINT:
                return

    def _unless_skipped(self, window: ClosedWindow) -> ClosedWindow:
        """The window; void where a skip touches it, whether or not this party has folded what was given up.

        Asked of each window as it closes: a roll-up may hold base windows that were released before the skip came.
        """
        touched = self._control.skips.void(window.approved.spec, window.start_ms, window.end_ms)
        return replace(window, void_reason=window.void_reason or SKIPPED) if touched else window

    # -- checkpoints ----------------------------------------------------------------------------------------------

    def at_end(self, topic: str, partition: int, offset: int) -> None:
        """Time moves by punctuation only: the end of a partition means nothing here."""

    def due(self, now_ms: int) -> bool:
        """At once when a window can close, a release can be sent or a state key begins; else once in an interval.

        A clock that was set back does not hold it.
        """
        if self._codec.is_due(now_ms) or self._desk.can_send or any(True for _ in self._closable()):
            return True
        changed = self._log.changed or self._windows.changed or self._desk.changed or self._coverage_key_is_new
        return changed and abs(now_ms - self._last_commit_ms) >= self._options.commit_interval_ms

    def checkpoint(self, now_ms: int) -> list[Out]:
        """First what earlier commits have made sendable, then this commit's own state."""
        self._follow_measurements()  # a batch may have made the role read on: nothing that is revoked leaves
        state = self._topics[f"state-{self._party}"]
        to_state = partial(Out, state, 0)
        if self._codec.renew(now_ms):
            # Releases that are committed and not sent need no second copy: this checkpoint sends them.
            self._log.touch_all()
            self._windows.touch_all()
            self._coverage_key_is_new = self._coverage_sender is None and self._coverage_key is not None
        outputs = []
        for state_key, key, value in self._desk.sendable():
            outputs.append(Out(self._topics[f"releases-{self._party}"], 0, key, value))
            outputs.append(to_state(state_key, None))
        if self._coverage_key is not None:
            self._close_windows(self._coverage_key, now_ms)
        if self._coverage_key_is_new:
            outputs.append(to_state(_COVERAGE_KEY, self._codec.encode(_COVERAGE_KEY, self._coverage_key)))
            self._coverage_key_is_new = False
        ledger = self._topics[f"ledger-{self._party}"]
        outputs += [Out(ledger, 0, None, record) for record in self._desk.debits()]
        changes = [*self._desk.state(self._codec), *self._windows.state(self._codec), *self._log.state(self._codec)]
        outputs += [to_state(key, value) for key, value in changes]
        self._codec.written(state, outputs)
        self._last_commit_ms = now_ms
        return outputs

    def committed(self) -> None:
        """Releases of the last checkpoint are durable and may leave; ended epochs and state keys are destroyed."""
        self._desk.committed()
        self._codec.committed()
        self._receiving.destroy_ended(self._log.senders_clock_ms())
