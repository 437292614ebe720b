"""One self-contained HTML page: no script, no external resource, everything escaped.

The same input gives the same bytes.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from hashlib import sha256
from html import escape
from pathlib import Path

from streams.errors import InputError

_LINE_CHARACTERS = 34
"""Of a table's cell that stays in one line."""

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 68rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
h3 { font-size: 1rem; margin-top: 1.8rem; }
p { max-width: 46rem; }
table { border-collapse: collapse; margin: 1rem 0; font-size: .875rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { padding: .25rem .8rem .25rem 0; text-align: left; border-bottom: 1px solid #ddd; vertical-align: top; }
th { border-bottom: 1px solid #888; font-weight: 600; }
.scroll { overflow-x: auto; }
.notice { border-left: 6px solid #b00020; background: #fdecee; padding: .6rem 1rem; max-width: 46rem; }
.promise { border-left: 6px solid #00695c; background: #e6f3f1; padding: .6rem 1rem; max-width: 46rem; }
tbody th { border-bottom: 1px solid #ddd; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: #f4f4f4; padding: .6rem 1rem; }
td, th { overflow-wrap: anywhere; }
@media print { body { margin: 0; max-width: none; font-size: 11pt; } .scroll { overflow: visible; }
  h2, h3, caption { break-after: avoid; } tr { break-inside: avoid; } }
figure { margin: 1rem 0; } figcaption { font-size: .875rem; color: #444; }
svg { max-width: 100%; height: auto; }
"""


def page(title: str, parts: Iterable[str], style: str = "") -> str:
    """A page from its title (text) and its parts (HTML, made by the functions below); ``style`` is CSS of its own."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}{style}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def style_source(style: str = "") -> str:
    """What a Content-Security-Policy must name so that a page's style, and no other, is used."""
    return f"'sha256-{b64encode(sha256((_STYLE + style).encode()).digest()).decode()}'"


def heading(text: str, level: int = 2) -> str:
    """A section's heading."""
    return f"<h{level}>{escape(text)}</h{level}>"


def paragraph(text: str, kind: str | None = None) -> str:
    """A paragraph; ``kind`` "notice" or "promise" makes it stand out."""
    return f"<p{f' class={chr(34)}{escape(kind)}{chr(34)}' if kind else ''}>{escape(text)}</p>"


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    caption: str | None = None,
    *,
    row_headings: bool = False,
) -> str:
    """A table of text; with ``row_headings`` the first cell of each row is that row's heading."""
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    first = 1 if row_headings else 0
    body = "\n".join(
        "<tr>"
        + "".join(f'<th scope="row"{breaks(cell)}>{escape(cell)}</th>' for cell in row[:first])
        + "".join(f"<td{breaks(cell)}>{escape(cell)}</td>" for cell in row[first:])
        + "</tr>"
        for row in rows
    )
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    # What scrolls can be scrolled by keyboard, and is named for who does not see it.
    named = f' role="region" aria-label="{escape(caption)}"' if caption else ""
    return (
        f'<div class="scroll" tabindex="0"{named}><table>{title}<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n'
        "</tbody></table></div>"
    )


def breaks(*lines: str) -> str:
    """The class of a table's cell with a sentence in it: others stay in one line, as numbers and moments should."""
    return ' class="long"' if max(map(len, lines)) > _LINE_CHARACTERS else ""


def figure(svg: str, caption: str) -> str:
    """A plot, as inline SVG (``streams.report.plots``); its caption tells those who cannot see it what it shows."""
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"


def write(path: Path, content: str | bytes) -> None:
    """Write a file that the user named (InputError where it cannot be)."""
    try:
        if isinstance(content, str):
            path.write_text(content, encoding="utf-8")
        else:
            path.write_bytes(content)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}; name another path") from None
