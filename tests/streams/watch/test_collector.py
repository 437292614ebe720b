"""What /metrics shows of windows: which names, when, and when not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from estimator import GROUPS, CellLayout, Evidence, NoiseVariance, disparities
from privacy import Limits, parse_measurement
from streams.control import FOREVER_MS, Approved
from streams.records.metric import Checks, FairnessMetric, Privacy, Status, Table, Window
from streams.roles import publish
from streams.roles.detecting import LevelDetectors
from streams.watch.collector import _KNOWN_OUTCOMES, FairnessCollector
from streams.watch.pages import terms

GOLDEN = Path(__file__).parent / "golden" / "collector_metrics.txt"
START_MS = 1_764_000_000_000
"""A minute's boundary, at which the first revision starts."""
AXES = (("decision", 2),)
TABLE = np.array([[7000, 850, 300, 300, 50, -12], [3000, 150, 300, 100, 50, 9]], dtype=np.float64)
"""White .3, black .15, api .5, hispanic .25; native and multiple are too few to say anything."""
SPEC = """
id: {name}
revision: {revision}
purpose: Do members of every group see equally good recommendations?
source: {{topic: rec-events, member: member_id, time: shown_at}}
cells: {{decision: {{field: recommended}}}}
windows: {{base: 10s, rollups: [1m], lateness: 1s, max_future: 1s}}
reference: {reference}
privacy: {{contribution_cap: 2, cap_rule: first, rho_member_day: 0.1, delta: 1.0e-9}}
"""


def approved(
    name: str = "feed",
    *,
    revision: int = 1,
    reference: str = "white",
    from_ms: int = START_MS,
    until_ms: int = FOREVER_MS,
) -> Approved:
    """An approved measurement."""
    spec = SPEC.format(name=name, revision=revision, reference=reference)
    return Approved(
        parse_measurement(spec, origin="test"), bytes([revision]) * 32, b"s" * 32, from_ms, until_ms, revision
    )


def record(
    number: int = 1,
    *,
    name: str = "feed",
    level: str = "10s",
    status: Status = "published",
    reason: str | None = None,
    table: np.ndarray[tuple[int, ...], np.dtype[np.float64]] = TABLE,
    from_ms: int = START_MS,
    estimators: Literal["agree", "disagree"] | None = None,
) -> FairnessMetric:
    """The record of a measurement's window with this number, counted from 1; all before it were like it."""
    length = {"10s": 10_000, "1m": 60_000}[level]
    detectors = LevelDetectors.of(approved().measurement, level)
    results = disparities(
        table,
        cells=CellLayout(AXES),
        noise_variance=NoiseVariance(100.0),
        reference="white",
        tolerated=detectors.tolerated_gaps,
    ).results
    evidence = Evidence.none(len(detectors.names))
    for end in range(number):
        evidence = detectors.detectors.after(evidence, detectors.gaps(results, 0.95), end)
    silent, withdrawn = status in ("void", "withdrawn"), status == "withdrawn"
    return FairnessMetric(
        measurement=name,
        revision=1,
        spec_sha256=(bytes([1]) * 32).hex(),
        level=level,
        window=Window(start_ms=from_ms + (number - 1) * length, end_ms=from_ms + number * length),
        status=status,
        reason=reason,
        reference="white",
        confidence=0.95,
        results=() if silent else detectors.results(results, evidence),
        table=None if silent else Table.of(CellLayout(AXES), GROUPS, table),
        moments=None,
        rectifier=None,
        privacy=None
        if withdrawn
        else Privacy(
            unit="one member's rows of one UTC day",
            period="day",
            rho=0.1,
            rho_limit=0.5,
            epsilon=2.75,
            epsilon_add_remove=2.0,
            delta=1e-9,
            noise_sigma_rows=10.0,
        ),
        rows_per_member=None if withdrawn else 2,
        checks=None if withdrawn else Checks(release_signature_a="aa", release_signature_b="bb", estimators=estimators),
        detection=None if silent else detectors.said(evidence),
    )


