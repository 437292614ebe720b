"""Every page over records of the real estimators and detectors: what it says, in HTML and in JSON, and what not."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from email.message import Message
from html.parser import HTMLParser
from pathlib import Path

import click
import numpy as np
import pytest
from alarmed import as_signed
from prometheus_client import CollectorRegistry
from shown_windows import LENGTH_MS, START_MS, Level, exact_counts, history, hour, shown

from privacy import Limits
from privacy.dispositions import Disposition, SignedDisposition
from streams.cli import main
from streams.records.metric import FairnessMetric
from streams.review_book import ReviewBook
from streams.watch.charts import Charts, ChartUnavailable
from streams.watch.collector import FairnessCollector
from streams.watch.live_page import LivePage
from streams.watch.pages import Shown, Snapshot, alerts, catalogue
from streams.watch.pages.alarms import all_spans, spans, standing
from streams.watch.pages.pictures import drawn
from streams.watch.pages.reviews import ReviewsShown
from streams.watch.routes import Answer, Request, Routes
from streams.watch.token_bucket import TokenBucket
from streams.watch.window_history import WindowHistory

NOW_MS = START_MS + 60 * LENGTH_MS + 3000
LAST_MS = START_MS + 60 * LENGTH_MS
SPEC = shown().approved.measurement
HOSTILE = "<script>alert('x')</script>&\\\"'"


LEVEL = {"measurement": "feed", "level": "10s"}


class Site:
    """A live page that was told records."""

    def __init__(
        self,
        records: tuple[FairnessMetric, ...],
        entries: tuple[Shown, ...] = (shown(),),
        *,
        now_ms: int = NOW_MS,
        runbook_url: str | None = None,
        charts: Charts | None = None,
    ) -> None:
        self.registry = registry = CollectorRegistry()
        self.collector = collector = FairnessCollector(registry, lambda: now_ms / 1000, Limits(0.6, 1.0, 2.0))
        collector.measurements([entry.approved for entry in entries], 0.6)
        for record in records:
            collector.window(record, 0.2)
            for party in "ab":
                collector.released(record.measurement, record.level, party, record.window.end_ms)
        collector.open()
        self.page = LivePage(
            lambda concern: None, TokenBucket(1, 1), lambda: now_ms,
            registry=registry, runbook_url=runbook_url, charts=charts,
        )  # fmt: skip
        self.page.site.tell(history(records).shown())
        self.page.show(entries)
        self._routes = Routes(self.page.routes)

    def answer(self, path: str) -> Answer:
        path, _, query = path.partition("?")
        found = self._routes.find(path)
        assert found is not None, path
        return found.route(Request(query, Message(), b"", path, found.parameters))

    def snapshot(self) -> Snapshot:
        """What its pages know."""
        found = self.page.site.snapshot()
        assert found is not None
        return found

    def text(self, path: str) -> str:
        """A page's HTML."""
        found = self.answer(path)
        assert (found.status, found.content_type) == (200, "text/html; charset=utf-8"), found.body
        return found.body.decode()

    def json(self, path: str) -> dict[str, object]:
        found = self.answer(path)
        assert (found.status, found.content_type) == (200, "application/json"), found.body
        whole: dict[str, object] = json.loads(found.body)
        return whole


@pytest.fixture(scope="module")
def site() -> Site:
    return Site(hour())


ADDRESSES = (
    "/",
    "/measurements/feed",
    "/measurements/feed?level=10s&metric=predictive_parity&bin=1&group=native&estimator=weighted",
    f"/measurements/feed/10s/{LAST_MS}",
    f"/measurements/feed/10s/{START_MS + 21 * LENGTH_MS}",
    f"/measurements/feed/10s/{START_MS + 26 * LENGTH_MS}",
    "/alerts",
    "/concerns",
    "/pipeline",
)


