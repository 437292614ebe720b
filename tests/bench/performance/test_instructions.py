"""Instructions by valgrind: how figures are read and compared; the counting itself takes a minute and is no test."""

from __future__ import annotations

import platform
from pathlib import Path

import msgspec
import pytest

from bench.performance import instructions
from bench.performance.instructions import KEPT, Requests, moved, read_dumps

DUMP = """# callgrind format
desc: Trigger: Client Request: {name}
events: Ir
fn=(1) step
10 {total}
totals: {total}
"""


def test_the_least_figure_of_each_name_is_taken(tmp_path: Path) -> None:
    """A turn in which something else happened (a table that grew) is not what a batch takes."""
    for number, (name, total) in enumerate([("seal.step", 120), ("seal.step", 100), ("a.step", 7), ("", 9)]):
        (tmp_path / f"out.{number}").write_text(DUMP.format(name=name, total=total))
    (tmp_path / "out").write_text("desc: Trigger: Program termination\ntotals: 0\n")
    assert read_dumps(tmp_path) == {"a.step": 7, "seal.step": 100}


def test_no_figures_are_no_success(tmp_path: Path) -> None:
    """Where callgrind left nothing, nothing was compared, and that is said."""
    with pytest.raises(RuntimeError, match="no figures"):
        read_dumps(tmp_path)


def test_what_moves_is_told() -> None:
    """More, fewer, new and gone; a percent is chance, and a fifth where noise is drawn."""
    kept = {"seal.step": 1_000, "a.step": 1_000, "b.step": 1_000, "a.checkpoint": 1_000, "gone": 5}
    lines = moved(kept, {"seal.step": 1_100, "a.step": 900, "b.step": 1_010, "a.checkpoint": 1_200, "new": 6})
    assert [line.split() for line in lines] == [
        ["a.step", "1,000", "900", "-10.0%"],
        ["gone", "5", "-"],
        ["new", "-", "6"],
        ["seal.step", "1,000", "1,100", "+10.0%"],
    ]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the request is code of x86-64")
def test_a_request_does_nothing_without_valgrind() -> None:
    """The sequence that valgrind knows leaves a real processor as it was: the process goes on."""
    requests = Requests()
    for request in (instructions._ZERO, instructions._START, instructions._STOP):
        requests.ask(request)
    requests.ask(instructions._DUMP, b"seal.step")


def test_the_file_has_every_stage() -> None:
    """What is kept is what is counted: each role's step and checkpoint."""
    kept = msgspec.json.decode(KEPT.read_bytes(), type=dict[str, int])
    assert {f"{role}.{entry}" for role in ("seal", "attach", "a", "b") for entry in ("step", "checkpoint")} <= set(kept)


def test_where_there_is_no_valgrind_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is compared, nothing fails, and nobody is left to think that something was."""
    monkeypatch.setattr(instructions.shutil, "which", lambda program: None)
    monkeypatch.setattr(instructions.sys, "argv", ["instructions"])
    assert instructions.main() == 0
    assert "nothing was compared" in capsys.readouterr().err