class Shown:
    """A collector, and what it shows."""

    def __init__(
        self, *measurements: Approved, is_open: bool = True, clock: Callable[[], float] = lambda: START_MS / 1000
    ) -> None:
        self.registry = CollectorRegistry()
        self.collector = FairnessCollector(self.registry, clock, Limits(0.5, 1.0, 2.0), retention_seconds=604_800)
        self.collector.measurements(measurements or [approved()], 0.5)
        if is_open:
            self.collector.open()

    def value(self, name: str, **labels: str) -> float | None:
        """A sample's value; None where there is no such series."""
        return self.registry.get_sample_value(f"evenstream_{name}", labels)

    def names(self) -> set[str]:
        """Names of the samples that are there."""
        return {sample.name for family in self.registry.collect() for sample in family.samples}


LEVEL = {"measurement": "feed", "level": "10s"}
BLACK = LEVEL | {"metric": "recommendation_rate", "score_bin": "all", "group": "black", "estimator": "weighted"}
VALUES = (
    *(f"evenstream_{kind}{end}_ratio" for kind in ("group_value", "gap", "parity") for end in ("", "_lower", "_upper")),
    "evenstream_group_suppressed",
)
GATHERED = {
    "evenstream_gap_threshold_ratio",
    "evenstream_gap_breach_windows",
    "evenstream_edetector_alarm",
    "evenstream_edetector_log_evidence",
    "evenstream_edetector_log_threshold",
}
GAP = {name: value for name, value in BLACK.items() if name != "estimator"} | {"reference": "white"}


def test_golden_names_and_labels() -> None:
    """Names, kinds and labels are those of the golden file: dashboards, alerts and others' queries hold to them."""
    expires = datetime.fromtimestamp(START_MS / 1000 + 86_400, UTC)
    measurement = approved().measurement.model_copy(update={"expires": expires})
    shown = Shown(replace(approved(), measurement=measurement))
    shown.collector.released("feed", "10s", "a", START_MS)
    shown.collector.refused({("feed", "a", "second_release"): 1})
    shown.collector.window(record(estimators="agree"), 0.2)
    lines = set()
    for family in shown.registry.collect():
        for sample in family.samples:
            if not sample.name.endswith("_created"):
                labels = ",".join(name for name in sample.labels if name != "le")
                lines.add(f"{family.type} {sample.name} {{{labels}}}\n")
    assert "".join(sorted(lines)) == GOLDEN.read_text()


def test_nothing_before_replay_is_complete() -> None:
    """Until open(), no family at all is exposed: counters that are scraped half-way look like a reset."""
    shown = Shown(is_open=False)
    shown.collector.released("feed", "10s", "a", START_MS)
    shown.collector.refused({("", "a", "signature"): 3})
    shown.collector.window(record(), None)
    shown.collector.window(record(2), 0.2)
    assert generate_latest(shown.registry) == b""
    shown.collector.open()
    assert shown.value("windows_total", **LEVEL, status="published", reason="") == 2


def test_no_value_before_a_release() -> None:
    """A measurement that has no window yet shows when it was activated, and not one value or decision series."""
    shown = Shown()
    assert not shown.names() & {*VALUES, *GATHERED, "evenstream_estimators_disagree"}
    for level, length in (("10s", 10), ("1m", 60)):
        labels = {"measurement": "feed", "level": level}
        assert shown.value("window_end_timestamp_seconds", **labels) == START_MS / 1000
        assert shown.value("window_length_seconds", **labels) == length
    assert shown.value("window_lateness_seconds", measurement="feed") == 1
    assert shown.value("measurement_info", measurement="feed", revision="1", reference="white", state="active") == 1
    assert "evenstream_privacy_epsilon_spent" not in shown.names()


