"""Pages as routes: HTML and JSON of the same, rendered once a version, and nothing before there is something."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from email.message import Message
from html import escape
from itertools import islice

import pytest

from streams.watch.pages import Page, PageNotFound, Pages, Params, Site, Snapshot
from streams.watch.routes import Answer, Request, Route, Routes


class Numbers(tuple[int, ...]):
    """Something that is told."""


class Counted:
    """A page that counts how often it is rendered."""

    def __init__(self) -> None:
        self.renders = 0

    def render(self, snapshot: Snapshot, params: Params) -> Iterable[str]:
        self.renders += 1
        if params["name"] == "nobody":
            raise PageNotFound("there is nobody <here>")
        yield f"<p>{escape(params['name'])} {escape(params.get('level', '-'))} {snapshot.of(Numbers)}</p>"

    def data(self, snapshot: Snapshot, params: Params) -> object:
        if params["name"] == "nobody":
            raise PageNotFound("there is nobody <here>")
        return {"name": params["name"], "infinite": float("inf")}

    def page(self, **more: bool) -> Page:
        def title(snapshot: Snapshot, params: Params) -> str:
            return f"About {params['name']}"

        return Page("/people/{name}", title, self.render, self.data, query=frozenset({"level"}), nav="People", **more)


def ask(pages: Pages, path: str) -> Answer:
    path, _, query = path.partition("?")
    found = Routes(pages.routes).find(path)
    assert found is not None
    return found.route(Request(query, Message(), b"", path, found.parameters))


@pytest.fixture
def clock() -> list[int]:
    return [1_000_000]


@pytest.fixture
def site(clock: list[int]) -> Site:
    site = Site(lambda: clock[0])
    site.show([])
    return site


def test_a_page_is_html_and_json(site: Site) -> None:
    """One path, two kinds; the title may follow from the path; JSON holds no infinity; everything is escaped."""
    pages = Pages(site, [Counted().page()])
    found = ask(pages, "/people/%3Cb%3E?level=%3Ci%3E&other=1")
    text = found.body.decode()
    assert (found.status, found.content_type) == (200, "text/html; charset=utf-8")
    assert "<h1>About &lt;b&gt;</h1>" in text
    assert "<p>&lt;b&gt; &lt;i&gt; None</p>" in text
    assert 'href="/people/%3Cb%3E.json?level=%3Ci%3E"' in text
    found = ask(pages, "/people/%3Cb%3E.json?level=1")
    assert (found.content_type, json.loads(found.body)) == ("application/json", {"name": "<b>", "infinite": None})


def test_what_is_not_there_is_a_404_of_its_kind(site: Site) -> None:
    """With the page's own sentence, in HTML or JSON."""
    pages = Pages(site, [Counted().page()])
    found = ask(pages, "/people/nobody")
    assert found.status == 404
    assert b"there is nobody &lt;here&gt;" in found.body
    found = ask(pages, "/people/nobody.json")
    assert (found.status, json.loads(found.body)) == (404, {"error": "there is nobody <here>"})


def test_nothing_is_shown_before_replay_is_complete(site: Site) -> None:
    """Until the site is shown its measurements, every page says that it is starting."""
    counted = Counted()
    pages = Pages(fresh := Site(), [counted.page()])
    fresh.tell(Numbers((1,)))
    for path in ("/people/a", "/people/a.json"):
        found = ask(pages, path)
        assert (found.status, dict(found.headers)["Retry-After"]) == (503, "5")
    assert counted.renders == 0


def test_two_hundred_readers_cost_one_rendering(site: Site, clock: list[int]) -> None:
    """Of each version, and of each five seconds, since pages say how old things are."""
    counted = Counted()
    pages = Pages(site, [counted.page()])
    with ThreadPoolExecutor(16) as pool:
        bodies = set(pool.map(lambda _: ask(pages, "/people/a?x=1").body, range(200)))
    assert (counted.renders, len(bodies)) == (1, 1)
    site.tell(Numbers((1, 2)))
    assert b"(1, 2)" in ask(pages, "/people/a").body
    assert counted.renders == 2
    clock[0] += 4999
    ask(pages, "/people/a")
    assert counted.renders == 2
    clock[0] += 1
    ask(pages, "/people/a")
    assert counted.renders == 3
    ask(pages, "/people/a?level=1m")
    assert counted.renders == 4


