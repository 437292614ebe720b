"""Records worked out again: every change of a published number is found, and what is not at hand is said."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from simulated_windows import race_only

from estimator import CellLayout, EstimatorError, NoiseVariance, disparities, recompute, reestimate
from estimator.reestimate import layout_of

GROUPS = ("one", "two", "three")
LAYOUT = CellLayout((("score", 2), ("decision", 2)))
SIGMA = 3.0
NO_EVIDENCE = "evidence: this record has none"


def _record() -> dict[str, Any]:
    """A long window's record as JSON gives it, with what recomputation reads of it."""
    people = race_only(1, weights=np.array([0.5, 0.3, 0.2]), sharpness=1.0, cells=LAYOUT.count)
    noise = NoiseVariance(SIGMA**2, SIGMA**2, SIGMA**2)
    (window,) = people.windows(2, 1, rows=40_000, share=0.4, noise=noise)
    found = disparities(
        window.table, cells=LAYOUT, reference="one", noise_variance=noise, moments=window.moments,
        rectifier=window.rectifier, groups=GROUPS, confidence=0.9, rows_per_member=2,
    )  # fmt: skip
    agreement = found.agreement
    assert agreement is not None
    parts = {"axes": LAYOUT.axes, "exposure": None, "groups": GROUPS}
    record = {
        "measurement": "feed", "spec_sha256": "ab" * 32, "level": "1h", "window": {"start_ms": 0, "end_ms": 3_600_000},
        "status": "published", "reason": None, "reference": "one", "confidence": 0.9, "rows_per_member": 2,
        "results": [asdict(result) for result in found.results],
        "table": parts | {"values": window.table.tolist()},
        "moments": {
            "products": window.moments.products.tolist(), "rows": window.moments.rows,
            "self_id_rows": window.moments.self_id_rows, "residual_squares": window.moments.residual_squares.tolist(),
        },
        "rectifier": parts | {"values": window.rectifier.tolist()},
        "corrected_by": None,
        "privacy": dict.fromkeys(("noise_sigma_rows", "noise_sigma_rows_moments", "noise_sigma_rows_rectifier"), SIGMA),
        "checks": {
            "estimators": "agree" if agreement.agree else "disagree",
            "difference": asdict(agreement.largest) | {"limit": agreement.limit, "comparisons": agreement.comparisons},
        },
    }  # fmt: skip
    return json.loads(json.dumps(record))  # type: ignore[no-any-return]


RECORD = _record()
_VALUES = [
    (n, name, end) for n, r in enumerate(RECORD["results"]) for name in ("value", "gap", "ratio") if r[name] is not None
    for end in ("estimate", "lower", "upper")
]  # fmt: skip


def test_the_record_is_equal_to_its_parts() -> None:
    """Through JSON and back, every number is the same to the last bit, for all three estimators."""
    outcome = recompute(RECORD, first=True)
    assert (outcome.equal, outcome.unchecked) == (True, (NO_EVIDENCE,))
    assert recompute(RECORD).unchecked[0].startswith("pools of corrected")
    assert {r["estimator"] for r in RECORD["results"] if r["value"]} == {"weighted", "corrected", "rectified"}
    assert outcome.compared > 4 * len(RECORD["results"])


@pytest.mark.parametrize("at", range(0, len(_VALUES), 17))
def test_a_last_bit_is_seen_and_may_be_tolerated(at: int) -> None:
    """One unit in the last place of any number is named by its path; a tolerance allows for it, and for no more."""
    number, name, end = _VALUES[at]
    record = deepcopy(RECORD)
    part = record["results"][number][name]
    part[end] = float(np.nextafter(part[end], 9))
    (found,) = recompute(record).discrepancies
    assert found.where == f"results[{number}].{name}.{end}"
    assert recompute(record, tolerance_ulp=1 if abs(part[end]) < 1 else 2).equal
    part[end] += 1e-9
    assert not recompute(record, tolerance_ulp=4096).equal


@pytest.mark.parametrize(
    ("where", "change"),
    [
        ("results[0].suppressed", lambda r: r["results"][0].update(suppressed="too_wide")),
        ("results[1].value", lambda r: r["results"][1].update(value=None)),
        ("results[0].group", lambda r: r["results"].reverse()),
        ("results: how many", lambda r: r["results"].pop()),
        ("checks.estimators", lambda r: r["checks"].update(estimators=None)),
        ("checks.difference.deviations", lambda r: r["checks"]["difference"].update(deviations=0.5)),
        ("status", lambda r: r.update(status="suppressed")),
        ("reason", lambda r: r.update(reason="no_group_says_anything")),
        ("checks.difference.comparisons", lambda r: r["checks"]["difference"].update(comparisons=True)),
    ],
)
def test_whatever_else_it_says_is_compared(where: str, change: Any) -> None:
    """Suppressions, order, number of results, the check of the estimators and the status."""
    record = deepcopy(RECORD)
    change(record)
    assert where in [found.where for found in recompute(record).discrepancies]


