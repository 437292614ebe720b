"""The commands of the runbooks: which there are, and that those which are run on their own read only."""

from __future__ import annotations

import re

import pytest
from runbooks import CHANGES, FOLDER, PAGES, PROGRAMS, READS, lines_of, missing, read_lines

# What each of ours that also changes things must say, so as not to.
READING = {
    "alerts": r"(list|render)",
    "ledger": r"(show|verify)",
    "measurement": r"(status|history|verify|check)",
    "retention": r"check",
    "review": r"(list|show)",
    "scale": r"(seal|attach)$",
    "settings": r"--current",
    "topics": r"create --check",
}
ALWAYS = {"doctor", "recompute", "tail"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_page_has_commands_that_are_marked(page) -> None:  # type: ignore[no-untyped-def]
    """Each block says whether it reads or changes, and each page has something to look with."""
    lines = list(lines_of(page))
    assert {line.kind for line in lines} <= {READS, CHANGES}
    assert any(line.kind == READS for line in lines)


@pytest.mark.parametrize("line", read_lines(), ids=lambda line: line.text)
def test_what_reads_changes_nothing(line) -> None:  # type: ignore[no-untyped-def]
    """A test runs these by themselves, and a person at night without thinking."""
    assert set(line.programs) <= set(PROGRAMS)
    assert not re.search(r"--yes|--prune|-X |--data| -d |>", re.sub(r"\"[^\"]*\"", "", line.text))
    if line.evenstream is not None and line.evenstream not in ALWAYS:
        words = line.text.partition("  #")[0].split(maxsplit=2)
        assert re.match(READING[line.evenstream], words[2].strip()), line.text


def test_pages_name_commands_that_exist() -> None:
    """Of commands that other parts of this change bring, the names that are missing still."""
    assert missing() == set()


def test_the_list_of_pages_sets_every_variable() -> None:
    """Whoever pastes the block can run every page."""
    used = {name for line in read_lines() for name in re.findall(r"\$(\w+)", line.text)}
    set_there = set(re.findall(r"\b([A-Z]+)=", (FOLDER / "README.md").read_text()))
    assert used <= set_there
