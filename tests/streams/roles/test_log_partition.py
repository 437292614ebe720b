"""One partition of the log as a reader follows it: gaps, repeats, punctuation, and state that survives a restart."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from known_records import HEADER, SOURCE

from secure_agg import Stream
from streams.errors import ProtocolStop
from streams.records.header import Header, encode_header
from streams.records.punctuation import NEVER_MS, Counting, Punctuation, SourceProgress
from streams.roles.log_partition import LogPartition, PartitionState, StreamProgress
from streams.state import StateCodec

J = 5
SPEC, OTHER_SOURCE = bytes(range(32)), bytes(32)


def header(sequence: int, i: int = 2, **changes: Any) -> Header:
    """The header of batch ``sequence`` of source partition ``i``."""
    return msgspec.structs.replace(HEADER, sequence=sequence, i=i, j=J, **changes)


def take(partition: LogPartition, batch: Header) -> bool:
    """Take a batch in as `attach` and the parties do; whether it was new."""
    encoded = encode_header(batch)
    if not partition.is_next(batch, encoded):
        return False
    partition.advance(batch, encoded)
    return True


def said(*entries: tuple[int, int, int], since_ms: int = 0, counting: bool = True) -> Punctuation:
    """Punctuation with an entry (i, arrival, next sequence) for each source partition."""
    return Punctuation(
        process=b"process1",
        j=J,
        clock_ms=0,
        measurements_offset=0,
        sources=tuple(SourceProgress(SOURCE, i, 4, arrival, following) for i, arrival, following in entries),
        counting=(Counting(SPEC, SOURCE, since_ms), Counting(bytes(32), OTHER_SOURCE, 7)) if counting else (),
    )


def progress(partition: LogPartition, i: int = 2) -> StreamProgress:
    """What is known of source partition ``i``."""
    return dict(partition.streams())[Stream(SOURCE, i, J)]


def test_batches_in_order_are_taken_and_repeats_dropped() -> None:
    """Each source partition has a sequence of its own; what was taken in is dropped when it comes again."""
    partition = LogPartition(J)
    assert [take(partition, header(sequence, i)) for sequence in range(3) for i in (2, 3)] == [True] * 6
    assert [take(partition, header(sequence, i)) for sequence in range(3) for i in (2, 3)] == [False] * 6
    assert take(partition, header(3, 2))
    assert progress(partition, 2).sequence.next_sequence == 4
    assert progress(partition, 3).sequence.next_sequence == 3


def test_streams_are_told_apart_by_source_topic() -> None:
    """The same partition number of another topic is another stream, with numbers from 0."""
    partition = LogPartition(J)
    assert take(partition, header(0))
    assert take(partition, header(0, source=OTHER_SOURCE))
    assert {stream.source for stream, _ in partition.streams()} == {SOURCE, OTHER_SOURCE}


def test_a_gap_stops_before_anything_is_taken_in() -> None:
    """A batch beyond the next one stops the partition and leaves the sequence where it was."""
    partition = LogPartition(J)
    take(partition, header(0))
    with pytest.raises(ProtocolStop, match="gap"):
        take(partition, header(2))
    assert progress(partition).sequence.next_sequence == 1
    assert take(partition, header(1))


@pytest.mark.parametrize(
    "changes", [{"rows": 4}, {"commitment": bytes(32)}, {"window_end_ms": 0}, {"process": b"x" * 8}]
)
def test_an_equivocation_stops(changes: dict[str, Any]) -> None:
    """A second batch under a number that was taken in is no repeat, in whichever field it differs."""
    partition = LogPartition(J)
    take(partition, header(0))
    with pytest.raises(ProtocolStop, match="two different batches"):
        take(partition, header(0, **changes))


def test_a_batch_that_was_asked_about_but_not_taken_in_is_still_next() -> None:
    """Where a batch does not open after its number was checked, it has not been counted."""
    partition = LogPartition(J)
    batch = header(0)
    assert partition.is_next(batch, encode_header(batch))
    assert partition.is_next(batch, encode_header(batch))
    assert progress(partition).sequence.next_sequence == 0


def test_punctuation_moves_time() -> None:
    """Arrival, partitions of the source, the senders' clock and the start of counting are taken from it."""
    partition = LogPartition(J)
    take(partition, header(0))
    before = progress(partition)
    assert (before.arrival_ms, before.clock_ms, before.partitions, before.since_ms) == (NEVER_MS, NEVER_MS, 0, {})
    assert partition.punctuate(said((2, 1000, 1), (3, 900, 0), since_ms=40), 5000)
    for i, arrival in ((2, 1000), (3, 900)):
        now = progress(partition, i)
        assert (now.arrival_ms, now.clock_ms, now.partitions) == (arrival, 5000, 4)
        assert now.since_ms == {SPEC: 40}  # what is counted on another topic says nothing of this one