class Outline(HTMLParser):
    """Whether tags are closed in their order, ids occur once, headings skip no rank, and where links lead."""

    _EMPTY = frozenset({"meta", "link", "img", "br", "source", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.ranks: list[int] = []
        self.problems: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if len(found) != len(attrs):
            self.problems.append(f"an attribute comes twice: {tag} {attrs}")
        if any(name.startswith("on") or name == "style" for name in found):
            self.problems.append(f"inline: {tag} {attrs}")
        if "id" in found:
            self.ids.append(str(found["id"]))
        self.links += [str(found[name]) for name in ("href", "src", "srcset", "action") if name in found]
        if re.fullmatch("h[1-6]", tag):
            self.ranks.append(int(tag[1]))
        if tag == "img" and not found.get("alt"):
            self.problems.append("a picture without words")
        if tag not in self._EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"</{tag}> closes what is not open")


@pytest.mark.parametrize("address", ADDRESSES)
def test_every_page_is_sound_html_and_has_its_json(site: Site, address: str) -> None:
    """Well formed; one heading of the first rank, none skipped; ids once; its links are found; JSON of the same."""
    outline = Outline(site.text(address))
    assert outline.problems == []
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))
    assert outline.ranks.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(outline.ranks, outline.ranks[1:], strict=False))
    for link in outline.links:
        if link.startswith("/reviews/"):  # not told here
            assert site.answer(link).status == 404
            continue
        if link == "#main":
            continue
        assert link.startswith("/"), link
        assert site.answer(link).status == 200, link
    path, _, query = address.partition("?")
    assert site.json((path if path != "/" else "/index") + ".json" + (f"?{query}" if query else ""))


def test_every_page_of_the_catalogue_is_tested() -> None:
    """A page that is added must be looked at here, or be governance's, which has tests of its own."""
    patterns = {page.path for page in catalogue.ALL if page.render.__module__.rpartition(".")[2] in
                ("overview", "measurement", "window", "alerts", "concerns", "pipeline")}  # fmt: skip
    routes = Routes({pattern: lambda request: Answer(200, "", b"") for pattern in patterns})
    found = [routes.find(address.partition("?")[0]) for address in ADDRESSES]
    assert {one.pattern for one in found if one is not None} == patterns


def test_the_overview_says_it_in_words_first(site: Site) -> None:
    """The gap in a sentence, the alarm with its review, how fresh, and every kind of window by mark and by word."""
    text = site.text("/")
    assert "Nothing here changes a ranking by itself" in text
    assert re.search(r'<p class="lead">Black members are recommended less often than [^<]*a gap of -\d', text)
    assert "6 alarms stand." in text
    assert '3 more: <a href="/alerts">all alarms</a>.' in text
    assert "for black members the evidence of a gap in recommendation rate beyond what is tolerated has passed" in text
    assert re.search(
        r"in privacy, at most: epsilon [\d.]+ for a UTC day, [\d.]+ for any 30 and [\d.]+ for any 365", text
    )
    assert "had their group probabilities and Self-ID been replaced by any others, at delta 1e-09." in text
    assert '<a href="/reviews/feed/10s/recommendation_rate/all/black/' in text
    assert "The last window ended 3 seconds ago." in text
    found = site.json("/index.json")["measurements"]
    assert isinstance(found, list)
    assert [one["measurement"] for one in found] == ["feed"]
    assert found[0]["alarms"]
    assert [level["level"] for level in found[0]["levels"]] == ["10s", "1m"]


def test_a_strip_tells_every_kind_of_window_apart(site: Site) -> None:
    """By colour, by mark and in words, in their order."""
    text = site.text("/measurements/feed?level=10s")
    marks = re.findall(r'<li><a class="mark-(\w+)"[^>]*aria-label="(\w+): window to [^"]*">(.)</a>', text)
    assert len(marks) == 60
    assert [kind for kind, _, _ in marks].count("void") == 1
    assert marks[20] == ("void", "void", "\N{MULTIPLICATION X}")
    assert marks[25] == ("suppressed", "suppressed", "\N{WHITE CIRCLE}")
    assert marks[0] == ("published", "published", "\N{CHECK MARK}")
    assert marks[-1] == ("alarm", "alarm", "!")
    assert len({(kind, mark) for kind, _, mark in marks}) == 4


