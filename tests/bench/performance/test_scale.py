"""The scale campaign: what is told of figures, what is drawn, and how the model of cost is fitted to them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.performance import plots, scale, scale_fit
from bench.performance.drained import Shape
from bench.performance.paced import Steps
from bench.performance.scale_section import drained_rows, paced_rows, per_event
from streams.errors import EvenstreamError
from streams.sizing.constants import QUANTITIES, Constants, read_constants

Figure = dict[str, Any]
ROLES = ("seal", "attach", "a", "b", "publish")
_STORE = {"peak_bytes_per_member": 40.0, "load_seconds": 1.0, "lookups_per_second": 10_000_000}
PARTS = {"seal": "seal", "attach": "attach", "a": "party", "b": "party", "publish": "publish"}
COSTS = {
    role: {name: 10.0 ** (-6 + 0.4 * place) for place, name in enumerate(names)} for role, names in QUANTITIES.items()
}


def roles(rng: np.random.Generator, factor: float = 1.0, batches: float | None = None) -> dict[str, Figure]:
    """Amounts drawn at random, and the CPU that they cost.

    Args:
        batches: the same for all roles, in place of drawn ones.
    """
    found = {}
    for role in ROLES:
        names = QUANTITIES[PARTS[role]]
        amounts = {name: float(10 ** rng.uniform(2, 4)) for name in names}
        if batches is not None and "batches" in amounts:
            amounts["batches"] = batches
        cpu = sum(COSTS[PARTS[role]][name] * amount for name, amount in amounts.items())
        amounts["seconds"] = amounts.pop("idle")
        found[role] = {
            "batches": 7.0,
            "transactions": 3.0,
            "punctuations": 5.0,
            **amounts,
            "cpu_seconds": factor * cpu,
            "own_seconds": 2.0,
            "own_cpu_seconds": factor * 0.5,
        }
    return found


def drained(seed: int, factor: float = 1.0, log_bytes: int | None = 900, **shape: Any) -> Figure:
    """A point as ``drain`` gives it."""
    whole = {"partitions": 4, "measurements": 1, "batch_rows": 4_096, "cells": 20, "base_ms": 1_000, "axis": "base"}
    whole |= {"rectifier": False, "ahead": 0}
    topics = {name: {"value_bytes": 3_000, "log_bytes": log_bytes} for name in ("events", "sealed", "shares")}
    return {
        "kind": "drained",
        **whole,
        "events": 100,
        "members": 10,
        **shape,
        "roles": roles(np.random.default_rng(seed), factor),
        "topics": topics,
        "resident_bytes": dict.fromkeys(ROLES, 50_000_000 + seed),
    }


def paced(seed: int, rate: float, partitions: int = 4, measurements: int = 1) -> Figure:
    """A point as ``pace`` gives it."""
    return {
        "kind": "paced",
        "partitions": partitions,
        "sources": partitions,
        "members": 10,
        "measurements": measurements,
        "asked_rate": rate,
        "rate": 0.9 * rate,
        "roles": roles(np.random.default_rng(seed), batches=500.0 + seed),
    }


@pytest.fixture(scope="module")
def figures() -> list[Figure]:
    """Points of every axis, enough to find each constant."""
    found = [drained(0), drained(20)]
    found += [drained(number, axis="partitions", partitions=number) for number in (1, 16, 64)]
    found += [drained(100 + number, axis="measurements", measurements=number) for number in (2, 4, 8, 16)]
    found += [drained(200 + number, axis="batch_rows", batch_rows=number) for number in (1, 16, 256)]
    found += [paced(300, 0.0, measurements=0), paced(301, 100.0), paced(302, 10_000.0), paced(303, 100.0, 64)]
    return found


def test_costs_come_back_and_predict_what_they_did_not_see(figures: list[Figure]) -> None:
    """From exact points the fit finds each constant, and every point that is left out is predicted."""
    found = scale.fit(figures)
    for role, costs in COSTS.items():
        assert found["cpu"][role] == pytest.approx(costs, rel=1e-3)
    assert len(found["held_out"]) == len(ROLES) * len(figures)
    assert found["median_error"]["all"] < 1e-3
    assert {one["point"] for one in found["planned"]} == {
        "100 events a second, 4 x 4 partitions",
        "10,000 events a second, 4 x 4 partitions",
        "100 events a second, 64 x 64 partitions",
    }


def test_a_rate_that_was_not_carried_is_not_held_against_the_plan(figures: list[Figure]) -> None:
    """One party lags, or fewer events came: the plan is of those who keep up, so the point is left out of that."""
    lagging, slow = paced(500, 1_000.0), paced(501, 5_000.0)
    lagging["roles"]["b"]["batches"] *= 0.5
    slow["rate"] = 2_000.0
    found = scale.fit([*figures, lagging, slow])
    assert {one["point"] for one in found["planned"]} == {one["point"] for one in scale.fit(figures)["planned"]}
    assert "900 (*)" in scale.section([*figures, lagging])


def test_repetitions_are_left_out_together(figures: list[Figure]) -> None:
    """Two runs of one point that cost twice as much: neither may teach the model what the other then shows."""
    wild = [drained(seed, 2.0, axis="batch_rows", batch_rows=64) for seed in (400, 401)]
    errors = [
        one["error"] for one in scale.fit([*figures, *wild])["held_out"] if one["point"].endswith("batches of 64")
    ]
    assert len(errors) == 2 * len(ROLES)
    assert errors == pytest.approx([-0.5] * len(errors), rel=1e-2)


def test_constants_are_written_whole(figures: list[Figure], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is written is a file that `plan` reads, with the machine, the fit and the least resident sizes in it."""
    target = tmp_path / "constants.json"
    monkeypatch.setattr(scale_fit, "FILE", target)
    found = scale.fit(figures, write=True)
    made = Constants.model_validate_json(target.read_bytes())
    assert made.cpu == found["cpu"]
    assert made.base_bytes["seal"] == 50_000_000
    assert made.base_bytes["attach"] == 50_000_000 - 40 * 10
    assert made.members_per_second == read_constants().members_per_second
    assert "bench.performance.scale" in made.made_by


