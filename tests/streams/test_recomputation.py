"""Windows of a topic, one after the other, worked out again; and files of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from metric_records import hour, minute, withdrawn

from estimator import CellLayout
from streams.errors import InputError
from streams.recomputation import Recomputer, records_of_file, statistic_of
from streams.records.metric import FairnessMetric

LAYOUT = CellLayout((("score", 5), ("decision", 2)))


def value(record: FairnessMetric) -> dict[str, Any]:
    """As JSON gives it."""
    return json.loads(record.encode())  # type: ignore[no-any-return]


def test_windows_in_their_order_are_equal_in_full() -> None:
    """The long window that corrects a short one has passed before it, so nothing stays unchecked."""
    recomputer = Recomputer()
    for record in (hour(0), minute(hour(0)), hour(1), minute(hour(0), 1), withdrawn()):
        found = recomputer.take(value(record))
        assert (found.discrepancies, found.unchecked) == ((), ())
        assert (found.compared > 100) == (record.status == "published")


def test_a_correction_that_has_not_passed_is_told() -> None:
    """A short window first: its rectified results are said to be unchecked, and the rest is compared."""
    found = Recomputer().take(value(minute(hour(0))))
    assert found.equal
    assert len(found.unchecked) == 1


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
    """Without the window before, what goes on from it is unchecked, not wrong; a level's first window needs none."""
    gap = Recomputer()
    gap.take(value(hour(0)))
    for recomputer, record in ((Recomputer(), hour(1)), (gap, hour(2))):
        found = recomputer.take(value(record))
        assert found.equal
        assert "evidence" in found.unchecked[0]
    assert Recomputer().take(value(hour(0))).unchecked == ()


def test_a_record_from_before_there_were_detectors() -> None:
    """Nothing of evidence is in it, and nothing is missed."""
    old = value(hour(0)) | {"detection": None}
    for result in old["results"]:
        for name in ("log_evidence", "alarm", "alarm_since_ms"):
            del result[name]
    assert Recomputer().take(old).equal


@pytest.mark.parametrize(("name", "rho"), [("epsilon_spent", "rho"), ("epsilon_limit", "rho_limit")])
def test_an_epsilon_follows_from_its_rho(name: str, rho: str) -> None:
    """An epsilon that is smaller than its rho gives is found."""
    record = value(hour(0))
    record["privacy"][name] *= 0.5
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
