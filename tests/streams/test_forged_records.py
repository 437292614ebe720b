"""Forged records: whoever may write `fairness-metrics` can say anything, and each lie differs from something or stands
behind what `recompute` says it could not check.

The forger has publish's own code: what follows from a changed table or term is worked out again before it is said.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict
from functools import cache
from typing import Any

import pytest
from metric_records import SPEC, hour, minute, void_minutes

from estimator import Recomputation, reestimate
from estimator.recompute import _checks
from privacy import epsilon
from streams.recomputation import Recomputer
from streams.records.metric import FairnessMetric
from streams.settled import NOT_APPROVED, given

Content = dict[str, Any]
RATE = "recommendation_rate"
GATHERED = ("excess", "log_evidence", "alarm", "alarm_since_ms")


def value(record: FairnessMetric) -> Content:
    """As JSON gives it."""
    return json.loads(record.encode())  # type: ignore[no-any-return]


@cache
def passed() -> tuple[Content, ...]:
    """All of the first hour's windows."""
    return tuple(map(value, (hour(0), *void_minutes(hour(0)))))


def held(forged: Content, *, with_spec: bool = True, behind: int | None = None) -> Recomputation:
    """What `recompute` says of it, behind the honest records before it, or only the first few of them."""
    FairnessMetric.decode(json.dumps(forged).encode())  # publish's own format: no check of that finds it
    recomputer = Recomputer(specs=given([SPEC])) if with_spec else Recomputer()
    for record in passed()[:behind]:
        recomputer.keep(record)
    return recomputer.take(forged)


def found(outcome: Recomputation) -> set[str]:
    """Where a record differs."""
    return {discrepancy.where for discrepancy in outcome.discrepancies}


def consistent(record: Content) -> Content:
    """With results, check and status that follow from what it says now; what was gathered is not touched."""
    again = reestimate(record, None if record["corrected_by"] is None else passed()[0])
    kept = {(r["metric"], r["score_bin"], r["group"], r["estimator"]): r for r in record["results"]}
    record["results"] = []
    for result in map(asdict, again.results):
        name = result["metric"], result["score_bin"], result["group"], result["estimator"]
        said = dict.fromkeys(GATHERED) | {g: kept[name][g] for g in GATHERED if name in kept}
        said["excess"] = result["excess"] if result["estimator"] == record["detection"]["estimator"] else None
        record["results"].append(result | said)
    record["checks"].update(dict(_checks(again)))
    silent = all(result["value"] is None for result in record["results"])
    record["status"], record["reason"] = (("published", None), ("suppressed", "no_group_says_anything"))[silent]
    return json.loads(json.dumps(record))  # type: ignore[no-any-return]


def less_noise(r: Content) -> None:
    for name in ("noise_sigma_rows", "noise_sigma_rows_moments", "noise_sigma_rows_rectifier"):
        r["privacy"][name] = r["privacy"][name] and 0.2 * r["privacy"][name]


def cheaper(r: Content) -> None:
    r["privacy"]["rho"] /= 100
    r["privacy"]["epsilon_spent"] = epsilon(r["privacy"]["rho"], r["privacy"]["delta"])


def without_moments(r: Content) -> None:
    r.update(moments=None, rectifier=None)
    r["privacy"].update(noise_sigma_rows_moments=None, noise_sigma_rows_rectifier=None)
    r["detection"]["estimator"] = "weighted"
    r["results"] = [result for result in r["results"] if result["estimator"] == "weighted"]


def without_a_group(r: Content) -> None:
    for name in ("table", "rectifier"):
        part = r[name]
        part["groups"] = part["groups"][:-1]
        part["values"] = [row[:-1] for row in part["values"]]
    r["moments"]["groups"] = r["moments"]["groups"][:-1]
    r["moments"]["products"] = [row[:-1] for row in r["moments"]["products"][:-1]]
    r["moments"]["residual_squares"] = r["moments"]["residual_squares"][:-1]
    r["results"] = [result for result in r["results"] if "three" not in result["group"]]
    r["detection"]["state"] = [state for state in r["detection"]["state"] if state["group"] != "three"]


