"""What `publish` concludes: repeated from the records alone, and the same however the two topics are read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scenario as scenarios
from estimated import published, run

from estimator import Disparities, Evidence
from streams.passed import CORRECTION_WINDOWS
from streams.recomputation import Recomputer
from streams.records.metric import CorrectedBy, result_of
from streams.roles.publish import _CORRECTION_WINDOWS, PublishCore
from streams.settled import given

pytestmark = pytest.mark.slow

GATHERED = ("log_evidence", "alarm", "alarm_since_ms")
DOCS = Path(__file__).parents[2] / "docs"


def _of_the_page(page: str, name: str) -> Any:
    """A function that a page defines."""
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(next(code for code in blocks if f"def {name}" in code), names)  # the text that a reader would run
    return names[name]


def test_a_published_record_can_be_repeated() -> None:
    """The page's own code gives every published number from the JSON of a record, and of the one that corrected it."""
    repeat: Callable[..., Disparities] = _of_the_page("estimators.md", "repeat")
    records = {(w.measurement, w.level, w.window.end_ms): json.loads(w.encode()) for w in published()}
    specs = given([entry.measurement for entry in run().controls["publish"].approved()])
    recomputer = Recomputer(specs=specs)  # which has evidence and pools go on from window to window as well
    estimators: set[str] = set()
    corrected = 0
    for window in published():
        by = window.corrected_by
        earlier = None if by is None else records[window.measurement, by.level, by.end_ms]
        record = json.loads(window.encode())
        found = repeat(record, earlier)
        outcome = recomputer.take(record)
        assert (outcome.discrepancies, outcome.unchecked) == ((), ())
        assert outcome.compared > 7 * len(window.results)  # its names, value, gap, ratio and suppression
        # Without what detectors take in and gather.
        alone = [r.model_copy(update=dict.fromkeys(("excess", *GATHERED))) for r in window.results]
        assert [result_of(result) for result in found.results] == alone
        agrees = None if found.agreement is None else found.agreement.agree
        assert window.checks.estimators == {None: None, True: "agree", False: "disagree"}[agrees]
        estimators |= {result.estimator for result in window.results if result.value is not None}
        corrected += by is not None and any(r.estimator == "rectified" and r.value is not None for r in window.results)
    assert estimators == {"weighted", "corrected", "rectified"}
    assert corrected > 0


def test_published_evidence_can_be_repeated() -> None:
    """The page's own code gives every state and every log evidence from a record and the one before it, to the bit."""
    gather: Callable[..., Evidence] = _of_the_page("detection.md", "gather")
    before: dict[str, Any] = {}
    for window in published():
        record = json.loads(window.encode())
        found = gather(record, before.get(window.subject))
        state = record["detection"]["state"]
        assert found.above[found.seen].tolist() == [each["above"] for each in state]
        assert found.below[found.seen].tolist() == [each["below"] for each in state]
        said = [r["log_evidence"] for r in record["results"] if r["log_evidence"] is not None]
        assert found.log_evidence[found.seen].tolist() == said
        before[window.subject] = record
    assert all(record["detection"]["state"] for record in before.values())


def test_what_nobody_published_is_in_the_record() -> None:
    """Another reference, confidence and statistic of the same table: the page's text, against what was published."""
    other: Callable[..., Disparities] = _of_the_page("estimators.md", "other_questions")
    (window, *_) = (w for w in published() if (w.measurement, w.level) == ("feed", "1m"))
    found = {(d.estimator, d.group): d for d in other(json.loads(window.encode())).results}
    compared = 0
    for result in window.results:
        if result.metric != "recommendation_rate" or result.value is None or result.estimator == "corrected":
            continue
        again = found[result.estimator, result.group]
        assert again.metric == "share_decided"
        assert again.value is not None
        assert again.value.estimate == result.value.estimate
        assert again.value.upper - again.value.lower > result.value.upper - result.value.lower  # 0.99 and not 0.95
        assert (again.gap is None) == (result.group == "black")
        compared += 1
    assert compared >= 4


def test_each_estimator_is_there_where_its_channels_are() -> None:
    """Table alone: weighted. Moments as well: corrected. A rectifier: rectified, from the first long window on."""
    for window in published():
        found = {result.estimator for result in window.results}
        expected = {"feed": {"weighted", "corrected", "rectified"}, "candidates": {"weighted", "corrected"}}
        assert found == expected.get(window.measurement, {"weighted"})
    short = [w for w in published() if (w.measurement, w.level) == ("feed", "10s")]
    first_minute = scenarios.START_MS + 60_000
    for window in short:
        reasons = {r.suppressed for r in window.results if r.estimator == "rectified"}
        if window.window.start_ms < first_minute:
            assert window.corrected_by is None
            assert reasons == {"no_correction"}
        else:
            assert window.corrected_by == CorrectedBy(level="1m", end_ms=first_minute)
            assert reasons != {"no_correction"}  # some group had one


def test_a_rank_gives_position_exposure_to_the_candidates_side() -> None:
    """The measurement of candidates has a rank: its exposure by group lies between that of the worst and best place."""
    found = [
        result
        for window in published()
        if window.measurement == "candidates"
        for result in window.results
        if result.metric == "position_exposure" and result.value is not None
    ]
    assert found
    assert all(0 < result.value.estimate < 1 for result in found if result.value is not None)
    assert not any(r.metric == "position_exposure" for w in published() if w.measurement == "feed" for r in w.results)


@pytest.mark.parametrize("seed", range(3))
def test_records_do_not_depend_on_how_the_topics_are_read(seed: int) -> None:
    """Pools and corrections are carried from window to window, yet any interleaving gives the same bytes."""
    pipeline = run()
    core = PublishCore(pipeline.controls["publish"], confidence=0.95, rho_limit=10.0)
    rng = np.random.default_rng(seed)
    topics = {party: list(pipeline.log.values(f"releases-{party}")) for party in ("a", "b")}
    found = []
    while topics["a"] or topics["b"]:
        party = str(rng.choice([name for name, left in topics.items() if left]))
        for _ in range(int(rng.integers(1, 12))):
            if topics[party]:
                window = core.apply(party, topics[party].pop(0))
                if window is not None:
                    found.append(window.encode())
    assert sorted(found) == sorted(window.encode() for window in published())


def test_a_correction_does_not_outlive_its_time() -> None:
    """Long windows that stay away take their correction with them, and none reaches back before its own end."""
    pipeline = run()
    core = pipeline.core
    approved = next(a for a in pipeline.controls["publish"].approved() if a.measurement.id == "feed")
    (by, _) = core._corrections[approved.spec]
    assert CORRECTION_WINDOWS == _CORRECTION_WINDOWS  # what `recompute` expects
    last = by.end_ms + _CORRECTION_WINDOWS * 60_000
    assert core._correction(approved, by.end_ms)[0] == core._correction(approved, last - 10_000)[0] == by
    for start_ms in (by.end_ms - 10_000, last):
        nothing, correction = core._correction(approved, start_ms)
        assert nothing is None
        assert not correction.shifts
