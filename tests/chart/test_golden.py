"""What people install is what was reviewed: rendered manifests are those in ``golden``."""

from __future__ import annotations

import difflib

import pytest
from chart.golden import COMMAND, ENTRIES, FOLDER, manifest

pytestmark = pytest.mark.chart


@pytest.mark.parametrize("file", ENTRIES)
def test_manifests_are_as_reviewed(file: str) -> None:
    """A difference is shown line by line, with the command that accepts it."""
    path = FOLDER / f"{file}.yaml"
    expected = path.read_text() if path.exists() else ""
    lines = difflib.unified_diff(
        expected.splitlines(), manifest(file).splitlines(), f"golden/{path.name}", "rendered now", lineterm="", n=4
    )
    difference = "\n".join(lines)
    if difference:
        pytest.fail(f"{difference}\n\nWhere this is meant: {COMMAND}, and read `git diff`", pytrace=False)


def test_no_file_is_left_over() -> None:
    """Each file is of an entry."""
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(ENTRIES)
