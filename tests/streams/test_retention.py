"""What may be deleted: what every reader has behind it, but for the tail, and never more."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.retention import IN_FLIGHT, KEPT, Deletion, Held, InFlight, deletable

SHARES = InFlight("shares", ("a", "b"), kept=10)
SEALED = InFlight("sealed", ("attach",), kept=0)


def test_the_slower_reader_decides() -> None:
    """Partition by partition; what is kept before it stays, even where both have read to the end."""
    bounds = {0: (0, 100), 1: (30, 100), 2: (0, 100)}
    committed = {"a": {0: 50, 1: 100, 2: 80}, "b": {0: 70, 1: 100, 2: 0}}
    assert list(deletable(SHARES, bounds, committed)) == [Deletion(0, 40), Deletion(1, 90)]


def test_nothing_goes_while_a_reader_is_silent() -> None:
    """A party that never committed, or whose group has expired, holds everything; and it is named."""
    (held,) = deletable(SHARES, {0: (0, 100)}, {"a": {0: 90}})
    assert isinstance(held, Held)
    assert held.why.startswith("b has committed no position")
    assert "a" not in held.why.split(" has ")[0]


def test_nothing_goes_of_a_topic_that_was_made_anew() -> None:
    """A position beyond the end is of another topic with the same name."""
    (held,) = deletable(SEALED, {0: (0, 5)}, {"attach": {0: 90}})
    assert isinstance(held, Held)
    assert "made anew" in held.why


def test_what_is_gone_is_not_deleted_again() -> None:
    """A partition whose start has reached the readers is left alone."""
    assert list(deletable(SEALED, {0: (40, 90)}, {"attach": {0: 40}})) == []


@given(
    start=st.integers(0, 50),
    length=st.integers(0, 200),
    offsets=st.dictionaries(st.sampled_from(["a", "b"]), st.integers(0, 250)),
    kept=st.integers(0, 30),
)
def test_never_what_someone_needs(start: int, length: int, offsets: dict[str, int], kept: int) -> None:
    """Whatever readers say, nothing goes at or above any position, of what is kept before it, or beyond the end."""
    end = start + length
    topic = InFlight("shares", ("a", "b"), kept)
    for verdict in deletable(topic, {0: (start, end)}, {role: {0: offset} for role, offset in offsets.items()}):
        if isinstance(verdict, Deletion):
            assert set(offsets) == {"a", "b"}
            assert start < verdict.before <= min(*offsets.values(), end) - kept


def test_what_is_looked_for_afterwards_stays() -> None:
    """Of `shares`, where attach finds its newest record; of both, where a skip finds how far each stream had come."""
    assert {topic.topic: (topic.readers, topic.kept) for topic in IN_FLIGHT} == {
        "sealed": (("attach",), KEPT),
        "shares": (("a", "b"), KEPT),
    }
    assert KEPT >= 100
