"""What `publish` tells the live page: it costs the threads that follow topics little, and rendering is not theirs."""

from __future__ import annotations

import sys

from streams.kafka.concern_topic import ConcernWriter
from streams.records.metric import FairnessMetric
from streams.records.published import PublishedRecord
from streams.roles.process import RoleProcess
from streams.watch.charts import Charts, can_draw
from streams.watch.live_page import LivePage
from streams.watch.token_bucket import TokenBucket
from streams.watch.window_history import WindowHistory

_SWITCH_SECONDS = 0.0005


class PublishedPage:
    """The live page of one `publish`; where it is switched off, nothing is kept and nothing is shown.

    Attributes:
        live: the page, or None.
    """

    def __init__(self, process: RoleProcess) -> None:
        settings = process.settings.publish
        self.live: LivePage | None = None
        if not settings.page:
            return
        # Threads that answer readers hold the interpreter for so long at a time, and the event loop, which asks for it
        # again after each of its many waits, waits behind one of them each time: Python's own 5 ms add up.
        sys.setswitchinterval(_SWITCH_SECONDS)
        self.live = live = LivePage(
            ConcernWriter(process.settings).write,
            TokenBucket(settings.concerns_per_hour, settings.concerns_burst),
            guard=process.access.guard,
            streams=settings.page_streams,
            runbook_url=settings.runbook_url,
            registry=process.registry,
            charts=Charts() if can_draw() else None,
        )
        self._history = WindowHistory(
            settings.page_windows,
            lambda windows, subject: live.site.tell(windows, "window" if subject else "change", subject),
        )

    def read(self, record: PublishedRecord) -> None:
        """A record lies on `fairness-metrics`; it is not shown yet."""
        if self.live is not None:
            self._history.read(record)

    def confirm(self, measurement: str, level: str, end_ms: int) -> None:
        """The releases on which the record of this window rests were read, and verified."""
        if self.live is not None:
            self._history.confirm(measurement, level, end_ms)

    def window(self, record: FairnessMetric) -> None:
        """A window is done, or withdrawn."""
        if self.live is not None:
            self._history.add(record)

    def open(self) -> None:
        """Replay is complete."""
        if self.live is not None:
            self._history.open()

    def close(self) -> None:
        """End what the page has begun."""
        if self.live is not None:
            self.live.close()
