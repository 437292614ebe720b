"""Every page, in the order of the navigation."""

from __future__ import annotations

from streams.watch.pages import concerns, terms
from streams.watch.pages.registry import Page

ALL: tuple[Page, ...] = (
    *terms.PAGES,
    *concerns.PAGES,
)
