"""A page is a path, a title and two functions; here they become what the HTTP server answers.

Every page answers at its path as HTML and at the same path with ``.json`` as JSON (the first one at ``/index.json``).
A page is rendered once for each version of what is known: however many people look at it, they share one rendering, and
one page is rendered at a time, so that rendering cannot crowd out what publish is there for. Pages of which there are
many, and each takes long, are rendered one at a time beside the others, which never wait for them. Whatever a query
says that changes nothing makes no page of its own.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import parse_qs

import msgspec

from streams.report.page import paragraph
from streams.watch.pages import base
from streams.watch.pages.site import Site, Snapshot
from streams.watch.routes import Answer, Request, Route

Params = Mapping[str, str]
"""What the path's names stand for, and those parameters of the query that the page takes and that came."""

STARTING = "This service has just started and is reading what is published. Try again in a few seconds."
BUSY = "Many windows are being looked at just now. Try again in a few seconds."
_RETRY = (("Retry-After", "5"),)
_MOST_RENDERED = 128
_MOST_WAITING = 64
"""For costly pages at once: others find a connection that is not taken by somebody who waits for one of those."""

_KEEP_MS = 5000
_QUERY_CHARACTERS = 128


class PageNotFound(Exception):
    """There is no such thing: raised by a page's functions, with a sentence for whoever asked."""


@dataclass(frozen=True)
class Page:
    """One page, or one of a kind.

    Attributes:
        path: such as ``/alerts`` or ``/measurements/{measurement}`` (``streams.watch.routes``).
        title: text, or a function that gives it.
        render: gives the HTML of the main part. It escapes what it shows.
        data: gives the same as what ``msgspec`` writes as JSON: dicts, lists, text, numbers, None.
        nav: what every page's navigation calls it; None keeps it out.
        query: names of the query's parameters that it takes; others are ignored.
        canonical: takes away what changes nothing of the page, or raises PageNotFound; cheap, beside rendering.
        form: it holds a form.
        live: an open page is fetched again when something changes.
        operator: only who may see /metrics may see it (``streams.watch.access``).
        costly: each takes long and there are many of them, so that whoever walks through them finds none rendered.
    """

    path: str
    title: str | Callable[[Snapshot, Params], str]
    render: Callable[[Snapshot, Params], Iterable[str]]
    data: Callable[[Snapshot, Params], object]
    nav: str | None = None
    query: frozenset[str] = frozenset()
    form: bool = False
    live: bool = True
    operator: bool = False
    costly: bool = False
    canonical: Callable[[Snapshot, Params], Params] = lambda snapshot, params: params

    def title_of(self, snapshot: Snapshot, params: Params) -> str:
        """The title in words."""
        return self.title if isinstance(self.title, str) else self.title(snapshot, params)


