"""What all pages have in common: the HTML around them, the headers that keep them by themselves, and their pieces.

Everything comes from this server: one style, one script, no picture from elsewhere, and nothing that remembers a
visitor. The policy forbids inline scripts and styles. Functions here take text and escape it; what is HTML already is
called so. ``streams.report.page`` has further pieces: paragraphs, headings, tables of text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from urllib.parse import quote, urlencode

from streams.report.page import breaks
from streams.watch.pages.assets import address
from streams.watch.routes import Answer

HTML = "text/html; charset=utf-8"
JSON = "application/json"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
NO_AUTOMATISM = (
    "Nothing here changes a ranking by itself: people decide what follows. Every rate of a group, and every gap, "
    "follows from sums over many people with random noise added."
)

_TAG = re.compile("<[^>]*>")
Navigation = Sequence[tuple[str, str]]
"""(path, label)."""


def headers(*, form: bool = False) -> tuple[tuple[str, str], ...]:
    """What keeps an answer by itself.

    Args:
        form: the page holds a form. Under ``no-referrer`` browsers say ``Origin: null`` when it is sent, as a
            stranger's page may; under ``same-origin`` they say where it was, and no other site hears of it either.
    """
    return (
        ("Content-Security-Policy", POLICY),
        ("Referrer-Policy", "same-origin" if form else "no-referrer"),
        ("X-Frame-Options", "DENY"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
        ("Permissions-Policy", "camera=(), geolocation=(), microphone=()"),
    )


def answer(
    status: int,
    title: str,
    parts: Iterable[str],
    more: tuple[tuple[str, str], ...] = (),
    *,
    navigation: Navigation = (),
    here: str = "",
    version: str = "",
    live: bool = False,
    json: str | None = None,
    form: bool = False,
) -> Answer:
    """A page as an answer.

    Args:
        title: text; also the page's only heading of the first rank.
        parts: HTML of the main part.
        more: headers.
        navigation: the pages that every page links to; ``here`` is the path of this one.
        version: of what is shown; ``live``: the page is fetched again when there is another.
        json: where the same is to be had as JSON.
        form: see :func:`headers`.
    """
    links = "".join(f"<li>{_nav_link(path, label, here)}</li>" for path, label in navigation)
    menu = f'<header><nav aria-label="Pages"><ul>{links}</ul></nav></header>' if links else ""
    as_json = f' <a href="{escape(json)}">This page as JSON</a>.' if json else ""
    state = f' data-version="{escape(version)}" data-live="{"yes" if live else "no"}"'
    body = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n"
        f'<link rel="stylesheet" href="{address("evenstream.css")}">\n'
        f'<link rel="icon" href="{address("icon.svg")}" type="image/svg+xml">\n'
        f'<script src="{address("live.js")}" defer></script>\n'
        f'</head>\n<body>\n<a class="skip" href="#main">Skip to the content</a>\n{menu}\n'
        f'<main id="main" tabindex="-1"{state}>\n<h1>{escape(title)}</h1>\n'
        + "\n".join(parts)
        + f"\n</main>\n<footer><p>{escape(NO_AUTOMATISM)}{as_json}</p></footer>\n"
        # The first is read out by screen readers, in a pause; the second is a clock for eyes.
        '<p id="live" class="unseen" role="status"></p>\n<p id="updated" aria-hidden="true"></p>\n</body>\n</html>\n'
    )
    return Answer(status, HTML, body.encode("utf-8", "replace"), (*headers(form=form), *more))


def _nav_link(path: str, label: str, here: str) -> str:
    inside = here == path or (path != "/" and here.startswith(path + "/"))
    current = ' aria-current="page"' if here == path else ' aria-current="true"' if inside else ""
    return f'<a href="{escape(path)}"{current}>{escape(label)}</a>'


# -- pieces -----------------------------------------------------------------------------------------------------------


def path_of(*parts: str | int, query: Mapping[str, str] | None = None, ending: str = "") -> str:
    """A path from its parts, percent-encoded: ``path_of("measurements", "feed", ending=".json")``."""
    path = "/" + "/".join(quote(str(part), safe="") for part in parts) + ending
    return path + ("?" + urlencode(query) if query else "")


def link(href: str, text: str) -> str:
    """A link; ``href`` is a path, encoded (:func:`path_of`)."""
    return f'<a href="{escape(href)}">{escape(text)}</a>'


def definitions(facts: Iterable[tuple[str, str]]) -> str:
    """A list of (name, HTML)."""
    return "<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{html}</dd>" for name, html in facts) + "</dl>"


def rich_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], caption: str, *, row_headings: bool = True
) -> str:
    """A table of HTML cells; with ``row_headings`` the first cell of each row is that row's heading.

    It can be wider than a telephone: then it scrolls, also by keyboard, and is named for who does not see it. Only
    cells with a sentence in them are broken into lines: numbers and moments stay in one.
    """
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    first = 1 if row_headings else 0
    body = "\n".join(
        "<tr>"
        + "".join(f'<th scope="row"{_breaks(cell)}>{cell}</th>' for cell in row[:first])
        + "".join(f"<td{_breaks(cell)}>{cell}</td>" for cell in row[first:])
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def _breaks(cell: str) -> str:
    return breaks(*_TAG.split(cell))


def choices(name: str, options: Iterable[tuple[str, str, bool]]) -> str:
    """A row of links of which one is chosen: (label, path, whether it is the chosen one)."""
    items = "".join(
        f'<li><span aria-current="true">{escape(label)}</span></li>' if chosen else f"<li>{link(path, label)}</li>"
        for label, path, chosen in options
    )
    return f'<ul class="choices" aria-label="{escape(name)}"><li class="name">{escape(name)}</li>{items}</ul>'