def test_what_changes_nothing_makes_no_page_of_its_own(site: Site) -> None:
    """Names that somebody makes up cost no rendering and no place, in HTML and JSON; or they are a 404."""
    counted = Counted()

    def canonical(snapshot: Snapshot, params: Params) -> Params:
        if params.get("level") == "nowhere":
            raise PageNotFound("there is no such level")
        return {name: value for name, value in params.items() if name != "level" or value == "1m"}

    pages = Pages(site, [replace(counted.page(), canonical=canonical)])
    bodies = {ask(pages, f"/people/a?level=x{number}").body for number in range(50)}
    bodies |= {ask(pages, "/people/a").body}
    assert (counted.renders, len(bodies), len(pages._rendered)) == (1, 1, 1)
    for path in ("/people/a?level=nowhere", "/people/a.json?level=nowhere"):
        assert ask(pages, path).status == 404
    assert ask(pages, "/people/a?level=1m").status == 200
    assert counted.renders == 2


def test_what_is_kept_is_bounded(site: Site) -> None:
    """Whoever asks for a thousand names fills no memory."""
    pages = Pages(site, [Counted().page()])
    for number in range(1000):
        ask(pages, f"/people/{number}")
    assert len(pages._rendered) <= 128


def test_costly_pages_hold_up_no_other(site: Site) -> None:
    """They have a turn of their own, of which only so many wait; the others of them are told to come again."""
    go_on, begun = threading.Event(), threading.Event()

    def slow(snapshot: Snapshot, params: Params) -> Iterable[str]:
        begun.set()
        assert go_on.wait(20)
        yield f"<p>{escape(params['name'])}</p>"

    counted = Counted()
    costly = Page("/slow/{name}", "Slow", slow, counted.data, costly=True)
    pages = Pages(site, [costly, counted.page()])
    with ThreadPoolExecutor(80) as pool:
        waiting = [pool.submit(ask, pages, f"/slow/{number}") for number in range(80)]
        try:
            assert begun.wait(20)
            assert ask(pages, "/people/a").status == 200
            # All who are turned away, before anyone who waits is done and leaves a place.
            for done in islice(as_completed(waiting, 20), 16):
                busy = done.result()
                assert (busy.status, dict(busy.headers)["Retry-After"]) == (503, "5")
                assert b"just now" in busy.body
        finally:
            go_on.set()
        statuses = sorted(future.result().status for future in waiting)
    assert statuses == [200] * 64 + [503] * 16
    for number in range(200):
        ask(pages, f"/slow/{number}")
    assert len(pages._costly) <= 128
    ask(pages, "/people/a")
    assert counted.renders == 1  # what was kept of others stays


def test_operator_pages_are_guarded(site: Site) -> None:
    """Both kinds of such a page, and no other, go through the guard."""

    def guard(route: Route) -> Route:
        return lambda request: Answer(401, "text/plain", b"")

    def status(operator: bool, path: str) -> int:
        return ask(Pages(site, [Counted().page(operator=operator)], guard), path).status

    assert [status(True, path) for path in ("/people/a", "/people/a.json")] == [401, 401]
    assert status(False, "/people/a") == 200


def test_listeners_hear_of_each_change_in_versions_that_never_come_again(site: Site) -> None:
    """Also not in the next process: a browser outlives it."""
    heard: list[tuple[str, str, str]] = []
    for one in (site, other := Site()):
        one.listen(lambda *event: heard.append(event))
        one.show([])
        one.tell(Numbers())
        one.changed("window", "feed/10s")
    assert [(event, subject) for event, _, subject in heard[:3]] == [
        ("change", "measurements"),
        ("change", "Numbers"),
        ("window", "feed/10s"),
    ]
    assert len({version for _, version, _ in heard}) == 6
    assert heard[-1][1] == getattr(other.snapshot(), "version", None)


def test_navigation_tells_where_one_is(site: Site) -> None:
    """The page itself, and the section that a page is in."""
    page = Counted().page()
    section = Page("/people", "People", page.render, page.data, nav="All people")
    text = ask(Pages(site, [section, page]), "/people/a").body.decode()
    assert '<a href="/people" aria-current="true">All people</a>' in text


def test_a_snapshot_does_not_change(site: Site) -> None:
    """What is told later is in the next one; threads may read one for as long as they like."""
    site.tell(Numbers((1,)))
    before = site.snapshot()
    told = threading.Thread(target=site.tell, args=(Numbers((2,)),))
    told.start()
    told.join()
    after = site.snapshot()
    assert before is not None
    assert after is not None
    assert (before.of(Numbers), after.of(Numbers)) == (Numbers((1,)), Numbers((2,)))
    assert before.of(Site) is None
