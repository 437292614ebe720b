"""How many reviews of alarms are open, and by when the earliest is to be decided, for /metrics at `publish`.

It follows the windows that `publish` reads and makes, and the log of decisions, and shows nothing before both were read
to an end: a count that grows while it is read would look like many alarms at once. All of it comes from noised tables
and from what reviewers signed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from privacy.dispositions import SignedDisposition
from streams.control import Approved
from streams.records.metric import FairnessMetric
from streams.records.published import PublishedRecord
from streams.review_book import Review, ReviewBook


class OpenReviews(Collector):
    """Fed by `publish`, read by the HTTP server's threads."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._book = ReviewBook()
        self._lock = threading.Lock()
        self._shown: tuple[Review, ...] | None = None
        self._counted: tuple[str, ...] = ()
        self._made_of: tuple[int, int, int] | None = None
        registry.register(self)

    def read(self, record: PublishedRecord) -> None:
        """Take in a record that lies on `fairness-metrics`."""
        self._book.read(record)

    def window(self, window: FairnessMetric) -> None:
        """Take in a window that was just made."""
        self._book.window(window)

    def show(
        self, dispositions: Mapping[str, Sequence[SignedDisposition]], approved: Sequence[Approved], version: int
    ) -> None:
        """Show what has been taken in.

        Args:
            dispositions: by alarm, as the log of decisions has them.
            approved: the registry's revisions. version: rises whenever they change.
        """
        made_of = (self._book.version, sum(map(len, dispositions.values())), version)
        if made_of == self._made_of:
            return
        self._made_of = made_of
        reviews = tuple(self._book.reviews(dispositions, approved))
        counted = tuple(sorted({entry.measurement.id for entry in approved if not entry.revoked}))
        with self._lock:
            self._shown, self._counted = reviews, counted

    @property
    def reviews(self) -> tuple[Review, ...] | None:
        """Every review, open ones first; None before everything was read."""
        with self._lock:
            return self._shown

    def describe(self) -> Iterable[Metric]:
        """Nothing is promised before it exists (and registering must not collect)."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """The gauges, once there is a number."""
        with self._lock:
            reviews, measurements = self._shown, self._counted
        if reviews is None:
            return
        count = GaugeMetricFamily(
            "evenstream_reviews_open", "Alarms that no reviewer has decided about", labels=["measurement"]
        )
        deadline = GaugeMetricFamily(
            "evenstream_review_deadline_timestamp_seconds",
            "By when the earliest open review is to be decided",
            labels=["measurement"],
        )
        for measurement in measurements:
            waiting = [r for r in reviews if r.is_open and r.alarm.measurement == measurement]
            count.add_metric([measurement], len(waiting))
            ends_ms = [r.deadline_ms for r in waiting if r.deadline_ms is not None]
            if ends_ms:
                deadline.add_metric([measurement], min(ends_ms) / 1000)
        yield from (count, deadline)