def test_a_measurement_tells_the_chosen_statistic(site: Site) -> None:
    """By plain links; pools, groups and bins that are not there are no mistake where windows make them come and go."""
    chosen = "/measurements/feed?level=10s&metric=predictive_parity&bin=1&group=hispanic"
    text = site.text(chosen)
    assert "In score bin 1, a good outcome follows" in text
    assert '<span aria-current="true">1</span>' in text
    assert "Predictive parity in score bin 1, hispanic members, weighted: the last 20 windows" in text
    assert "We cannot tell yet for multiracial members: there are too few of them" in text
    assert "A gap of up to 2.0 points either way is tolerated." in text
    found = site.json(chosen.replace("feed?", "feed.json?"))
    assert found["chosen"] == {
        "level": "10s", "metric": "predictive_parity", "score_bin": "1", "estimator": "weighted", "group": "hispanic",
    }  # fmt: skip
    made_up = site.text("/measurements/feed?level=10s&metric=tpr&bin=9&group=nobody&estimator=weighted")
    assert made_up == site.text("/measurements/feed?level=10s&metric=tpr&estimator=weighted")
    assert site.text("/concerns?measurement=nobody") == site.text("/concerns")
    for wrong in ("level=1y", "metric=beauty", "estimator=guess"):
        assert site.answer(f"/measurements/feed?{wrong}").status == 404
        assert json.loads(site.answer(f"/measurements/feed.json?{wrong}").body)["error"]
    assert site.answer("/measurements/none").status == 404


def test_a_window_is_worked_out_again(site: Site) -> None:
    """All of its numbers follow from its table; its cost has unit, relation and delta; the whole record is there."""
    text = site.text(f"/measurements/feed/10s/{LAST_MS}")
    assert re.search(r"All \d[\d,]* numbers that were compared follow from the record&#x27;s own noised table", text)
    assert "at delta 1e-09, if the member&#x27;s group probabilities and Self-ID were replaced by any others" in text
    assert "aa" * 64 in text
    assert "none: nothing was released" in text
    command = re.search(r"<code>evenstream ([^<]*)</code>", text)
    assert command is not None
    name, *words = command[1].split()
    known = main.get_command(click.Context(main), name)
    assert known is not None
    chosen = known.make_context(name, words).params
    assert (chosen["measurement"], chosen["level"], chosen["end_ms"]) == ("feed", "10s", LAST_MS)
    found = site.json(f"/measurements/feed/10s/{LAST_MS}.json")
    last = next(r for r in hour() if r.level == "10s" and r.window.end_ms == LAST_MS)
    assert found["record"] == json.loads(last.encode())
    again = found["recomputed"]
    assert isinstance(again, dict)
    assert again["equal"] is True
    assert again["compared"] > 100


def test_a_number_that_does_not_follow_is_found() -> None:
    """A record whose value was changed is shown with what its table says."""
    last = Level(SPEC).published(0)
    first, *others = last.results
    assert first.value is not None
    lie = first.model_copy(update={"value": first.value.model_copy(update={"estimate": first.value.lower})})
    text = Site((last.model_copy(update={"results": (lie, *others)}),)).text(
        f"/measurements/feed/10s/{last.window.end_ms}"
    )
    assert re.search(r"1 of [\d,]+ numbers do not follow", text)
    assert "results[0].value.estimate" in text


def test_a_window_is_held_against_its_spec() -> None:
    """Less noise than was approved is shown as what differs; and what could not be checked is named beside it."""
    last = Level(SPEC).published(3)
    assert last.privacy is not None
    lie = last.privacy.model_copy(update={"noise_sigma_rows": last.privacy.noise_sigma_rows / 2})
    place = f"/measurements/feed/10s/{last.window.end_ms}"
    assert "numbers do not follow" not in Site((last,)).text(place)
    forged = Site((last.model_copy(update={"privacy": lie}),)).text(place)
    assert "numbers do not follow from the record&#x27;s own table and its signed spec" in forged
    assert "privacy.noise_sigma_rows" in forged
    assert "Not worked out here" in forged
    assert "evidence: the record of the level&#x27;s window before is not at hand" in forged


@pytest.mark.parametrize("end", ["77", "x", "-1", "9" * 30, "%F0%9D%9F%99", "1e3", "+5"])
def test_a_window_that_is_not_kept_is_a_404(site: Site, end: str) -> None:
    """Whatever is in its place of the address."""
    assert site.answer(f"/measurements/feed/10s/{end}").status == 404
    assert site.answer(f"/measurements/feed/10s/{end}.json").status == 404


def test_a_void_window_has_no_number(site: Site) -> None:
    """Its page says why, and that nothing can be worked out; the level's page goes on with the last that has some."""
    text = site.text(f"/measurements/feed/10s/{START_MS + 21 * LENGTH_MS}")
    assert "This window is void: the two parties have not counted the same rows." in text
    assert "There is no table to work anything out from." in text
    assert " %" not in text.split("<main")[1].split("What it cost")[0]
    level = Level(SPEC)
    after = Site((level.published(0, 0.12), level.void(1, "skipped")), now_ms=START_MS + 21_000)
    text = after.text("/measurements/feed?level=10s")
    assert "This window is void: an operator had to give up" in text
    assert "What follows is of the last window that says something" in text
    assert "Black members" in text


