"""What a record says of its level's detectors, held against the window before it, or else against itself.

With the record before, every state follows to the last bit. Without it the states are believed, but only as far as any
history could have led to them by way of this window: evidence between what it comes to from nothing and from as much as
there can be, an alarm where evidence makes one, breaches that this window's own gaps have.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from estimator.comparison import Comparison
from estimator.detection import (
    BETS,
    ENDS_BELOW,
    NO_ALARM,
    STEPS,
    VERSION,
    DetectorName,
    Detectors,
    Deviations,
    Evidence,
    Gaps,
)
from estimator.disparity import Disparities
from estimator.reestimate import Record, layout_of

TERMS = ("estimator", "false_alarm_windows", "tolerated_gaps")
"""What a `detection` says that its revision's spec settles: the same in every record of the level."""

_OVERWHELMING = 1e9
"""Standard deviations: one such window takes all evidence to its cap."""


def check_evidence(
    record: Record,
    found: Disparities,
    previous: Record | None,
    compared: Comparison,
    *,
    first: bool,
    terms: Record | None,
) -> list[str]:
    """Compare what a level's detectors take in and say after the window; returns what could not be."""
    said, before = record.get("detection"), None if previous is None else previous.get("detection")
    if said is None:  # of a version before detectors, or a window that came after a later one
        compared.excess(record, found)
        compared.gathered(record["results"], {}, said)
        if before is not None:
            compared.holds(False, "detection", None, "evidence that goes on from the window before")
        known = before is not None or terms is not None
        return [f"evidence: this record has none{', though its level has detectors' if known else ''}"]
    if said.get("version") != VERSION:
        return [f"evidence: of another version than this program's, which is {VERSION}"]
    compared.excess(record, found)
    layout, groups = layout_of(record), record["table"]["groups"]
    statistics = [(statistic.metric, statistic.score_bin) for statistic in layout.statistics()]
    names = [(*statistic, group) for statistic in statistics for group in groups if group != record["reference"]]
    _check_terms(record, said, before if terms is None else terms, compared)
    tolerated = np.array([said["tolerated_gaps"][metric] for metric, _, _ in names])
    detectors = Detectors(tolerated, said["false_alarm_windows"], len(names))
    compared.value("detection.detectors", said["detectors"], len(names))
    compared.value("detection.log_threshold", said["log_threshold"], detectors.log_threshold)
    compared.value("detection.bets", list(said["bets"]), list(BETS))
    gaps, unchecked = _gaps(record, said["estimator"], names), []
    if before is not None or first:
        seen = Evidence.of_states(() if before is None else before["state"], names)
        after = detectors.after(seen, gaps, record["window"]["end_ms"])
    else:
        unchecked.append("evidence: the record of the level's window before is not at hand")
        after = Evidence.of_states(said["state"], names)
        _check_possible(record, names, after, detectors, gaps, compared)
    compared.value("detection.state", said["state"], list(after.states(names)))
    compared.gathered(record["results"], after.said(names), said["estimator"])
    return unchecked


def _check_terms(record: Record, said: Record, terms: Record | None, compared: Comparison) -> None:
    """Nothing in a record shows what its detectors tolerate; but it is the same in all of its revision."""
    own = "weighted" if record["rectifier"] is None else "rectified"
    compared.value("detection.estimator", said["estimator"], own)
    if terms is not None:
        for name in TERMS:
            compared.value(f"detection.{name}", said[name], terms[name])


def _check_possible(
    record: Record,
    names: Sequence[DetectorName],
    after: Evidence,
    detectors: Detectors,
    gaps: Gaps,
    compared: Comparison,
) -> None:
    """Whether some history leads to these states by way of this window."""
    start_ms, end_ms = record["window"]["start_ms"], record["window"]["end_ms"]
    count, since = len(names), after.alarm_since_ms
    stood = np.where((since != NO_ALARM) & (since < end_ms), since, NO_ALARM)
    nothing = Evidence.none(count)
    overwhelming = Deviations(np.full(count, _OVERWHELMING), np.full(count, _OVERWHELMING))
    all_there_is = detectors.after(nothing, Gaps(gaps.estimate, gaps.lower, gaps.upper, 0.95, overwhelming), end_ms)
    least, most = (
        detectors.after(Evidence(from_.above, from_.below, nothing.breach_windows, stood, after.seen), gaps, end_ms)
        for from_ in (nothing, all_there_is)
    )
    where = {name: f"detection.state[{number}]" for number, name in enumerate(_names_of(record))}
    evidence = np.rint(STEPS * np.where(after.seen, after.log_evidence, 0.0)).astype(int)
    shown = ~np.isnan(gaps.estimate)
    for place, name in enumerate(names):
        if not after.seen[place]:
            absent = f"detection.state of {'/'.join(name)}"
            compared.holds(not least.seen[place], absent, None, "a state: the record has what it takes in")
            continue
        for side in ("above", "below"):
            ends = getattr(least, side)[place], getattr(most, side)[place]
            logs = getattr(after, side)[place]
            possible = bool(np.all((logs >= ends[0]) & (logs <= ends[1])))
            text = f"from {ends[0].tolist()} to {ends[1].tolist()}, whatever was before"
            compared.holds(possible, f"{where[name]}.{side}", logs.tolist(), text)
        breaches, now = int(after.breach_windows[place]), int(least.breach_windows[place])
        possible = breaches >= now if now or not shown[place] else breaches == 0
        text = f"{now} or more, by this window's gap" if now or not shown[place] else "0, by this window's gap"
        compared.holds(possible, f"{where[name]}.breach_windows", breaches, text)
        began = int(since[place])
        threshold = detectors.threshold_steps
        if began == NO_ALARM:
            compared.holds(
                evidence[place] < threshold, f"{where[name]}.alarm_since_ms", None, "an alarm, by its evidence"
            )
            continue
        needed = threshold - (ENDS_BELOW if began < end_ms else 0)
        text = "no alarm, by its evidence"
        compared.holds(bool(evidence[place] >= needed), f"{where[name]}.alarm_since_ms", began, text)
        is_end = 0 < began <= end_ms and (end_ms - began) % (end_ms - start_ms) == 0
        text = f"the end of a window, at most {end_ms}"
        compared.holds(is_end, f"{where[name]}.alarm_since_ms", began, text)


def _names_of(record: Record) -> list[DetectorName]:
    return [(state["metric"], state["score_bin"], state["group"]) for state in record["detection"]["state"]]


def _gaps(record: Record, estimator: str, names: Sequence[DetectorName]) -> Gaps:
    found = {
        (result["metric"], result["score_bin"], result["group"]): result
        for result in record["results"]
        if result["estimator"] == estimator
    }
    gaps, excess = np.full((len(names), 3), np.nan), np.full((len(names), 2), np.nan)
    for place, name in enumerate(names):
        if name not in found:
            continue
        gap, beyond = found[name]["gap"], found[name].get("excess")
        if gap is not None:
            gaps[place] = [gap[end] for end in ("estimate", "lower", "upper")]
        if beyond is not None:
            excess[place] = [beyond[side] for side in ("above", "below")]
    return Gaps(gaps[:, 0], gaps[:, 1], gaps[:, 2], record["confidence"], Deviations(excess[:, 0], excess[:, 1]))
