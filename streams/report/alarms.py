"""An alarm and its review in words, for the terminal and the live page."""

from __future__ import annotations

from typing import Any

from privacy.dispositions import SignedDisposition
from streams.report.numbers import moment
from streams.review_book import Alarm, Review

NOTHING_CHANGES = "Nothing changes a ranking automatically"
_METRICS = {
    "predictive_parity": "how often a prediction with this score comes true",
    "precision": "how often what is recommended turns out well",
    "tpr": "how often what would turn out well is recommended",
    "fpr": "how often what would not turn out well is recommended",
    "recommendation_rate": "how often something is recommended",
    "position_exposure": "how high up things are shown",
}


def in_words(alarm: Alarm) -> str:
    """What the alarm says, in one sentence."""
    where = "" if alarm.score_bin == "all" else f" in score bin {alarm.score_bin}"
    against = f" to {alarm.reference}" if alarm.reference else ""
    asks = f" ({_METRICS[alarm.metric]})" if alarm.metric in _METRICS else ""
    return (
        f"{alarm.measurement}, in windows of {alarm.level}, since {moment(alarm.since_ms)}: for {alarm.group} the "
        f"evidence of a gap{against} in {alarm.metric}{where}{asks} beyond what is tolerated has passed what the terms "
        "ask"
    )


def gap_in_words(alarm: Alarm) -> str:
    """The gap with which it began, and how sure that is."""
    if alarm.gap is None:
        return "the window with which it began shows no gap"
    estimate, lower, upper = (100 * value for value in alarm.gap)
    return (
        f"the gap was {estimate:+.1f} points ({lower:+.1f} to {upper:+.1f}) in the window with which it began, by the "
        f"{alarm.estimator} estimate"
    )


def state_in_words(review: Review, now_ms: int) -> str:
    """Where the review stands."""
    state = review.state(now_ms)
    if state == "over":
        return f"over: {review.over}"
    deadline = "" if review.deadline_ms is None else moment(review.deadline_ms)
    told = {"open": f"open: to be decided by {deadline}", "overdue": f"overdue: it was to be decided by {deadline}"}
    if review.standing is not None:
        told["decided"] = f"decided: {review.standing.disposition.decision}"
    return told[state] + ("; another reviewer had decided otherwise" if review.is_disputed else "")


def disposition_in_words(signed: SignedDisposition) -> str:
    """What one reviewer decided."""
    said = signed.disposition
    found = f"; found: {said.reason}" if said.reason else ""
    return (
        f"{signed_in_words(signed)}, reviewer {signed.key_id}: cause {said.cause}, decision {said.decision}{found}; "
        f"follow-up: {said.follow_up}"
    )


def signed_in_words(signed: SignedDisposition) -> str:
    """When it was signed, and why not to rely on that."""
    remarks = [
        *(["signed before the alarm, decides nothing"] if signed.is_premature else []),
        *(["by a clock that is behind the log"] if signed.is_behind else []),
    ]
    return moment(signed.at_ms) + (f" ({'; '.join(remarks)})" if remarks else "")


def command(review: Review) -> str:
    """What a reviewer types to sign a disposition, after those that are shown."""
    after = f" --after {review.dispositions[-1].sequence}" if review.dispositions else ""
    return (
        f"evenstream review decide {review.alarm.id} --cause CAUSE --decision DECISION --follow-up TEXT{after} "
        "--key reviewer.key"
    )


def as_json(review: Review, now_ms: int) -> dict[str, Any]:
    """A review for machines; times in epoch milliseconds."""
    alarm = review.alarm
    gap = None if alarm.gap is None else dict(zip(("estimate", "lower", "upper"), alarm.gap, strict=True))
    return {
        "alarm": alarm.id,
        "measurement": alarm.measurement,
        "level": alarm.level,
        "metric": alarm.metric,
        "score_bin": alarm.score_bin,
        "group": alarm.group,
        "reference": alarm.reference or None,
        "since_ms": alarm.since_ms,
        "estimator": alarm.estimator or None,
        "gap": gap,
        "state": review.state(now_ms),
        "over": review.over,
        "disputed": review.is_disputed,
        "deadline_ms": review.deadline_ms,
        "dispositions": [
            {
                "sequence": signed.sequence,
                "at_ms": signed.at_ms,
                "before_alarm": signed.is_premature,
                "clock_behind": signed.is_behind,
                "key_id": signed.key_id,
                "cause": signed.disposition.cause,
                "decision": signed.disposition.decision,
                "reason": signed.disposition.reason,
                "follow_up": signed.disposition.follow_up,
            }
            for signed in review.dispositions
        ],
    }
