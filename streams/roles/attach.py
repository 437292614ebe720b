"""`attach`: the estimator's side. Attaches encrypted group probabilities to rows whose features it cannot read.

For each sealed batch: open the member ids, look the members up, apply the contribution cap, compute what the
measurement's channels carry of the rows (fixed-point probabilities, Self-ID residuals, moments), split that into two
shares, seal one to each party, and pass the batch on with seal's cell envelopes untouched. Rows that must not count
(opted out, over the cap, unknown) stay as shares of zero: no other role can tell who, or how many. Probabilities exist
in RAM for one batch, or for some small ones together; the arrays that we own are overwritten.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from estimator import EstimatorError, to_fixed_point
from privacy.rotation import fingerprint
from secure_agg import SCALE, Identity, RoleKeys
from secure_agg.partition_clocks import PartitionClocks
from secure_agg.sharing import split
from streams.control import Approved, ControlPlane
from streams.data_keys import ReceivingKeys, SendingKeys
from streams.errors import GroupModelUnusable, ProtocolStop, RecordMalformed, StateUnreadable
from streams.records.batches import Extension, SealedBatch, SharesBatch
from streams.records.punctuation import Passage, SignedPunctuation
from streams.roles.channel_layout import ChannelLayout
from streams.roles.counted_chunks import DayIndex
from streams.roles.counted_rows import DAY_MS, BatchMembers, CountedRows
from streams.roles.group_model import probabilities_of
from streams.roles.log_partition import LogPartition, PartitionState
from streams.roles.member_directory import MemberDirectory
from streams.roles.sent_shares import RetainedLog, find_unknown
from streams.roles.signed_log import SignedLog
from streams.stage import LEAST_PATIENCE_MS, Out, Partition, Record
from streams.state import StateCodec
from streams.watch.health import RoleHealth

log = logging.getLogger(__name__)

_RECIPIENTS = ("a", "b")
_ROTATION_KEY = b"rotation-key"
# Small batches of one measurement and day are looked up together, up to so many rows: by itself each takes as long as
# hundreds of rows.
_ROWS_TOGETHER = 4_096
# Punctuation of one transaction of `seal` reaches the partitions a few milliseconds apart: worth one commit.
_GATHER_MS = 10
# Shares that are still to be worked out keep their place before the punctuation that vouches for them.
_TO_COME = Out("", -1, None, None)
# After so long without a record, what was put off is done.
_LEISURE_MS = 100
_SAY_AGAIN_MS = 60_000


@dataclass(frozen=True)
class AttachOptions:
    """What an operator may turn, as `attach` uses it."""

    partitions: int
    commit_interval_ms: int
    shard: int
    shards: int
    misplaced_ratio: float


@dataclass(frozen=True)
class SelectionKeys:
    """Secrets that decide whose rows count when: the same over restarts, or members would count more often.

    Attributes:
        cap: for each measurement's and day's hours.
        rotation: for each member's days, over all measurements.
    """

    cap: bytes = field(repr=False)
    rotation: bytes = field(repr=False)

    @classmethod
    def of(cls, keys: RoleKeys) -> SelectionKeys:
        """Those that follow from attach's own state secret."""
        return cls(keys.derive("cap"), keys.derive("rotation"))


class AttachedPartition(PartitionState):
    """What attach commits of one partition: position and sequences, and what there must be of who has counted.

    Both are in one record, so that neither can be put back without the other.

    Attributes:
        days: the index of the partition's chunks; None in state of a version that kept none.
        zero_through: the last UTC day (days since 1970) of which no row counts, since state was lost.
    """

    days: list[DayIndex] | None = None
    zero_through: int | None = None


class _Opened(NamedTuple):
    """A batch that was taken in, whose values are still to be worked out.

    Attributes:
        place: among the outputs, where its shares go.
    """

    batch: SealedBatch
    approved: Approved
    layout: ChannelLayout
    rows: BatchMembers
    place: int


