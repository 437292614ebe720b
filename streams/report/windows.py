"""A published window in one line, for people who watch windows go by."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from streams.records.metric import FairnessMetric, Interval, Result
from streams.report.numbers import moment
from streams.report.terminal import terminal_line

COLUMNS = ("window ends", "measurement", "level", "status", "widest gap", "evidence", "alarm")


@dataclass(frozen=True)
class Line:
    """The cells of one window, in the order of ``COLUMNS``; plain text that can be printed."""

    cells: tuple[str, ...]
    alarm: bool

    @classmethod
    def of(cls, record: FairnessMetric, metrics: Collection[str] = ()) -> Line:
        """What a window says first.

        Args:
            metrics: which statistics are looked at for the widest gap; none: all.
        """
        alarms = [result for result in record.results if result.alarm]
        status = record.status if record.reason is None else f"{record.status}: {record.reason}"
        cells = (
            moment(record.window.end_ms),
            record.measurement,
            record.level,
            status,
            _gap(widest_gap(record, metrics)),
            _evidence(record),
            ", ".join(_name(result) for result in alarms) or ("-" if record.results else ""),
        )
        return cls(tuple(map(terminal_line, cells)), bool(alarms))


def watched_estimator(record: FairnessMetric) -> str:
    """By which estimator a window's gaps are judged: its detectors', or what they would watch.

    That is `rectified` where it has a rectifier of its own, else `weighted`: a short window's rectified gaps all carry
    the error of one correction.
    """
    if record.detection is not None:
        return record.detection.estimator
    return "weighted" if record.rectifier is None else "rectified"


def widest_gap(record: FairnessMetric, metrics: Collection[str] = ()) -> Result | None:
    """The gap that is surely furthest from 0: whose interval is; among those that hold 0, the largest estimate."""
    estimator = watched_estimator(record)
    gaps = [
        result
        for result in record.results
        if result.estimator == estimator and result.gap is not None and (not metrics or result.metric in metrics)
    ]
    return max(gaps, key=lambda result: _distance(result.gap), default=None)


def _distance(gap: Interval | None) -> tuple[float, float]:
    assert gap is not None
    return max(gap.lower, -gap.upper, 0.0), abs(gap.estimate)


def _gap(result: Result | None) -> str:
    if result is None or result.gap is None:
        return ""
    gap = result.gap
    return f"{gap.estimate:+.3f} [{gap.lower:+.3f}, {gap.upper:+.3f}] {_name(result)}"


def _name(result: Result) -> str:
    bin_ = "" if result.score_bin == "all" else f" bin {result.score_bin}"
    return f"{result.group} {result.metric}{bin_}"


def _evidence(record: FairnessMetric) -> str:
    """The most evidence of any detector, and the threshold of each; natural logarithms."""
    found = [result.log_evidence for result in record.results if result.log_evidence is not None]
    if not found or record.detection is None:
        return ""
    return f"{max(found):+.1f} of {record.detection.log_threshold:.1f}"