def renamed(r: Content) -> None:
    for part in (r["table"], r["moments"], r["rectifier"]):
        part["groups"] = ["one", "three", "two"]


TERMS: tuple[tuple[str, Callable[[Content], None]], ...] = (
    ("privacy.noise_sigma_rows", less_noise),
    ("rows_per_member", lambda r: r.update(rows_per_member=1)),
    ("reference", lambda r: r.update(reference="two")),
    ("privacy.rho", cheaper),
    ("privacy.epsilon_add_remove", lambda r: r["privacy"].update(epsilon_add_remove=0.1)),
    ("privacy.delta", lambda r: r["privacy"].update(delta=1e-5)),
    ("privacy.unit", lambda r: r["privacy"].update(unit="one member's rows of a year")),
    ("privacy.period", lambda r: r["privacy"].update(period="year")),
    ("moments", without_moments),
    ("table.groups", without_a_group),
    ("table.groups[1]", renamed),
    ("moments.groups[1]", renamed),
    ("revision", lambda r: r.update(revision=2)),
    ("level", lambda r: r.update(level="1d")),
    ("window: length, ms", lambda r: r.update(level="1m")),
    ("window: length, ms", lambda r: r["window"].update(start_ms=r["window"]["start_ms"] + 60_000)),
    ("window.start_ms", lambda r: r["window"].update({k: v + 60_000 for k, v in r["window"].items()})),
    ("window.start_ms", lambda r: r["window"].update({k: v - 36_000_000 for k, v in r["window"].items()})),
    ("window.start_ms", lambda r: r["window"].update({k: v + 2**32 * 3_600_000 for k, v in r["window"].items()})),
    ("table.axes[0][0]", lambda r: r["table"].update(axes=[["decision", 2], ["outcome", 2]])),
    (f"detection.tolerated_gaps.{RATE}", lambda r: r["detection"].update(tolerated_gaps={RATE: 0.4})),
    ("detection.false_alarm_windows", lambda r: r["detection"].update(false_alarm_windows=10**9)),
)  # fmt: skip


@pytest.mark.parametrize(("where", "forge"), TERMS)
def test_what_the_spec_settles(where: str, forge: Callable[[Content], None]) -> None:
    """With the spec, each differs at its own place, in a level's first record too; without it, terms are unchecked."""
    forged = value(hour(0))
    forge(forged)
    forged = consistent(forged)
    assert where in found(held(forged, behind=0))
    assert any(text.startswith("terms") for text in held(forged, with_spec=False, behind=0).unchecked)


def test_a_spec_that_nobody_approved() -> None:
    """Where specs can be read, its digest differs; where one of the revision is given, from that one's."""
    forged = value(hour(0)) | {"spec_sha256": "00" * 32}
    assert found(held(forged)) == {"spec_sha256"}
    outcome = Recomputer(specs=lambda record: NOT_APPROVED).take(forged)
    assert [str(each) for each in outcome.discrepancies] == [
        f"spec_sha256: published {'00' * 32!r}, recomputed 'the digest of an approved spec'"
    ]
    other = forged | {"measurement": "other"}
    assert found(held(other)) == set()
    assert held(other).unchecked[0].startswith("terms")


def stripped(record: Content) -> Content:
    """Without its detectors."""
    forged = deepcopy(record) | {"detection": None}
    for result in forged["results"]:
        result |= dict.fromkeys(GATHERED)
    return forged


@pytest.mark.parametrize("with_spec", [False, True])
def test_detectors_that_are_gone(with_spec: bool) -> None:
    """Of an alarming record: it differs behind one that has detectors; and it is unchecked in the next one too."""
    specs = given([SPEC])
    recomputer = Recomputer(specs=specs) if with_spec else Recomputer()
    recomputer.take(value(hour(0)))
    outcome = recomputer.take(stripped(value(hour(1, decided=0.4))))
    assert found(outcome) == {"detection"}
    assert "evidence: this record has none, though its level has detectors" in outcome.unchecked
    for record in (stripped(value(hour(2, decided=0.4))), value(hour(3, decided=0.4))):
        assert any(text.startswith("evidence") for text in recomputer.take(record).unchecked)
    (alone,) = Recomputer(specs=specs).take(stripped(value(hour(0)))).unchecked
    assert alone == "evidence: this record has none, though its level has detectors"


