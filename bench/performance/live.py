"""A deployment under live traffic, its windows watched: what the live campaigns stand on.

Windows of a second with a lateness of 200 ms, unless a campaign says otherwise. All of it is on one machine: the
broker, the process that writes events, the five roles and whoever measures.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from bench.performance.deployment import Deployment, specification
from bench.performance.events import create, now_ms
from bench.performance.traffic import LiveTraffic
from bench.performance.visibility import Watch
from streams.errors import EvenstreamError

LATENESS_MS = 200
SOURCE_PARTITIONS = 4
_AHEAD_MS = 3_000
"""A measurement begins so long after it was approved: every role knows it by then."""


class Live:
    """One deployment with one measurement.

    Args:
        folder: for logs and keys, of its own. bootstrap: the Kafka.
        partitions: of `sealed`, `shares` and the source topic alike.
        members: how many there are. base: length of the windows, as a measurement says it.
        lateness_ms: of the measurement. approve: False where the measurement is to be approved later.
    """

    def __init__(
        self,
        folder: Path,
        bootstrap: str,
        *,
        partitions: int = SOURCE_PARTITIONS,
        members: int = 100_000,
        base: str = "1s",
        lateness_ms: int = LATENESS_MS,
        approve: bool = True,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._bootstrap, self._partitions, self._members = bootstrap, partitions, members
        self.deployment = Deployment(folder, bootstrap, members=members, partitions=partitions, say=say)
        self.begin_ms = 0
        """When the measurement begins, epoch milliseconds; 0 until one is approved."""
        self._traffic: LiveTraffic | None = None
        self._watch: Watch | None = None
        try:
            settings = self.deployment.trial.settings
            self.topic = settings.topic("bench-events")
            create(settings, self.topic, partitions)
            self.measurement = specification(self.topic, base=base, lateness_ms=lateness_ms)
            if approve:
                self.approve()
        except BaseException:
            self.deployment.close()
            raise

    def approve(self) -> None:
        """Let the measurement begin in some seconds."""
        base = self.measurement.base_ms
        self.begin_ms = -(-(now_ms() + _AHEAD_MS) // base) * base
        self.deployment.approve(self.measurement, begin_ms=self.begin_ms)

    def send(self, rate: float, seconds: float) -> LiveTraffic:
        """Begin to write events, not before the measurement begins; what was written before must have ended."""
        self.await_begin()
        self._traffic = LiveTraffic(
            self._bootstrap,
            self.topic,
            rate=rate,
            seconds=seconds,
            members=self._members,
            partitions=self._partitions,
        )
        return self._traffic

    def await_begin(self) -> None:
        """Wait until the measurement begins."""
        time.sleep(max(0.0, (self.begin_ms - now_ms()) / 1000))

    def watch(self, from_ms: int | None = None) -> Watch:
        """Begin to watch windows, by default those that end from now on."""
        if self._watch is not None and self._watch.is_alive():
            self._watch.close()
        begin = max(self.begin_ms, now_ms() if from_ms is None else from_ms)
        self._watch = Watch(self.deployment.trial.ports["publish"], self.measurement, begin)
        return self._watch

    def await_ordinary(self, watch: Watch, delay_seconds: float, limit_seconds: float) -> float:
        """Wait until the newest window came within a delay; the seconds that it took.

        Raises:
            EvenstreamError: it takes longer than that.
        """
        begun = time.monotonic()
        while True:
            seen = len(watch.seen.delays)
            while len(watch.seen.delays) == seen:
                time.sleep(0.02)
                if time.monotonic() - begun > limit_seconds:
                    raise EvenstreamError(
                        f"no window came within {delay_seconds:.1f} s again after {limit_seconds:.0f} s; see "
                        f"{self.deployment.trial.folder / 'logs'}"
                    )
            if watch.newest_delay <= delay_seconds:
                return time.monotonic() - begun

    def await_quiet(self, watch: Watch, end_ms: int, limit_seconds: float) -> None:
        """Wait until all windows that end by then were seen.

        Raises:
            EvenstreamError: it takes longer than that.
        """
        deadline = time.monotonic() + limit_seconds
        while max(watch.seen.delays, default=0) < end_ms:
            if time.monotonic() > deadline:
                raise EvenstreamError(f"not all windows came within {limit_seconds:.0f} s of the last event")
            time.sleep(0.02)

    def __enter__(self) -> Live:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._traffic is not None:
            self._traffic.kill()
        if self._watch is not None:
            self._watch.close()
        self.deployment.close()
