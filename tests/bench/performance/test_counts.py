"""The guard against code that becomes dearer: what a batch takes is what ``counts.json`` keeps."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from bench.performance import counts
from bench.performance.counting import Counted
from bench.performance.counts import COMMAND, KEPT, ROWS, STEPS_A_ROW, Cost, Kept, Moved, moved, told

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
COST = Cost(steps_a_batch=4_000, steps_a_row=0.0, bytes_a_batch=10_000, bytes_a_row=300.0)


def _moved(now: Cost, python: str = PYTHON) -> list[tuple[str, str]]:
    return [(one.function, one.what) for one in moved(Kept(python, "2", {"f": COST}), {"f": now})]


def test_a_batch_takes_what_is_kept() -> None:
    """Nobody has made a hot function dearer, or cheaper, without saying so in the file."""
    differences = moved(counts.read(), counts.count())
    assert not differences, "\n" + told(differences)


def test_no_stage_takes_a_python_step_a_row_but_where_events_are_decoded() -> None:
    """`attach` and the parties handle rows as arrays only; `seal` does from the decoded columns on."""
    by_row = {name for name, cost in counts.read().costs.items() if cost.steps_a_row > STEPS_A_ROW}
    assert by_row <= {"seal.step", "shard._sort_out"}


def test_costs_are_what_a_batch_and_what_a_row_take() -> None:
    """Two lengths of a batch tell apart what is paid once a batch and what for each row."""
    few, many = (Counted(500 + 3 * rows, 7_000 + 16 * rows) for rows in ROWS)
    assert Cost.of(few, many) == Cost(500, 3.0, 7_000, 16.0)


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"steps_a_row": 3.0}, "steps_a_row"),
        ({"steps_a_batch": 4_300}, "steps_a_batch"),
        ({"bytes_a_row": 308.0}, "bytes_a_row"),
        ({"bytes_a_row": 250.0}, "bytes_a_row"),
        ({"bytes_a_batch": 50_000}, "bytes_a_batch"),
    ],
)
def test_what_moves_is_told(changed: dict[str, float], what: str) -> None:
    """A loop over rows, one more array of 8 bytes a row, and one fewer are all beyond the tolerance."""
    assert _moved(msgspec.structs.replace(COST, **changed)) == [("f", what)]


def test_chance_is_within_the_tolerance() -> None:
    """What differs between runs of the same code does not fail anybody's build."""
    near = msgspec.structs.replace(COST, steps_a_row=0.1, steps_a_batch=4_050, bytes_a_row=301.0, bytes_a_batch=9_000)
    assert _moved(near) == []


def test_another_python_still_sees_a_loop_over_rows() -> None:
    """Steps of another version of Python are compared loosely, but a loop where there was none is seen in each."""
    assert _moved(msgspec.structs.replace(COST, steps_a_batch=5_000), "2.7") == []
    assert _moved(msgspec.structs.replace(COST, steps_a_row=3.0), "2.7") == [("f", "steps_a_row")]


def test_functions_that_come_and_go_are_told() -> None:
    """A function that is counted no more is no longer guarded, and a new one not yet."""
    found = moved(Kept(PYTHON, "2", {"old": COST}), {"new": COST})
    assert [(one.function, one.difference) for one in found] == [("new", "new"), ("old", "gone")]


def test_the_table_says_what_to_do() -> None:
    """Function, what is kept, what was counted, the difference, and the command that rewrites the file."""
    one = Moved("seal.step", "steps_a_row", 129.0, 132.0)
    text = told([one, replace(one, what="bytes_a_row", kept=0.0)])
    assert "seal.step  steps a row  129   132      +3.0 (+2.3 %)" in text
    assert "+132.0" in text
    assert COMMAND in text
    assert KEPT.name in text


def test_the_file_reads_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written is what is read, with the version of Python that it was counted with."""
    monkeypatch.setattr(counts, "KEPT", tmp_path / "counts.json")
    counts.write({"f": COST})
    assert counts.read().costs == {"f": COST}
    assert counts.read().python == PYTHON
