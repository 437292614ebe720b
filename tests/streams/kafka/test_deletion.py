"""Deletion on schedule: what cannot be asked now is asked again, and said. The rest: test_shard, test_retention."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pytest

from streams.errors import KafkaUnavailable
from streams.kafka.deletion import Deleter, run
from streams.settings import Settings

NOBODY = ("127.0.0.1:1", "kafka.request_timeout_seconds=0.2", "retention.interval_seconds=0.05")


def test_a_broker_that_does_not_answer_ends_one_deletion(make_settings: Callable[..., Settings]) -> None:
    """Asked once, the command says so."""
    with pytest.raises(KafkaUnavailable, match="could not be asked"):
        Deleter(make_settings(*NOBODY), print).once()


def test_on_schedule_it_goes_on(make_settings: Callable[..., Settings], caplog: pytest.LogCaptureFixture) -> None:
    """Asked again and again, it says so each time, deletes nothing and ends when it is told to."""
    stop, said = threading.Event(), list[str]()
    timer = threading.Timer(1.5, stop.set)
    timer.start()
    with caplog.at_level(logging.ERROR):
        run(make_settings(*NOBODY), said.append, stop)
    assert stop.is_set()
    assert said == []
    assert len([r for r in caplog.records if "trying again" in r.getMessage()]) > 1