def test_values_of_the_last_window() -> None:
    """Value, gap and parity come with both ends and the estimator's name; a suppressed group has no series."""
    shown = Shown()
    shown.collector.window(record(), 0.2)
    pair = BLACK | {"reference": "white"}
    for name, labels, expected in (
        ("group_value", BLACK, 0.15),
        ("gap", pair, -0.15),
        ("parity", pair, 0.5),
    ):
        lower, middle, upper = (shown.value(f"{name}{end}_ratio", **labels) for end in ("_lower", "", "_upper"))
        assert lower is not None
        assert upper is not None
        assert middle == pytest.approx(expected)
        assert lower < expected < upper
    assert shown.value("group_value_ratio", **(BLACK | {"group": "native"})) is not None
    assert shown.value("group_value_ratio", **(BLACK | {"group": "multiple"})) is None
    assert shown.value("gap_ratio", **(pair | {"group": "white"})) is None
    assert shown.value("group_suppressed", **LEVEL, group="black") == 0
    assert shown.value("group_suppressed", **LEVEL, group="multiple") == 1
    assert shown.value("window_end_timestamp_seconds", **LEVEL) == START_MS / 1000 + 10
    assert shown.value("measurement_info", measurement="feed", revision="1", reference="white", state="active") == 1


def test_a_void_window_takes_the_values_away() -> None:
    """After a void window no value is shown, not even the last one; the window counts by its reason."""
    shown = Shown()
    shown.collector.window(record(), 0.2)
    shown.collector.window(record(2, status="void", reason="coverage_differs"), 0.2)
    assert not shown.names() & set(VALUES)
    assert shown.value("windows_total", **LEVEL, status="void", reason="coverage_differs") == 1
    assert shown.value("window_end_timestamp_seconds", **LEVEL) == START_MS / 1000 + 20
    shown.collector.window(record(3), 0.2)
    assert shown.value("group_value_ratio", **BLACK) == pytest.approx(0.15)


KEPT = ("edetector_alarm", "edetector_log_evidence", "gap_breach_windows")


def test_what_was_gathered_stays_over_void_windows() -> None:
    """Evidence, threshold and breaches are state: a window without numbers takes nothing away, or alerts would end."""
    shown = Shown()
    shown.collector.window(record(3), 0.2)
    before = {name: shown.value(name, **GAP) for name in KEPT}
    assert (before["gap_breach_windows"], before["edetector_alarm"]) == (3, 1)
    threshold = shown.value("edetector_log_threshold", **LEVEL)
    assert threshold == pytest.approx(np.log(259_200 * 5), abs=0.01)
    assert threshold is not None
    assert (before["edetector_log_evidence"] or 0) > threshold
    assert shown.value("gap_threshold_ratio", measurement="feed", metric="recommendation_rate") == 0.02
    for number in range(4, 8):
        shown.collector.window(record(number, status="void", reason="coverage_differs"), 0.2)
        assert {name: shown.value(name, **GAP) for name in before} == before
        assert shown.names() >= GATHERED
    shown.collector.window(record(8), 0.2)
    assert shown.value("gap_breach_windows", **GAP) == 8
    assert [shown.value(name, **(GAP | {"group": "white"})) for name in KEPT] == [None] * len(KEPT)
    # A group that was always suppressed: evidence is gathered, breaches are not.
    suppressed = GAP | {"group": "multiple"}
    assert shown.value("gap_breach_windows", **suppressed) == 0
    assert shown.value("edetector_log_evidence", **suppressed) is not None


def test_an_alarm_stands_until_its_record_ends_it() -> None:
    """The gauge is the record's word: it ends below the threshold at which it began, and others have none."""
    found = record(3)
    assert found.detection is not None
    assert next(r.alarm for r in found.results if r.group == "black" and r.estimator == "weighted")
    less = found.detection.log_threshold - 2.0
    results = tuple(r.model_copy(update={"log_evidence": less}) if r.log_evidence is not None else r
                    for r in found.results)  # fmt: skip
    shown = Shown()
    shown.collector.window(found.model_copy(update={"results": results}), 0.2)
    stands = {group: shown.value("edetector_alarm", **(GAP | {"group": group})) for group in ("black", "native")}
    assert stands == {"black": 1, "native": 0}
    assert shown.value("edetector_log_evidence", **GAP) == less


