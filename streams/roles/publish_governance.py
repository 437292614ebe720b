"""What `publish` says of people's part in it: reviews of alarms, approvals, and what it has cost members.

Belongs to the thread that follows the control topics, like the rest of publish; pages are told only what is new.
"""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry

from privacy.decisions import DecisionLog
from streams.control import Approved, ControlPlane, limits_of
from streams.records.metric import FairnessMetric
from streams.records.published import PublishedRecord
from streams.settings import Settings
from streams.watch.open_reviews import OpenReviews
from streams.watch.pages.approvals import ApprovalsShown
from streams.watch.pages.reviews import ReviewsShown
from streams.watch.pages.site import Site
from streams.watch.spending import Spending, SpendingBook


class GovernanceDesk:
    """Fed with windows and decisions, shows metrics and tells the pages.

    Args:
        registry: where the gauges of reviews are registered.
        control: what is approved.
        decisions: the log; whoever reads the topic applies records to it.
    """

    def __init__(
        self, settings: Settings, registry: CollectorRegistry, control: ControlPlane, decisions: DecisionLog
    ) -> None:
        self._control = control
        self._decisions = decisions
        self._spending = SpendingBook(limits_of(settings))
        self._reviews = OpenReviews(registry)
        self._told: tuple[object, ...] = ()
        self._spent: Spending | None = None

    # -- windows ----------------------------------------------------------------------------------------------------

    def read(self, record: PublishedRecord) -> None:
        """A record that lies on `fairness-metrics`."""
        self._reviews.read(record)

    def window(self, window: FairnessMetric) -> None:
        """A window that was just made, or withdrawn."""
        self._reviews.window(window)

    def paid_for(self, approved: Approved, start_ms: int) -> None:
        """A party has released numbers of a window that starts then."""
        self._spending.paid_for(approved, start_ms)

    # -- showing ----------------------------------------------------------------------------------------------------

    def follow(self, site: Site | None) -> None:
        """Show what is new. To be called once windows and decisions were read to an end."""
        approved = list(self._control.approved())
        self._reviews.show(self._decisions.dispositions, approved, self._control.version)
        if site is None:
            return
        spent = self._spending.spent(time.time_ns() // 1_000_000)
        if spent is not self._spent:
            self._spent = spent
            site.tell(spent)
        reviews = self._reviews.reviews
        state = (len(self._decisions.chain), self._control.version)
        if (reviews, state) != self._told:
            if reviews is not None and self._told[:1] != (reviews,):
                site.tell(ReviewsShown(reviews))
            if self._told[1:] != (state,):
                site.tell(ApprovalsShown.of(self._decisions, self._control))
            self._told = (reviews, state)
