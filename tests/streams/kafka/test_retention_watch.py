"""What is told of unread records, and when it is told no more."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, sleep
from unittest.mock import Mock

import pytest
from prometheus_client import CollectorRegistry

from streams.kafka import retention_watch
from streams.kafka.retention_watch import RetentionWatch
from streams.settings import Settings
from streams.watch.health import RoleHealth


def test_partitions_that_another_worker_reads_by_now_are_told_no_more(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one that stands by after a change of layout would see its old positions age, and raise a false alarm."""
    monkeypatch.setattr(retention_watch, "_INTERVAL_SECONDS", 0.01)
    monkeypatch.setattr(retention_watch, "make_consumer", Mock())
    monkeypatch.setattr(retention_watch, "configurations", lambda *_: {"sealed": {"retention.ms": "10000"}})
    monkeypatch.setattr(retention_watch, "oldest_unread_seconds", lambda *_: 5.0)
    registry = CollectorRegistry()
    watch = RetentionWatch(make_settings(), "attach", RoleHealth("attach", registry))

    def told() -> dict[int, tuple[float | None, float | None]]:
        names = "evenstream_partition_lag_seconds", "evenstream_retention_used_ratio"
        labels = [{"role": "attach", "topic": "sealed", "partition": str(i)} for i in (0, 1)]
        found = {i: [registry.get_sample_value(name, labels[i]) for name in names] for i in (0, 1)}
        return {i: (age, ratio) for i, (age, ratio) in found.items() if (age, ratio) != (None, None)}

    watch.start()
    try:
        for positions in ({("sealed", 0): 3, ("sealed", 1): 4}, {("sealed", 1): 5}, {}):
            watch.tell(positions)
            assert _comes_to(told, {i: (5.0, 0.5) for _, i in positions})
    finally:
        watch.close()


def _comes_to(told: Callable[[], object], expected: object) -> bool:
    deadline = monotonic() + 10
    while told() != expected and monotonic() < deadline:
        sleep(0.005)
    return told() == expected