def test_what_was_gathered_ends_with_its_revision() -> None:
    """A later revision begins with no evidence, its void windows too; a revoked measurement has none."""
    shown = Shown()
    shown.collector.window(record(), 0.2)
    shown.collector.window(record(level="1m"), 0.2)
    other = record(2, status="void", reason="coverage_differs").model_copy(update={"spec_sha256": "02" * 32})
    shown.collector.window(other, 0.2)
    assert shown.value("edetector_log_evidence", **GAP) is None
    assert shown.value("edetector_log_evidence", **(GAP | {"level": "1m"})) is not None
    shown.collector.measurements([replace(approved(), revoked_at_ms=START_MS)], 0.5)
    assert not shown.names() & GATHERED


def test_a_level_ends_with_the_last_revision_that_has_it() -> None:
    """Once windows of a revision without it have come: else its last alarm would stand for ever, and its last gap."""
    shown = Shown(approved(until_ms=START_MS + 60_000))
    for level in ("10s", "1m"):
        shown.collector.window(record(level=level), 0.2)
    names = ("edetector_log_evidence", "edetector_log_threshold", "gap_breach_windows", "gap_ratio")
    long = {
        name: (LEVEL if "threshold" in name else GAP)
        | {"level": "1m"}
        | ({"estimator": "weighted"} if name == "gap_ratio" else {})
        for name in names
    }
    assert None not in [shown.value(name, **labels) for name, labels in long.items()]
    second = approved(revision=2, from_ms=START_MS + 60_000)
    without = SPEC.replace("rollups: [1m], ", "").format(name="feed", revision=2, reference="white")
    second = replace(second, measurement=parse_measurement(without, origin="test"))
    assert [level.name for level in second.measurement.levels] == ["10s"]
    shown.collector.measurements([approved(until_ms=START_MS + 60_000), second], 0.5)
    assert None not in [shown.value(name, **labels) for name, labels in long.items()]  # until its windows are there
    later = record(7).model_copy(update={"spec_sha256": "02" * 32, "revision": 2})
    shown.collector.window(later, 0.2)
    assert [shown.value(name, **labels) for name, labels in long.items()] == [None] * 4
    assert shown.value("windows_total", measurement="feed", level="1m", status="published", reason="") == 1
    assert shown.value("edetector_log_threshold", **LEVEL) is not None


def test_estimators_disagree_where_they_were_compared() -> None:
    """1 or 0 of the last window, if it was checked; no series where it was not, or is void."""
    shown, found = Shown(), []
    verdicts: list[Literal["agree", "disagree"] | None] = ["agree", "disagree", None, "disagree"]
    for number, said in enumerate(verdicts, 1):
        shown.collector.window(record(number, estimators=said), 0.2)
        found.append(shown.value("estimators_disagree", **LEVEL))
    shown.collector.window(record(5, status="void", reason="coverage_differs"), 0.2)
    assert [*found, shown.value("estimators_disagree", **LEVEL)] == [0, 1, None, 1, None]


def test_a_suppressed_window_shows_no_value() -> None:
    """A window in which no group says anything flags all groups, and shows no number."""
    shown = Shown()
    shown.collector.window(record(status="suppressed", reason="no_group_says_anything", table=TABLE / 1000), 0.2)
    assert "evenstream_group_value_ratio" not in shown.names()
    assert shown.value("group_suppressed", **LEVEL, group="white") == 1
    assert shown.value("windows_total", **LEVEL, status="suppressed", reason="no_group_says_anything") == 1


