"""What roles have had to do: the quantities of the model of cost (``streams.sizing.constants``), counted on a run.

Batches and punctuations are counted on the topics, rows and transactions are what the roles count themselves, CPU is
each process's own clock (nanoseconds, where /proc has ticks of ten milliseconds).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from confluent_kafka import KafkaError, TopicPartition

from bench.performance.deployment import ROLES, Deployment, Records
from privacy import Measurement
from streams.errors import EvenstreamError
from streams.kafka.clients import make_consumer, partition_count
from streams.roles.channel_layout import ChannelLayout
from streams.settings import Settings
from streams.sizing.record_bytes import released_values

Figure = dict[str, Any]
"""One point of a campaign, as it is kept in JSON."""

_SCHED_CLOCK = 2
_LOOK_SECONDS = 0.01
_READ_SECONDS = 60.0
_RECORDS_AT_ONCE = 5_000


@dataclass(frozen=True)
class Content:
    """What a topic holds.

    Attributes:
        records: all, of which ``batches`` are of rows; on `sealed` and `shares` the others are punctuations.
        value_bytes: of keys and values. batch_bytes: of batches alone.
        last_ms: when the last batch was written (of other topics: the last record), epoch milliseconds.
    """

    records: int
    batches: int
    value_bytes: int
    batch_bytes: int
    last_ms: int

    @property
    def punctuations(self) -> int:
        """Records that tell how far `seal` is."""
        return self.records - self.batches


def content(settings: Settings, topic: str) -> Content:
    """Read all partitions of a topic at once, to where each ends now.

    Raises:
        EvenstreamError: that took longer than a minute.
    """
    consumer = make_consumer(settings, settings.group("bench-content"))
    found = Records()
    try:
        waiting = set(range(partition_count(settings, topic)))
        consumer.assign([TopicPartition(topic, i, 0) for i in waiting])
        deadline = time.monotonic() + _READ_SECONDS
        while waiting:
            for message in consumer.consume(_RECORDS_AT_ONCE, 0.1):
                error = message.error()
                if error is None:
                    found.add(message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    waiting.discard(message.partition() or 0)
            if time.monotonic() > deadline:
                raise EvenstreamError(f"{topic} was not read to its end within {_READ_SECONDS:.0f} s")
    finally:
        consumer.close()
    return Content(found.records, found.batches, found.value_bytes, found.batch_bytes, found.last_ms)


def cpu_seconds(pid: int) -> float:
    """CPU of a process so far, its threads together; POSIX's clock of a process, as Linux numbers it."""
    return time.clock_gettime((~pid << 3) | _SCHED_CLOCK)


class Sampled:
    """CPU of processes, looked at a hundred times a second while the block lasts.

    Args:
        pids: by name.
    """

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = pids
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._samples: list[tuple[int, dict[str, float]]] = []

    def __enter__(self) -> Self:
        self._samples.append(self._sample())
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()
        self._samples.append(self._sample())

    def _sample(self) -> tuple[int, dict[str, float]]:
        return time.time_ns() // 1_000_000, {name: cpu_seconds(pid) for name, pid in self._pids.items()}

    def _look(self) -> None:
        while not self._over.wait(_LOOK_SECONDS):
            self._samples.append(self._sample())

    @property
    def begun(self) -> dict[str, float]:
        """CPU seconds by name as they were at the beginning."""
        return self._samples[0][1]

    def until(self, at_ms: int) -> tuple[float, dict[str, float]]:
        """Seconds from the beginning to a time, epoch milliseconds, and CPU seconds within them by name."""
        then = next((used for ms, used in self._samples if ms >= at_ms), self._samples[-1][1])
        seconds = (min(at_ms, self._samples[-1][0]) - self._samples[0][0]) / 1000
        return seconds, {name: then[name] - before for name, before in self.begun.items()}


@dataclass(frozen=True)
class Counters:
    """What the roles have counted so far, and used.

    Attributes:
        at: ``time.monotonic()``. rows: of `seal`. By role: cpu, seconds; batches, transactions.
        windows: by party and publish, those closed or published.
    """

    at: float
    rows: float
    cpu: dict[str, float]
    batches: dict[str, float]
    transactions: dict[str, float]
    windows: dict[str, float]

    @classmethod
    def of(cls, deployment: Deployment, roles: Sequence[str] = ROLES) -> Counters:
        """Ask the roles; CPU is read first, so that answering is not part of it."""
        cpu = {role: cpu_seconds(deployment.pid(role)) for role in roles}
        at = time.monotonic()

        def each(metric: str) -> dict[str, float]:
            return {role: deployment.value(role, metric) for role in roles}

        names = {
            "a": "evenstream_releases_total",
            "b": "evenstream_releases_total",
            "publish": "evenstream_windows_total",
        }
        return cls(
            at,
            deployment.value("seal", "evenstream_rows_total") if "seal" in roles else 0.0,
            cpu,
            each("evenstream_batches_total"),
            each("evenstream_transactions_total"),
            {role: deployment.value(role, name) for role, name in names.items() if role in roles},
        )


def elements(measurement: Measurement, rows: float, batches: float) -> float:
    """Ring elements that so many rows of a measurement, in so many batches, are shared as."""
    layout = ChannelLayout.of(measurement)
    return rows * layout.columns + batches * layout.tail


def values(measurement: Measurement) -> float:
    """Values of a window, in the mean over the levels."""
    return sum(released_values(measurement, level.name) for level in measurement.levels) / len(measurement.levels)


def log_bytes(data: Path | None, topic: str) -> int | None:
    """Bytes of a topic's log segments in the broker's folder; None where that is not known."""
    if data is None:
        return None
    folders = (folder for folder in data.glob(f"{topic}-*") if folder.name.removeprefix(f"{topic}-").isdigit())
    return sum(segment.stat().st_size for folder in folders for segment in folder.glob("*.log"))
