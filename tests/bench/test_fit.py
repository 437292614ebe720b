"""The fit of the constants of cost: known costs come back, and how well they predict is told honestly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.performance.fit import fit_role, fitted, main
from streams.sizing.constants import QUANTITIES, Constants, read_constants

COSTS = {"rows": 0.2e-6, "elements": 0.05e-6, "batches": 500e-6, "punctuations": 70e-6, "transactions": 1e-3,
         "idle": 0.01}  # fmt: skip


def points(count: int, error: float = 0.0, seed: int = 1) -> list[Mapping[str, Any]]:
    """Measurements of attach, from idle to busy, with so large a relative error."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        rows = float(10 ** rng.uniform(2, 6))
        point = {
            "rows": rows,
            "elements": rows * int(rng.choice([6, 12])),
            "batches": float(10 ** rng.uniform(1, 4)),
            "punctuations": float(10 ** rng.uniform(1, 3)),
            "transactions": float(rng.uniform(5, 50)),
            "seconds": float(rng.uniform(5, 50)),
        }
        used = sum(cost * point["seconds" if name == "idle" else name] for name, cost in COSTS.items())
        made.append({"role": "attach", "cpu_seconds": used * float(rng.uniform(1 - error, 1 + error)), **point})
    return made


def test_known_costs_come_back() -> None:
    """From exact points each constant is found, and held-out points are predicted exactly."""
    fit = fit_role("attach", points(40))
    assert fit.constants == pytest.approx(COSTS, rel=1e-6)
    assert len(fit.errors) == 8
    assert max(map(abs, fit.errors)) < 1e-6


def test_errors_of_measurement_are_told() -> None:
    """Of points that had no part in the fit, and none of the constants is negative."""
    fit = fit_role("attach", points(60, error=0.1))
    assert min(fit.constants.values()) >= 0
    assert 0.01 < max(map(abs, fit.errors)) < 0.4
    assert "12 points" in str(fit)


def test_a_point_that_was_held_out_has_no_part() -> None:
    """A wild one among them changes no constant, and shows in the error."""
    plain, wild = points(40), points(40)
    wild[4] = {**wild[4], "cpu_seconds": 10 * wild[4]["cpu_seconds"]}
    assert fit_role("attach", wild).constants == fit_role("attach", plain).constants
    assert min(fit_role("attach", wild).errors) == pytest.approx(-0.9, abs=0.01)


def test_what_no_point_has_keeps_its_constant() -> None:
    """Quantities and roles without measurements stay as they were; machine and date are new."""
    known = read_constants()
    few = [{name: value for name, value in point.items() if name != "transactions"} for point in points(20)]
    made, fits = fitted(few, known, "a machine", date(2027, 1, 2))
    assert [fit.role for fit in fits] == ["attach"]
    assert fits[0].left_out == ("transactions",)
    assert made.cpu["attach"]["transactions"] == known.cpu["attach"]["transactions"]
    assert made.cpu["seal"] == known.cpu["seal"]
    assert (made.machine, made.date) == ("a machine", date(2027, 1, 2))
    assert Constants.model_validate_json(made.model_dump_json()) == made


def test_too_few_points_are_refused() -> None:
    """Two points are no fit; three are, with none held out to try it on."""
    assert fit_role("attach", points(3)).errors == ()
    with pytest.raises(ValueError, match="at least 3 points of attach to fit, got 2"):
        fit_role("attach", points(2))


def test_a_point_without_cpu_is_refused() -> None:
    """It would count without bound: errors are relative."""
    with pytest.raises(ValueError, match="cpu_seconds"):
        fit_role("attach", [*points(10), {"role": "attach", "cpu_seconds": 0.0, "rows": 1.0}])


def test_the_constants_of_this_version_are_whole() -> None:
    """Every role, every quantity, and nothing that costs nothing at all."""
    known = read_constants()
    assert {role: set(costs) for role, costs in known.cpu.items()} == {r: set(q) for r, q in QUANTITIES.items()}
    assert all(sum(costs.values()) > 0 for costs in known.cpu.values())
    broken = known.model_dump() | {"cpu": known.cpu | {"seal": {"events": 1.0}}}
    with pytest.raises(ValueError, match="every quantity"):
        Constants.model_validate(broken)


def test_the_program_writes_what_it_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --write the file of constants, whole; without it nothing but the report."""
    source, target = tmp_path / "points.json", tmp_path / "constants.json"
    monkeypatch.setattr("bench.performance.fit.FILE", target)
    source.write_text(json.dumps({"points": points(20), "base_bytes": {"attach": 1_000}, "members_per_second": 5.0}))
    main([str(source)])
    assert "attach: microseconds of CPU each: rows 0.2, elements 0.05" in capsys.readouterr().out
    assert not target.exists()
    main([str(source), "--write"])
    made = Constants.model_validate_json(target.read_bytes())
    assert made.cpu["attach"] == pytest.approx(COSTS)
    assert (made.base_bytes["attach"], made.members_per_second) == (1_000, 5.0)
    assert made.base_bytes["seal"] == read_constants().base_bytes["seal"]
