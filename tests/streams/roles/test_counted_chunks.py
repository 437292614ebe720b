"""What state holds of who has counted: padded, merged, found again, and missed when it is not all there."""

from __future__ import annotations

from itertools import count

import numpy as np
import pytest
from example_counts import examples
from hypothesis import given
from hypothesis import strategies as st

from privacy import ContributionCap
from streams.roles.counted_chunks import RUNS_A_LEVEL, CountedChunks, FoundChunks
from streams.state import StateCodec

CODEC = StateCodec(bytes(32), "attach")
SPEC = bytes(32)
State = dict[bytes, bytes | None]


class Topic:
    """A day's chunks with the compacted topic that they are written to."""

    def __init__(self, rule: str = "hours", members: int = 100) -> None:
        self.cap = ContributionCap(rule, 3, b"key")  # type: ignore[arg-type]
        self.chunks = CountedChunks(SPEC, 20_000, 1, self.cap)
        self.members = members
        self.latest: State = {}
        self.sizes: list[list[int]] = []
        self._numbers = count()

    def commit(self, rows: int, counted: int, seed: int = 0, *, in_haste: bool = False) -> None:
        """A transaction in which rows came, of which some counted."""
        rng = np.random.default_rng(seed)
        tags = rng.integers(1, self.members + 1, counted).astype(np.uint64)
        marks = self.cap.marks(rng.integers(0, 24, counted).astype(np.uint8))
        self.chunks.add(rows, (tags, marks))
        records = self.chunks.state(CODEC, lambda: next(self._numbers), self.members, in_haste=in_haste)
        self.latest |= dict(records)
        self.sizes.append([len(value or b"") for _, value in records])

    def found(self) -> FoundChunks:
        """What a restart would find."""
        found = FoundChunks()
        for key, value in self.latest.items():
            if value is not None:
                found.add(int(key.split(b"/")[4]), key, value, CODEC)
        return found


@given(
    rule=st.sampled_from(["first", "hours"]),
    commits=st.lists(st.tuples(st.integers(1, 40), st.integers(0, 40)), min_size=1, max_size=60),
)
@examples(40)
def test_length_and_number_follow_from_the_rows_alone(rule: str, commits: list[tuple[int, int]]) -> None:
    """With the same rows and other counts, every transaction writes as many records of the same lengths."""
    nobody, some = Topic(rule), Topic(rule)
    for number, (rows, counted) in enumerate(commits):
        nobody.commit(rows, 0)
        some.commit(rows, min(rows, counted), number)
    assert nobody.sizes == some.sizes
    assert [value is None for value in nobody.latest.values()] == [value is None for value in some.latest.values()]


@given(
    rule=st.sampled_from(["first", "hours"]),
    commits=st.lists(st.integers(1, 40), min_size=1, max_size=60),
)
@examples(40)
def test_what_is_found_again_is_what_counted(rule: str, commits: list[int]) -> None:
    """Merged or not, the chunks of a restart say of each member what the rows did, and agree with the index."""
    topic = Topic(rule)
    for number, rows in enumerate(commits):
        topic.commit(rows, rows, number)
    found = topic.found()
    assert found.agree_with(topic.chunks.index())
    restarted = CountedChunks(SPEC, 20_000, 1, topic.cap)
    tags, marks = topic.cap.combined(*restarted.restore(found))
    rngs = [np.random.default_rng(number) for number in range(len(commits))]
    drawn = [
        (rng.integers(1, 101, rows).astype(np.uint64), topic.cap.marks(rng.integers(0, 24, rows).astype(np.uint8)))
        for rng, rows in zip(rngs, commits, strict=True)
    ]
    expected = topic.cap.combined(*(np.concatenate(columns) for columns in zip(*drawn, strict=True)))
    assert np.array_equal(tags, expected[0])
    assert np.array_equal(marks, expected[1])
    assert restarted.index() == topic.chunks.index()


def test_a_day_leaves_some_dozens_of_chunks() -> None:
    """After thousands of transactions there are fifteen runs a level at most, and a row was rewritten a few times."""
    topic = Topic(members=50)
    for number in range(3_000):
        topic.commit(20, 10, number)
    kept = [value for value in topic.latest.values() if value is not None]
    assert len(kept) <= 3 * (RUNS_A_LEVEL - 1)
    written = sum(map(sum, topic.sizes))
    assert written < 4 * 3_000 * (20 * 12 + 60)  # the rows themselves, and three levels above them
    assert max(map(max, topic.sizes)) < 1024 * 12 + 100  # a merged run is as long as there are members


@pytest.mark.parametrize(("few_rows", "commits", "chunks"), [(16 * 5, 16, 1), (16 * 5 - 1, 31, 31), (0, 32, 1)])
def test_in_haste_many_rows_are_not_merged_at_once(
    few_rows: int, commits: int, chunks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A merge of few rows is made at once, one of more when there are twice as many runs; at leisure it is made."""
    monkeypatch.setattr("streams.roles.counted_chunks._FEW_ROWS", few_rows)
    topic = Topic()
    for number in range(commits):
        topic.commit(5, 5, number, in_haste=True)
    assert len(topic.found().chunks) == chunks
    assert topic.found().agree_with(topic.chunks.index())
    assert topic.chunks.overfull == (chunks >= RUNS_A_LEVEL)
    if topic.chunks.overfull:
        topic.latest |= dict(topic.chunks.state(CODEC, lambda: 1_000, topic.members))
        assert len(topic.found().chunks) == 1
        assert topic.found().agree_with(topic.chunks.index())
        assert not topic.chunks.overfull


@pytest.mark.parametrize("harm", ["missing", "altered", "older", "moved", "too many"])
def test_the_index_misses_what_is_not_there(harm: str) -> None:
    """A chunk that is gone, altered, of another time or place, or one too many: the index does not agree."""
    topic = Topic()
    for number in range(3):
        topic.commit(5, 5, number)
    assert topic.found().agree_with(topic.chunks.index())
    keys = sorted(topic.latest)
    if harm == "missing":
        topic.latest[keys[1]] = None
    elif harm == "altered":
        topic.latest[keys[1]] = (topic.latest[keys[1]] or b"")[:-1] + b"?"
    elif harm == "older":
        other = Topic()
        for number in range(3):
            other.commit(5, 5, number + 50)
        topic.latest[keys[1]] = other.latest[keys[1]]
    elif harm == "moved":
        topic.latest[keys[1]] = topic.latest[keys[2]]
    else:
        more = Topic()
        for number in range(4):
            more.commit(5, 5, number)
        topic.latest |= {key: value for key, value in more.latest.items() if key not in topic.latest}
    assert not topic.found().agree_with(topic.chunks.index())


def test_a_large_run_goes_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """No record grows past what a broker takes: a long run is several chunks, found as one."""
    monkeypatch.setattr("streams.roles.counted_chunks._ENTRIES_A_CHUNK", 7)
    topic = Topic(members=5_000)
    for number in range(RUNS_A_LEVEL + 1):
        topic.commit(30, 20, number)
    assert max(map(max, topic.sizes)) < 7 * 12 + 60
    found = topic.found()
    assert found.agree_with(topic.chunks.index())
    restarted = CountedChunks(SPEC, 20_000, 1, topic.cap)
    restarted.restore(found)
    assert sorted(run.level for run in restarted._runs) == [0, 1]
    assert restarted.index() == topic.chunks.index()
