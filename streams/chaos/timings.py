"""How long metrics stood still: per window, and after each fault.

A window is *due* when its end and the lateness have passed: from then on nothing can change it. Its *delay* is the time
from there until a subscriber of `fairness-metrics` has its record. What that is without a fault is the median over the
quiet time before the first.

*Back after* a kill is the time from the kill (the last one, where a fault is several) until a subscriber has a window
that fell due after it. It is an upper bound of the time that the role was away: it holds the wait until the next window
falls due, up to a window's length, and the ordinary delay. *Beyond* is how much later that window came than it would
have come without the kill: its delay less the ordinary delay, at least 0.
"""

from __future__ import annotations

import math
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from confluent_kafka import TopicPartition

from streams.chaos.oracle import WindowKey
from streams.kafka.clients import make_consumer
from streams.records.metric import FairnessMetric
from streams.settings import Settings


@dataclass(frozen=True)
class Injection:
    """A fault that was injected.

    Attributes:
        kind: of the schedule. roles: that it struck.
        begun_ms: when. last_ms: when its last stroke came, or what it held up was let go.
    """

    kind: str
    roles: tuple[str, ...]
    begun_ms: int
    last_ms: int


@dataclass(frozen=True)
class Recovery:
    """How long metrics took to come back, seconds; see the module's text."""

    injection: Injection
    back_after: float
    beyond: float


@dataclass
class Visible:
    """When a subscriber had each window, by this machine's clock, epoch milliseconds."""

    lateness_ms: int
    base: str
    at_ms: dict[WindowKey, int] = field(default_factory=dict)

    def delay(self, key: WindowKey) -> float:
        """Seconds from when a window was due until it was visible."""
        return (self.at_ms[key] - key[1] - self.lateness_ms) / 1000

    def of_base(self, keys: Iterable[WindowKey] | None = None) -> list[WindowKey]:
        """Windows of the base level, in order."""
        return sorted((key for key in (keys or list(self.at_ms)) if key[0] == self.base), key=lambda key: key[1])

    def flows_since(self, moment_ms: int) -> bool:
        """Whether a window that fell due after a moment is visible."""
        return any(key[0] == self.base and key[1] + self.lateness_ms > moment_ms for key in list(self.at_ms))


def ordinary_delay(visible: Visible, before_ms: int) -> float:
    """Median delay of the windows that were visible before the first fault, seconds; 0 where there were none."""
    quiet = [visible.delay(key) for key in visible.of_base() if visible.at_ms[key] < before_ms]
    return statistics.median(quiet) if quiet else 0.0


def recoveries(visible: Visible, injections: Sequence[Injection], ordinary: float) -> list[Recovery]:
    """What each fault did; one after which no window fell due is left out."""
    found = []
    windows = visible.of_base()
    for injection in injections:
        after = [key for key in windows if key[1] + visible.lateness_ms > injection.last_ms]
        if after:
            # Windows are published in order, so the first one that is due says when metrics flow.
            back = (visible.at_ms[after[0]] - injection.last_ms) / 1000
            found.append(Recovery(injection, back, max(0.0, visible.delay(after[0]) - ordinary)))
    return found


def longest_stalls(visible: Visible, injections: Sequence[Injection]) -> Mapping[str, tuple[int, float]]:
    """By kind of fault, the number of windows that were under way or fell due while it lasted, and the longest delay.

    "no fault" holds the rest. A fault lasts until the first window that fell due after it is visible.
    """
    windows = visible.of_base()
    kinds: dict[WindowKey, set[str]] = {key: set() for key in windows}
    for injection in injections:
        after = [visible.at_ms[key] for key in windows if key[1] + visible.lateness_ms > injection.last_ms]
        until = min(after, default=injection.last_ms)
        for key in windows:
            if key[1] + visible.lateness_ms <= until and visible.at_ms[key] >= injection.begun_ms:
                kinds[key].add(injection.kind)
    found: dict[str, tuple[int, float]] = {}
    for key, names in kinds.items():
        for name in names or {"no fault"}:
            count, longest = found.get(name, (0, 0.0))
            found[name] = count + 1, max(longest, visible.delay(key))
    return found


def quantile(values: Sequence[float], part: float) -> float:
    """The smallest value that at least this part of them does not pass; NaN of none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)] if ordered else math.nan


class Subscriber:
    """Follows `fairness-metrics` in a thread, and notes when each window came."""

    def __init__(self, settings: Settings, visible: Visible, seen: Callable[[FairnessMetric], None]) -> None:
        self._visible = visible
        self._seen = seen
        self._stop = threading.Event()
        self._consumer = make_consumer(settings, settings.group("chaos"))
        self._consumer.assign([TopicPartition(settings.topic("fairness-metrics"), 0, 0)])
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End."""
        self._stop.set()
        self._thread.join()
        self._consumer.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            for message in self._consumer.consume(1000, 0.02):
                value = message.value()
                if message.error() is not None or value is None:  # its end, or a broker that is gone for a while
                    continue
                now_ms = time.time_ns() // 1_000_000
                window = FairnessMetric.decode(value)
                self._visible.at_ms.setdefault((window.level, window.window.end_ms), now_ms)
                self._seen(window)
