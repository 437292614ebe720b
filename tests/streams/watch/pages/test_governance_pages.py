"""Reviews, approvals, budgets, members and the glossary: what they say, from a real log and registry."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from email.message import Message
from html.parser import HTMLParser
from pathlib import Path

import pytest
from alarmed import ALARM_MS, record, result
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from privacy import Limits, Measurement, key_id, parse_measurement, plan_noise, revoke
from privacy.decisions import Contents, DecisionLog, Forecast, Propose, Reject, Revoke, answer_of, approval_of
from privacy.dispositions import Disposition
from secure_agg import Trusted
from streams.control import ControlPlane
from streams.review_book import REVIEW_WITHIN_MS, ReviewBook
from streams.watch.pages import Pages, Shown, Site, catalogue
from streams.watch.pages.approvals import ApprovalsShown
from streams.watch.pages.glossary import TERMS, anchor, term
from streams.watch.pages.reviews import ReviewsShown, path
from streams.watch.routes import Answer, Request, Routes
from streams.watch.spending import SpendingBook

GOLDEN = Path(__file__).parents[1] / "golden" / "pages"
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
        self.book.read(*record(*(result(group) for group in groups), spec=spec().digest()))

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


@pytest.fixture
def deployment() -> Deployment:
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


ALARM = f"/reviews/feed/10s/tpr/all/black/{ALARM_MS}"
OTHER = f"/reviews/feed/10s/tpr/all/api/{ALARM_MS}"
PATHS = ("/reviews", ALARM, OTHER, "/approvals", "/budgets", "/members", "/glossary")


@pytest.mark.parametrize("target", PATHS)
def test_json_is_as_the_golden_file_says(deployment: Deployment, target: str) -> None:
    """Each page's JSON, to the last digit."""
    name = target.strip("/").replace("/", "-")
    found = json.loads(deployment.ask(target + ".json").body)
    assert found == json.loads((GOLDEN / f"{name}.json").read_text())


