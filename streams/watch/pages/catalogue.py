"""Every page, in the order of the navigation."""

from __future__ import annotations

from streams.watch.pages import alerts, concerns, measurement, overview, pipeline, window
from streams.watch.pages.registry import Page

ALL: tuple[Page, ...] = (
    *overview.PAGES,
    *measurement.PAGES,
    *window.PAGES,
    *alerts.PAGES,
    *concerns.PAGES,
    *pipeline.PAGES,
)
