"""The live page at `publish`: what is measured, what came of it, and what anyone may do about it.

A page (:class:`Page`) is a path, a title, and two functions of a :class:`Snapshot`: one gives its HTML, the other the
same as JSON, under the same path with ``.json``. ``catalogue`` lists them all. Nothing here reads Kafka or waits for
anything: what pages show was told to :class:`Site` by the threads that follow the topics.

To add a page: a module with ``PAGES``, and its line in ``catalogue``. To show something new: ``site.tell(value)`` where
it is known, ``snapshot.of(Kind)`` where it is shown.
"""

from streams.watch.pages.base import answer, choices, definitions, link, rich_table
from streams.watch.pages.registry import Page, PageNotFound, Pages, Params
from streams.watch.pages.site import Shown, Site, Snapshot

__all__ = [
    "Page",
    "PageNotFound",
    "Pages",
    "Params",
    "Shown",
    "Site",
    "Snapshot",
    "answer",
    "choices",
    "definitions",
    "link",
    "rich_table",
]
