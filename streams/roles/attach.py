"""`attach`: the estimator's side. Attaches encrypted race probabilities to rows whose features it cannot read.

For each sealed batch: open the member ids, look the members up, apply the contribution cap, compute the rows'
fixed-point race probabilities, split them into two shares, seal one to each party, and pass the batch on with seal's
cell envelopes untouched. Rows that must not count (opted out, over the cap, unknown) stay as shares of zero: no one
else can tell who, or how many. Probabilities exist in RAM for one batch and are overwritten.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import msgspec
import numpy as np
from numpy.typing import NDArray

from estimator.groups import GROUPS
from estimator.rounding import to_fixed_point
from privacy.caps import ContributionCap
from secure_agg import EpochKeys, Identity
from secure_agg.sharing import split
from streams.control import Approved, ControlPlane
from streams.data_keys import ReceivingKeys, SendingKeys
from streams.errors import ProtocolStop, RecordMalformed
from streams.records.batches import CHANNEL_TABLE, Extension, SealedBatch, SharesBatch
from streams.records.punctuation import Passage, SignedPunctuation
from streams.roles.log_partition import LogPartition, PartitionState
from streams.roles.member_directory import MemberDirectory
from streams.roles.signed_log import SignedLog
from streams.stage import Out, Partition, Record
from streams.state import StateCodec
from streams.watch.health import RoleHealth

_RECIPIENTS = ("a", "b")
_DAY_MS = 86_400_000
_HOUR_MS = 3_600_000
# Punctuation of one transaction of `seal` reaches the partitions a few milliseconds apart: worth one commit.
_GATHER_MS = 10


@dataclass(frozen=True)
class AttachOptions:
    """What an operator may turn, as `attach` uses it."""

    partitions: int
    commit_interval_ms: int
    shard: int
    shards: int


class _Counted(msgspec.Struct, array_like=True):
    """Rows that counted in one checkpoint, for one measurement and day: tags (u64 LE) and cap buckets (u8)."""

    tags: bytes
    buckets: bytes


class _MemberDays:
    """The contribution cap of one measurement and day, with what is yet to be committed of it."""

    def __init__(self, cap: ContributionCap) -> None:
        self.cap = cap
        self.chunks: list[bytes] = []
        self.fresh: dict[int, list[tuple[NDArray[np.uint64], NDArray[np.uint8]]]] = {}
        # Counted rows of members that the store does not know (yet): applied when they appear.
        self.orphans: tuple[NDArray[np.uint64], NDArray[np.uint8]] = (np.empty(0, np.uint64), np.empty(0, np.uint8))


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
        epochs: EpochKeys,
        codec: StateCodec,
        health: RoleHealth,
        directory: MemberDirectory,
        directory_positions: Mapping[Partition, int],
        cap_key: bytes,
    ) -> None:
        self._options = options
        self._topics = topics
        self._identity = identity
        self._control = control
        self._sending = sending
        self._receiving = receiving
        self._epochs = epochs
        self._codec = codec
        self._health = health
        self._directory = directory
        self._directory_version = directory.version
        self._directory_positions = dict(directory_positions)
        self._cap_key = cap_key
        self._log = SignedLog(topics["sealed"], range(options.shard, options.partitions, options.shards), health)
        self._days: dict[tuple[bytes, int], _MemberDays] = {}
        self._next_chunk: dict[int, int] = {}
        self._outputs: list[Out] = []
        self._punctuated_ms: int | None = None
        self._punctuated: set[int] = set()
        self._last_commit_ms = 0
        self._extension_columns = len(GROUPS)

    # -- state and assignment -------------------------------------------------------------------------------------

    def restore(self, topic: str, key: bytes, value: bytes | None) -> None:
        """Take in one state record."""
        kind, *rest = key.decode().split("/")
        if kind == "position" and value is not None:
            self._log.restore(int(rest[0]), self._codec.decode(key, value, PartitionState))
        elif kind == "counted":
            spec, day, j, number = bytes.fromhex(rest[0]), int(rest[1]), int(rest[2]), int(rest[3])
            self._next_chunk[j] = max(self._next_chunk.get(j, 0), number + 1)
            if value is None:
                return
            days = self._member_days(spec, day)
            if days is not None:
                days.chunks.append(key)
                counted = self._codec.decode(key, value, _Counted)
                self._recount(
                    days, np.frombuffer(counted.tags, "<u8").astype(np.uint64), np.frombuffer(counted.buckets, np.uint8)
                )

    def _member_days(self, spec: bytes, day: int) -> _MemberDays | None:
        days = self._days.get((spec, day))
        if days is None:
            approved = self._control.find(spec)
            if approved is None:
                return None
            privacy = approved.measurement.privacy
            key = self._cap_key + spec + day.to_bytes(8, "little")
            days = _MemberDays(ContributionCap(privacy.cap_rule, privacy.contribution_cap, key))
            self._days[spec, day] = days
        return days

    def _recount(self, days: _MemberDays, tags: NDArray[np.uint64], buckets: NDArray[np.uint8]) -> None:
        index = self._directory.store.find_tags(tags)
        known = index >= 0
        days.cap.restore(index[known], buckets[known])
        if not known.all():
            days.orphans = (
                np.concatenate((days.orphans[0], tags[~known])),
                np.concatenate((days.orphans[1], buckets[~known])),
            )

    def positions(self) -> Mapping[Partition, int]:
        """Sealed partitions that this worker owns, and the same partitions of `member-attributes`."""
        return self._log.positions() | self._directory_positions

    def refresh(self, now_ms: int) -> bool:
        """Partitions are fixed; new measurements are looked up when their first batch comes."""
        return False

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
        """Process attribute records first: an opt-out must act on the next batch."""
        sealed = self._topics["sealed"]
        attributes = [record for record in records if record.topic() != sealed]
        if attributes:
            self._directory.load(attributes)
            for record in attributes:
                self._directory_positions[record.topic(), record.partition()] = record.offset() + 1
        if self._directory.version != self._directory_version:
            self._directory_version = self._directory.version
            self._adopt_orphans()
        punctuation, batch = partial(self._punctuation, now_ms), partial(self._batch, now_ms)
        for record in records:
            if record.topic() == sealed:
                self._log.take(record, now_ms, punctuation, batch)

    def _adopt_orphans(self) -> None:
        for days in self._days.values():
            if days.orphans[0].size:
                tags, buckets = days.orphans
                days.orphans = (np.empty(0, np.uint64), np.empty(0, np.uint8))
                self._recount(days, tags, buckets)

    def _punctuation(self, now_ms: int, partition: LogPartition, value: bytes) -> None:
        signed = SignedPunctuation.decode(value)
        signed.verify(self._control.trusted.identities, passed=False)
        if signed.punctuation.j != partition.j:
            raise RecordMalformed("punctuation lies in another partition than it was signed for")
        if not partition.punctuate(signed.punctuation, signed.punctuation.clock_ms):
            self._health.refused("repeat")
            return
        passage = Passage(self._sending.process, now_ms)
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
        members = self._open_members(batch, approved)
        values, counted = self._values(approved, header.window_end_ms, partition.j, members)
        try:
            shares = self._shares(batch, values, now_ms)
        finally:
            values.fill(0)
        self._outputs.append(Out(self._topics["shares"], partition.j, None, shares.encode()))
        if counted is not None:
            days, tags, buckets = counted
            days.fresh.setdefault(partition.j, []).append((tags, buckets))
        partition.advance(header, batch.header_bytes)
        self._health.batch()

    def _open_members(self, batch: SealedBatch, approved: Approved) -> NDArray[np.bytes_]:
        header, width = batch.header, approved.measurement.source.member_max_bytes
        key = self._receiving.find("members", "seal", header.process, header.attach_epoch)
        plain = key.open(batch.members, batch.header_bytes)
        if len(plain) != header.rows * width:
            raise ProtocolStop(
                f"expected {header.rows} member ids of {width} bytes, got {len(plain)} bytes: seal and attach do not "
                "read the same spec"
            )
        return np.frombuffer(plain, dtype=f"S{width}")

    def _values(
        self, approved: Approved, window_end_ms: int, j: int, members: NDArray[np.bytes_]
    ) -> tuple[NDArray[np.uint64], tuple[_MemberDays, NDArray[np.uint64], NDArray[np.uint8]] | None]:
        """Fixed-point race probabilities of the rows that count, zero for the others: (n, 6) uint64."""
        start_ms = window_end_ms - approved.measurement.base_ms
        days = self._member_days(approved.spec, start_ms // _DAY_MS)
        assert days is not None  # the measurement is approved
        store = self._directory.store
        index = self._directory.countable(members)
        tags = np.zeros(index.size, dtype=np.uint64)
        tags[index >= 0] = store.tags[index[index >= 0]]
        hours = np.full(index.size, start_ms % _DAY_MS // _HOUR_MS, dtype=np.uint8)
        counts = days.cap.select(index, tags, hours)
        values = np.zeros((index.size, self._extension_columns), dtype=np.uint64)
        if not counts.any():
            return values, None
        who = index[counts]
        probabilities = self._directory.model.posterior_of_codes(store.surname[who], store.place[who])
        values[counts] = to_fixed_point(probabilities)
        probabilities.fill(0)
        return values, (days, tags[counts], hours[counts])

    def _shares(self, sealed: SealedBatch, values: NDArray[np.uint64], now_ms: int) -> SharesBatch:
        to_a, a_epoch = self._sending.current("share", "a", now_ms)
        to_b, b_epoch = self._sending.current("share", "b", now_ms)
        extension = Extension(self._sending.process, a_epoch, b_epoch, CHANNEL_TABLE, values.shape[1], 0)
        binding = SharesBatch.binding(sealed.header_bytes, SharesBatch.encode_extension(extension))
        seed, masked = split(values)
        share_b = to_b.seal(masked.astype("<u8", copy=False).tobytes(), binding)
        masked.fill(0)
        return SharesBatch.signed(self._identity, sealed, extension, to_a.seal(seed, binding), share_b)

    # -- checkpoints ----------------------------------------------------------------------------------------------

    def at_end(self, topic: str, partition: int, offset: int) -> None:
        """Time moves by punctuation only: the end of a partition means nothing here."""

    def due(self, now_ms: int) -> bool:
        """Soon after punctuation, otherwise once in a commit interval."""
        if self._punctuated_ms is not None and (
            len(self._punctuated) >= self._log.live or now_ms - self._punctuated_ms >= _GATHER_MS
        ):
            return True
        return self._log.changed and now_ms - self._last_commit_ms >= self._options.commit_interval_ms

    def checkpoint(self, now_ms: int) -> list[Out]:
        """Shares and punctuation, who has counted, and where to read on."""
        outputs, self._outputs = self._outputs, []
        state = self._topics["state-attach"]
        for (spec, day), days in self._days.items():
            for j, parts in days.fresh.items():
                number = self._next_chunk.get(j, 0)
                self._next_chunk[j] = number + 1
                key = f"counted/{spec.hex()}/{day}/{j}/{number}".encode()
                counted = _Counted(
                    np.concatenate([tags for tags, _ in parts]).astype("<u8").tobytes(),
                    np.concatenate([buckets for _, buckets in parts]).tobytes(),
                )
                outputs.append(Out(state, 0, key, self._codec.encode(key, counted)))
                days.chunks.append(key)
            days.fresh = {}
        outputs += self._forget_days(state)
        outputs += [Out(state, 0, key, value) for key, value in self._log.state(self._codec)]
        self._punctuated_ms = None
        self._punctuated.clear()
        self._last_commit_ms = now_ms
        return outputs

    def _forget_days(self, state: str) -> list[Out]:
        """Tombstones for days that no row can reach any more: punctuation has passed them by a day."""
        outputs: list[Out] = []
        for spec, day in list(self._days):
            approved = self._control.find(spec)
            if approved is None:
                continue
            reached = [progress.arrival_ms for _, progress in self._log.streams(approved.source)]
            if reached and min(reached) > (day + 2) * _DAY_MS:
                outputs += [Out(state, 0, key, None) for key in self._days.pop((spec, day)).chunks]
        return outputs

    def committed(self) -> None:
        """What was committed is folded out of this role: epochs that have ended can be destroyed."""
        clock_ms = self._log.senders_clock_ms()
        if clock_ms is not None:
            self._receiving.forget(self._epochs.destroy_ended(clock_ms))
