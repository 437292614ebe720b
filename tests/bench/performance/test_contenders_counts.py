"""A contender that counts wrongly is told so, and the lock of the contenders is one that anyone can use."""

from __future__ import annotations

import json
import struct
from collections import Counter

import pytest

from bench.performance import events
from bench.performance.contenders import counts
from bench.performance.contenders.entries import CONTENDERS, FLOOR, LOCK, mistakes
from bench.performance.contenders.program import WINDOW_MS, read_task

TRUTH = Counter({("black", True, 0): 3, ("black", False, 0): 4, ("white", True, 1_000): 5})


def test_windows_are_the_bench_s() -> None:
    """Contenders cannot import the length of the windows, so it stands twice, and both are the same."""
    assert WINDOW_MS == events.WINDOW_MS


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (Counter({**TRUTH, ("black", True, 0): 2}), "('black', True, 0): 2, should be 3"),
        (Counter({**TRUTH, ("asian", True, 0): 1}), "('asian', True, 0): 1, should be 0"),
        (Counter({key: n for key, n in TRUTH.items() if key[1]}), "('black', False, 0): 0, should be 4"),
    ],
    ids=["too few", "not there", "left out"],
)
def test_a_wrong_count_is_named(wrong: Counter[counts.Counted], said: str) -> None:
    """A count that differs, one too many and one too few are each named with both numbers."""
    assert counts.mistakes(wrong, TRUTH, last_window_open=False) == [said]


def test_only_the_last_window_may_stay_open() -> None:
    """What a contender never tells of is let pass in the last window alone, and only where there are others."""
    open_ = Counter({key: n for key, n in TRUTH.items() if key[2] == 0})
    assert counts.mistakes(open_, TRUTH, last_window_open=True) == []
    assert counts.mistakes(open_, TRUTH, last_window_open=False) == ["('white', True, 1000): 0, should be 5"]
    more = Counter({**open_, ("white", True, 1_000): 6})
    assert counts.mistakes(more, TRUTH, last_window_open=True) == ["('white', True, 1000): 6, should be 5"]
    one = Counter({("black", True, 0): 3})
    assert counts.mistakes(Counter(), one, last_window_open=True) == [
        "all events are in one window, which is never closed: nothing was checked"
    ]


def test_each_form_of_counts_is_read() -> None:
    """A record of each contender, as it writes it, gives group, decision, window and count."""
    place = (0, 7)
    table_key = json.dumps(["2|black|1", [1.0, 1.9]]).encode()
    assert list(counts.faust(table_key, b"3", place)) == [("2", ("black", True, 1_000), 3)]
    window = json.dumps({"start": 1_000, "end": 2_000, "value": [7, 3]}).encode()
    assert [update[1:] for update in counts.quix(b"black", window, place)] == [
        (("black", True, 1_000), 3),
        (("black", False, 1_000), 4),
    ]
    assert list(counts.bytewax(b"black|0", b'{"start":1000,"count":4}', place)) == [(place, ("black", False, 1_000), 4)]
    java_key, java_value = b"black" + struct.pack(">q", 1_000), struct.pack(">iqq", 2, 4, 3)
    assert list(counts.kafka_streams(java_key, java_value, place)) == [
        (2, ("black", True, 1_000), 3),
        (2, ("black", False, 1_000), 4),
    ]


def test_the_floor_counts_nothing() -> None:
    """The floor writes no counts, so none of its can be wrong."""
    assert mistakes(FLOOR, Counter(), TRUTH) == []


def test_events_must_fill_partitions_alike(capsys: pytest.CaptureFixture[str]) -> None:
    """A number of events that is no multiple of the partitions is refused, in words."""
    words = "--bootstrap b --topic t --partitions 4 --output o --state-dir s --events"
    assert read_task([*words.split(), "8"]).per_partition == 2
    with pytest.raises(SystemExit):
        read_task([*words.split(), "10"])
    assert "10 is no multiple of the 4 partitions" in capsys.readouterr().err


def test_every_contender_is_described() -> None:
    """Names are unique, the floor comes first, and each says guarantee, store, settings and the page it follows."""
    assert CONTENDERS[0] is FLOOR
    assert len({contender.name for contender in CONTENDERS}) == len(CONTENDERS)
    for contender in CONTENDERS:
        assert all((contender.version, contender.guarantee, contender.store, contender.settings))
        assert contender.follows.startswith("https://")


def test_the_contenders_lock_names_no_address() -> None:
    """Every package is pinned with hashes, and no index or file is named."""
    lines = LOCK.read_text().splitlines()
    pinned = [line for line in lines if line and line[0].isalnum()]
    assert pinned
    assert all("==" in line and line.endswith("\\") for line in pinned)
    assert not [line for line in lines if "://" in line or line.startswith("-")]
