"""The limit on concerns."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from streams.watch.token_bucket import TokenBucket


class Clock:
    """Seconds, as a test says."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_and_then_so_many_an_hour() -> None:
    """Three at once; then one every two minutes, and the wait is said."""
    clock = Clock()
    bucket = TokenBucket(30, 3, clock)
    assert [bucket.take() for _ in range(3)] == [0, 0, 0]
    assert bucket.take() == pytest.approx(120)
    clock.now = 90
    assert bucket.take() == pytest.approx(30)
    clock.now = 120.001
    assert bucket.take() == 0
    assert bucket.take() > 119


def test_a_quiet_time_gives_no_more_than_a_burst() -> None:
    """After a year, three at once."""
    clock = Clock()
    bucket = TokenBucket(30, 3, clock)
    clock.now = 31_536_000
    assert sum(bucket.take() == 0 for _ in range(10)) == 3


def test_no_token_is_taken_twice() -> None:
    """Eight threads take no more than there are."""
    bucket = TokenBucket(30, 50, Clock())
    with ThreadPoolExecutor(8) as pool:
        taken = sum(pool.map(lambda _: bucket.take() == 0, range(2000)))
    assert taken == 50