def test_what_is_no_longer_counted_is_forgotten() -> None:
    """The worker's list of measurements replaces the one before, so that a revision that ended holds nothing up."""
    partition = LogPartition(J)
    partition.punctuate(said((2, 1000, 0)), 1)
    partition.punctuate(said((2, 1001, 0), counting=False), 2)
    assert progress(partition).since_ms == {}


def test_punctuation_that_vouches_for_unseen_batches_stops() -> None:
    """A reader that has seen fewer batches than were sent stops before time moves, and so before a window closes."""
    partition = LogPartition(J)
    take(partition, header(0))
    partition.punctuate(said((2, 1000, 1)), 10)
    with pytest.raises(ProtocolStop, match="batches up to 2 were sent, but only 1 came"):
        partition.punctuate(said((2, 2000, 3)), 20)
    assert (progress(partition).arrival_ms, progress(partition).clock_ms) == (1000, 10)


def test_one_bad_entry_stops_the_others_too() -> None:
    """A gap in one source partition leaves no half of the punctuation behind: the others' time does not move."""
    partition = LogPartition(J)
    for i in (2, 3):
        take(partition, header(0, i))
    partition.punctuate(said((2, 1000, 1), (3, 1000, 1)), 10)
    with pytest.raises(ProtocolStop):
        partition.punctuate(said((2, 2000, 1), (3, 2000, 2)), 20)
    assert [progress(partition, i).arrival_ms for i in (2, 3)] == [1000, 1000]


def test_the_first_punctuation_of_a_stream_may_vouch_for_nothing_only() -> None:
    """A stream that was never seen must not be said to have begun."""
    assert LogPartition(J).punctuate(said((2, 1000, 0)), 1)
    with pytest.raises(ProtocolStop, match="only 0 came"):
        LogPartition(J).punctuate(said((2, 1000, 1)), 1)


@pytest.mark.parametrize("old", [(2, 3000, 1), (2, 1999, 2)])
def test_old_punctuation_changes_nothing(old: tuple[int, int, int]) -> None:
    """Punctuation of before, told again or replayed by someone, is dropped: neither time nor clocks go back or on."""
    partition = LogPartition(J)
    take(partition, header(0))
    take(partition, header(1))
    assert partition.punctuate(said((2, 2000, 2), since_ms=1), 100)
    assert not partition.punctuate(said(old, since_ms=99), 200)
    now = progress(partition)
    assert (now.arrival_ms, now.clock_ms, now.since_ms) == (2000, 100, {SPEC: 1})


def test_the_senders_clock_never_goes_back() -> None:
    """A worker whose clock was set back cannot make an epoch's end come twice."""
    partition = LogPartition(J)
    partition.punctuate(said((2, 1000, 0)), 500)
    assert partition.punctuate(said((2, 1000, 0)), 400)
    assert progress(partition).clock_ms == 500


STEPS = st.lists(
    st.tuples(st.just("batch"), st.integers(2, 3), st.integers(0, 90))
    | st.tuples(st.just("told"), st.integers(2, 3), st.integers(0, 2000)),
    max_size=60,
)


def apply(partition: LogPartition, step: tuple[str, int, int]) -> object:
    """One step: the next batch or a repeat of an earlier one, or punctuation; what came of it."""
    kind, i, number = step
    known = dict(partition.streams()).get(Stream(SOURCE, i, J))
    following = 0 if known is None else known.sequence.next_sequence
    if kind == "batch":
        return take(partition, header(min(number, following), i))
    return partition.punctuate(said((i, number, following)), number)


@given(steps=STEPS, cut=st.integers(0, 60))
@settings(deadline=None)
def test_a_restart_changes_nothing(steps: list[tuple[str, int, int]], cut: int) -> None:
    """Stored, sealed and restored anywhere, a partition judges all that follows as if it had never stopped."""
    codec = StateCodec(bytes(32), "attach")
    steady, restarted = LogPartition(J), LogPartition(J)
    for number, step in enumerate(steps):
        if number == cut:
            restarted.offset = 17
            stored = codec.encode(restarted.key, restarted.state())
            restarted = LogPartition(J)
            restarted.restore(codec.decode(restarted.key, stored, PartitionState))
            assert restarted.offset == 17
        assert apply(restarted, step) == apply(steady, step)
    assert restarted.state().streams == steady.state().streams


def test_an_equivocation_is_told_after_a_restart() -> None:
    """The digests that repeats are compared with are part of the state."""
    partition = LogPartition(J)
    for sequence in range(70):
        take(partition, header(sequence))
    again = LogPartition(J)
    again.restore(partition.state())
    assert not take(again, header(69))
    with pytest.raises(ProtocolStop, match="two different batches"):
        take(again, header(6, rows=4))


def test_state_keys_name_the_partition() -> None:
    """Each partition keeps its state under a key of its own."""
    assert LogPartition(J).key == b"position/5"
    assert len({LogPartition(j).key for j in range(20)}) == 20
