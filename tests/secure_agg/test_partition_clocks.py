"""Partition clocks: an epoch goes only when every partition's committed clock has passed its end."""

from __future__ import annotations

import stat
import tempfile
from pathlib import Path

import pytest
from example_counts import examples
from hypothesis import given
from hypothesis import strategies as st

from secure_agg import partition_clocks
from secure_agg.partition_clocks import PartitionClocks

PARTITIONS = 3


def test_the_last_partition_decides(tmp_path: Path) -> None:
    """Two workers share three partitions: the epoch ends when the slower has committed past it, for both."""
    one, other = PartitionClocks(tmp_path, PARTITIONS), PartitionClocks(tmp_path, PARTITIONS)
    assert one.passed_ms({0: 150, 2: 120}, [100, 200]) is None
    assert other.passed_ms({1: 99}, [100, 200]) is None
    assert other.passed_ms({1: 100}, [100, 200]) == 100
    assert one.passed_ms({0: 150, 2: 120}, [100, 200]) == 100
    assert one.passed_ms({0: 250, 2: 250}, [200]) is None


def test_nothing_is_written_between_the_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A partition writes once as it passes an epoch's end, and not at each commit; its file is private."""
    written = []
    real = partition_clocks.write_private
    monkeypatch.setattr(
        partition_clocks, "write_private", lambda path, text: (written.append(path.name), real(path, text))
    )
    clocks = PartitionClocks(tmp_path, PARTITIONS)
    for now in range(0, 300, 10):
        clocks.passed_ms({0: now, 1: now // 2}, [100, 250])
    assert written == ["0.clock", "1.clock", "0.clock"]
    assert stat.S_IMODE((tmp_path / "0.clock").stat().st_mode) == 0o600


def test_a_lost_or_damaged_file_keeps_the_epoch(tmp_path: Path) -> None:
    """A partition whose clock cannot be read is as good as unheard, until its worker commits again."""
    clocks = PartitionClocks(tmp_path, 2)
    assert clocks.passed_ms({0: 100, 1: 100}, [100]) == 100
    for damage in (b"", b"soon", b"\xff"):
        (tmp_path / "1.clock").write_bytes(damage)
        assert clocks.passed_ms({0: 130}, [100]) is None
    (tmp_path / "1.clock").unlink()
    assert clocks.passed_ms({0: 130}, [100]) is None
    assert clocks.passed_ms({0: 130, 1: 110}, [100]) == 100


def test_no_partitions_or_no_epochs_end_nothing(tmp_path: Path) -> None:
    """A worker that owns nothing, and one that has no epoch to end, say nothing."""
    clocks = PartitionClocks(tmp_path, PARTITIONS)
    assert clocks.passed_ms({}, [100]) is None
    assert clocks.passed_ms({0: 500, 1: 500, 2: 500}, []) is None
    assert list(tmp_path.iterdir()) == []


STEP = st.tuples(
    st.integers(0, PARTITIONS - 1),  # who commits
    st.integers(0, 60),  # how far its partition moves
    st.booleans(),  # whether the partition has just gone to a fresh worker
    st.integers(0, 400),  # what a zombie tells late, at most what was once committed
)


@given(steps=st.lists(STEP, max_size=40))
@examples(60)
def test_no_epoch_ends_before_all_have_committed_past_it(steps: list[tuple[int, int, bool, int]]) -> None:
    """Over hand-overs and late words of zombies: what is said to be passed, every partition has committed."""
    ends = [50, 150, 300]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        workers = [PartitionClocks(folder, PARTITIONS) for _ in range(PARTITIONS)]
        committed = dict.fromkeys(range(PARTITIONS), 0)
        for j, moves, is_fresh, late in steps:
            if is_fresh:
                workers[j] = PartitionClocks(folder, PARTITIONS)
            committed[j] += moves
            for said in (min(late, committed[j]), committed[j]):
                passed = workers[j].passed_ms({j: said}, ends)
                assert passed is None or passed <= min(committed.values())
        for j in range(PARTITIONS):  # all tell once more: what has ended is known to have
            passed = workers[j].passed_ms({j: committed[j]}, ends)
        over = [end for end in ends if end <= min(committed.values())]
        assert (passed is None) == (not over)
        assert passed is None or passed >= max(over)
