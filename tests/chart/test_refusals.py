"""Wrong values are refused, each with a message that names the value, what came or is missing, and what to do.

A file of ``refusals`` is one mistake of an operator's. Its first line has what the message must say, in parts with
``|`` between them, of which the first says where: a place, as a schema has it, or the value's name.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from chart.rendering import refusal

pytestmark = pytest.mark.chart

FILES = sorted((Path(__file__).parent / "refusals").glob("*.yaml"))


def _words(file: Path) -> list[str]:
    first = file.read_text().splitlines()[0]
    assert first.startswith("# ")
    return first[2:].split(" | ")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_wrong_values_are_refused(file: Path) -> None:
    """The message has the words that the file asks for, and nothing of a template's inside."""
    told = refusal(yaml.safe_load(file.read_text()))
    for word in _words(file):
        assert word in told
    # What is said where a template runs into a value that nobody has checked.
    for inside in ("nil pointer", "error calling", "wrong type for value", "YAML parse error"):
        assert inside not in told
    assert "hunter2" not in told, "a message must not repeat a password"


def test_each_file_says_where() -> None:
    """Each file names the value, and there are many; two files are never one mistake."""
    assert len(FILES) >= 20
    for file in FILES:
        where = _words(file)[0]
        assert where.startswith("at '") or "." in where or where in ("nothing is enabled", 'deployment is "Fair"')
    assert len({file.read_text() for file in FILES}) == len(FILES)
    numbers = [int(file.name.partition("-")[0]) for file in FILES]
    assert numbers == list(range(1, len(FILES) + 1))
