"""Windows of a topic, one after the other, worked out again; and files of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from metric_records import SPEC, hour, minute, void_minutes, withdrawn

from estimator import CellLayout
from streams.errors import InputError
from streams.recomputation import Recomputer, records_of_file, statistic_of
from streams.records.metric import FairnessMetric
from streams.settled import given

LAYOUT = CellLayout((("score", 5), ("decision", 2)))


def value(record: FairnessMetric) -> dict[str, Any]:
    """As JSON gives it."""
    return json.loads(record.encode())  # type: ignore[no-any-return]


def test_windows_in_their_order_are_equal_in_full() -> None:
    """With the spec, and all windows from the first on, nothing that a record says stays unchecked, to the last bit."""
    recomputer = Recomputer(specs=given([SPEC]))
    for record in (hour(0), *void_minutes(hour(0)), minute(hour(0)), hour(1), minute(hour(0), 1)):
        found = recomputer.take(value(record))
        assert found.discrepancies == ()
        void = ("status: why a window is void shows in its two releases alone",)
        assert found.unchecked == (void if record.status == "void" else ())
        assert (found.compared > 150) == (record.status == "published")


def test_what_is_not_at_hand_is_told() -> None:
    """A short window alone: its rectified results, pools, evidence and terms are unchecked, and the rest compared."""
    found = Recomputer().take(value(minute(hour(0))))
    assert found.equal
    kinds = ["terms (", "rectified results: which", "rectified results: the record of 1h", "pools", "evidence"]
    assert len(found.unchecked) == len(kinds)
    assert all(text.startswith(kind) for text, kind in zip(found.unchecked, kinds, strict=True))
    assert "withdrawn" in Recomputer().take(value(withdrawn())).unchecked[-1]


def test_evidence_goes_on_from_the_window_before() -> None:
    """An alarm that three windows raise together is repeated from state to state, and every change of it is found."""
    before, after = value(hour(0)), value(hour(1, decided=0.4))
    alarms = [n for n, result in enumerate(after["results"]) if result["alarm"]]
    assert alarms
    recomputer = Recomputer()
    assert recomputer.take(before).equal
    assert recomputer.take(after).equal
    changes: tuple[tuple[str, Callable[[Any], None]], ...] = (
        (f"results[{alarms[0]}].alarm", lambda r: r["results"][alarms[0]].update(alarm=False)),
        (f"results[{alarms[0]}].log_evidence", lambda r: r["results"][alarms[0]].update(log_evidence=0.5)),
        (f"results[{alarms[0]}].alarm_since_ms", lambda r: r["results"][alarms[0]].update(alarm_since_ms=None)),
        ("results[0].alarm", lambda r: r["results"][0].update(alarm=True)),
        ("detection.state[0].breach_windows", lambda r: r["detection"]["state"][0].update(breach_windows=9)),
        ("detection.log_threshold", lambda r: r["detection"].update(log_threshold=1.0)),
        ("detection.detectors", lambda r: r["detection"].update(detectors=1)),
    )
    for where, change in changes:
        changed = deepcopy(after)
        change(changed)
        recomputer = Recomputer()
        recomputer.take(before)
        assert where in [found.where for found in recomputer.take(changed).discrepancies]


def test_evidence_from_nowhere_is_told() -> None:
    """Without the window before, what goes on from it is unchecked, not wrong; also behind a void one and a hole.

    That a record is the first of its level the spec shows, and nothing else.
    """
    gap, silent = Recomputer(specs=given([SPEC])), value(hour(2)) | {"status": "void", "results": [], "reason": "x"}
    silent |= dict.fromkeys(("table", "moments", "rectifier", "detection"))
    gap.take(value(hour(0)))
    behind = deepcopy(gap)
    behind.take(silent)
    for recomputer, record in ((Recomputer(), hour(1)), (gap, hour(2)), (behind, hour(3)), (Recomputer(), hour(0))):
        found = recomputer.take(value(record))
        assert found.equal
        assert "evidence: the record of the level's window before is not at hand" in found.unchecked
    assert Recomputer(specs=given([SPEC])).take(value(hour(0))).unchecked == ()


@pytest.mark.parametrize("number", [1, 2])
def test_what_contradicts_itself_is_found_without_the_window_before(number: int) -> None:
    """All that follows from a record alone is compared, whatever of it cannot be: here an alarm that was erased."""
    record = value(hour(number, decided=0.4))
    alarms = [n for n, result in enumerate(record["results"]) if result["alarm"]]
    assert alarms
    states = [n for n, state in enumerate(record["detection"]["state"]) if state["alarm_since_ms"] is not None]
    erased: dict[str, Any] = {"alarm": False, "alarm_since_ms": None}

    def erase(changed: Any) -> None:
        changed["detection"]["state"][states[0]].update(alarm_since_ms=None)
        for n in alarms:
            changed["results"][n].update(erased)

    changes: tuple[tuple[str, Callable[[Any], None]], ...] = (
        (f"results[{alarms[0]}].alarm", lambda r: r["results"][alarms[0]].update(erased)),
        (f"results[{alarms[0]}].log_evidence", lambda r: r["results"][alarms[0]].update(log_evidence=0.5)),
        ("detection.log_threshold", lambda r: r["detection"].update(log_threshold=99.0)),
        ("detection.detectors", lambda r: r["detection"].update(detectors=1)),
        ("detection.bets[0]", lambda r: r["detection"]["bets"].__setitem__(0, 0.3)),
        ("detection.estimator", lambda r: r["detection"].update(estimator="weighted")),
        (f"detection.state[{states[0]}].alarm_since_ms", erase),
    )
    for where, change in changes:
        changed = deepcopy(record)
        change(changed)
        found = Recomputer().take(changed)
        assert found.unchecked
        assert where in [discrepancy.where for discrepancy in found.discrepancies]


@pytest.mark.parametrize("over_a_hole", [False, True])
@pytest.mark.parametrize(
    ("where", "change"),
    [
        ("tolerated_gaps.recommendation_rate", lambda d: d["tolerated_gaps"].update(recommendation_rate=0.49)),
        ("false_alarm_windows", lambda d: d.update(false_alarm_windows=10**9)),
    ],
)
def test_one_revision_tolerates_one_thing(where: str, change: Callable[[Any], None], over_a_hole: bool) -> None:
    """A record whose detectors tolerate or promise something else than those before it in its revision is found."""
    recomputer = Recomputer()
    recomputer.take(value(hour(0)))
    changed = value(hour(2 if over_a_hole else 1))
    change(changed["detection"])
    assert f"detection.{where}" in [found.where for found in recomputer.take(changed).discrepancies]


def test_a_record_from_before_there_were_detectors() -> None:
    """Nothing of evidence is in it, which is told; and the next one, which has some, cannot go on from it."""
    old = value(hour(0)) | {"detection": None}
    for result in old["results"]:
        for name in ("excess", "log_evidence", "alarm", "alarm_since_ms"):
            del result[name]
    recomputer = Recomputer()
    for record, told in ((old, "evidence: this record has none"), (value(hour(1)), "evidence: the record of the")):
        found = recomputer.take(record)
        assert found.equal
        assert found.unchecked[-1].startswith(told)


@pytest.mark.parametrize(("name", "rho"), [("epsilon_spent", "rho"), ("epsilon_limit", "rho_limit")])
def test_an_epsilon_follows_from_its_rho(name: str, rho: str) -> None:
    """An epsilon that is smaller than its rho gives is found, and one that is not told."""
    record = value(hour(0))
    record["privacy"][name] *= 0.5
    for changed in (record["privacy"][name], None):
        record["privacy"][name] = changed
        (found,) = Recomputer().take(record).discrepancies
        assert found.where == f"privacy.{name}"


def test_files_of_records(tmp_path: Path) -> None:
    """What `tail --json` writes, and bare records, are the same; empty lines are nothing."""
    path = tmp_path / "records.jsonl"
    wrapped = {"topic": "demo.fairness-metrics", "partition": 0, "offset": 0, "value": value(hour(0))}
    path.write_text(json.dumps(wrapped) + "\n\n" + hour(0).encode().decode() + "\n")
    assert list(records_of_file(path)) == [value(hour(0))] * 2


@pytest.mark.parametrize(
    ("text", "told"),
    [("nothing", "one JSON object a line"), ("[]", "fairness-metrics"), ('{"topic": 1, "value": {}}', "measurement")],
)
def test_what_is_no_record_is_told_by_its_line(tmp_path: Path, text: str, told: str) -> None:
    """File, line and field; the file itself where it cannot be read."""
    path = tmp_path / "records.jsonl"
    path.write_text(f"{hour(0).encode().decode()}\n{text}\n")
    with pytest.raises(InputError, match=f"records.jsonl:2: .*{told}"):
        list(records_of_file(path))
    with pytest.raises(InputError, match="cannot be read"):
        list(records_of_file(tmp_path / "none"))


def test_a_statistic_in_words() -> None:
    """Name, what counts, and among which rows; without a bar it is among all of them."""
    found = statistic_of("top: decision=1 | score=3,4", LAYOUT)
    assert found.metric == "top"
    assert np.flatnonzero(found.denominator).tolist() == [6, 7, 8, 9]
    assert np.flatnonzero(found.worth).tolist() == [7, 9]
    assert statistic_of("all: decision=1", LAYOUT).denominator.all()


@pytest.mark.parametrize(
    "text", ["top", "top: decision", "top: rank=1", "top: score=5", "top: decision=1 | score=a", "a|b: score=1"]
)
def test_statistics_that_are_none(text: str) -> None:
    """What was expected, and what the table has."""
    with pytest.raises(InputError, match="expected"):
        statistic_of(text, LAYOUT)
