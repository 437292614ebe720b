"""Turns of all stages in one process: what they are fed with is what the bench says it measures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from bench.performance.in_process import ROLES, START_MS, Shape, Turns, events, measurement, member_ids
from streams.records.batches import SharesBatch
from streams.records.frame import Kind, kind_of
from streams.verified_once import VerifiedOnce


@pytest.mark.parametrize(("measurements", "channels"), [(1, ("table", "moments")), (3, ("table",))])
def test_a_turn_is_one_batch_of_each_measurement(tmp_path: Path, measurements: int, channels: tuple[str, ...]) -> None:
    """Every stage gets one batch a measurement with all rows, and what closes comes out of `publish` with numbers."""
    turns = Turns(Shape(64, cells=8, measurements=measurements, members=500, channels=channels), tmp_path)
    calls: list[tuple[str, str]] = []

    def call_it(role: str, entry: str, call: Callable[[], object]) -> None:
        calls.append((role, entry))
        call()

    turns.run(3, call_it)
    batches = [r.value() or b"" for r in turns.shares[-1] if kind_of(r.value() or b"") is Kind.SHARES]
    assert [SharesBatch.decode(value).header.rows for value in batches] == [64] * measurements
    assert {role for role, _ in calls} == {*ROLES, "publish"}
    assert not any(turns.stage(role).stopped() for role in ROLES)
    published = turns.pipeline.core
    assert not published.refused


def test_every_row_counts(tmp_path: Path) -> None:
    """The dearest case: the window's noised rows are about as many as its events."""
    turns = Turns(Shape(4_096, members=100_000), tmp_path)
    turns.run(2, lambda role, entry, call: call() and None)
    window = next(iter(turns.stage("a")._windows._base.values()), None)
    other = next(iter(turns.stage("b")._windows._base.values()), None)
    assert window is not None
    assert other is not None
    rows = (window.table + other.table).view(np.int64).sum() / 2**20
    # A member's second row of the hour does not count: of 4,096 drawn from 100,000 some 82.
    assert 3_950 < rows <= 4_096


def test_every_role_verifies_for_itself(tmp_path: Path) -> None:
    """Signatures cost what they cost on Kafka, where no role takes another's word."""
    turns = Turns(Shape(8, members=100), tmp_path)
    assert not any(isinstance(c.trusted.identities, VerifiedOnce) for c in turns.pipeline.controls.values())


def test_events_are_those_of_the_bench() -> None:
    """About 170 bytes of JSON with all fields, each time within a second of the start."""
    values = events(np.random.default_rng(1), 200, 1_000, START_MS)
    decoded = [msgspec.json.decode(value) for value in values]
    assert 150 < np.mean([len(value) for value in values]) < 190
    assert {event["member_id"] for event in decoded} <= {i.decode() for i in member_ids(np.arange(1_000))}
    assert all(0 <= event["shown_at"] - START_MS < 1_000 for event in decoded)


@pytest.mark.parametrize("cells", [4, 20, 200])
def test_a_measurement_has_as_many_cells_as_asked_for(cells: int) -> None:
    """Score bins make up the number."""
    assert measurement(0, cells, ("table",)).cell_count == cells


def test_cells_are_fours() -> None:
    """Recommended and clicked are always there, so another number is refused."""
    with pytest.raises(ValueError, match="multiple of 4"):
        measurement(0, 6, ("table",))
