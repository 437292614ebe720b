"""Reviews, approvals, budgets, members and the glossary: what they say, from a real log and registry."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from alarmed import ALARM_MS, as_signed, result, signed
from governed import DAY_MS, HOSTILE, KEYS, SPEC, Deployment, spec, whole, word
from shown_windows import history, hour, shown

from privacy import key_id, parse_measurement, plan_noise
from privacy.decisions import Reject
from streams.review_book import ReviewBook
from streams.watch.open_concerns import OpenCounts
from streams.watch.pages import Shown
from streams.watch.pages.glossary import TERMS, anchor, term
from streams.watch.pages.reviews import ReviewsShown, path

WITHIN_MS = 7 * DAY_MS
GOLDEN = Path(__file__).parents[1] / "golden" / "pages"


@pytest.fixture
def deployment() -> Deployment:
    """Two measurements in force, one proposed and one stopped; two alarms, one of which was decided about."""
    return whole()


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
        "Alarm since 2025-11-24T16:00:10Z, in windows of 10s: for Asian or Pacific Islander members the evidence",
        "Compared with white members",
        "the gap was -10.0 points (-13.0 to -7.0) in the window with which it began, by the weighted estimate",
        "open: to be decided by 2025-12-01T16:00:10Z",
        "Nothing yet.",
        f"evenstream review decide feed/10s/tpr/all/api/{ALARM_MS} --cause CAUSE --decision DECISION",
        "Nothing changes a ranking automatically",
        "investigate : look further: the review stays open",
    ):
        assert words in text, words
    text = deployment.text(ALARM)
    assert "decided: change" in text
    assert "The last one stands that was not signed before the alarm." in text
    assert "review decide" not in text
    assert text.index("unknown investigate") < text.index("input change")
    assert "1 review is open." in deployment.text("/reviews")
    deployment.now_ms += WITHIN_MS
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
    found.book.read(signed(result(), result("<b>", estimator=HOSTILE), spec=hostile.digest(), reference=HOSTILE))
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


def test_each_alarm_of_the_detectors_has_its_review() -> None:
    """Over an hour of real records: what the page of alarms links to is what reviews there are, from bytes or not."""
    entry, records = shown(), hour()
    made, read = ReviewBook(), ReviewBook()
    for one in records:
        made.window(one)
        read.read(as_signed(one.topic_key(), one.encode()))
    reviews = read.reviews({}, [entry.approved])
    assert reviews == made.reviews({}, [entry.approved])
    assert "black" in {review.alarm.group for review in reviews}
    found = Deployment()
    found.site.show([entry])
    found.site.tell(history(records).shown())
    found.site.tell(ReviewsShown(tuple(reviews)))
    links = {link for link in _Links(found.ask("/alerts").body.decode()).links if link.startswith("/reviews/")}
    assert links == {path(review.alarm) for review in reviews}
    for link in links:
        assert "Its review is open: to be decided by 2025-12-02T12:0" in found.text(link)


def test_concerns_are_counted_beside_the_form(deployment: Deployment) -> None:
    """By measurement, once they were read; until then nothing is said of how many there are."""
    assert json.loads(deployment.ask("/concerns.json").body)["open"] is None
    assert "Open concerns" not in deployment.text("/concerns")
    deployment.site.tell(OpenCounts({"feed": 2, "jobs": 0}))
    assert json.loads(deployment.ask("/concerns.json").body)["open"] == {"feed": 2, "jobs": 0}
    assert "What no reviewer has closed yet Measurement Open concerns feed 2 jobs 0" in deployment.text("/concerns")


def test_an_alarms_id_is_its_path() -> None:
    """Also of a pool of groups, whose plus sign is escaped."""
    book = ReviewBook()
    book.read(signed(result("native+multiple")))
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