def test_another_table_gives_other_numbers() -> None:
    """A record whose table was changed afterwards is found by its results."""
    record = deepcopy(RECORD)
    record["table"]["values"][0][0] += 1
    assert not recompute(record).equal


@pytest.mark.parametrize("version", [1, 99, None])
def test_evidence_of_another_version_is_not_judged(version: int | None) -> None:
    """What it took in was made otherwise: that is said, and all else is compared."""
    record = deepcopy(RECORD) | {"detection": {"version": version}}
    record["results"][1]["excess"] = {"above": 9.0, "below": -9.0}
    outcome = recompute(record, first=True)
    assert (outcome.equal, outcome.unchecked) == (
        True,
        ("evidence: of another version than this program's, which is 2",),
    )
    record["results"][1]["value"]["estimate"] += 1e-9
    assert not recompute(record, first=True).equal


def test_a_correction_from_another_window() -> None:
    """A short window's rectified results need the record that corrected it: without it, that is said."""
    short = deepcopy(RECORD) | {"level": "1m", "window": {"start_ms": 3_600_000, "end_ms": 3_660_000}}
    short |= {"rectifier": None, "corrected_by": {"level": "1h", "end_ms": 3_600_000}}
    short["checks"] = {"estimators": None, "difference": None}
    short["results"] = [asdict(result) for result in reestimate(short, RECORD).results]
    assert any(r["estimator"] == "rectified" and r["value"] for r in short["results"])
    assert recompute(short, RECORD, first=True).unchecked == (NO_EVIDENCE,)
    assert recompute(short, RECORD).equal
    alone = recompute(short)
    assert alone.equal
    assert "rectified" in alone.unchecked[0]
    assert alone.compared < recompute(short, RECORD).compared
    for name, value in (("level", "1d"), ("measurement", "other"), ("spec_sha256", "cd" * 32)):
        with pytest.raises(EstimatorError, match="corrects this one"):
            recompute(short, deepcopy(RECORD) | {name: value})


@pytest.mark.parametrize("status", ["void", "withdrawn"])
def test_a_window_that_says_nothing(status: str) -> None:
    """There is nothing to compare; and nothing to estimate from, which is an error with the reason."""
    silent = RECORD | {"status": status, "results": []} | dict.fromkeys(("table", "moments", "rectifier"))
    assert (recompute(silent).compared, recompute(silent).equal) == (0, True)
    assert recompute(silent).unchecked[0].startswith("status")
    assert [found.where for found in recompute(RECORD | {"status": status}).discrepancies] == [
        "results", "table", "moments", "rectifier",
    ]  # fmt: skip
    with pytest.raises(EstimatorError, match=f"a {status} window carries no table"):
        reestimate(silent)


@pytest.mark.parametrize(
    "broken", [{}, [], {"status": "published"}, RECORD | {"table": 5}, RECORD | {"groups": 1, "table": {}}]
)
def test_what_is_no_record_is_told(broken: Any) -> None:
    """Never a traceback of ours: what is missing is named."""
    with pytest.raises(EstimatorError, match="no record of fairness-metrics"):
        recompute(broken)
    misfit = deepcopy(RECORD)
    misfit["moments"]["products"] = [[1.0]]
    with pytest.raises(EstimatorError, match="do not fit together"):
        recompute(misfit)


def test_a_statistic_of_ones_own() -> None:
    """By axes and values it is the share that the table's own cells give; what the table does not have is refused."""
    layout = layout_of(RECORD)
    own = layout.statistic("decided_at_the_top", worth={"decision": [1]}, among={"score": [1]})
    assert own.denominator.tolist() == [False, False, True, True]
    assert own.worth.tolist() == [0, 0, 0, 1]
    table = np.array(RECORD["table"]["values"])
    found = reestimate(RECORD, statistics=[own], reference="two")
    first = next(d for d in found.results if (d.estimator, d.group) == ("weighted", "one"))
    assert first.metric == "decided_at_the_top"
    assert first.value is not None
    assert first.value.estimate == pytest.approx(table[3, 0] / table[2:, 0].sum(), rel=1e-12)
    for worth in ({"rank": [0]}, {"score": [2]}, {"score": []}):
        with pytest.raises(ValueError, match="expected"):
            layout.statistic("none", worth=worth, among={})
