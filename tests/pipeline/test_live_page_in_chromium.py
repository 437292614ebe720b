"""The live page, filled by the real pipeline on Kafka, in a real Chromium: on a telephone, in the dark, by keyboard.

One deployment lives through it all: a window that came too early for it is void, one without traffic is suppressed,
traffic turns unfair, and alarms stand of which one was decided about.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import axe_playwright_python
import pytest
from playwright.sync_api import Browser, Page

from bench.live_page.browser import MISSING, Scheme, Size, Tab, chromium, tab
from bench.live_page.deployment import PageDeployment
from privacy.dispositions import Disposition
from secure_agg.keyring import load_governance
from streams.reviews import Reviews
from streams.simulate import RECOMMENDED_RATIO
from streams.watch.pages import catalogue

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.observe,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("chromium") is None, reason=MISSING),
]

PATIENCE_SECONDS = 90.0
SPEC = """
id: feed
purpose: Are members of every group recommended equally often?
source: {topic: rec-events, member: member_id, time: shown_at, time_format: epoch_ms}
cells: {score: {field: score, bins: [0.5]}, decision: {field: recommended}, outcome: {field: clicked}}
windows: {base: 2s, rollups: [10s], lateness: 1s, max_future: 1s}
reference: white
privacy: {contribution_cap: 2, cap_rule: first, rho_member_day: 0.1}
detection: {tolerated_gap: 0.01, false_alarm_every: 20m}
review: {owner: the tests, harm_considered: none, data_used: made up, retention: until the test ends}
test_only: {noise_scale_units: 0.01}
"""
# What axe-core calls these is a barrier to somebody; the two others are advice.
BARRIERS = ("serious", "critical")
AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()


@pytest.fixture(scope="module")
def deployment(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageDeployment]:
    """Fair for some windows, silent for one, then unfair until alarms stand, of which one is decided about."""
    made = PageDeployment(
        tmp_path_factory.mktemp("page"),
        print,
        spec=SPEC,
        members=80_000,
        rate=2_000,
        gap=RECOMMENDED_RATIO,
        overrides=["test_cluster=true", "publish.concerns_burst=20"],
        bootstrap=kafka,
    )
    try:
        made.wait("windows are published", lambda: made.published() >= 2, PATIENCE_SECONDS)
        made.pause()
        made.traffic.turn(unfair=True)
        made.wait("an alarm stands", made.alarms, PATIENCE_SECONDS)
        settings = made.trial.settings_of("governance")
        key = load_governance(settings.keys.dir / "governance" / "reviewer-2.key")
        said = Disposition(str(made.alarms()[0]["id"]), "recommender", "change", "Its owners take the release back.")
        Reviews(settings).decide(said, key, time.time_ns() // 1_000_000)
        made.wait("the decision is shown", lambda: "take the release back" in str(made.data(review(made))), 20)
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def browser(deployment: PageDeployment) -> Iterator[Browser]:
    """One Chromium for all."""
    with chromium() as made:
        yield made


@pytest.fixture(scope="module")
def pages(deployment: PageDeployment) -> list[str]:
    """Every page of the catalogue; where it is one of a kind, one with an alarm, and windows of each status."""
    windows = deployment.windows()
    ends = {str(window["status"]): window["end_ms"] for window in windows if window["status"] != "published"}
    ends["published"] = max(w["end_ms"] for w in windows if w["alarm"] and w["status"] == "published")
    assert set(ends) == {"published", "void", "suppressed"}
    kinds = {
        "/measurements/{measurement}": ["/measurements/feed"],
        "/measurements/{measurement}/{level}/{end_ms}": [f"/measurements/feed/2s/{end}" for end in ends.values()],
        "/reviews/{measurement}/{level}/{metric}/{score_bin}/{group}/{since_ms}": [review(deployment, "")],
    }
    return [path for page in catalogue.ALL for path in kinds.get(page.path, [page.path])]


def review(deployment: PageDeployment, ending: str = ".json") -> str:
    """The path of the review that was decided."""
    return f"/reviews/{deployment.alarms()[0]['id']}{ending}"


def barriers(page: Page) -> list[str]:
    """What axe-core finds that keeps somebody out: rule, impact, and the elements."""
    if not page.evaluate("!!window.axe"):
        page.evaluate(AXE)  # through the debugging interface, which the page's policy does not bind
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']}).then(r => r.violations)")
    return [
        f"{one['id']} ({one['impact']}): {one['help']}: {[node['html'][:120] for node in one['nodes'][:3]]}"
        for one in found
        if one["impact"] in BARRIERS
    ]


@pytest.mark.parametrize(("size", "scheme"), [("phone", "dark"), ("desktop", "light")])
def test_no_page_keeps_anybody_out(
    deployment: PageDeployment, browser: Browser, pages: list[str], size: Size, scheme: Scheme
) -> None:
    """Nothing is wider than the screen, axe-core finds no barrier, and nothing goes wrong unseen."""
    problems = []
    with tab(browser, deployment.address, size=size, scheme=scheme, still=True) as opened:
        for path in pages:
            opened.go(path)
            width, room = opened.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
            if width > room:
                problems.append(f"{path}: {width} pixels wide, of {room}")
            problems += [f"{path}: {barrier}" for barrier in barriers(opened.page)]
        problems += opened.problems
    assert problems == []


# What a keyboard can reach, in its order: by what it is, where it leads, and what it says.
_NAME = "n => [n.tagName, n.getAttribute('href') || n.id || '', n.textContent.slice(0, 40)].join(' ')"
_REACHABLE = f"""[...document.querySelectorAll('a[href], button, input, select, textarea, summary, [tabindex="0"]')]
    .filter(n => n.checkVisibility()).map({_NAME})"""
_LISTEN = f"""() => {{
    window.visited = [];
    addEventListener('focusin', () => {{
        const at = document.activeElement, style = getComputedStyle(at), box = at.getBoundingClientRect();
        const ringed = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
        const inside = box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
        visited.push([({_NAME})(at), ringed && inside]);
    }});
}}"""


def test_everything_is_reached_by_keyboard(deployment: PageDeployment, browser: Browser, pages: list[str]) -> None:
    """Tab comes to every link, field, fold and table that scrolls, in the page's order, and shows where it is."""
    with tab(browser, deployment.address, size="phone", still=True) as opened:
        for path in pages:
            opened.go(path)
            expected = opened.page.evaluate(_REACHABLE)
            opened.page.evaluate(_LISTEN)
            for _ in expected:
                opened.page.keyboard.press("Tab")
            visited = opened.page.evaluate("visited")
            assert [name for name, _ in visited] == expected, path
            assert [name for name, seen in visited if not seen] == [], f"{path}: the focus cannot be seen"
            assert len(expected) > 10


