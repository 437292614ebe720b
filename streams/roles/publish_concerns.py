"""The part of `publish` that is not about numbers: what is approved, and concerns, as they come in and are open."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry

from privacy import PrivacyStatement
from streams.control import Approved, ControlPlane
from streams.kafka.concern_topic import ConcernReader
from streams.settings import Settings
from streams.watch.live_page import LivePage
from streams.watch.open_concerns import OpenConcerns
from streams.watch.pages import Shown
from streams.watch.routes import Route


class ConcernDesk:
    """Belongs to the thread that follows the control topics; the HTTP server's threads see what it has shown.

    Args:
        registry: where the count of open concerns is registered.
        control: what is approved.
        statement: what a measurement promises.
        page: the live page, where it is not switched off.
    """

    def __init__(
        self,
        settings: Settings,
        registry: CollectorRegistry,
        control: ControlPlane,
        statement: Callable[[Approved], PrivacyStatement],
        page: LivePage | None,
    ) -> None:
        self._control = control
        self._statement = statement
        self._shown_version: int | None = None
        self._count = OpenConcerns(registry, control.trusted)
        self._reader = ConcernReader(
            settings,
            lambda record: self._count.apply_concern(record.key(), record.value()),
            lambda record: self._count.apply_decision(int(record.offset() or 0), record.value()),
        )
        self._page = page

    @property
    def routes(self) -> dict[str, Route]:
        """What answers GET; nothing where the page is switched off."""
        return {} if self._page is None else self._page.routes

    @property
    def forms(self) -> dict[str, Route]:
        """What answers POST; nothing where the page is switched off."""
        return {} if self._page is None else self._page.forms

    def follow(self) -> None:
        """Show what is approved now, and how many concerns are open of what has come so far."""
        if self._control.version != self._shown_version:
            self._shown_version = self._control.version
            shown = [Shown(approved, self._statement(approved)) for approved in self._control.approved()]
            self._count.know({entry.approved.measurement.id for entry in shown})
            if self._page is not None:
                self._page.show(shown)
        self._reader.poll()
        if self._reader.caught_up:
            self._count.show()

    def close(self) -> None:
        """Give the connection back."""
        self._reader.close()
