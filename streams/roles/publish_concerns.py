"""The part of `publish` that is not about numbers: what is approved, and concerns, as they come in and are open.

What else reviewers decide comes from the same log: ``publish_governance``.
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry

from privacy import PrivacyStatement
from streams.control import Approved, ControlPlane
from streams.governance import empty_log
from streams.kafka.concern_topic import ConcernReader
from streams.roles.publish_governance import GovernanceDesk
from streams.settings import Settings
from streams.watch.live_page import LivePage
from streams.watch.open_concerns import OpenConcerns, OpenCounts
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
        self._told: OpenCounts | None = None
        decisions = empty_log(control.trusted, settings.keys.governance_threshold)
        self._count = OpenConcerns(registry, decisions)
        self.governance = GovernanceDesk(settings, registry, control, decisions)
        """Fed with windows by `publish`."""
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

    @property
    def caught_up(self) -> bool:
        """Whether all that was on the topics has been read: until then there is more to be had at once."""
        return self._reader.caught_up

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
            if self._page is not None and self._count.open is not self._told:
                self._told = self._count.open
                self._page.site.tell(self._told)
            self.governance.follow(None if self._page is None else self._page.site)

    def close(self) -> None:
        """Give the connection back."""
        self._reader.close()
