"""The live page, put together: what it knows, its pages, and what answers GET and POST."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from streams.records.concern import Concern
from streams.watch.pages import assets, catalogue
from streams.watch.pages.concerns import ConcernPost
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
    """

    def __init__(
        self,
        write: Callable[[Concern], None],
        bucket: TokenBucket,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        guard: Callable[[Route], Route] = lambda route: route,
    ) -> None:
        self.site = Site(now_ms)
        self.pages = Pages(self.site, catalogue.ALL, guard)
        self._concerns = ConcernPost(self.site, self.pages, write, bucket)

    def show(self, shown: Iterable[Shown]) -> None:
        """These are the approved revisions now."""
        self.site.show(shown)

    @property
    def routes(self) -> dict[str, Route]:
        """What answers GET."""
        return {**self.pages.routes, **assets.routes()}

    @property
    def forms(self) -> dict[str, Route]:
        """What answers POST."""
        return dict(self._concerns.forms)