class _Renderings:
    """Pages that are rendered one at a time, and kept while they are good.

    Args:
        waiting: how many may wait for theirs; None for any number.
    """

    def __init__(self, waiting: int | None = None) -> None:
        self._lock = threading.Lock()
        self._places = None if waiting is None else threading.BoundedSemaphore(waiting)
        self._kept: OrderedDict[tuple[str, ...], tuple[str, int, Answer]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    @contextmanager
    def turn(self) -> Iterator[bool]:
        """Wait until nobody else renders; False at once where too many wait."""
        if self._places is None:
            with self._lock:
                yield True
        elif not self._places.acquire(blocking=False):
            yield False
        else:
            try:
                with self._lock:
                    yield True
            finally:
                self._places.release()

    def find(self, key: tuple[str, ...], snapshot: Snapshot) -> Answer | None:
        """What was rendered of this version, and lately."""
        kept = self._kept.get(key)
        if kept is not None and kept[0] == snapshot.version and 0 <= snapshot.now_ms - kept[1] < _KEEP_MS:
            return kept[2]
        return None

    def keep(self, key: tuple[str, ...], snapshot: Snapshot, made: Answer) -> None:
        """Keep one, and let go of the oldest."""
        self._kept[key] = snapshot.version, snapshot.now_ms, made
        self._kept.move_to_end(key)
        if len(self._kept) > _MOST_RENDERED:
            self._kept.popitem(last=False)


class Pages:
    """All pages of a site, as routes.

    Args:
        guard: wraps the routes of operator pages.
    """

    def __init__(
        self, site: Site, pages: Iterable[Page], guard: Callable[[Route], Route] = lambda route: route
    ) -> None:
        self._site = site
        self._pages = tuple(pages)
        self.navigation = tuple((page.path, page.nav) for page in self._pages if page.nav is not None)
        self._guard = guard
        self._rendered = _Renderings()
        self._costly = _Renderings(_MOST_WAITING)

    @property
    def routes(self) -> dict[str, Route]:
        """What answers GET."""
        found: dict[str, Route] = {}
        for page in self._pages:
            guard = self._guard if page.operator else (lambda route: route)
            found[page.path] = guard(self._route(page, self._html))
            found[json_path(page.path)] = guard(self._route(page, self._json))
        return found

    def _route(self, page: Page, render: Callable[[Page, Snapshot, Params, Request], Answer]) -> Route:
        renderings = self._costly if page.costly else self._rendered

        def answer(request: Request) -> Answer:
            params: Params = {**_query(request.query, page.query), **request.parameters}
            # One at a time; whoever comes meanwhile finds it done.
            with renderings.turn() as mine:
                if not mine:
                    return self.unavailable(BUSY)
                snapshot = self._site.snapshot()
                if snapshot is None:
                    return self.unavailable()
                key = _key(render, page, params)
                kept = renderings.find(key, snapshot)
                if kept is None:
                    try:
                        params = page.canonical(snapshot, params)
                    except PageNotFound as absent:
                        return self._absent(str(absent)) if render == self._html else _no_json(str(absent))
                    key = _key(render, page, params)
                    kept = renderings.find(key, snapshot)
                if kept is not None:
                    return kept
                made = render(page, snapshot, params, request)
                if made.status == 200:  # what is not there can be asked for in any number of ways
                    renderings.keep(key, snapshot, made)
                return made

        return answer

    def _absent(self, said: str) -> Answer:
        return self.answer(404, "Not found", [paragraph(said, "notice")])

    def _html(self, page: Page, snapshot: Snapshot, params: Params, request: Request) -> Answer:
        try:
            title, parts = page.title_of(snapshot, params), list(page.render(snapshot, params))
        except PageNotFound as absent:
            return self._absent(str(absent))
        asked = [name for name in sorted(page.query) if name in params]
        query = base.path_of(query={name: params[name] for name in asked}).removeprefix("/")
        return base.answer(
            200,
            title,
            parts,
            navigation=self.navigation,
            here=request.path,
            version=snapshot.version,
            live=page.live,
            json=json_path(request.path) + query,
            form=page.form,
        )

    def _json(self, page: Page, snapshot: Snapshot, params: Params, request: Request) -> Answer:
        try:
            return as_json(200, page.data(snapshot, params))
        except PageNotFound as absent:
            return _no_json(str(absent))

    def answer(
        self,
        status: int,
        title: str,
        parts: Iterable[str],
        more: tuple[tuple[str, str], ...] = (),
        *,
        form: bool = False,
    ) -> Answer:
        """A page that is in no list, such as thanks for a form: never live."""
        return base.answer(status, title, parts, more, navigation=self.navigation, form=form)

    def unavailable(self, why: str = STARTING) -> Answer:
        """Nothing can be said yet, or just now."""
        title = "Not ready yet" if why == STARTING else "Busy"
        return base.answer(503, title, [paragraph(why, "notice")], _RETRY, navigation=self.navigation, live=True)


def _key(render: Callable[..., Answer], page: Page, params: Params) -> tuple[str, ...]:
    return render.__name__, page.path, *(f"{name}={value}" for name, value in sorted(params.items()))


def _no_json(said: str) -> Answer:
    return as_json(404, {"error": said})


def json_path(path: str) -> str:
    """Where a page is as JSON."""
    return "/index.json" if path == "/" else path + ".json"


def as_json(status: int, value: object) -> Answer:
    """A value as JSON, without infinity or NaN: they become null."""
    return Answer(status, base.JSON, msgspec.json.encode(value) + b"\n", base.headers())


def _query(text: str, names: frozenset[str]) -> dict[str, str]:
    """The parameters of a query that a page takes, the first of each name."""
    if not names or not text:
        return {}
    try:
        found = parse_qs(text, errors="replace", max_num_fields=64)
    except ValueError:  # too many
        return {}
    return {name: found[name][0][:_QUERY_CHARACTERS] for name in names if name in found}
