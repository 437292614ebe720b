"""How a turn of the shard loop waits for records."""

from __future__ import annotations

from typing import cast
from unittest.mock import Mock

import pytest
from confluent_kafka import Consumer

from streams.kafka.shard import ShardLoop
from streams.stage import LEAST_PATIENCE_MS


class _Queue:
    """Hands out records as librdkafka does: it waits until all that may come has come, or its time is over."""

    def __init__(self, *comes_at: float) -> None:
        self.clock = 0.0
        self._comes_at = list(comes_at)

    def consume(self, most: int, seconds: float) -> list[Mock]:
        until = self.clock + seconds
        found = [at for at in self._comes_at if at <= until][:most]
        del self._comes_at[: len(found)]
        self.clock = max(self.clock, found[-1]) if len(found) == most else until
        return [Mock(at=at) for at in found]


@pytest.mark.parametrize(
    ("comes_at", "after_records", "count", "took"),
    [
        ((), False, 0, 0.1),  # nothing comes: few turns a second
        ((0.02, 0.021, 0.022), False, 3, 0.023),  # after a silence it wakes, and takes those that come with it
        ((0.02,), True, 0, 0.01),  # under traffic it gathers for 10 ms, as many as come
        ((0.001, 0.009), True, 2, 0.01),
    ],
)
def test_a_silence_is_slept_through_and_ends_with_the_first_record(
    comes_at: tuple[float, ...], after_records: bool, count: int, took: float
) -> None:
    """A turn is long while nothing comes, and no record waits longer for that."""
    queue = _Queue(*comes_at)
    loop = Mock(_idle_seconds=0.1)
    found = ShardLoop._read(loop, cast(Consumer, queue), LEAST_PATIENCE_MS, after_records=after_records)
    assert (len(found), queue.clock) == (count, pytest.approx(took))


def test_a_patient_stage_gathers_for_as_long_as_it_says() -> None:
    """Neither a silence nor a record before makes a difference to a stage that can wait."""
    for after_records in (False, True):
        queue = _Queue(0.001, 0.02, 0.034)
        loop = Mock(_idle_seconds=0.1)
        assert len(ShardLoop._read(loop, cast(Consumer, queue), 35, after_records=after_records)) == 3
        assert queue.clock == pytest.approx(0.035)
