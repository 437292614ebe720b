"""A document that is written once and shown twice: as one self-contained HTML page, and as Markdown.

Both say the same, since both are made from the same blocks. Text is text: whatever a spec or a topic says is escaped in
both, so that nothing in it is markup.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from streams.report import page


@dataclass(frozen=True)
class Heading:
    """A section's heading; level 2 or 3."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """Prose; ``kind`` "notice" or "promise" makes it stand out."""

    text: str
    kind: str | None = None


@dataclass(frozen=True)
class Listing:
    """Items without an order."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Command:
    """A line that may be typed."""

    text: str


@dataclass(frozen=True)
class Grid:
    """A table; the first cell of each row is the row's own heading."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


Block = Heading | Paragraph | Listing | Command | Grid


@dataclass(frozen=True)
class Document:
    """A title and its blocks."""

    title: str
    blocks: tuple[Block, ...]

    def html(self) -> str:
        """One page: no script, no external resource."""
        return page.page(self.title, ["<main>", *map(_html, self.blocks), "</main>"])

    def markdown(self) -> str:
        """The same contents."""
        return "\n\n".join([f"# {_escaped(self.title)}", *(_markdown(block) for block in self.blocks)]) + "\n"


def _html(block: Block) -> str:
    if isinstance(block, Heading):
        return page.heading(block.text, block.level)
    if isinstance(block, Paragraph):
        return page.paragraph(block.text, block.kind)
    if isinstance(block, Listing):
        return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in block.items) + "</ul>"
    if isinstance(block, Command):
        return f"<pre><code>{escape(block.text)}</code></pre>"
    return page.table(block.columns, block.rows, block.caption, row_headings=True)


def _markdown(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {_escaped(block.text)}"
    if isinstance(block, Paragraph):
        return f"> {_escaped(block.text)}" if block.kind else _escaped(block.text)
    if isinstance(block, Listing):
        return "\n".join(f"- {_escaped(item)}" for item in block.items)
    if isinstance(block, Command):
        return "\n".join(f"    {line}" for line in block.text.splitlines())
    return "\n".join([f"**{_escaped(block.caption)}**", "", *_rows(block)])


def _rows(block: Grid) -> Iterator[str]:
    yield _row(block.columns)
    yield _row(("---",) * len(block.columns), raw=True)
    yield from map(_row, block.rows)


def _row(cells: tuple[str, ...], *, raw: bool = False) -> str:
    return "| " + " | ".join(cell if raw else _escaped(cell) for cell in cells) + " |"


_SPECIAL = re.compile(r"([\\`*_{}\[\]|~])")
_AT_THE_START = re.compile(r"^([#+=-]|\d+(?=[.)](?:\s|$)))")
_LINKS_OF_THEIR_OWN = (("://", "&#58;//"), ("www.", "www&#46;"), ("@", "&#64;"))
"""What GitHub's Markdown makes a link of without being asked."""


def _escaped(text: str) -> str:
    """Text as Markdown shows it: on one line, without markup, tags or links of its own."""
    line = _SPECIAL.sub(r"\\\1", escape(" ".join(text.split()), quote=False))
    line = _AT_THE_START.sub(lambda found: found[1] + "\\" if found[1].isdigit() else "\\" + found[1], line)
    for plain, harmless in _LINKS_OF_THEIR_OWN:
        line = line.replace(plain, harmless)
    return line
