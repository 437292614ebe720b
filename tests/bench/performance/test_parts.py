"""Clocks around the parts of a stage: their times add up, and nothing of them stays."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from bench.performance import parts
from bench.performance.in_process import Shape, Turns
from bench.performance.parts import PARTS, clocks
from secure_agg.envelopes import DataKey
from streams.records.batches import SharesBatch
from streams.roles import attach


def test_every_part_is_where_the_table_says(tmp_path: Path) -> None:
    """All that the table names is met by one turn of all roles: no clock is around code that nothing calls."""
    turns = Turns(Shape(32, cells=8, members=200, channels=("table", "rectifier", "moments")), tmp_path)
    turns.run(2, lambda role, entry, call: call() and None)
    with clocks() as watched:
        turns.run(2, lambda role, entry, call: call() and None)
    assert set(watched.own) == set(PARTS)
    assert all(seconds > 0 for seconds in watched.own.values())


def test_a_parts_time_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time within a part that another part takes is the other's, so that the parts add up to the whole."""

    class Work:
        def outer(self) -> None:
            _spin(0.02)
            self.inner()

        def inner(self) -> None:
            _spin(0.06)

    monkeypatch.setattr(parts, "Work", Work, raising=False)
    monkeypatch.setattr(
        parts, "PARTS", {"outer": (f"{parts.__name__}:Work.outer",), "inner": (f"{parts.__name__}:Work.inner",)}
    )
    with clocks() as watched:
        begun = time.thread_time()
        Work().outer()
        whole = time.thread_time() - begun
    assert watched.own["inner"] >= 0.06
    assert 0.02 <= watched.own["outer"] < 0.06
    assert sum(watched.own.values()) <= whole


def test_the_clocks_come_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Afterwards the code is as it was, class methods and failures included."""
    before = attach.split, DataKey.__dict__["seal"], SharesBatch.__dict__["decode"]
    with pytest.raises(KeyError), clocks():
        assert attach.split is not before[0]
        raise KeyError
    assert (attach.split, DataKey.__dict__["seal"], SharesBatch.__dict__["decode"]) == before


def test_a_part_that_has_moved_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who renames a function is told which line to change, and no clock is left on."""
    before = attach.split
    monkeypatch.setattr(
        parts, "PARTS", {"split": ("streams.roles.attach:split",), "gone": ("streams.roles.attach:NoStage.gone",)}
    )
    with pytest.raises(LookupError, match="NoStage"), clocks():
        pass
    assert attach.split is before


def _spin(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