def test_levels_stand_apart_and_older_windows_change_nothing() -> None:
    """A void minute leaves the 10 s values; a window that comes after a newer one is counted and not shown."""
    shown = Shown()
    shown.collector.window(record(7), 0.2)
    shown.collector.window(record(level="1m", status="void", reason="incomplete_rollup"), 0.2)
    shown.collector.window(record(6, status="void", reason="not_finite"), 0.2)
    assert shown.value("group_value_ratio", **BLACK) == pytest.approx(0.15)
    assert shown.value("window_end_timestamp_seconds", **LEVEL) == START_MS / 1000 + 70
    assert shown.value("windows_total", **LEVEL, status="void", reason="not_finite") == 1


def test_counters_begin_at_0() -> None:
    """Every known outcome is there from the start: Prometheus sees no increase in a counter that is born as 1."""
    shown = Shown()
    for status, reason in _KNOWN_OUTCOMES:
        assert shown.value("windows_total", **LEVEL, status=status, reason=reason) == 0
    assert {("void", publish.COVERAGE_DIFFERS), ("void", publish.RELEASES_DIFFER)} <= set(_KNOWN_OUTCOMES)


def test_delay_counts_live_windows_only() -> None:
    """Windows that are replayed have no delay; the live ones are in the histogram of their level."""
    shown = Shown()
    shown.collector.window(record(), None)
    assert shown.value("publish_delay_seconds_count", **LEVEL) is None
    shown.collector.window(record(2), 0.2)
    shown.collector.window(record(3), -0.001)  # clocks differ by a little
    assert shown.value("publish_delay_seconds_count", **LEVEL) == 2
    assert shown.value("publish_delay_seconds_bucket", **LEVEL, le="0.5") == 2


def test_parties_are_shown_apart() -> None:
    """Each party's last release and budget have series of their own, and an old release moves nothing back."""
    shown = Shown()
    shown.collector.released("feed", "10s", "a", START_MS + 20_000)
    shown.collector.released("feed", "10s", "b", START_MS + 10_000)
    shown.collector.released("feed", "10s", "a", START_MS)
    shown.collector.window(record(), 0.2)
    for party, behind in (("a", 20), ("b", 10)):
        assert shown.value("released_window_end_timestamp_seconds", **LEVEL, party=party) == START_MS / 1000 + behind
        assert shown.value("privacy_budget_spent_ratio", measurement="feed", party=party) == pytest.approx(0.2)
        assert shown.value("privacy_epsilon_spent", measurement="feed", party=party) == 2.75
    limit = shown.value("privacy_epsilon_limit", measurement="feed")
    assert limit is not None
    assert 6 < limit < 7  # OpenDP's epsilon of rho .5 at delta 1e-9
    assert shown.value("privacy_delta", measurement="feed") == 1e-9


def test_refusals_by_what_is_known() -> None:
    """A refusal names its party, and the measurement where it can be believed; what alerts watch begins at 0."""
    shown = Shown(approved(), approved("other"))

    def refused(measurement: str, party: str, reason: str) -> float | None:
        return shown.value("releases_refused_total", measurement=measurement, party=party, reason=reason)

    for party in "ab":
        for reason in (*publish.BUDGET_REASONS, "second_release", "not_in_spec"):
            assert [refused(name, party, reason) for name in ("feed", "other")] == [0, 0]
        assert [refused("", party, reason) for reason in ("malformed", "signature", "unknown_measurement")] == [0] * 3
    shown.collector.refused(
        {("", "b", "signature"): 2, ("feed", "a", "budget_exceeded_year"): 1, ("gone", "a", "x"): 1}
    )
    assert refused("", "b", "signature") == 2
    assert refused("feed", "a", "budget_exceeded_year") == 1
    assert refused("feed", "b", "budget_exceeded_year") == 0
    assert refused("gone", "a", "x") is None