def test_the_skip_link_leads_to_the_content(deployment: PageDeployment, browser: Browser) -> None:
    """It is the first thing that Tab comes to, is seen then, and what comes next is behind the navigation."""
    with tab(browser, deployment.address, still=True) as opened:
        opened.go("/alerts")
        skip = opened.page.locator(".skip")
        assert (skip.bounding_box() or {})["x"] < 0
        opened.page.keyboard.press("Tab")
        assert (skip.bounding_box() or {})["x"] >= 0
        opened.page.keyboard.press("Enter")
        opened.page.keyboard.press("Tab")
        assert opened.page.evaluate("document.getElementById('main').contains(document.activeElement)")


def settled(read: Callable[[], tuple[str, str]]) -> tuple[str, str]:
    """Two readings of a page that changes every second or two, taken until they are of one state."""
    for _ in range(5):
        one, other = read()
        if one == other:
            break
    return one, other


def test_without_scripts_every_page_reads_the_same(
    deployment: PageDeployment, browser: Browser, pages: list[str]
) -> None:
    """A reader whose browser runs no scripts misses nothing but the updates."""
    with (
        tab(browser, deployment.address, still=True) as running,
        tab(browser, deployment.address, scripts=False) as plain,
    ):

        def text(opened: Tab, path: str) -> str:
            opened.go(path)
            said = opened.page.locator("body").inner_text()
            return re.sub(r"\d+(\.\d+)? (second|minute)s?", "a while", said)

        for path in pages:
            one, other = settled(lambda path=path: (text(running, path), text(plain, path)))
            assert len(one) > 200
            assert one == other, path
        assert plain.problems == []


_NEWEST = "document.querySelector('.strip li:last-child a').getAttribute('href')"


def test_an_open_page_is_kept_up_to_date(deployment: PageDeployment, browser: Browser) -> None:
    """The next window shows within seconds, without a reload, and the focus stays where it was."""
    with tab(browser, deployment.address) as opened:
        opened.go("/measurements/feed?level=2s")
        link = 'a[href="/glossary"]' if opened.page.locator('main a[href="/glossary"]').count() else "main nav a"
        opened.page.locator(link).last.focus()
        focused = opened.page.evaluate("document.activeElement.getAttribute('href')")
        opened.page.evaluate("window.sameDocument = true")
        before = opened.page.evaluate(_NEWEST)
        opened.until(f"{_NEWEST} !== {json.dumps(before)}", 15.0)
        assert opened.page.evaluate("window.sameDocument") is True
        assert opened.page.evaluate("document.activeElement.getAttribute('href')") == focused
        assert opened.page.locator("#updated").inner_text().startswith("Updated ")
        opened.show_pictures()
        assert opened.problems == []


def test_a_concern_is_sent_and_nothing_typed_is_lost(deployment: PageDeployment, browser: Browser) -> None:
    """While windows come, what was begun stays; sent by keyboard it is thanked for, and counted as open."""
    said = "Why do I see so few jobs? <b>&"
    with tab(browser, deployment.address, size="phone") as opened:
        opened.go("/concerns")
        opened.page.locator("select").select_option("feed")
        opened.page.locator("textarea").fill(said)
        newest = deployment.windows()[-1]
        deployment.wait("another window is there", lambda: deployment.windows()[-1] != newest, 20)
        assert opened.page.locator("textarea").input_value() == said
        opened.page.locator("textarea").press("Tab")
        opened.page.keyboard.press("Enter")
        opened.page.wait_for_url("**/concerns")
        opened.page.get_by_role("heading", level=1).filter(has_text="was received").wait_for()
        number = re.search(r"[0-9a-f]{32}", opened.page.locator("main").inner_text())
        assert number is not None
        assert barriers(opened.page) == []
        opened.go("/concerns")
        assert opened.problems == []
    deployment.wait("it is counted", lambda: deployment.data("/concerns.json")["open"] == {"clicks": 0, "feed": 1}, 20)


def test_a_scheme_is_the_readers_choice(deployment: PageDeployment, browser: Browser) -> None:
    """Page and pictures are dark where the reader's system is, and light where it is not."""
    shade: dict[Scheme, list[object]] = {}
    for scheme in ("light", "dark"):
        with tab(browser, deployment.address, scheme=scheme, still=True) as opened:
            opened.go("/measurements/feed?level=2s")
            opened.show_pictures()
            ground = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
            drawn = opened.page.evaluate("[...document.images].map(one => one.currentSrc.match(/light|dark/)[0])")
            shade[scheme] = [ground, *sorted(set(drawn))]
    assert shade == {"light": ["rgb(255, 255, 255)", "light"], "dark": ["rgb(20, 23, 26)", "dark"]}