def uncorrected(record: Content, *, dropped: bool) -> Content:
    """A short window as if no long one corrected it; or without `rectified` results at all."""
    forged = deepcopy(record) | {"corrected_by": None}
    if dropped:
        forged["results"] = [result for result in forged["results"] if result["estimator"] != "rectified"]
    return consistent(forged)


@pytest.mark.parametrize("with_spec", [False, True])
@pytest.mark.parametrize(("dropped", "where"), [(False, "corrected_by"), (True, "results: rectified ones")])
def test_a_correction_that_is_gone(dropped: bool, where: str, with_spec: bool) -> None:
    """The long window before has one to give, which has passed; had it not, that would be told."""
    forged = uncorrected(value(minute(hour(0))), dropped=dropped)
    assert where in found(held(forged, with_spec=with_spec))
    alone = held(forged, with_spec=with_spec, behind=0)
    assert any(text.startswith(("rectified results", "terms")) for text in alone.unchecked)


def test_a_correction_by_an_older_window() -> None:
    """Not the newest that says how."""
    recomputer = Recomputer(specs=given([SPEC]))
    for record in (hour(0), hour(1)):
        recomputer.keep(value(record))
    forged = value(minute(hour(1))) | {"corrected_by": value(minute(hour(0)))["corrected_by"]}
    assert "corrected_by" in found(recomputer.take(forged))


STATUSES: tuple[tuple[str, Callable[[Content], None]], ...] = (
    ("void", lambda r: r.update(reason="coverage_differs")),
    ("withdrawn", lambda r: r.update(reason="revoked", privacy=None, checks=None, rows_per_member=None)),
)  # fmt: skip


@pytest.mark.parametrize(("status", "forge"), STATUSES)
def test_an_alarm_behind_a_status(status: str, forge: Callable[[Content], None]) -> None:
    """A silent status is never said to be checked; and the next window's evidence does not go on over it."""
    forged = value(hour(1, decided=0.4)) | {"status": status, "results": []}
    forged |= dict.fromkeys(("table", "moments", "rectifier", "detection"))
    forge(forged)
    recomputer = Recomputer(specs=given([SPEC]))
    recomputer.take(value(hour(0)))
    assert [text.partition(":")[0] for text in recomputer.take(forged).unchecked] == ["status"]
    assert any("detection.state" in where for where in found(recomputer.take(value(hour(2, decided=0.4)))))


def test_a_status_and_a_reason_that_the_results_contradict() -> None:
    """Suppressed is what has no value: nulled values differ from the table, and so do status and reason."""
    forged = value(hour(0)) | {"status": "suppressed", "reason": "no_group_says_anything"}
    for result in forged["results"]:
        result |= {"value": None, "gap": None, "ratio": None, "suppressed": "too_wide"}
    assert "results[0].value" in found(held(forged, behind=0))
    flipped = consistent(value(hour(0))) | {"status": "void", "reason": "x"}
    assert {"results", "table", "detection"} <= found(Recomputer().take(flipped))


def test_settings_of_publish_are_told_where_they_change() -> None:
    """Confidence and the registry's limit are in no spec: a change is named, and nothing else differs."""
    forged = value(hour(1))
    forged["confidence"] = 0.5
    forged["privacy"].update(rho_limit=3.0, epsilon_limit=epsilon(3.0, 1e-9))
    outcome = held(consistent(forged), behind=1)
    assert [text.partition(":")[0] for text in outcome.unchecked] == ["confidence", "rho_limit"]


