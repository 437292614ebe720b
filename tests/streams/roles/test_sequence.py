"""Sequence numbers: contiguous, or the stream stops; a repeat is dropped, an equivocation is not."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import ProtocolStop
from streams.roles.sequence import REMEMBERED, StreamSequence


def name(number: int, version: int = 0) -> bytes:
    """The header digest of a batch; another version is another batch under the same number."""
    return hashlib.sha256(f"{number}/{version}".encode()).digest()


def after(count: int) -> StreamSequence:
    """A stream that has taken in its first ``count`` batches."""
    sequence = StreamSequence()
    for number in range(count):
        assert sequence.is_next(number, name(number))
        sequence.advance(name(number))
    return sequence


@given(
    count=st.integers(0, 2 * REMEMBERED),
    number=st.integers(0, 2 * REMEMBERED + 3),
    version=st.integers(0, 1),
)
def test_the_verdict_is_that_of_a_plain_loop(count: int, number: int, version: int) -> None:
    """The next number is taken, an earlier one dropped if it is the same batch, and whatever else stops."""
    sequence = after(count)
    if number > count:
        with pytest.raises(ProtocolStop, match=f"expected batch {count}, got {number}; {number - count} batches"):
            sequence.is_next(number, name(number, version))
    elif number == count:
        assert sequence.is_next(number, name(number, version))
    elif version and number >= count - REMEMBERED:
        with pytest.raises(ProtocolStop, match=f"two different batches are signed as number {number}"):
            sequence.is_next(number, name(number, version))
    else:
        assert not sequence.is_next(number, name(number, version))
    assert sequence.next_sequence == count  # a question changes nothing


def test_memory_is_bounded() -> None:
    """However long a stream is, the last 64 digests are kept, and just those equivocations are told."""
    sequence = after(1000)
    assert len(sequence.digests) == REMEMBERED == 64
    with pytest.raises(ProtocolStop):
        sequence.is_next(1000 - REMEMBERED, name(1000 - REMEMBERED, 1))
    assert not sequence.is_next(1000 - REMEMBERED - 1, name(1000 - REMEMBERED - 1, 1))


def test_a_stream_without_history_drops_what_it_cannot_compare() -> None:
    """Restored without digests, a stream still folds no batch twice."""
    sequence = StreamSequence(next_sequence=5)
    assert not sequence.is_next(4, name(4))
    assert sequence.is_next(5, name(5))


@pytest.mark.parametrize("count", [0, 1, 7])
def test_punctuation_vouches_for_batches(count: int) -> None:
    """Punctuation that counts more batches than came stops; one that counts fewer is old; the right one passes."""
    sequence = after(count)
    assert sequence.check_through(count)
    if count:
        assert not sequence.check_through(count - 1)
    with pytest.raises(ProtocolStop, match=f"batches up to {count} were sent, but only {count} came"):
        sequence.check_through(count + 1)