def test_a_revoked_measurement_keeps_its_name_and_no_value() -> None:
    """What it says, how fresh it is and what it costs are gone; that it was revoked, and what it counted, remain."""
    other = replace(approved("other"), spec=bytes(32))
    shown = Shown(other, approved())
    for name in ("feed", "other"):
        shown.collector.released(name, "10s", "a", START_MS + 10_000)
        spec = {"feed": approved().spec, "other": other.spec}[name]
        shown.collector.window(record(name=name).model_copy(update={"spec_sha256": spec.hex()}), 0.2)
    assert _series(shown, "feed") > {"evenstream_gap_ratio", "evenstream_window_end_timestamp_seconds"}
    shown.collector.measurements([other, replace(approved(), revoked_at_ms=START_MS)], 0.5)
    shown.collector.window(record(2, status="withdrawn", reason="revoked"), None)
    assert _series(shown, "feed") == {
        "evenstream_measurement_info", "evenstream_windows_total",
        "evenstream_publish_delay_seconds_bucket", "evenstream_publish_delay_seconds_count",
        "evenstream_publish_delay_seconds_sum", "evenstream_publish_delay_seconds_created",
    }  # fmt: skip
    info = {"measurement": "feed", "revision": "1", "reference": "white"}
    assert shown.value("measurement_info", **info, state="revoked") == 1
    assert shown.value("measurement_info", **info, state="active") is None
    assert shown.value("windows_total", **LEVEL, status="withdrawn", reason="revoked") == 1
    assert _series(shown, "other") > {"evenstream_gap_ratio", "evenstream_window_end_timestamp_seconds"}


def _series(shown: Shown, measurement: str) -> set[str]:
    samples = [sample for family in shown.registry.collect() for sample in family.samples]
    return {sample.name for sample in samples if sample.labels.get("measurement") == measurement}


def test_an_expired_measurement_says_so_and_falls_silent() -> None:
    """Its state follows the clock; its values stay until its last window has had its time, and then go."""
    expires_ms = START_MS + 600_000
    now = [START_MS / 1000]
    measurement = approved().measurement.model_copy(update={"expires": datetime.fromtimestamp(expires_ms / 1000, UTC)})
    shown = Shown(clock=lambda: now[0])
    shown.collector.measurements([replace(approved(), measurement=measurement, until_ms=expires_ms)], 0.5)
    shown.collector.window(record(), 0.2)
    assert shown.value("measurement_expiry_timestamp_seconds", measurement="feed") == expires_ms / 1000
    seen = []
    for passed in (599, 600, 660, 661):
        now[0] = START_MS / 1000 + passed
        (state,) = [
            sample.labels["state"]
            for family in shown.registry.collect()
            for sample in family.samples
            if sample.name == "evenstream_measurement_info"
        ]
        seen.append((state, "evenstream_gap_ratio" in shown.names()))
    assert seen == [("active", True), ("expired", True), ("expired", True), ("expired", False)]


def test_a_replayed_logs_state_does_not_follow_the_clock() -> None:
    """It is active, with its values, also past its end: the log's times are its own. It is the live page's word too."""
    old = approved().measurement
    replayed = old.model_copy(
        update={
            "source": old.source.model_copy(update={"arrival": "record_time"}),
            "expires": datetime.fromtimestamp(START_MS / 1000 + 600, UTC),
        }
    )
    entry = replace(approved(), measurement=replayed, until_ms=START_MS + 600_000)
    shown = Shown(clock=lambda: START_MS / 1000 + 86_400)
    shown.collector.measurements([entry], 0.5)
    shown.collector.window(record(), 0.2)
    info = {"measurement": "feed", "revision": "1", "reference": "white"}
    assert shown.value("measurement_info", **info, state="active") == 1
    assert "evenstream_gap_ratio" in shown.names()
    assert terms.state(entry, START_MS + 86_400_000) == "active: it counts a replayed log, by the log's own times"


