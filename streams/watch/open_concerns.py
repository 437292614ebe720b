"""How many concerns are open, for /metrics at `publish`: one number, over all measurements.

It follows `concerns` and the log of decisions, keeps no text, and shows nothing before both were read to an end: a
count that grows while it is read would look like a flood. The number is of remarks that anyone may make, from outside;
it tells nothing of any member.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from privacy.decisions import DecisionLog
from streams.concern_book import ConcernBook

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OpenCounts:
    """How many concerns are open, for every approved measurement."""

    by_measurement: Mapping[str, int]


class OpenConcerns(Collector):
    """Fed by `publish`, read by the HTTP server's threads.

    Args:
        registry: where the count is registered.
        decisions: the log before its first record; others may look at it too.
    """

    def __init__(self, registry: CollectorRegistry, decisions: DecisionLog) -> None:
        self._book = ConcernBook(with_text=False)
        self._decisions = decisions
        self.open: OpenCounts | None = None
        """What is shown, by measurement; of the thread that feeds this."""
        self._lock = threading.Lock()
        self._open: int | None = None
        self._told = 0
        self._stale = True
        registry.register(self)

    def know(self, measurements: Collection[str]) -> None:
        """Concerns of these measurements count."""
        self._book.know(measurements)
        self._stale = True

    def apply_concern(self, key: bytes | None, value: bytes | None) -> None:
        """Take in the next record of `concerns`."""
        self._book.apply(key, value)
        self._stale = True

    def apply_decision(self, offset: int, value: bytes | None) -> None:
        """Take in the next record of `decisions`; what no governance key signed in its place closes nothing."""
        self._decisions.apply(offset, value)
        self._stale = True
        self._decisions.misfits.clear()  # whoever may write the topic could make that list as long as they like

    def show(self) -> None:
        """Show what has been taken in."""
        if not self._stale:
            return
        self._stale = False
        closed = {name for name, handled in self._decisions.concerns.items() if handled.closed is not None}
        self.open = OpenCounts(MappingProxyType(self._book.open(closed)))
        count = sum(self.open.by_measurement.values())
        with self._lock:
            self._open = count
        left_out = self._book.left_out.total()
        if left_out >= max(2 * self._told, 1):  # a flood of records is no reason for a flood of lines
            self._told = left_out
            reasons = ", ".join(f"{reason} {number}" for reason, number in sorted(self._book.left_out.items()))
            log.warning("%d records of concerns are not counted: %s", left_out, reasons)

    def describe(self) -> Iterable[Metric]:
        """Nothing is promised before it exists (and registering must not collect)."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """The gauge, once there is a number."""
        with self._lock:
            count = self._open
        if count is not None:
            yield GaugeMetricFamily(
                "evenstream_concerns_open", "Concerns about measurements that no reviewer has closed", value=count
            )
