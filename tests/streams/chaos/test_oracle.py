"""The oracle knows each row by its cell, and takes the source topic for what it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from chaos_example import BEGIN_MS, END_MS, Example

from streams.chaos.oracle import SCALE, expect
from streams.chaos.run import Options
from streams.chaos.traffic import BASE_MS, CAP, Stream
from streams.errors import EvenstreamError
from streams.roles.decoding import EventDecoder


@pytest.fixture(scope="module")
def example() -> Example:
    """One run."""
    return Example.make()


def test_each_row_is_alone_in_its_cell(example: Example) -> None:
    """In every base window no cell has more than one row, and a row's units sum to 2^20 exactly."""
    for key, rows in example.expected.rows.items():
        if key[0] == "2s":
            assert rows.max() == 1
        assert np.array_equal(example.expected.tables[key].sum(axis=1), rows * SCALE)
    assert example.expected.counted("2s") == example.expected.counted("10s") > 250
    assert example.expected.silent > 0
    assert example.expected.counted("2s") + example.expected.silent == len(example.source)


def test_a_row_that_the_topic_holds_twice_must_count_twice(example: Example) -> None:
    """The oracle judges what the topic holds, not what was meant to be written."""
    written_again = [replace(record, offset=10**6) for record in example.source[:1]]
    assert expect(example.spec, example.members, written_again, END_MS).counted("2s") == 1
    twice = expect(example.spec, example.members, [*written_again, *example.source], END_MS)
    assert twice.counted("2s") == example.expected.counted("2s") + 1
    assert max(rows.max() for (level, _), rows in twice.rows.items() if level == "2s") == 2


def test_late_rows_are_refused_by_the_brokers_clock() -> None:
    """A row that arrives later than the lateness allows is expected on `refused`, and in no table."""
    example = Example.make(late=10)
    assert len(example.expected.late) == 10
    assert example.expected.counted("2s") + example.expected.silent == len(example.source) - 10


def test_the_product_reads_the_same_rows(example: Example) -> None:
    """`seal`'s decoder finds the members, times and cells that the oracle finds: one row a record, none refused."""
    decoded = EventDecoder(example.spec).decode([record.value for record in example.source])
    assert not decoded.refused
    assert decoded.rows.record.size == len(example.source)
    window = (decoded.rows.time_ms - BEGIN_MS) // BASE_MS
    assert len(set(zip(window.tolist(), decoded.rows.cells.tolist(), strict=True))) == len(example.source)


@pytest.mark.parametrize("now_ms", [0, BEGIN_MS, BEGIN_MS + 1, BEGIN_MS + 66, BEGIN_MS + 67, BEGIN_MS + 2_000, END_MS])
def test_events_are_due_once_their_time_has_come(now_ms: int) -> None:
    """Exactly the events before a moment are due at it."""
    stream = Stream(BEGIN_MS, 30, 30, 200)
    due = stream.due(now_ms)
    assert due == sum(stream.event(number)[0] < now_ms for number in range(400))


def test_no_member_can_reach_the_cap() -> None:
    """With too few members chance would decide which rows count, so such a run is refused."""
    options = Options(seed=1, minutes=8, rate=200, members=50_000)
    most = options.rate * options.most_seconds / options.members
    assert most < CAP
    with pytest.raises(EvenstreamError, match="take more members"):
        Options(seed=1, minutes=8, rate=200, members=1_000)
