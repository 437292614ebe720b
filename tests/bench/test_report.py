"""The page is made by the campaign alone, from end to end, and the committed one says what its summary says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from bench.accuracy import campaign, pipeline, report
from bench.accuracy.campaign import Size
from bench.accuracy.coverage import Claim

pytestmark = pytest.mark.slow

DOCS = Path(__file__).parents[2] / "docs"
TINY = Size(30_000, 4, 2, 2, 1, pipeline.Size(days=2, rows=2_000, members=8_000), chunk=4)


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """A campaign of almost nothing, through all of its parts and through JSON, as it is kept."""
    return {name: json.loads(json.dumps(part(TINY, 1), allow_nan=False)) for name, part in campaign.PARTS.items()}


@pytest.fixture(scope="module")
def written(found: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Claim]]:
    """The folder of its page, and the required claims that fail."""
    folder = tmp_path_factory.mktemp("page")
    return folder, report.write(found, folder)


def test_every_part_comes_into_the_page(written: tuple[Path, list[Claim]]) -> None:
    """Every section, figure and verdict is there, and the summary holds the same claims."""
    folder, failed = written
    page = (folder / "accuracy.md").read_text()
    for figure in re.findall(r"\(accuracy/(\w+\.png)\)", page):
        assert (folder / "accuracy" / figure).stat().st_size > 5_000
    assert len(re.findall(r"^!\[", page, re.MULTILINE)) == 4
    summary = json.loads((folder / "accuracy" / "summary.json").read_text())
    assert {c["text"] for c in summary["claims"] if c["required"] and not c["holds"]} == {c.text for c in failed}
    assert all(claim["text"] in page for claim in summary["claims"])
    assert len(summary["fields"]) == len(summary["intervals"][0])
    assert "## Peers' tools" not in page


def test_the_same_figures_give_the_same_bytes(
    found: dict[str, Any], written: tuple[Path, list[Claim]], tmp_path: Path
) -> None:
    """Nothing of the page depends on when or where it is written."""
    report.write(found, tmp_path)
    files = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert len(files) == 6
    for file in files:
        assert (tmp_path / file).read_bytes() == (written[0] / file).read_bytes(), file


def test_peers_tools_come_from_their_file(tmp_path: Path) -> None:
    """Where docs/accuracy/peers.json is, its table is a section of the page."""
    assert report._tools(tmp_path) == ""
    rows = [["evenstream", 0.5], ["another", 0.6]]
    value = {"text": "Log-loss of the proxy.", "columns": ["tool", "log-loss"], "rows": rows}
    (tmp_path / "peers.json").write_text(json.dumps(value))
    expected = "## Peers' tools\n\nLog-loss of the proxy.\n\n| tool | log-loss |"
    assert report._tools(tmp_path).startswith(expected)


def test_all_windows_of_the_pipeline_are_published(found: dict[str, Any]) -> None:
    """Four base windows and one roll-up a day, in every planted world, none of them void."""
    events = found["pipeline"]["events"]
    for world in pipeline.GAPS:
        assert events[f"{world}, 6h: windows"] == 8
        assert events[f"{world}, 1d: windows"] == 2
        assert f"{world}, 6h: void" not in events
    assert events["rows"] == 3 * 2 * 2_000


def test_the_committed_page_is_that_of_its_summary() -> None:
    """The full campaign was run: 2,000 windows a world, and every claim of the summary is in the page as it stands."""
    page = (DOCS / "accuracy.md").read_text()
    summary = json.loads((DOCS / "accuracy" / "summary.json").read_text())
    assert summary["repetitions"] >= 2000
    for claim in summary["claims"]:
        assert claim["text"] in page
        assert claim["found"] in page