class AttachStage:
    """One worker of `attach`."""

    def __init__(
        self,
        options: AttachOptions,
        topics: Mapping[str, str],
        identity: Identity,
        control: ControlPlane,
        sending: SendingKeys,
        receiving: ReceivingKeys,
        codec: StateCodec,
        health: RoleHealth,
        directory: MemberDirectory,
        keys: SelectionKeys,
        clocks: PartitionClocks,
    ) -> None:
        self._options = options
        self._topics = topics
        self._identity = identity
        self._control = control
        self._sending = sending
        self._receiving = receiving
        self._codec = codec
        self._health = health
        self._directory = directory
        self._clocks = clocks
        owned = range(options.shard, options.partitions, options.shards)
        self._owned = frozenset(owned)
        codec.share(options.shard, options.shards, lambda key: _partition_of(key) in (None, *owned))
        self._counted = CountedRows(control, directory, owned, keys.cap, keys.rotation, health)
        self._log = SignedLog(topics["sealed"], "sealed", owned, control, health)
        self._restored: dict[int, AttachedPartition] = {}
        self._rotation = fingerprint(keys.rotation)
        self._rotation_is_kept = False
        self._outputs: list[Out] = []
        self._opened: dict[tuple[bytes, int], list[_Opened]] = {}
        self._opened_rows = 0
        self._punctuated_ms: int | None = None
        self._punctuated: set[int] = set()
        self._last_commit_ms = 0
        self._misplaced_said_ms: int | None = None

    # -- state and assignment -------------------------------------------------------------------------------------

    def restore(self, topic: str, key: bytes, value: bytes | None) -> None:
        """Take in one state record."""
        with self._codec.reading(key):
            self._codec.found(key, value)
            self._restore(key, value)

    def _restore(self, key: bytes, value: bytes | None) -> None:
        if key.startswith(b"position/"):
            j = int(key.split(b"/")[1])
            if value is not None and j in self._owned:
                state = self._codec.decode(key, value, AttachedPartition)
                self._log.restore(j, state)
                self._restored[j] = state
        elif key == _ROTATION_KEY:
            if value is not None:
                self._check_rotation(self._codec.decode(key, value, bytes))
        elif not self._counted.restore(key, value, self._codec):
            raise self._codec.unknown(key)

    def _check_rotation(self, known: bytes) -> None:
        if known != self._rotation:
            raise StateUnreadable(
                "state-attach was written under another rotation key: members would get other days within the same 30, "
                "and count on more of them than approved. Restore the state.key that this deployment began with, or "
                "begin a new deployment"
            )
        self._rotation_is_kept = True

    def check_sent(self, retained: RetainedLog, now_ms: int) -> None:
        """Called once state is restored: find out whether it is the last one, and what follows if it is not.

        Where it is not, rows of the days concerned count as zero (``CountedRows.lose``), for good: that is in state
        from the next checkpoint on.
        """
        partitions = list(self._log.partitions())
        tails = retained.tails([partition.j for partition in partitions])
        for partition in partitions:
            j, state = partition.j, self._restored.get(partition.j)
            unknown = find_unknown(
                partition, state is not None, tails.get(j, ()), retained, self._control.trusted.identities, now_ms
            )
            broken = self._counted.settle(
                j, None if state is None else state.days, None if state is None else state.zero_through
            )
            if state is not None and state.days is None:  # written by a version that kept no index
                broken = (now_ms + 2 * DAY_MS) // DAY_MS
            if broken is not None:
                self._counted.lose(j, broken, "records of who has counted are missing, altered or not the last ones")
                self._log.touch(j)
            if unknown is not None:
                self._counted.lose(j, unknown.newest_day, "shares hold batches that this state does not know")
                self._log.touch(j)

    def positions(self) -> Mapping[Partition, int]:
        """Sealed partitions that this worker owns, and the same partitions of `member-attributes`."""
        return self._log.positions() | self._directory.positions

    def refresh(self, now_ms: int) -> bool:
        """Partitions are fixed, and measurements are looked up when their first batch comes; a skip moves positions."""
        return self._log.resume()

    def lose_position(self, topic: str, partition: int, why: str) -> bool:
        """A partition of `sealed` waits for an operator; the member attributes cannot be done without."""
        if topic != self._topics["sealed"]:
            return False
        self._log.lose_position(partition, why)
        return True

    def patience_ms(self, now_ms: int) -> int:
        """None: punctuation may be among what comes next."""
        return LEAST_PATIENCE_MS

    def blocked(self, now_ms: int) -> str | None:
        """`attach` pauses while a party has no valid epoch key."""
        missing = self._sending.missing(_RECIPIENTS, now_ms)
        if missing:
            return f"waiting for a valid epoch key of {', '.join(missing)} on the keys topic"
        return None

    def stopped(self) -> Mapping[Partition, str]:
        """Partitions of `sealed` that were stopped."""
        return self._log.stopped()

    # -- records --------------------------------------------------------------------------------------------------

    def step(self, records: Sequence[Record], now_ms: int) -> None:
        """Process attribute records first: an opt-out must act on the next batch.

        Raises:
            MembersMisplaced: so many members have a record in a wrong partition that attach would not start with them.
        """
        sealed = self._topics["sealed"]
        attributes = [record for record in records if record.topic() != sealed]
        if attributes:
            self._load(attributes, now_ms)
        punctuation, batch = partial(self._punctuation, now_ms), partial(self._batch, now_ms)
        try:
            for record in records:
                if record.topic() == sealed:
                    self._log.take(record, now_ms, punctuation, batch)
                    if self._opened_rows >= _ROWS_TOGETHER:
                        self._attach(now_ms)
            self._attach(now_ms)
        finally:
            self._forget_opened()

    def _load(self, attributes: Sequence[Record], now_ms: int) -> None:
        directory = self._directory
        unreadable, misplaced = directory.unreadable, directory.misplaced
        self_ids = directory.unreadable_self_ids
        directory.load(attributes)
        self._health.refused("attributes", directory.unreadable - unreadable)
        self._health.refused("misplaced", directory.misplaced - misplaced)
        self._health.refused("self_id", directory.unreadable_self_ids - self_ids)
        if directory.misplaced > misplaced:
            directory.require_placed(self._options.misplaced_ratio)
            self._say_misplaced(now_ms)

    def _say_misplaced(self, now_ms: int) -> None:
        said_ms = self._misplaced_said_ms
        if said_ms is not None and abs(now_ms - said_ms) < _SAY_AGAIN_MS:
            return
        self._misplaced_said_ms = now_ms
        log.error("%s", self._directory.misplaced_report())

    def _punctuation(self, now_ms: int, partition: LogPartition, value: bytes) -> None:
        signed = SignedPunctuation.decode(value)
        signed.verify(self._control.trusted.identities, passed=False)
        if signed.punctuation.j != partition.j:
            raise RecordMalformed("punctuation lies in another partition than it was signed for")
        if not partition.punctuate(signed.punctuation, signed.punctuation.clock_ms):
            self._health.refused("repeat")
            return
        passage = Passage(self._sending.process, now_ms, self._control.measurements_offset)
        self._outputs.append(
            Out(self._topics["shares"], partition.j, None, signed.passed_on(self._identity, passage).encode())
        )
        self._punctuated.add(partition.j)
        if self._punctuated_ms is None:
            self._punctuated_ms = now_ms

    def _batch(self, now_ms: int, partition: LogPartition, value: bytes) -> None:
        batch = SealedBatch.decode(value)
        batch.verify(self._control.trusted.identities)
        header = batch.header
        if not self._log.is_next(partition, header, batch.header_bytes):
            return
        approved = self._control.require(header.spec)
        layout = ChannelLayout.of(approved.measurement)
        if approved.revoked:  # nobody's id is opened any more
            nothing = np.zeros(layout.size(header.rows), dtype=np.uint64)
            self._outputs.append(self._shared(batch, layout, nothing, now_ms))
        else:
            start_ms = approved.window_start_ms(header.window_end_ms)
            self._require_groups(approved)
            rows = BatchMembers(start_ms, partition.j, self._open_members(batch, approved))
            opened = _Opened(batch, approved, layout, rows, len(self._outputs))
            self._opened.setdefault((header.spec, start_ms // DAY_MS), []).append(opened)
            self._opened_rows += header.rows
            self._outputs.append(_TO_COME)
        partition.advance(header, batch.header_bytes)
        self._health.batch()

    def _require_groups(self, approved: Approved) -> None:
        wanted, known = approved.measurement.group_names, tuple(self._directory.model.groups)
        if wanted != known:
            raise ProtocolStop(
                f"measurement {approved.measurement.id!r} compares the groups {', '.join(wanted)}, and the model of "
                f"this worker (attach.model) knows {', '.join(known)}: give attach that model, or the measurement an "
                "end (expires) and a revision with the model's groups, in its order"
            )

    def _open_members(self, batch: SealedBatch, approved: Approved) -> NDArray[np.bytes_]:
        header, width = batch.header, approved.measurement.source.member_max_bytes
        key = self._receiving.find("members", "seal", header.process, header.attach_epoch)
        plain = key.open(batch.members, batch.header_bytes)
        if len(plain) != header.rows * width:
            plain[:] = bytes(len(plain))
            raise ProtocolStop(
                f"expected {header.rows} member ids of {width} bytes, got {len(plain)} bytes: seal and attach do not "
                "read the same spec"
            )
        return np.frombuffer(plain, dtype=f"S{width}")

    def _attach(self, now_ms: int) -> None:
        """Work out what each batch carries that was opened, zeros for rows that do not count, and share it."""
        for (_, day), opened in self._opened.items():
            index = self._counted.select(opened[0].approved, day, [one.rows for one in opened])
            counts = index >= 0
            who = index[counts]
            fixed = self._fixed_point(who)
            try:
                self._send_each(opened, counts, fixed, self._directory.store.self_id.take(who, mode="clip"), now_ms)
            finally:
                fixed.fill(0)
        self._forget_opened()

    def _fixed_point(self, members: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Fixed-point probabilities of members by their dense index: shape (m, k); whoever asked overwrites them."""
        model, codes = self._directory.model, self._directory.store.codes
        if not members.size:
            return np.zeros((0, len(model.groups)), dtype=np.uint64)
        probabilities = probabilities_of(model, codes.take(members, axis=0, mode="clip"))
        try:
            return to_fixed_point(probabilities, SCALE)
        except EstimatorError as error:
            raise GroupModelUnusable(f"the group model gave no probabilities: {error}") from None
        finally:
            probabilities.fill(0)

    def _send_each(
        self,
        opened: Sequence[_Opened],
        counts: NDArray[np.bool_],
        fixed: NDArray[np.uint64],
        self_id: NDArray[np.uint16],
        now_ms: int,
    ) -> None:
        """Each batch's own part: ``counts`` of all rows, shape (n,); the others of those that count, shape (m, ...)."""
        row = counted = 0
        for one in opened:
            own = counts[row : row + one.batch.header.rows]
            through = counted + int(np.count_nonzero(own))
            values = one.layout.values(own, fixed[counted:through], self_id[counted:through])
            self._outputs[one.place] = self._shared(one.batch, one.layout, values, now_ms)
            row, counted = row + own.size, through

    def _shared(self, batch: SealedBatch, layout: ChannelLayout, values: NDArray[np.uint64], now_ms: int) -> Out:
        """The record of a batch's shares; its values are overwritten."""
        try:
            return Out(
                self._topics["shares"], batch.header.j, None, self._shares(batch, layout, values, now_ms).encode()
            )
        finally:
            values.fill(0)

    def _forget_opened(self) -> None:
        for opened in self._opened.values():
            for one in opened:
                one.rows.members.view(np.uint8).fill(0)
        self._opened.clear()
        self._opened_rows = 0

    def _shares(
        self, sealed: SealedBatch, layout: ChannelLayout, values: NDArray[np.uint64], now_ms: int
    ) -> SharesBatch:
        to_a, a_epoch = self._sending.current("share", "a", now_ms)
        to_b, b_epoch = self._sending.current("share", "b", now_ms)
        shape = layout.bits, layout.columns, layout.tail
        extension = Extension(self._sending.process, a_epoch, b_epoch, *shape)
        binding = SharesBatch.binding(sealed.header_bytes, SharesBatch.encode_extension(extension))
        seed, masked = split(values)
        try:
            share_b = to_b.seal(masked.astype("<u8", copy=False).view(np.uint8).data, binding)
        finally:
            masked.fill(0)
        return SharesBatch.signed(self._identity, sealed, extension, to_a.seal(seed, binding), share_b)

    # -- checkpoints ----------------------------------------------------------------------------------------------

    def at_end(self, topic: str, partition: int, offset: int) -> None:
        """Time moves by punctuation only: the end of a partition means nothing here."""

    def due(self, now_ms: int) -> bool:
        """Soon after punctuation, or when a new state key begins, otherwise once in a commit interval.

        And where nothing came for a while, for what was put off. A clock that was set back does not hold it.
        """
        if self._codec.is_due(now_ms):
            return True
        if self._punctuated_ms is not None and (
            len(self._punctuated) >= self._log.live or abs(now_ms - self._punctuated_ms) >= _GATHER_MS
        ):
            return True
        waited_ms = abs(now_ms - self._last_commit_ms)
        if self._log.changed:
            return waited_ms >= self._options.commit_interval_ms
        return waited_ms >= _LEISURE_MS and self._counted.overfull() is not None

    def checkpoint(self, now_ms: int) -> list[Out]:
        """Shares and punctuation, who has counted, and where to read on."""
        outputs, self._outputs = self._outputs, []
        state = self._topics["state-attach"]
        renewed = self._codec.renew(now_ms)
        if renewed:
            self._log.touch_all()
            self._rotation_is_kept = False
        merge = None if self._log.changed else self._counted.overfull()
        if merge is not None:
            self._log.touch(merge)
        for j in self._counted.forget(self._log.arrived_ms):
            self._log.touch(j)
        chunks = self._counted.state(self._codec, anew=renewed, merge=merge)
        outputs += [Out(state, 0, key, value) for key, value in chunks]
        outputs += [Out(state, 0, key, value) for key, value in self._log.state(self._codec, self._with_index)]
        if not self._rotation_is_kept:
            outputs.append(Out(state, 0, _ROTATION_KEY, self._codec.encode(_ROTATION_KEY, self._rotation)))
            self._rotation_is_kept = True
        self._punctuated_ms = None
        self._punctuated.clear()
        self._last_commit_ms = now_ms
        self._codec.written(state, outputs)
        return outputs

    def _with_index(self, j: int, state: PartitionState) -> PartitionState:
        return AttachedPartition(state.offset, state.streams, self._counted.index(j), self._counted.zero_through(j))

    def committed(self) -> None:
        """What was committed is folded out of this role: keys that all its workers are done with are destroyed."""
        self._codec.committed()
        passed_ms = self._clocks.passed_ms(self._log.senders_clocks_ms(), self._receiving.ends())
        self._receiving.destroy_ended(passed_ms)


def _partition_of(key: bytes) -> int | None:
    """The partition j that a state record is of; None where it is of all."""
    kind, *rest = key.split(b"/")
    return {b"position": lambda: int(rest[0]), b"counted": lambda: int(rest[2])}.get(kind, lambda: None)()
