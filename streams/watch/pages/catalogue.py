"""Every page, in the order of the navigation."""

from __future__ import annotations

from streams.watch.pages import (
    alerts,
    approvals,
    budgets,
    concerns,
    glossary,
    measurement,
    members,
    overview,
    pipeline,
    reviews,
    window,
)
from streams.watch.pages.registry import Page

ALL: tuple[Page, ...] = (
    *overview.PAGES,
    *measurement.PAGES,
    *window.PAGES,
    *alerts.PAGES,
    *reviews.PAGES,
    *approvals.PAGES,
    *budgets.PAGES,
    *members.PAGES,
    *concerns.PAGES,
    *pipeline.PAGES,
    *glossary.PAGES,
)
