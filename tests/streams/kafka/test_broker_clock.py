"""Time as the broker tells it, whatever is done to the clocks of this machine."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME

from streams.kafka.broker_clock import BrokerClock


class Machine:
    """A machine's two clocks, and the broker's."""

    def __init__(self) -> None:
        self.local_ms = 1_000_000
        self.seconds = 50.0
        self.broker_ms = 1_000_000
        self.shown: list[float] = []
        self.clock = BrokerClock(self.shown.append, lambda: self.local_ms, lambda: self.seconds)

    def pass_(self, seconds: float) -> None:
        """Let time pass everywhere."""
        self.seconds += seconds
        self.local_ms += int(seconds * 1000)
        self.broker_ms += int(seconds * 1000)

    def deliver(self, kind: int = TIMESTAMP_LOG_APPEND_TIME, error: Any = None) -> None:
        """A record is acknowledged."""
        message: Any = SimpleNamespace(timestamp=lambda: (kind, self.broker_ms))
        self.clock.delivered(error, message)


def test_it_goes_on_from_the_last_acknowledgement() -> None:
    """By the monotonic clock: jumps of the machine's own change nothing, and the next acknowledgement mends drift."""
    machine = Machine()
    assert not machine.clock.is_known
    assert machine.clock.now_ms() == machine.local_ms
    machine.deliver()
    assert machine.clock.is_known
    for jump in (3_600_000, -7_200_000):
        machine.local_ms += jump
        machine.pass_(10.0)
        assert machine.clock.now_ms() == machine.broker_ms
    machine.broker_ms += 300
    machine.deliver()
    assert machine.clock.now_ms() == machine.broker_ms


def test_other_timestamps_tell_nothing() -> None:
    """A producer's own timestamp is this machine's clock again; a record that was not written has none."""
    machine = Machine()
    machine.deliver(TIMESTAMP_CREATE_TIME)
    machine.deliver(error="failed")
    assert not machine.clock.is_known


def test_a_difference_is_said_once_and_shown_always(caplog: pytest.LogCaptureFixture) -> None:
    """The metric is in seconds, positive where this machine is ahead; the log says when it begins and ends."""
    machine = Machine()
    with caplog.at_level(logging.WARNING):
        for ahead_ms in (0, 3_600_000, 3_600_000, 0, -60_000):
            machine.local_ms = machine.broker_ms + ahead_ms
            machine.deliver()
    assert machine.shown == [0.0, 3600.0, 3600.0, 0.0, -60.0]
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 3
    assert "3600 s ahead of" in said[0]
    assert "right again" in said[1]
    assert "60 s behind" in said[2]