def test_an_alarm_stands_over_void_windows_and_ends_with_evidence_or_revision() -> None:
    """What void windows leave as it was; what another revision begins anew."""
    level = Level(SPEC)
    records = [level.published(number, 0.2) for number in range(4)]
    stands = history([*records, level.void(4)]).shown().of("feed", "10s")
    assert {span.ended_ms for span in spans(stands)} == {None}
    fair = [*records, level.void(4), *(level.published(number) for number in range(5, 40))]
    over = spans(history(fair).shown().of("feed", "10s"))
    assert over
    assert all(span.ended_ms is not None and span.ended_ms > span.last_ms for span in over)
    assert all(span.alarm.since_ms <= span.last_ms for span in over)
    other = Level(SPEC, revision=2)
    anew = spans(history([*records, other.void(4)]).shown().of("feed", "10s"))
    assert {span.ended_ms for span in anew} == {START_MS + 5 * LENGTH_MS}


def test_alarms_lead_to_their_review_and_runbook(site: Site) -> None:
    """Those that stand and those that have ended, each once; runbooks by file, or by address where there is one."""
    assert (Path(__file__).parents[4] / "docs" / "runbooks" / alerts.RUNBOOK).is_file()
    text = site.text("/alerts")
    assert "alarms stand." in text
    assert "<code>docs/runbooks/EvenstreamUnequalTreatment.md</code>" in text
    found = site.json("/alerts.json")
    assert isinstance(found["standing"], list)
    ids = [one["id"] for one in found["standing"]]
    assert len(ids) == len(set(ids)) > 0
    assert all(f'href="/reviews/{name}"' in text for name in ids)
    url = "https://git.example/runbooks/"
    linked = Site(hour(), runbook_url=url).text("/alerts")
    assert f'href="{url}EvenstreamUnequalTreatment.md"' in linked
    level = Level(SPEC)
    records = tuple(level.published(number, 0.2 if number < 4 else 0.0) for number in range(40))
    text = Site(records).text("/alerts")
    assert "No alarm stands." in text
    assert text.count("its review") > 0


def test_what_reviewers_decided_stands_beside_the_alarm() -> None:
    """Open with its deadline, then decided, with cause, decision and follow-up, escaped, by people's signature."""
    site = Site(hour())
    book = ReviewBook()
    for record in hour():
        book.read(as_signed(record.topic_key(), record.encode()))
    black = next(alarm for alarm in standing(all_spans(site.snapshot())) if alarm.metric == "recommendation_rate")
    said = Disposition(black.id, cause="input", decision="change", follow_up="Restore the <b>field</b>.")
    signed = SignedDisposition(said, 3, NOW_MS - 1000, "0123456789abcdef")
    entries = [shown().approved]
    for dispositions, words in (({}, "open: to be decided by 2025-12-02"), ({black.id: (signed,)}, "decided: change")):
        site.page.site.tell(ReviewsShown(tuple(book.reviews(dispositions, entries))))
        assert f'href="/reviews/{black.id}">{words}' in site.text("/alerts")
    text = site.text("/alerts")
    assert "reviewer 0123456789abcdef: cause input, decision change" in text
    assert "Restore the &lt;b&gt;field&lt;/b&gt;." in text
    found = site.json("/alerts.json")["standing"]
    assert isinstance(found, list)
    assert [one["review"]["state"] for one in found if one["id"] == black.id] == ["decided"]


def test_a_revoked_measurement_has_no_alarm_and_says_so() -> None:
    """Its numbers are withdrawn, its alarm ended with it."""
    level = Level(SPEC)
    records = (*(level.published(number, 0.2) for number in range(4)), level.withdrawn(4))
    site = Site(records, (shown(revoked_at_ms=START_MS + 45_000),))
    for path in ("/", "/measurements/feed?level=10s"):
        text = site.text(path)
        assert "reviewers stopped it on" in text
        assert "Alarm since" not in text
    assert "This window is withdrawn: reviewers have revoked the measurement." in site.text("/")
    assert "No alarm stands." in site.text("/alerts")


