"""Windows are seen at /metrics, as soon as they are there."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Gauge

from bench.performance.deployment import specification
from bench.performance.visibility import Watch
from streams.watch.http import HealthServer

LATENESS_MS = 200


class Shown:
    """A server that shows windows' ends as `publish` does."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._gauge = Gauge(
            "evenstream_window_end_timestamp_seconds", "End", ("level", "measurement"), registry=registry
        )
        self.server = HealthServer("127.0.0.1", 0, registry=registry, healthy=lambda: None, ready=lambda: None)

    def show(self, end_ms: int) -> None:
        """Show a window."""
        self._gauge.labels("1s", "other").set(1e12)
        self._gauge.labels("1s", "bench").set(end_ms / 1000)


@pytest.fixture
def shown() -> Iterator[Shown]:
    shown = Shown()
    yield shown
    shown.server.close()


def _watch(shown: Shown, from_ms: int) -> Watch:
    return Watch(shown.server.port, specification("events", lateness_ms=LATENESS_MS), from_ms)


def _sleep_until(ms: int) -> None:
    time.sleep(max(0.0, ms / 1000 - time.time()))


def test_a_delay_is_from_the_windows_end_and_lateness(shown: Shown) -> None:
    """It is no shorter than it was; what asking adds is told as the gap; windows of others are not looked at."""
    now_ms = time.time_ns() // 1_000_000
    first = (now_ms // 1000 + 1) * 1000
    watch = _watch(shown, now_ms)
    for end_ms, delay_ms in ((first, 100), (first + 1000, 300)):
        _sleep_until(end_ms + LATENESS_MS + delay_ms)
        shown.show(end_ms)
    _sleep_until(first + 2000)
    seen = watch.close()
    assert list(seen.delays) == [first, first + 1000]
    for end_ms, delay in ((first, 0.1), (first + 1000, 0.3)):
        assert delay <= seen.delays[end_ms] <= delay + seen.gaps[end_ms] + 0.05
    assert seen.questions > 5  # from the first window's end on, again and again


def test_windows_that_come_at_once_are_each_seen(shown: Shown) -> None:
    """After a stop the newest window is shown alone: those before it are as late as they are."""
    now_ms = time.time_ns() // 1_000_000
    newest = now_ms // 1000 * 1000 - 1000
    shown.show(newest)
    watch = _watch(shown, newest - 3000)
    deadline = time.monotonic() + 5
    while len(watch.seen.delays) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    delays = watch.close().delays
    assert list(delays) == [newest - 2000, newest - 1000, newest]
    assert delays[newest - 2000] - delays[newest] == pytest.approx(2.0)


def test_nobody_who_answers_is_a_delay_and_no_error(shown: Shown) -> None:
    """`publish` may be away: the window that is missing is late by the time that has passed."""
    end_ms = time.time_ns() // 1_000_000 // 1000 * 1000 - 2000
    shown.server.close()
    watch = _watch(shown, end_ms - 1000)
    time.sleep(0.2)
    assert not watch.seen.delays
    assert watch.newest_delay >= 2.0 - LATENESS_MS / 1000
    watch.close()
