"""What `publish` tells the pages of governance: each thing once, when it is another."""

from __future__ import annotations

from alarmed import result, signed
from governed import Deployment, spec, word
from prometheus_client import CollectorRegistry

from streams.roles.publish_governance import GovernanceDesk
from streams.settings import load_settings
from streams.watch.pages.approvals import ApprovalsShown
from streams.watch.pages.reviews import ReviewsShown
from streams.watch.pages.site import Site
from streams.watch.spending import Spending


class Desk:
    """A desk beside a log and a registry, and what it has told."""

    def __init__(self) -> None:
        self.deployment = Deployment()
        self.registry = CollectorRegistry()
        settings = load_settings(None, [], environment={})
        self.desk = GovernanceDesk(settings, self.registry, self.deployment.control, self.deployment.log)
        self.site = Site()
        self.told: list[str] = []
        self.site.listen(lambda event, version, subject: self.told.append(subject))

    def follow(self) -> list[str]:
        """What is told now."""
        self.told.clear()
        self.desk.follow(self.site)
        return sorted(self.told)


def test_pages_are_told_what_is_new_and_nothing_twice() -> None:
    """At first all of it; then reviews, approvals or spending as they change; /metrics beside it, also with no page."""
    found = Desk()
    assert found.follow() == sorted(kind.__name__ for kind in (ApprovalsShown, ReviewsShown, Spending))
    assert found.follow() == []
    found.deployment.approve(spec())
    assert found.follow() == ["ApprovalsShown"]
    found.desk.read(signed(result(), spec=spec().digest()))
    assert found.follow() == ["ReviewsShown"]
    assert found.registry.get_sample_value("evenstream_reviews_open", {"measurement": "feed"}) == 1
    found.deployment.decide(word("watch"))
    assert found.follow() == ["ApprovalsShown", "ReviewsShown"]
    (entry,) = found.deployment.control.approved()
    found.desk.paid_for(entry, entry.from_ms)
    assert found.follow() == ["Spending"]
    assert found.follow() == []
    found.deployment.decide(word("investigate"))
    found.desk.follow(None)
    assert found.registry.get_sample_value("evenstream_reviews_open", {"measurement": "feed"}) == 1


def test_what_was_told_does_not_change() -> None:
    """A later decision makes another snapshot; the one that a page is reading stays as it was."""
    found = Desk()
    found.deployment.propose(spec())
    found.desk.follow(found.site)
    found.site.show([])
    snapshot = found.site.snapshot()
    assert snapshot is not None
    before = snapshot.of(ApprovalsShown)
    assert before is not None
    found.deployment.approve_proposed(spec())
    found.desk.follow(found.site)
    (said,) = before.said
    assert said.proposal is not None
    assert (said.proposal.state, said.proposal.approvals, dict(said.signed_ms)) == ("proposed", (), {})