@pytest.mark.parametrize("later", [(), (shown(revision=2, from_ms=START_MS + 4 * LENGTH_MS),)], ids=["end", "revision"])
def test_no_alarm_outlasts_its_approval(later: tuple[Shown, ...]) -> None:
    """It stands until the last window that began before the end has had its time, in the same moment as on /metrics."""
    level, until_ms = Level(SPEC), START_MS + 4 * LENGTH_MS
    records = tuple(level.published(number, 0.2) for number in range(4))
    entries = shown(until_ms=until_ms), *later
    for now_ms, stands in ((until_ms + 60_999, True), (until_ms + 61_000, False)):
        site = Site(records, entries, now_ms=now_ms)
        found = all_spans(site.snapshot())
        assert {span.ended_ms for span in found} == {None if stands else until_ms}
        assert (site.registry.get_sample_value("evenstream_edetector_log_threshold", LEVEL) is not None) == stands


def test_a_withdrawn_window_stays_paid_for() -> None:
    """Its page does not say that it cost nothing: a withdrawal gives nothing back."""
    level = Level(SPEC)
    text = Site((level.published(0), level.withdrawn(0))).text(f"/measurements/feed/10s/{START_MS + LENGTH_MS}")
    assert "What was released of this window before stays paid for" in text
    assert "<p>Nothing" not in text.split("<footer")[0]


def test_a_suppressed_window_is_not_marked_as_published(site: Site) -> None:
    """Also while an alarm stands over it, as the legend has it."""
    level = Level(SPEC)
    records = (*(level.published(number, 0.2) for number in range(4)), level.suppressed(4))
    found = Site(records)
    assert history(records).shown().of("feed", "10s")[-1].alarms
    marks = re.findall(r'<li><a class="mark-(\w+)"', found.text("/measurements/feed?level=10s"))
    assert marks == ["published" if not r.detection or not any(x.alarm for x in r.results) else "alarm"
                     for r in records[:4]] + ["suppressed"]  # fmt: skip


def test_the_overview_goes_back_to_what_was_said_last(site: Site) -> None:
    """A window that says nothing does not take the place of what was found before it: both are told."""
    level = Level(SPEC)
    found = Site((*(level.published(number, 0.2) for number in range(4)), level.suppressed(4)))
    said = Site(tuple(Level(SPEC).published(number, 0.2) for number in range(4))).json("/index.json")
    (before,) = [each["says"] for each in said["measurements"][0]["levels"] if each["level"] == "10s"]
    assert "The last window that says something ended " in found.text("/")
    (now,) = [e["says"] for e in found.json("/index.json")["measurements"][0]["levels"] if e["level"] == "10s"]
    assert now.endswith(before)


def test_a_record_that_was_worked_out_anew_is_not_said_to_lie_on_the_topic(site: Site) -> None:
    """In words and in JSON; whoever looks there finds another one."""
    record = Level(SPEC).published(0)
    found = Site((record,))
    kept = WindowHistory(10)
    kept.read(as_signed(record.topic_key(), record.encode().replace(b'"alarm":false', b'"alarm":null')))
    kept.add(record)
    kept.open()
    path = f"/measurements/feed/10s/{record.window.end_ms}"
    for windows, anew in ((history([record]).shown(), False), (kept.shown(), True)):
        found.page.site.tell(windows)
        text = found.text(path)
        assert ("As it lies on fairness-metrics" in text) != anew
        assert ("Worked out anew from the window&#x27;s two releases" in text) == anew
        assert found.json(f"{path}.json")["anew"] is anew


LATER_MS = NOW_MS + 29 * 86_400_000


@pytest.mark.parametrize("entry", [shown(replayed=True), shown(until_ms=LAST_MS)], ids=["replayed", "expired"])
def test_what_is_not_due_is_not_late(entry: Shown) -> None:
    """A replayed log is as old as it is, and of a measurement that has ended no window is to come."""
    found = Site(hour(), (entry,), now_ms=LATER_MS)
    for path in ("/", "/measurements/feed?level=10s", "/pipeline"):
        text = found.text(path)
        assert "29 days ago" not in text
        assert "late" not in re.findall(r"[a-z]+", text.split("<main")[1])
        assert "doctor" not in text
    assert "due by the clock: no measurement of live events is active." in found.text("/pipeline")
    assert "2025-11-25T12:10:00Z" in found.text("/pipeline")
    levels = found.json("/pipeline.json")["levels"]
    assert isinstance(levels, list)
    assert {level["awaited"] for level in levels} <= {False}
    empty = Site((), (entry,), now_ms=LATER_MS)
    assert "due" not in empty.text("/").split("<main")[1]


