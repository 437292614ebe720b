"""The page is written from figures alone, part by part."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.performance import page
from bench.performance.campaign import PARTS, Part
from bench.performance.comparison_section import Verdict

_MACHINE = {"date": "2026-01-01", "commit": "abc", "load before": "0.1", "cores": "2"}


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two parts: one that is told, judged and drawn, and one that is only measured."""
    monkeypatch.setattr(page, "PARTS", {
        "told": Part(
            lambda place: None,
            lambda found: f"## Told\n\n{found['told']} ![](performance/told.svg)",
            lambda found: [Verdict("fast", "slow", False), Verdict("small", "small", True)],
            lambda found, folder: [folder / "drawn-line.svg", folder / "told.svg"],
        ),
        "silent": Part(lambda place: None, lambda found: ""),
    })  # fmt: skip


@pytest.mark.usefixtures("parts")
def test_the_page_holds_what_the_figures_say(tmp_path: Path) -> None:
    """Verdicts, the machine, the command that measures each part anew, each part's text, and its plots."""
    (tmp_path / "performance").mkdir()
    kept = {"machine": _MACHINE, "quick": False, "seconds": 7}
    told = page.write({"told": kept | {"figures": 42}, "silent": kept | {"figures": []}}, tmp_path)
    text = (tmp_path / "performance.md").read_text()
    assert "**1 of 2 met.**" in text
    assert "## Told\n\n42 " in text
    assert "| told | `make bench PARTS=told` | 7 s |" in text
    assert "too short" not in text
    assert "![Drawn line](performance/drawn-line.svg)" in text
    assert text.count("told.svg") == 1
    assert told.splitlines()[0].startswith("missed")


@pytest.mark.usefixtures("parts")
def test_a_quick_run_says_so(tmp_path: Path) -> None:
    """Figures of a quick run are not to be quoted, and the page says it; parts that were not measured are absent."""
    (tmp_path / "performance").mkdir()
    page.write({"silent": {"machine": _MACHINE, "quick": True, "seconds": 7, "figures": []}}, tmp_path)
    text = (tmp_path / "performance.md").read_text()
    assert "too short to be quoted" in text
    assert "`make bench-quick PARTS=silent`" in text
    assert "## Told" not in text


def test_parts_are_named_as_the_command_has_them() -> None:
    """PARTS of `make bench` are words without spaces."""
    assert all(name.isidentifier() for name in PARTS)