class _Links(HTMLParser):
    """Links and anchors of a page; raises where a tag is closed that was not open."""

    def __init__(self, body: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: list[str] = []
        self._open: list[str] = []
        self.feed(body)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag not in ("meta", "link", "br", "img"):
            self._open.append(tag)
        self.anchors += [str(found["id"])] if "id" in found else []
        self.links += [str(found["href"])] if tag == "a" else []

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag


@pytest.mark.parametrize("target", PATHS)
def test_every_link_leads_somewhere(deployment: Deployment, target: str) -> None:
    """To a page that answers, and to an anchor that it has; tags are closed as they were opened."""
    page = _Links(deployment.ask(target).body.decode())
    assert len(page.anchors) == len(set(page.anchors))
    for link in set(page.links):
        there = page if link.startswith("#") else None
        if not link.startswith("#"):
            answer = deployment.ask(link)
            assert answer.status == 200, link
            there = None if link.partition("?")[0].endswith(".json") else _Links(answer.body.decode())
        if "#" in link:
            assert there is not None
            assert link.partition("#")[2] in there.anchors, link


def test_a_review_says_what_when_and_how(deployment: Deployment) -> None:
    """The alarm in words, its deadline, all dispositions, the exact command, and that nothing happens by itself."""
    text = deployment.text(OTHER)
    for words in (
        "feed seems to treat api and white differently",
        "how often what would turn out well is recommended",
        "the gap was -0.100 (-0.130 to -0.070)",
        "open: to be decided by 2025-12-01T16:00:10Z",
        "Nothing yet.",
        f"evenstream review decide feed/10s/tpr/all/api/{ALARM_MS} --cause CAUSE --decision DECISION",
        "Nothing changes a ranking automatically",
        "investigate : look further: the review stays open",
    ):
        assert words in text, words
    text = deployment.text(ALARM)
    assert "decided: change" in text
    assert "The last one stands." in text
    assert "review decide" not in text
    assert text.index("unknown investigate") < text.index("input change")
    assert "1 review is open." in deployment.text("/reviews")
    deployment.now_ms += REVIEW_WITHIN_MS
    assert "1 review is open, 1 of them past the deadline." in deployment.text("/reviews")
    missing = deployment.ask(OTHER.replace("api", "hispanic"))
    assert (missing.status, b"There is no alarm feed/10s/tpr/all/hispanic" in missing.body) == (404, True)


def test_approvals_say_who_when_and_what_ends(deployment: Deployment) -> None:
    """By revision: signatures with their times, rejections, what was stopped by whom and why, the chain's head."""
    text = deployment.text("/approvals")
    ids = [key_id(key.public_key()) for key in KEYS]
    for words in (
        "2 of 3 reviewers must sign",
        "1 revision is in force, and 1 waits for approvals.",
        f"Approved by 2 of 2 that are needed {ids[0]}, 2025-11-24T16:00:10Z; {ids[1]}, 2025-11-24",
        f"Rejected by {ids[1]}: too vague",
        f"by {ids[2]}: it asked for too much",
        "Ends 2026-11-24T00:00:00Z (363.3 days from now)",
        deployment.log.head,
    ):
        assert words in text, words


def test_budgets_never_show_an_epsilon_alone(deployment: Deployment) -> None:
    """Relation, delta and period stand with it; of each measurement and of all together, beside the limits."""
    body = deployment.ask("/budgets").body.decode()
    for caption in re.findall(r"<caption>(.*?)</caption>", body):
        assert "on replacement, delta 1e-09" in caption
    for column in re.findall(r'<th scope="col">(.*?)</th>', body):
        assert column == "Measurement" or "day" in column
    text = deployment.text("/budgets")
    assert re.search(r"all together [\d.]+ \(rho 0\.2\) [\d.]+ \(rho 0\.8\)", text), text
    assert "the limit, of all together" in text
    found = json.loads(deployment.ask("/budgets.json").body)
    feed, jobs, together = found["measurements"]
    assert (feed["measurement"], jobs["measurement"], together["measurement"]) == ("feed", "jobs", None)
    assert feed["allowed"]["year"]["rho"] == pytest.approx(20 * 0.1)
    assert jobs["allowed"]["year"]["rho"] == pytest.approx(2 * 0.1)  # its last day counts whole
    assert together["spent"]["member-day"]["rho"] == 0.0  # yesterday's
    assert together["spent"]["30-days"]["rho"] == pytest.approx(0.2)


def test_test_noise_has_no_epsilon(deployment: Deployment) -> None:
    """Neither by itself nor in the sum."""
    (entry,) = (e for e in deployment.control.approved() if e.measurement.id == "feed")
    plain = parse_measurement(
        SPEC.format(name="feed", revision=1, purpose="", begin="2025-11-24")
        + "test_only: {noise_scale_units: 0.001}\n",
        origin="x",
    )
    shown = [Shown(replace(entry, measurement=plain), plan_noise(plain).statement())]
    deployment.site.show(shown)
    text = deployment.text("/budgets")
    assert "its noise protects nobody" in text
    assert "all together without bound" in text
    assert "no promise: its noise protects nobody" in deployment.text("/members")


def test_strangers_text_is_escaped() -> None:
    """In terms, reasons and dispositions: it is shown as it was written, and does nothing."""
    found = Deployment()
    hostile = spec(purpose=HOSTILE.replace('"', "'"))
    found.approve(hostile)
    found.propose(spec("late"))
    found.decide(Reject("late", 1, spec("late").digest().hex(), HOSTILE), 1)
    found.book.read(*record(result(), result("<b>", estimator=HOSTILE), spec=hostile.digest(), reference=HOSTILE))
    found.decide(word("other", reason=HOSTILE, follow_up=HOSTILE, cause="other"))
    found.approve(spec("jobs"))
    found.revoke(spec("jobs"), HOSTILE)
    found.tell()
    for target in PATHS[:2] + PATHS[3:]:
        body = found.ask(target).body.decode()
        assert "<script>alert" not in body
        assert "<b>" not in body
        _Links(body)
    for target in (ALARM, "/approvals", "/members"):
        assert "&lt;script&gt;" in found.ask(target).body.decode()


def test_before_decisions_are_read_no_page_says_that_there_are_none() -> None:
    """They say that they do not know yet; JSON is null, and never an empty list."""
    found = Deployment()
    found.site.show([])
    for target, name in (("/reviews", "reviews"), ("/approvals", "revisions"), ("/budgets", "measurements")):
        assert "still being read" in found.text(target)
        assert json.loads(found.ask(target + ".json").body) == {name: None}
    assert found.ask(ALARM).status == 404
    found.tell()
    assert "No alarm has opened a review." in found.text("/reviews")
    assert "No measurement has been proposed." in found.text("/approvals")
    assert "nothing is spent" in found.text("/budgets")
    assert "no measurement is approved and not over" in found.text("/members")


def test_an_alarms_id_is_its_path() -> None:
    """Also of a pool of groups, whose plus sign is escaped."""
    book = ReviewBook()
    book.read(*record(result("native+multiple")))
    (review,) = book.reviews({}, [])
    assert path(review.alarm) == f"/reviews/feed/10s/tpr/all/native%2Bmultiple/{ALARM_MS}"


def test_terms_are_links_to_what_they_mean() -> None:
    """Anchors are unique; a word that is not explained is an error, and no dead link."""
    anchors = [anchor(name) for name in TERMS]
    assert len(set(anchors)) == len(anchors)
    assert [name for name in TERMS if name != name.lower()] == []
    assert all(re.fullmatch("[a-z0-9-]+", name) for name in anchors)
    assert term("score bin", "bins") == '<a href="/glossary#score-bin">bins</a>'
    with pytest.raises(KeyError):
        term("nonsense")
