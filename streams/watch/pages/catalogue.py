"""Every page, in the order of the navigation."""

from __future__ import annotations

from streams.watch.pages import approvals, budgets, concerns, glossary, members, reviews, terms
from streams.watch.pages.registry import Page

ALL: tuple[Page, ...] = (
    *terms.PAGES,
    *reviews.PAGES,
    *approvals.PAGES,
    *budgets.PAGES,
    *members.PAGES,
    *concerns.PAGES,
    *glossary.PAGES,
)