def test_a_party_behind_is_told_with_the_time_that_the_alert_waits() -> None:
    """It may be behind for a moment: nothing is to be started again at once."""
    found = Site(hour())
    for record in hour():
        if record.level == "10s":
            found.collector.released("feed", "10s", "a", record.window.end_ms + 50_000)
    text = found.text("/pipeline")
    assert "the parties are 5 windows apart. If that lasts five minutes, start the one again that is behind." in text


def test_a_measurement_before_its_first_window() -> None:
    """Approved, not begun; begun, not due; overdue: each in a sentence, on both pages, and no table or picture."""
    for from_ms, words in (
        (NOW_MS + 60_000, "Nothing is counted yet: it begins"),
        (NOW_MS - 5000, "No window has been published yet: the first one is due in"),
        (NOW_MS - 3_600_000, "No window has been published yet, although the first one was due"),
    ):
        site = Site((), (shown(from_ms=from_ms),))
        for path in ("/", "/measurements/feed"):
            assert words in site.text(path)
        text = site.text("/measurements/feed")
        assert "In numbers" not in text
        assert "<img" not in text
        assert site.json("/measurements/feed.json")["results"] == []
    nothing = Site((), ())
    assert "No measurement is approved: nothing is counted." in nothing.text("/")
    assert "No window is due" in nothing.text("/pipeline")


def test_hostile_text_is_text() -> None:
    """A purpose that is markup, and names in addresses."""
    site = Site(hour(), (shown(hostile=HOSTILE),))
    for path in ("/", "/measurements/feed"):
        text = site.text(path)
        assert "&lt;script&gt;alert(" in text
        assert text.count("<script") == 1  # its own
        assert Outline(text).problems == []
    for name in ("%3Cscript%3E", "a%22onload=%22x", "%E2%80%AE"):
        found = site.answer(f"/measurements/{name}")
        assert found.status == 404
        assert found.body.count(b"<script") == 1
        assert Outline(found.body.decode()).problems == []


def test_the_pipeline_page_tells_what_metrics_tell() -> None:
    """Fresh and together; then one party behind and a level late, with what to do."""
    site = Site(hour())
    text = site.text("/pipeline")
    assert "Every level is up to date, and the two parties keep pace." in text
    assert "0.2 s (half), 0.2 s (99 of 100)" in text
    assert "void (coverage_differs) 1" in text
    late = Site(hour(), now_ms=NOW_MS + 3_600_000)
    text = late.text("/pipeline")
    assert "the last window ended 1 hour ago. If that lasts two minutes, evenstream doctor names" in text
    levels = late.json("/pipeline.json")["levels"]
    assert isinstance(levels, list)
    assert [one["apart_windows"] for one in levels] == [0.0, 0.0]
    assert "which is late" in late.text("/")


class Drawn(Charts):
    """Charts that are asked for, without a process."""

    def __init__(self, fail: bool = False) -> None:
        self.fail = fail
        self.asked: list[tuple[str, int]] = []

    def svg(self, wanted, windows):  # type: ignore[no-untyped-def]
        if self.fail:
            raise ChartUnavailable("not now")
        self.asked.append((f"{wanted.kind}/{wanted.theme}/{wanted.metric}", len(windows)))
        return b"<svg/>"

    def close(self) -> None:
        """Nothing to end."""


def test_pictures_are_beside_their_tables(site: Site) -> None:
    """Light and dark, wide and narrow, with words in their place; without matplotlib there are only the tables."""
    drawn = Drawn()
    text = (with_charts := Site(hour(), charts=drawn)).text("/measurements/feed?level=10s")
    sources = re.findall(r'(?:srcset|src)="(/charts/[^"]+)"', text)
    assert len(sources) == 8  # two pictures, in two schemes and two widths
    for source in sources:
        found = with_charts.answer(source.replace("&amp;", "&"))
        assert (found.status, found.content_type) == (200, "image/svg+xml")
        assert dict(found.headers)["Cache-Control"] == "public, max-age=300"
    assert {name.split("/")[1] for name, _ in drawn.asked} == {
        "light", "dark", "light-narrow", "dark-narrow",
    }  # fmt: skip
    assert "<img" not in site.text("/measurements/feed")
    failing = Site(hour(), charts=Drawn(fail=True))
    assert failing.answer(sources[0].partition("?")[0]).status == 503
    assert failing.text("/measurements/feed")


