"""Pictures in pages: where they are, and what they say to who does not see them.

A picture is an SVG of its own, drawn on demand by another process (``streams.watch.charts``), light or dark as the
reader's system is. The page works without it: the table beside it has the same numbers.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from html import escape

from streams.watch.chart_request import Wanted
from streams.watch.charts import Charts, ChartUnavailable
from streams.watch.pages.base import path_of
from streams.watch.pages.site import Site
from streams.watch.routes import Answer, Request, Route
from streams.watch.window_history import ShownWindow, ShownWindows, digest

KINDS = ("gaps", "evidence")
THEMES = ("light", "dark", "light-narrow", "dark-narrow")
"""Narrow ones are for telephones: drawn as wide as they are shown, so that their words can be read."""
_LEAST_MS = 5000
_TEXT = "text/plain; charset=utf-8"
_HEADERS = (
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; sandbox"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)


def drawn(windows: Sequence[ShownWindow]) -> Sequence[ShownWindow]:
    """The windows that a picture shows: all, but for the last few where windows are short.

    Drawing takes some tenths of a second: of windows of two seconds, each third one makes a picture anew.
    """
    length_ms = windows[-1].end_ms - windows[-1].start_ms
    step_ms = length_ms * -(-_LEAST_MS // length_ms)
    last_ms = windows[-1].end_ms // step_ms * step_ms
    return windows[: bisect_right(windows, last_ms, key=lambda window: window.end_ms)] or windows


class Pictures:
    """What answers under /charts/.

    Args:
        charts: draws them.
    """

    def __init__(self, site: Site, charts: Charts) -> None:
        self._site = site
        self._charts = charts

    @property
    def routes(self) -> dict[str, Route]:
        """What answers GET."""
        return {"/charts/{kind}/{measurement}/{level}/{metric}/{score_bin}/{estimator}/{theme}.svg": self._answer}

    def _answer(self, request: Request) -> Answer:
        chosen = request.parameters
        snapshot = self._site.snapshot()
        windows = None if snapshot is None else snapshot.of(ShownWindows)
        if snapshot is None or windows is None:
            return Answer(503, _TEXT, b"starting\n", (("Retry-After", "5"),))
        kept = windows.of(chosen["measurement"], chosen["level"])
        known = chosen["kind"] in KINDS and chosen["theme"] in THEMES and chosen["measurement"] in {
            entry.approved.measurement.id for entry in snapshot.shown
        }  # fmt: skip
        said = next((window for window in reversed(kept) if window.status == "published"), None)
        if not known or said is None or not _has(said, chosen):
            return Answer(404, _TEXT, b"there is no such picture\n")
        wanted = Wanted(chosen["kind"], chosen["theme"], chosen["metric"], chosen["score_bin"], chosen["estimator"])
        try:
            shown = drawn(kept)
            svg = self._charts.svg(wanted, shown)
        except ChartUnavailable as error:
            return Answer(503, _TEXT, f"{error}\n".encode(), (("Retry-After", "5"),))
        keep = "public, max-age=300" if request.query == f"v={digest(shown)}" else "no-store"
        return Answer(200, "image/svg+xml", svg, (*_HEADERS, ("Cache-Control", keep)))


def _has(window: ShownWindow, chosen: Mapping[str, str]) -> bool:
    """Whether a window has what is to be drawn: nothing is drawn, or kept, for names that somebody makes up."""
    which = chosen["metric"], chosen["score_bin"], chosen["estimator"]
    return any((r.metric, r.score_bin, r.estimator) == which for r in window.record().results)


def picture(kind: str, where: tuple[str, ...], shown: Sequence[ShownWindow], caption: str) -> str:
    """A picture of windows as HTML; the caption is also what is read out in its place."""
    media = {
        "dark-narrow": "(max-width: 40rem) and (prefers-color-scheme: dark)",
        "light-narrow": "(max-width: 40rem)",
        "dark": "(prefers-color-scheme: dark)",
    }
    query = {"v": digest(shown)}
    address = {theme: escape(path_of("charts", kind, *where, f"{theme}.svg", query=query)) for theme in THEMES}
    sources = "".join(f'<source srcset="{address[theme]}" media="{when}">' for theme, when in media.items())
    return (
        f'<figure><picture>{sources}<img src="{address["light"]}" alt="{escape(caption)}" loading="lazy"></picture>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