def test_figures_are_read_from_either_file(figures: list[Figure], tmp_path: Path) -> None:
    """A run's own file holds the list; that of `make bench` has it by part, with the stages beside it."""
    own, bench = tmp_path / "own.json", tmp_path / "figures.json"
    own.write_text(json.dumps(figures))
    bench.write_text(json.dumps({"scale": {"figures": figures}, "stages": {"figures": {"stages": [], "stores": []}}}))
    assert scale.read(own) == (figures, None)
    assert scale.read(bench) == (figures, {"stages": [], "stores": []})


def test_a_point_that_is_not_done_in_time_costs_no_other(
    figures: list[Figure], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is kept as left out, with the reason, and told; the others are measured and fitted."""

    def measured(point: Shape | Steps, *rest: object) -> list[Figure]:
        if point == scale.QUICK_SHAPES[0]:
            raise EvenstreamError("seal: not done in 110 s; see /tmp/logs")
        return [drained(3)]

    monkeypatch.setattr(scale, "_measured", measured)
    found = scale.run(tmp_path, "nowhere", quick=True)
    assert [figure["kind"] for figure in found] == ["left out", "drained"]
    told = scale.section([*figures, *found])
    assert "seal: not done in 110 s" in told
    assert "/tmp/logs" not in told
    assert scale.fit([*figures, found[0]]) == scale.fit(figures)


def test_too_few_points_change_no_constant() -> None:
    """Of two points nothing can be fitted: the constants stay what they were, and nothing is called predicted."""
    found = scale.fit([drained(1), drained(2, axis="partitions", partitions=16)])
    assert found["cpu"]["seal"] == read_constants().cpu["seal"]
    assert found["held_out"] == []


def test_rows_are_medians_by_event(figures: list[Figure]) -> None:
    """Three runs of one point are one row; CPU is by event, whatever the measurements, and bytes by row."""
    runs = [drained(9, factor, axis="measurements", measurements=4) for factor in (1.0, 3.0, 1.5)]
    row = drained_rows(runs, "measurements")[0]
    assert per_event(row, "seal") == pytest.approx(1e6 * 0.5 * 1.5 / 100)
    assert per_event(row, "all") == pytest.approx(5 * per_event(row, "seal"))
    assert row["wire"]["sealed"] == 3_000 / 400
    assert [row["partitions"] for row in drained_rows(figures, "partitions")] == [1, 4, 16, 64]
    assert [row["asked_rate"] for row in paced_rows(figures)] == [100.0, 10_000.0, 100.0]


def test_the_section_follows_from_the_figures_alone(figures: list[Figure]) -> None:
    """Read back from JSON they give the same text, with a table of each kind and what few events cost."""
    told = scale.section(figures)
    assert scale.section(json.loads(json.dumps(figures))) == told
    for words in ("| partitions |", "| measurements |", "| most rows a batch |", "| left out |", "Few events:"):
        assert words in told
    assert "64 x 64 partitions" in told
    widths = {line.count("|") for line in told.splitlines() if line.startswith("| most") or line.startswith("| 256")}
    assert len(widths) == 1


def test_bytes_on_disk_may_be_unknown() -> None:
    """Where the broker is elsewhere there are none, and the section says a dash."""
    away = [drained(1, log_bytes=None), drained(2, log_bytes=None, axis="partitions", partitions=16)]
    assert all(row["disk"] == {} for row in drained_rows(away, "partitions"))
    lines = [line for line in scale.section(away).splitlines() if line.startswith("| 16 |")]
    assert lines[0].endswith("| - |")


def test_plots_are_small_and_the_same_each_time(figures: list[Figure], tmp_path: Path) -> None:
    """One for each axis and layout with two points, below 60 kB, and each is shown in the section, and no other."""
    stores = [{"members": n, "bytes_per_member": 33.0, "ns_per_lookup": 90.0} for n in (10_000, 1_000_000)]
    alike = {"rows": 4_096, "measurements": 1, "members": 100_000, "channels": "table+moments", "cap": 24}
    stages = [{"stage": "a", "part": "step", "cells": n, "ns_per_row": float(n), **alike} for n in (4, 200)]
    first = plots.scale(figures, {"stages": stages, "stores": stores}, tmp_path / "one")
    second = plots.scale(figures, {"stages": stages, "stores": stores}, tmp_path / "two")
    assert [path.name for path in first] == [
        "scale-rate-4-4.svg",
        "scale-partitions.svg",
        "scale-measurements.svg",
        "scale-batch-rows.svg",
        "scale-cells.svg",
        "scale-members.svg",
    ]
    told = scale.section(figures, {"stages": stages, "stores": [store | _STORE for store in stores]})
    assert sorted(re.findall(r"\(performance/(.*?)\)", told)) == sorted(path.name for path in first)
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
        assert one.stat().st_size < 60_000
    assert b"events a second" in first[0].read_bytes()


def test_a_campaign_turns_its_order_and_has_every_axis(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every drained point comes as often, in the opposite order the second time; quick has both kinds of points."""
    monkeypatch.setattr(scale, "REPETITIONS", 2)
    full = list(scale.points(quick=False))
    shapes = [[point for at, point in full if at == number and isinstance(point, Shape)] for number in (0, 1)]
    assert shapes[0] == shapes[1][::-1]
    assert {shape.partitions for shape in shapes[0]} == {1, 4, 16, 64}
    assert {shape.measurements for shape in shapes[0]} == {1, 4, 16}
    assert {shape.batch_rows for shape in shapes[0]} == {1, 16, 256, 4_096}
    assert {type(point) for _, point in scale.points(quick=True)} == {Shape, Steps}
