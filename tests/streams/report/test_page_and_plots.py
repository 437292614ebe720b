"""Pages and plots: self-contained, escaped, deterministic; and a message where matplotlib is missing."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from streams.errors import InputError, PrerequisiteMissing
from streams.report import page, plots
from streams.report.numbers import interval, width

EVIL = "<script>alert('x')</script>&\""
BARS = [plots.Bar("white", "weighted", 0.5, 0.4, 0.6), plots.Bar("black+native", "corrected", 0.4, 0.2, 0.5)]


class Outline(HTMLParser):
    """Tags that are open at the end, all tags, and all attributes that could load something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.sources: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember a tag."""
        self.tags.add(tag)
        self.sources += [
            value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "data", "action")
        ]
        if tag not in ("meta", "path", "use", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """One that ends at once."""
        self.handle_starttag(tag, attrs)
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        """Close a tag."""
        if tag in self.open:
            assert self.open.pop() == tag


def test_a_page_escapes_everything() -> None:
    """Whatever a spec's purpose or a group's name holds, it is text, in plots as well."""
    bars = [plots.Bar(EVIL, "weighted", 0.5, 0.4, 0.6)]
    svg = plots.svg(plots.intervals([EVIL], bars, bars), EVIL)
    text = page.page(
        EVIL,
        [
            page.heading(EVIL),
            page.paragraph(EVIL, "notice"),
            page.table([EVIL], [[EVIL]], EVIL),
            page.figure(svg, EVIL),
        ],
    )
    assert "<script" not in text
    assert "script" not in Outline(text).tags
    assert Outline(text).open == []


def test_a_page_loads_nothing() -> None:
    """No script, no style sheet, no image, no address but the names of SVG's vocabularies."""
    svg = plots.svg(plots.intervals(["white", "black"], BARS, BARS), "one")
    text = page.page("title", [page.figure(svg, "caption")])
    outline = Outline(text)
    assert outline.tags.isdisjoint({"script", "link", "img", "iframe", "object", "embed"})
    assert all(source.startswith("#") for source in outline.sources)
    assert set(re.findall(r"https?://[^\s\"'<)]+", text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert "@import" not in text


def test_plots_are_the_same_every_time_and_their_ids_differ() -> None:
    """Drawn twice, the same bytes; two figures of a page share no id."""

    def draw(salt: str) -> str:
        return plots.svg(plots.intervals(["white", "black"], BARS, BARS), salt)

    assert draw("one") == draw("one")
    ids = [set(re.findall(r' id="([^"]+)"', draw(salt))) for salt in ("one", "two")]
    assert ids[0].isdisjoint(ids[1])
    references = set(re.findall(r"(?:url\(#|href=\"#)([^\")]+)", draw("one")))
    assert references <= ids[0]


def test_widths_can_be_drawn_and_saved() -> None:
    """A panel an estimator, as SVG and as PNG; nothing to draw is an empty picture, no error."""
    panels = {"weighted": {"black": [(10.0, 0.2), (60.0, 0.08)]}, "corrected": {"black": [(60.0, 0.1)]}}
    made = plots.widths(panels, {"10s": 10.0})
    assert plots.image(made, ".svg").startswith(b"<?xml")
    assert plots.image(made, ".png").startswith(b"\x89PNG")
    assert b"black" in plots.image(made, ".svg")
    assert plots.image(plots.widths({}, {}), ".svg").startswith(b"<?xml")


def test_without_matplotlib_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is named, in the command that installs it."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(PrerequisiteMissing, match=r"pip install 'evenstream\[plots\]'"):
        plots.require_matplotlib()


def test_a_path_that_cannot_be_written_is_a_message(tmp_path: Path) -> None:
    """A folder that is not there is told by name."""
    with pytest.raises(InputError, match="cannot be written"):
        page.write(tmp_path / "none" / "page.html", "text")


def test_numbers_are_short_and_signed() -> None:
    """Three decimals, a dash for nothing, small widths with one more."""
    assert interval(None) == "-"
    assert (width(None), width(0.1234), width(0.00123)) == ("-", "0.123", "0.0012")