def pooled(r: Content) -> None:
    pools = ["one+two", "three"]
    others = [result for result in r["results"] if result["estimator"] != "corrected"]
    first = next(result for result in r["results"] if result["estimator"] == "corrected")
    r["results"] = [*others, *(first | {"group": pool} for pool in pools)]


def test_pools_that_hide_a_group() -> None:
    """Another pooling than goes on from the window before differs; without that it is unchecked."""
    forged = value(hour(1))
    pooled(forged)
    forged = consistent(forged)
    honest = {r["group"] for r in value(hour(1))["results"] if r["estimator"] == "corrected"}
    assert honest == {"one", "two", "three"}
    outcome = held(forged, behind=0)
    assert any(text.startswith("pools") for text in outcome.unchecked)
    forged["results"] = [r for r in forged["results"] if r["estimator"] != "corrected"]
    assert "results: how many" in found(held(forged, behind=1))


# -- states that no history leads to ------------------------------------------------------------------------------


def alarmed(r: Content, at: int, since: int | None, logs: list[int]) -> None:
    """A state and its result, as one lie."""
    state = r["detection"]["state"][at]
    state.update(alarm_since_ms=since, above=logs, below=logs)
    for result in watched(r, at):
        result.update(alarm=since is not None, alarm_since_ms=since)


def watched(r: Content, at: int) -> list[Content]:
    state, own = r["detection"]["state"][at], r["detection"]["estimator"]
    names = ("metric", "score_bin", "group")
    return [x for x in r["results"] if x["estimator"] == own and all(x[n] == state[n] for n in names)]


def unseen(r: Content) -> None:
    for result in watched(r, 0):
        result.update(log_evidence=None, alarm=None, alarm_since_ms=None)
    del r["detection"]["state"][0]


STATES: tuple[tuple[str, Callable[[Content], None]], ...] = (
    ("alarm_since_ms", lambda r: alarmed(r, 1, r["window"]["end_ms"], [-1000] * 5)),
    ("alarm_since_ms", lambda r: alarmed(r, 1, r["window"]["start_ms"], [-1000] * 5)),
    ("alarm_since_ms", lambda r: r["detection"]["state"][0].update(alarm_since_ms=r["window"]["end_ms"] + 3_600_000)),
    ("alarm_since_ms", lambda r: r["detection"]["state"][0].update(alarm_since_ms=r["window"]["start_ms"] + 1)),
    ("alarm_since_ms", lambda r: r["detection"]["state"][0].update(alarm_since_ms=0)),
    ("above", lambda r: r["detection"]["state"][0].update(above=[10**6] * 5)),
    ("below", lambda r: r["detection"]["state"][0].update(below=[-1001] * 5)),
    ("above", lambda r: r["detection"]["state"][0].update(above=[-1000] * 5)),
    ("breach_windows", lambda r: r["detection"]["state"][0].update(breach_windows=-1)),
    ("breach_windows", lambda r: r["detection"]["state"][0].update(breach_windows=0)),
    ("two", unseen),
)


@pytest.mark.parametrize(("what", "forge"), STATES)
def test_a_state_that_contradicts_its_own_window(what: str, forge: Callable[[Content], None]) -> None:
    """Whatever came before, and though nothing of it is at hand. The first state's group is in alarm, by its gap."""
    forged = value(hour(2, decided=0.4))
    assert held(forged, with_spec=False, behind=0).equal
    forge(forged)
    assert any(where.endswith(what) for where in found(held(forged, with_spec=False, behind=0)))


def test_evidence_that_begins_anew() -> None:
    """As if a later record were its level's first: it differs behind the one before, and is unchecked without it."""
    whole, fresh = value(hour(1, decided=0.4)), Recomputer(specs=given([SPEC]))
    before = value(hour(0))
    forged = deepcopy(whole)
    for state in forged["detection"]["state"]:
        state["breach_windows"] = min(1, state["breach_windows"])
    fresh.take(before)
    assert any("breach_windows" in where for where in found(fresh.take(forged)))
    assert any(text.startswith("evidence") for text in held(forged, behind=0).unchecked)
