"""One document as HTML and as Markdown: the same text in both, and markup in neither."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser

import pytest

from streams.report.document import Command, Document, Grid, Heading, Listing, Paragraph

HOSTILE = (
    "<script>alert(1)</script>",
    "</td></table><img src=x onerror=alert(1)>",
    "[click](javascript:alert(1)) ![x](http://evil.example/x.png)",
    "a | b `code` *bold* _it_ ~~gone~~ \\ & &lt;",
    "# heading\n- item\n1. one\n\n> quote\n<!-- -->",
    "see www.evil.example or a@evil.example or https://evil.example",
    "- item",
    "1. one",
    "+ plus",
    "= line",
)


class Seen(HTMLParser):
    """Tags and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def document(text: str) -> Document:
    """Every kind of block, with one text in every place of it."""
    blocks = (
        Heading(text),
        Paragraph(text),
        Paragraph(text, "notice"),
        Listing((text, "item")),
        Grid(text, (text, "column"), ((text, text),)),
        Command("evenstream transparency --out page"),
    )
    return Document(text, blocks)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_inert_in_html(text: str) -> None:
    """No tag and no attribute comes from a text, and the text is shown as it was written."""
    as_long = "n" * len(text)  # a cell with a long text may be broken into lines
    seen, plain = Seen(document(text).html()), Seen(document(as_long).html())
    assert (seen.tags, seen.attributes) == (plain.tags, plain.attributes)
    assert seen.text.count(text) == plain.text.count(as_long) == 10


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_inert_in_markdown(text: str) -> None:
    """No tag, link, table cell or line comes from a text; unescaped, it reads as it was written."""
    found, plain = document(text).markdown(), document("plain").markdown()
    assert "<" not in found
    assert found.count("\n") == plain.count("\n")
    assert re.findall(r"(?<!\\)[|`*\[\]_~]", found) == re.findall(r"(?<!\\)[|`*\[\]_~]", plain)
    assert "://" not in found and "www." not in found and "@" not in found
    read = unescape(re.sub(r"\\([\\`*_{}\[\]|~#+=.)-])", r"\1", found))
    assert read.count(" ".join(text.split())) >= 9
    for line in found.splitlines():
        inner = re.sub(r"^(# |## |> |- |\| )", "", line)
        assert not re.match(r"[#+=>]|- |\d+[.)] ", inner), line


def test_both_hold_the_same_tables() -> None:
    """A table is a table in both, with headings of columns and rows in HTML."""
    shown = Document("t", (Grid("caption", ("what", "much"), (("rho", "0.1"), ("epsilon", "2.7"))),))
    html = shown.html()
    assert html.count('<th scope="col">') == html.count('<th scope="row">') == 2
    assert "<caption>caption</caption>" in html
    assert "| what | much |\n| --- | --- |\n| rho | 0.1 |\n| epsilon | 2.7 |" in shown.markdown()


def test_the_page_stands_alone() -> None:
    """No script, no link and no resource from elsewhere; a language, a title and a character set."""
    html = document("plain").html()
    seen = Seen(html)
    assert set(seen.tags).isdisjoint({"script", "link", "img", "iframe", "object", "form"})
    assert "http" not in html and "url(" not in html and "@import" not in html
    assert '<html lang="en">' in html and '<meta charset="utf-8">' in html and "<main>" in html