def test_the_newest_revision_that_stands_says_when_approval_ends() -> None:
    """A later revision's expiry counts as soon as it is approved; a revoked one's does not, and none has no series."""
    one, two = (
        replace(
            approved(revision=number),
            measurement=approved(revision=number).measurement.model_copy(
                update={"expires": datetime.fromtimestamp(START_MS / 1000 + number * 86_400, UTC)}
            ),
        )
        for number in (1, 2)
    )
    shown = Shown(one, two)
    assert shown.value("measurement_expiry_timestamp_seconds", measurement="feed") == START_MS / 1000 + 2 * 86_400
    shown.collector.measurements([one, replace(two, revoked_at_ms=START_MS)], 0.5)
    assert shown.value("measurement_expiry_timestamp_seconds", measurement="feed") == START_MS / 1000 + 86_400
    shown.collector.measurements([replace(one, revoked_at_ms=START_MS)], 0.5)
    assert shown.value("measurement_expiry_timestamp_seconds", measurement="feed") is None


def test_a_measurement_that_is_gone_takes_its_series_with_it() -> None:
    """No gauge of a measurement that is no longer approved stays behind."""
    shown = Shown(approved("feed"), approved("other"))
    for name in ("feed", "other"):
        shown.collector.released(name, "10s", "a", START_MS)
        shown.collector.window(record(name=name), 0.2)
    shown.collector.measurements([approved("other")], 0.5)
    measurements = {
        sample.labels["measurement"]
        for family in shown.registry.collect()
        for sample in family.samples
        if "measurement" in sample.labels
    }
    assert measurements == {"other", ""}  # "": refusals that are nobody's


def test_a_later_revision_shows_once_windows_reach_it() -> None:
    """A revision approved ahead of its start changes nothing until a window lies in it."""
    next_day = START_MS + 86_400_000
    first = approved(until_ms=next_day)
    second = approved(revision=2, reference="black", from_ms=next_day)
    now_ms = [next_day - 1]
    shown = Shown(second, first, clock=lambda: now_ms[0] / 1000)
    shown.collector.window(record(), 0.2)
    info = {"measurement": "feed", "state": "active"}
    assert shown.value("measurement_info", **info, revision="1", reference="white") == 1
    assert shown.value("measurement_info", **info, revision="2", reference="black") is None
    now_ms[0] = next_day
    over = {"measurement": "feed", "state": "superseded"}
    assert shown.value("measurement_info", **over, revision="1", reference="white") == 1
    shown.collector.window(record(from_ms=next_day), 0.2)
    assert shown.value("measurement_info", **info, revision="1", reference="white") is None
    assert shown.value("measurement_info", **info, revision="2", reference="black") == 1


def test_scrapes_while_windows_arrive() -> None:
    """Scraped from two threads while fed from another, the collector never fails and never shows half a window."""
    shown = Shown()
    errors: list[BaseException] = []
    stop = threading.Event()

    def scrape() -> None:
        try:
            while not stop.is_set():
                families = {family.name: family for family in shown.registry.collect()}
                gap = len(families["evenstream_gap_ratio"].samples)
                assert gap == len(families["evenstream_gap_upper_ratio"].samples)
                assert gap in (0, 4)
        except BaseException as error:  # whatever it was, the test must see it
            errors.append(error)

    scrapers = [threading.Thread(target=scrape) for _ in range(2)]
    for thread in scrapers:
        thread.start()
    good, bad = record(), record(status="void", reason="coverage_differs")
    for number in range(2, 300):
        end = good.window.model_copy(update={"end_ms": START_MS + number * 10_000})
        shown.collector.window((good, bad)[number % 2].model_copy(update={"window": end}), 0.1)
        shown.collector.released("feed", "10s", "ab"[number % 2], end.end_ms)
        shown.collector.measurements([approved()], 0.5) if number % 50 == 0 else None
    stop.set()
    for thread in scrapers:
        thread.join(timeout=10)
    assert not errors
    assert not any(thread.is_alive() for thread in scrapers)
