"""The stages on arrays: what is measured, told and kept."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from bench.performance.in_process import MOST_TURNS, ROLES, Shape
from bench.performance.member_stores import measure_stores
from bench.performance.stages import Found, figure, measure, shapes, table, turns_of


@pytest.fixture(scope="module")
def found() -> Found:
    """One small shape and two small stores."""
    return Found(measure(Shape(16, members=500), 128), measure_stores((1_000, 300_000)))


def test_every_stage_is_measured_whole_and_by_its_parts(found: Found) -> None:
    """All roles and `publish`, each entry point, and within it the parts and what no part has taken."""
    whole = {(one.stage, one.part) for one in found.stages if ":" not in one.part}
    assert {(role, entry) for role in ROLES for entry in ("step", "checkpoint")} | {("publish", "apply")} <= whole
    for stage, entry in whole:
        inside = [one for one in found.stages if one.stage == stage and one.part.startswith(f"{entry}: ")]
        assert any(one.part == f"{entry}: the rest" for one in inside)
        assert all(one.ns_per_row > 0 for one in inside)
    decoded = next(one for one in found.stages if one.part == "step: decode JSON")
    assert (decoded.stage, decoded.rows, decoded.repetitions) == ("seal", 16, 8)


def test_a_figure_is_the_median_by_row_and_measurement() -> None:
    """Four turns of 100 rows and 2 measurements: the median turn, by 200 rows, and the range of the middle half."""
    one = figure(Shape(100, measurements=2), "seal", "step", [1e-3, 2e-3, 2e-3, 9e-3])
    assert (one.ns_per_row, one.us_per_turn, one.repetitions) == (10_000.0, 2_000.0, 4)
    low, high = np.percentile([1e-3, 2e-3, 2e-3, 9e-3], (25, 75))
    assert one.spread == pytest.approx((high - low) / 2e-3, abs=1e-3)


def test_the_records_are_plain_data(found: Found) -> None:
    """They go to JSON and come back, and the table has a line for each."""
    kept = asdict(found)
    assert json.loads(json.dumps(kept)) == kept
    assert len(table(found).splitlines()) == len(found.stages) + len(found.stores) + 3


def test_stores_say_what_a_member_takes(found: Found) -> None:
    """Bytes by member are the store's own; a lookup takes time, and the promise of 40 bytes holds for many members."""
    small, large = found.stores
    assert (small.members, large.members) == (1_000, 300_000)
    assert 22 < large.bytes_per_member <= 40
    assert large.peak_bytes_per_member >= large.bytes_per_member
    assert large.lookups_per_second == pytest.approx(1e9 / large.ns_per_lookup, rel=0.01)


@pytest.mark.parametrize("quick", [True, False])
def test_one_thing_is_varied_at_a_time(quick: bool) -> None:
    """Every shape differs from the first in rows or one other thing, and is good for its turns twice over."""
    base, *others = shapes(quick)
    assert (base.rows, base.cells, base.measurements, base.members) == (4_096, 20, 1, 100_000)
    for shape in others:
        different = {name for name, value in asdict(shape).items() if value != getattr(base, name)}
        assert len(different - {"rows"}) <= 1
        assert different
        assert 2 * turns_of(shape, 160_000) < MOST_TURNS
