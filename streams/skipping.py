"""What an operator gives up when a stopped partition is to go on: found in the public half of its records.

Headers and punctuation are open to all who may read the topic: they tell which batches are at fault and, where those
can be seen, their windows. Of batches that are gone nobody can tell the windows any more. Their rows arrived between
two punctuations of their stream, so that each window which a row of that time may belong to is given up with them; and
where the punctuation before them is gone as well, every window that is not released yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from secure_agg import PinnedIdentities, SignatureInvalid, Stream
from streams.control import Approved, ControlPlane
from streams.errors import InputError, RecordMalformed
from streams.records import frame
from streams.records.batches import SealedBatch, SharesBatch
from streams.records.frame import Kind
from streams.records.header import Header
from streams.records.punctuation import NEVER_MS, Punctuation, SignedPunctuation
from streams.records.skip import GivenUp, SkippedTopic, VoidWindows

LOOK_BACK = 50_000
"""Offsets before the stop that are read to see how far each stream had come."""

TOPIC_OF: dict[str, SkippedTopic] = {"attach": "sealed", "a": "shares", "b": "shares"}


@dataclass(frozen=True)
class SkipPlan:
    """What a skip record would say.

    Attributes:
        topic, partition, offset, streams, windows: as in ``streams.records.skip.Skip``.
        finding: what is wrong at the stop, in a sentence.
    """

    topic: SkippedTopic
    partition: int
    offset: int
    streams: tuple[GivenUp, ...]
    windows: tuple[VoidWindows, ...]
    finding: str


@dataclass
class _Seen:
    """How far a stream had come at some place of the log."""

    next_sequence: int = 0
    arrival_ms: int = NEVER_MS
    headers: dict[int, Header] = field(default_factory=dict)


class SkipPlanner:
    """Finds what to give up of one partition.

    Args:
        role: whose partition is stopped: "attach", "a" or "b".
        partition: j.
        control: approved measurements, read to their end.
    """

    def __init__(self, role: str, partition: int, control: ControlPlane) -> None:
        self._role = role
        self._topic = TOPIC_OF[role]
        self._partition = partition
        self._control = control
        self._given_up: dict[Stream, list[tuple[int, int]]] = {}
        self._void: dict[bytes, list[tuple[int, int]]] = {}

    def plan(self, records: Iterable[tuple[int, bytes]], stop: int, first: int, *, whole_epoch: bool) -> SkipPlan:
        """What lets a role go on that has stopped.

        Args:
            records: (offset, value) of the partition's committed records, from at most ``LOOK_BACK`` before the stop
                on, oldest first; read no further than it takes.
            stop: the offset at which the role has stopped.
            first: the first offset that the partition still holds.
            whole_epoch: give up every batch that is sealed to the same epoch of the role, since that key is lost.

        Raises:
            InputError: nothing is wrong there that a skip could mend, or punctuation that tells more is still to come.
        """
        signed = self._signed(records)
        if stop < first:
            finding = self._lost_position(signed)
            return self._planned(first, f"records from offset {stop} on were deleted before they were read: {finding}")
        streams: dict[Stream, _Seen] = {}
        for offset, said in signed:
            if offset == stop:
                finding = self._at_fault(said, streams, signed, whole_epoch=whole_epoch)
                return self._planned(stop, finding)
            if offset > stop:
                break
            _follow(streams, said)
        raise InputError(
            f"no signed record of {self._topic} [{self._partition}] lies at offset {stop}, so that no role can have "
            "stopped there: take the offset from the role's /readyz or its log"
        )

    def _signed(self, records: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, Header | Punctuation]]:
        """The records that are part of the log, as the roles judge it."""
        for offset, value in records:
            said = _read(value, self._topic, self._control.trusted.identities)
            if said is not None and said.j == self._partition:
                yield offset, said

    # -- what is at fault -----------------------------------------------------------------------------------------

    def _at_fault(
        self,
        said: Header | Punctuation,
        streams: dict[Stream, _Seen],
        after: Iterator[tuple[int, Header | Punctuation]],
        *,
        whole_epoch: bool,
    ) -> str:
        if isinstance(said, Punctuation):
            return self._missing_before_punctuation(said, streams)
        seen = streams.get(said.stream, _Seen())
        if said.sequence > seen.next_sequence:
            self._lose(said.stream, seen.next_sequence, said.sequence, seen.arrival_ms, _arrival_after(said, after))
            if said.stream not in streams:
                self._give_up(said)  # what the role expects is not to be seen here: it may be this one
            return f"batches {seen.next_sequence} to {said.sequence - 1} of source partition {said.i} are missing"
        self._give_up(said)
        if said.sequence < seen.next_sequence:
            other = seen.headers.get(said.sequence)
            if other is None:
                raise InputError(
                    f"batch {said.sequence} of source partition {said.i} came before, further back than was read: its "
                    "window is not known, so nothing can be given up"
                )
            self._give_up(other)
            return f"two different batches are signed as number {said.sequence} of source partition {said.i}"
        count = 1
        if whole_epoch:
            epoch = self._epoch(said)
            for _, later in after:
                if isinstance(later, Header) and self._epoch(later) == epoch:
                    self._give_up(later)
                    count += 1
            return f"{count} batches are sealed to epoch {epoch} of {self._role}, whose key is given up"
        return f"batch {said.sequence} of source partition {said.i} cannot be taken in"

    def _epoch(self, header: Header) -> int:
        return {"attach": header.attach_epoch, "a": header.a_epoch, "b": header.b_epoch}[self._role]

    def _missing_before_punctuation(self, punctuation: Punctuation, streams: dict[Stream, _Seen]) -> str:
        missing = 0
        for said in punctuation.sources:
            stream = punctuation.stream(said)
            seen = streams.get(stream, _Seen())
            if said.next_sequence > seen.next_sequence:
                self._lose(stream, seen.next_sequence, said.next_sequence, seen.arrival_ms, said.arrival_ms)
                missing += said.next_sequence - seen.next_sequence
        if not missing:
            raise InputError(
                "the record there is punctuation that nothing is missing before: the partition stopped for a reason "
                "that no skip can mend, or not there. See the reason in the role's /readyz"
            )
        return f"{missing} batches that punctuation vouches for are missing"

    def _lost_position(self, signed: Iterator[tuple[int, Header | Punctuation]]) -> str:
        """Give up whatever came before the first record that is left of each stream."""
        begins: dict[Stream, int] = {}
        waiting: set[Stream] | None = None
        heard: set[Stream] = set()
        for _, said in signed:
            if isinstance(said, Header):
                begins.setdefault(said.stream, said.sequence)
                continue
            for entry in said.sources:
                stream = said.stream(entry)
                begin = begins.setdefault(stream, entry.next_sequence)
                if stream not in heard:
                    heard.add(stream)
                    self._lose(stream, 0, begin, NEVER_MS, entry.arrival_ms)
                others = {Stream(entry.source, i, said.j) for i in range(entry.partitions)}
                waiting = others if waiting is None else waiting | others
            if waiting is not None and not waiting - heard:
                return f"the first records left of {len(heard)} streams say where each goes on"
        raise InputError(
            "not every source partition has been punctuated since: when seal has written to all of them, ask again"
        )

    # -- what is given up for it ----------------------------------------------------------------------------------

    def _give_up(self, header: Header) -> None:
        """A batch whose header is known: its own window is void."""
        self._given_up.setdefault(header.stream, []).append((header.sequence, header.sequence + 1))
        approved = self._control.find(header.spec)
        length = 1 if approved is None else approved.measurement.base_ms
        self._void.setdefault(header.spec, []).append((header.window_end_ms - length, header.window_end_ms))

    def _lose(self, stream: Stream, first: int, past: int, after_ms: int, before_ms: int) -> None:
        """Batches of which nothing is known but that they arrived between two times."""
        if first >= past:
            return
        self._given_up.setdefault(stream, []).append((first, past))
        for approved in self._control.approved():
            if approved.source == stream.source:
                measurement = approved.measurement
                begin = max(approved.from_ms, after_ms - measurement.lateness_ms)
                end = min(before_ms + measurement.max_future_ms + 1, approved.until_ms)
                if begin < end:
                    self._void.setdefault(approved.spec, []).append((begin, end))

    def _planned(self, offset: int, finding: str) -> SkipPlan:
        streams = tuple(
            GivenUp(stream.source.hex(), stream.i, begin, end)
            for stream, ranges in sorted(self._given_up.items())
            for begin, end in _joined(ranges)
        )
        windows = tuple(
            VoidWindows(*self._name(self._control.find(spec), spec), begin, end)
            for spec, ranges in sorted(self._void.items())
            for begin, end in _joined(ranges)
        )
        return SkipPlan(self._topic, self._partition, offset, streams, windows, finding)

    @staticmethod
    def _name(approved: Approved | None, spec: bytes) -> tuple[str, int, str]:
        if approved is None:
            return "unknown", 0, spec.hex()
        return approved.measurement.id, approved.measurement.revision, spec.hex()


def _read(value: bytes, topic: SkippedTopic, trusted: PinnedIdentities) -> Header | Punctuation | None:
    try:
        if frame.kind_of(value) is Kind.PUNCTUATION:
            signed = SignedPunctuation.decode(value)
            signed.verify(trusted, passed=topic == "shares")
            return signed.punctuation
        batch = (SealedBatch if topic == "sealed" else SharesBatch).decode(value)
        batch.verify(trusted)
        return batch.header
    except (RecordMalformed, SignatureInvalid):
        return None


def _follow(streams: dict[Stream, _Seen], said: Header | Punctuation) -> None:
    if isinstance(said, Header):
        seen = streams.setdefault(said.stream, _Seen())
        seen.next_sequence = max(seen.next_sequence, said.sequence + 1)
        seen.headers.setdefault(said.sequence, said)
        return
    for entry in said.sources:
        seen = streams.setdefault(said.stream(entry), _Seen())
        seen.next_sequence = max(seen.next_sequence, entry.next_sequence)
        seen.arrival_ms = max(seen.arrival_ms, entry.arrival_ms)


def _arrival_after(header: Header, after: Iterator[tuple[int, Header | Punctuation]]) -> int:
    """The arrival that the next punctuation of a batch's stream tells."""
    for _, said in after:
        if isinstance(said, Punctuation):
            for entry in said.sources:
                if said.stream(entry) == header.stream:
                    return entry.arrival_ms
    raise InputError("no punctuation has come since: when seal has written again, ask again")


def _joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges in order, with those that touch made one."""
    joined: list[tuple[int, int]] = []
    for begin, end in sorted(ranges):
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((begin, end))
    return joined
