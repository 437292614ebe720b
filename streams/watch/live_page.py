"""The live page, put together: what it knows, its pages, and what answers GET and POST."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry

from streams.records.concern import Concern
from streams.watch.charts import Charts
from streams.watch.event_stream import EventStreams
from streams.watch.pages import assets, catalogue
from streams.watch.pages.alerts import Runbooks
from streams.watch.pages.concerns import ConcernPost
from streams.watch.pages.pictures import Pictures
from streams.watch.pages.pipeline import Metrics
from streams.watch.pages.registry import Pages
from streams.watch.pages.site import Shown, Site
from streams.watch.routes import Route
from streams.watch.token_bucket import TokenBucket


class LivePage:
    """Fed by `publish` through :attr:`site`, read by the HTTP server's threads.

    Args:
        write: makes a concern durable, or raises ``KafkaUnavailable``.
        bucket: how many concerns are taken.
        now_ms: epoch milliseconds.
        guard: wraps what only operators may see.
        streams: open pages that are kept up to date at once.
        runbook_url: under which address the runbooks are published, where they are.
        registry: what /metrics shows, of which /pipeline shows a part.
        charts: draws pictures; without it pages have tables alone.
    """

    def __init__(
        self,
        write: Callable[[Concern], None],
        bucket: TokenBucket,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        guard: Callable[[Route], Route] = lambda route: route,
        *,
        streams: int = 256,
        runbook_url: str | None = None,
        registry: CollectorRegistry | None = None,
        charts: Charts | None = None,
    ) -> None:
        self.site = Site(now_ms)
        self.site.tell(Runbooks(runbook_url))
        if registry is not None:
            self.site.tell(Metrics(registry))
        self._charts = charts
        self._pictures: dict[str, Route] = {}
        if charts is not None:
            pictures = Pictures(self.site, charts)
            self._pictures = pictures.routes
            self.site.tell(pictures)
        self.events = EventStreams(streams, lambda: self.site.version)
        self.site.listen(self.events.publish)
        self.pages = Pages(self.site, catalogue.ALL, guard)
        self._concerns = ConcernPost(self.site, self.pages, write, bucket)

    def show(self, shown: Iterable[Shown]) -> None:
        """These are the approved revisions now."""
        self.site.show(shown)

    @property
    def routes(self) -> dict[str, Route]:
        """What answers GET."""
        return {**self.pages.routes, **assets.routes(), **self._pictures, "/events": self.events.route}

    @property
    def forms(self) -> dict[str, Route]:
        """What answers POST."""
        return dict(self._concerns.forms)

    def close(self) -> None:
        """End the open streams, and what draws."""
        self.events.close()
        if self._charts is not None:
            self._charts.close()
