"""Arrival by what the broker says, asked of no more records than it takes; and records by their partition."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streams.inprocess import MemoryRecord
from streams.records.punctuation import NEVER_MS
from streams.roles.arrivals import Arrivals, by_partition
from streams.stage import TIMESTAMP_CREATE, TIMESTAMP_LOG_APPEND

_NOW_MS = 5_000


def _records(stamps: list[tuple[int, int]]) -> list[MemoryRecord]:
    return [MemoryRecord("t", 0, offset, None, b"{}", stamp) for offset, stamp in enumerate(stamps)]


def _appended(*times_ms: int) -> list[MemoryRecord]:
    return _records([(TIMESTAMP_LOG_APPEND, time_ms) for time_ms in times_ms])


_TIMES = st.lists(st.integers(0, 9_000), min_size=1, max_size=20)


@given(_TIMES, st.integers(0, 9_000), _TIMES, st.integers(0, 3_000), st.integers(0, 3_000))
def test_no_row_is_called_punctual_that_is_late(
    appended: list[int], since_ms: int, events: list[int], lateness_ms: int, max_future_ms: int
) -> None:
    """Where a broker's times rise, what is decided by the ends of a batch is what each record's own time decides."""
    records = _appended(*sorted(appended))
    quick = Arrivals(records, since_ms, _NOW_MS, None)
    each_ms = Arrivals(records, since_ms, _NOW_MS, None).each_ms
    time_ms = np.resize(np.array(events), each_ms.size)
    within = bool(((each_ms - time_ms <= lateness_ms) & (time_ms - each_ms <= max_future_ms)).all())
    if quick.are_within(time_ms, lateness_ms, max_future_ms):
        assert within
    assert quick.newest_ms == each_ms[-1] == max(since_ms, *appended)


def test_ends_of_a_punctual_batch_are_enough() -> None:
    """Rows that are punctual by the first and the last record are not held against each record's own time."""
    arrivals = Arrivals(_appended(1_000, 1_200, 1_400), 0, _NOW_MS, None)
    assert arrivals.are_within(np.array([900, 1_100, 1_300]), lateness_ms=1_000, max_future_ms=1_000)
    assert "each_ms" not in vars(arrivals)


def test_a_clock_that_was_set_back_amid_a_batch() -> None:
    """Where the last record has a lower time than the first, each record's time is looked at, and none falls."""
    arrivals = Arrivals(_appended(1_000, 3_000, 900), 0, _NOW_MS, None)
    assert arrivals.newest_ms == 3_000
    assert arrivals.each_ms.tolist() == [1_000, 3_000, 3_000]


def test_a_topic_that_producers_stamp_goes_by_the_workers_clock() -> None:
    """CreateTime is whatever a producer wrote: arrival is this worker's clock, also where kinds are mixed."""
    stamps = [(TIMESTAMP_CREATE, 9_999_999), (TIMESTAMP_LOG_APPEND, 1_000)]
    assert Arrivals(_records(stamps), 0, _NOW_MS, None).each_ms.tolist() == [_NOW_MS, _NOW_MS]


def test_a_replayed_record_far_ahead_closes_nothing() -> None:
    """In a replay each record's own time counts, but for one beyond the latest that may be."""
    arrivals = Arrivals(_records([(TIMESTAMP_CREATE, 10), (TIMESTAMP_CREATE, 999)]), NEVER_MS, _NOW_MS, 500)
    assert arrivals.each_ms.tolist() == [10, 10]
    assert arrivals.newest_ms == 10


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 2)), min_size=1, max_size=30), st.booleans())
def test_records_by_partition(places: list[tuple[str, int]], one_topic: bool) -> None:
    """However partitions alternate, each record is with those of its partition, in the order in which they came."""
    places = [("a", i) for _, i in places] if one_topic else places
    records = [MemoryRecord(topic, i, n, None, b"", (0, 0)) for n, (topic, i) in enumerate(places)]
    groups = by_partition(records, "a" if one_topic else None)
    expected: dict[tuple[str, int], list[MemoryRecord]] = {}
    for record in records:
        expected.setdefault((record.topic(), record.partition()), []).append(record)
    assert {partition: list(group) for partition, group in groups.items()} == expected