@pytest.mark.parametrize(
    "path",
    ["gaps/feed/10s/beauty/all/weighted/light.svg", "gaps/none/10s/tpr/all/weighted/light.svg",
     "pie/feed/10s/tpr/all/weighted/light.svg", "gaps/feed/1y/tpr/all/weighted/light.svg",
     "gaps/feed/10s/tpr/all/weighted/pink.svg", "gaps/feed/10s/tpr/7/weighted/light.svg"],
)  # fmt: skip
def test_nothing_is_drawn_for_names_that_somebody_makes_up(path: str) -> None:
    """A picture of what no window has is a 404, and nothing is asked of the process."""
    drawn = Drawn()
    assert Site(hour(), charts=drawn).answer(f"/charts/{path}").status == 404
    assert drawn.asked == []


def test_open_pages_hear_of_a_new_window(site: Site) -> None:
    """Of which level, and a version that the next rendering carries."""
    heard: list[tuple[str, str, str]] = []
    page = Site(hour()).page
    page.site.listen(lambda *event: heard.append(event))
    page.site.tell(history(hour()).shown(), "window", "feed/10s")
    ((event, version, subject),) = heard
    assert (event, subject) == ("window", "feed/10s")
    found = page.routes["/"](Request("", Message()))
    assert f'data-version="{version}" data-live="yes"'.encode() in found.body


def numbers(text: str) -> set[float]:
    """All numbers that are written in a text, with or without commas between thousands."""
    found = re.findall(r"(?<![\w.])(?<!e-)\d[\d,]*(?:\.\d+)?(?!\w|[.,]\d)", text)
    return {float(number.replace(",", "")) for number in found}


def test_no_exact_count_is_on_any_page(site: Site) -> None:
    """What is shown comes from noised records: no true cell or sum of a window that is shown, in HTML or JSON."""
    last = exact_counts(59, 0.12)
    table = next(r for r in hour() if r.window.end_ms == LAST_MS and r.level == "10s").table
    assert table is not None
    assert np.mean(np.equal(table.values, last)) < 0.2
    exact = {float(value) for value in last.flat if value >= 100}
    exact |= {float(value) for axis in (0, 1) for value in last.sum(axis=axis) if value >= 100}
    assert len(exact) > 20
    assert numbers('<td>2,143</td>7.5, {"rows": 12, "x": 1.5e-07}') == {2143.0, 7.5, 12.0}
    for address in ADDRESSES:
        path, _, query = address.partition("?")
        # The record itself holds the noised table, in which any whole number may come about.
        html = re.sub(r'(?s)<details id="record">.*?</details>', "", site.text(address))
        as_json = site.json((path if path != "/" else "/index") + ".json" + (f"?{query}" if query else ""))
        as_json.pop("record", None)
        for body in (html, json.dumps(as_json)):
            assert not numbers(body) & exact, address


def test_what_has_an_alarm_comes_first() -> None:
    """On the overview, whatever it is called; and a table's few words are explained below it."""
    found = Site((*hour("aaa", 20), *hour()), (shown("aaa"), shown()))
    text = found.text("/")
    assert 0 < text.index('id="m-feed"') < text.index('id="m-aaa"')
    numbers = found.text("/measurements/aaa?level=10s")
    assert "too few" in numbers
    assert "Too few: there are too few of them in this window for the noise that protects them." in numbers


def test_of_short_windows_a_picture_is_made_for_several() -> None:
    """Each third one of two seconds; every one of ten."""
    spec = shown().approved.measurement
    windows = history([Level(spec).void(number) for number in range(9)]).shown().of("feed", "10s")
    assert [len(drawn(windows[: count + 1])) for count in range(9)] == list(range(1, 10))
    short = [replace(w, start_ms=2000 * k, end_ms=2000 * k + 2000) for k, w in enumerate(windows)]
    assert [len(drawn(short[: count + 1])) for count in range(9)] == [1, 2, 3, 3, 3, 6, 6, 6, 9]
