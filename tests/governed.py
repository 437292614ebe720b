"""A deployment's reviewers, log of decisions, registry and live page, without Kafka: what they signed is real."""

from __future__ import annotations

import html
import re
from email.message import Message

from alarmed import ALARM_MS, result, signed
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from privacy import Limits, Measurement, key_id, parse_measurement, plan_noise, revoke
from privacy.decisions import Contents, DecisionLog, Forecast, Propose, Reject, Revoke, answer_of, approval_of
from privacy.dispositions import Disposition
from secure_agg import Trusted
from streams.control import ControlPlane
from streams.review_book import ReviewBook
from streams.watch.pages import Pages, Shown, Site, catalogue
from streams.watch.pages.approvals import ApprovalsShown
from streams.watch.pages.reviews import ReviewsShown
from streams.watch.routes import Answer, Request, Routes
from streams.watch.spending import SpendingBook

DAY_MS = 86_400_000
NOW_MS = ALARM_MS + DAY_MS
KEYS = [Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in range(1, 4)]
HOSTILE = "<script>alert('x')</script>&\""
LIMITS = Limits(0.6, 6.0, 20.0)
SPEC = """
id: {name}
revision: {revision}
purpose: "Does everyone see equally good jobs? {purpose}"
source: {{topic: rec-events, member: member_id, time: shown_at}}
cells: {{decision: {{field: recommended}}, outcome: {{field: hired}}}}
windows: {{base: 10s, rollups: [1m]}}
reference: white
privacy: {{contribution_cap: 2, rho_member_day: 0.1, delta: 1.0e-9, rotation: {{days_in_30: 6, days_in_year: 20}}}}
review: {{owner: The fairness team, harm_considered: h, data_used: "names and places {purpose}", retention: r}}
effective_from: {begin}T00:00:00Z
expires: 2026-11-24T00:00:00Z
"""


def spec(name: str = "feed", revision: int = 1, purpose: str = "") -> Measurement:
    """Terms that can be reviewed."""
    begin = "2025-12-24" if name == "late" else "2025-11-24"
    return parse_measurement(SPEC.format(name=name, revision=revision, purpose=purpose, begin=begin), origin="x")


class Deployment:
    """A log, a registry and a site of three reviewers, two of whom must approve."""

    def __init__(self) -> None:
        public = tuple(key.public_key() for key in KEYS)
        self.log = DecisionLog("prod", {key_id(key): key for key in public}, 2)
        self.control = ControlPlane(
            Trusted(deployment="prod", identities={}, governance=public), test_cluster=False, limits=LIMITS, threshold=2
        )
        self.book = ReviewBook()
        self.spending = SpendingBook(LIMITS)
        self.now_ms = NOW_MS
        self.site = Site(lambda: self.now_ms)
        self.pages = Pages(self.site, catalogue.ALL)

    def decide(self, contents: Contents, reviewer: int = 0) -> None:
        """One more record of the log, with its effect."""
        record_ = self.log.sign(contents, KEYS[reviewer], NOW_MS - DAY_MS + len(self.log.chain))
        assert self.log.apply(len(self.log.chain), record_) is None

    def propose(self, measurement: Measurement) -> None:
        """By the first reviewer."""
        self.decide(Propose(measurement.canonical_bytes().decode(), Forecast.of(measurement)))

    def approve(self, measurement: Measurement) -> None:
        """By the first two; it is in force."""
        self.propose(measurement)
        self.approve_proposed(measurement)

    def approve_proposed(self, measurement: Measurement) -> None:
        """The same, of what was proposed."""
        for reviewer in (0, 1):
            self.decide(approval_of(measurement, "prod", KEYS[reviewer]), reviewer)
        proposal = self.log.current(measurement.id, measurement.revision)
        assert proposal is not None
        self.control.apply_measurement(len(self.log.chain), proposal.signed("prod").encode())

    def revoke(self, measurement: Measurement, reason: str) -> None:
        """By the third."""
        revocation = revoke(measurement, "prod", KEYS[2], at_ms=NOW_MS - 1000, reason=reason)
        self.decide(Revoke(revocation.encode().decode()), 2)
        self.control.apply_measurement(99, revocation.encode())

    def alarm(self, *groups: str) -> None:
        """One of each group began in one window of `feed`."""
        self.book.read(signed(*(result(group) for group in groups), spec=spec().digest()))

    def tell(self) -> None:
        """The pages, all of it."""
        entries = list(self.control.approved())
        for entry in entries:
            self.spending.paid_for(entry, entry.from_ms)
        self.site.show([Shown(entry, plan_noise(entry.measurement).statement()) for entry in entries])
        self.site.tell(ReviewsShown(tuple(self.book.reviews(self.log.dispositions, entries))))
        self.site.tell(ApprovalsShown.of(self.log, self.control))
        self.site.tell(self.spending.spent(self.now_ms))

    def ask(self, target: str) -> Answer:
        """What a path answers."""
        target, _, query = target.partition("#")[0].partition("?")
        found = Routes(self.pages.routes).find(target)
        assert found is not None, target
        return found.route(Request(query, Message(), b"", target, found.parameters))

    def text(self, target: str) -> str:
        """A page as its reader sees it: without tags, with single spaces."""
        answer = self.ask(target)
        assert answer.status == 200, answer.body
        return " ".join(html.unescape(re.sub("<[^>]*>", " ", answer.body.decode())).split())


def word(decision: str, group: str = "black", **changes: str) -> Contents:
    """A disposition of the alarm of a group."""
    alarm = f"feed/10s/tpr/all/{group}/{ALARM_MS}"
    said = {"cause": "input", "decision": decision, "follow_up": "The feed's team restores the field."} | changes
    return answer_of(Disposition(alarm, **said))


def whole() -> Deployment:
    """Two measurements in force, one proposed and one stopped; two alarms, one of which was decided about."""
    found = Deployment()
    found.approve(spec())
    found.approve(spec("jobs"))
    found.propose(spec("late"))
    found.decide(Reject("late", 1, spec("late").digest().hex(), "too vague"), 1)
    found.revoke(spec("jobs"), "it asked for too much")
    found.alarm("black", "api")
    found.decide(word("investigate", cause="unknown"))
    found.decide(word("change"), 1)
    found.tell()
    return found
