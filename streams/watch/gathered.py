"""What /metrics shows of the detectors: evidence, its threshold, alarms and breaches, and whether the estimators agree.

All but the last of these have been gathered over windows, and are those of a level's last window that said anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import GaugeMetricFamily, Metric

from streams.records.metric import FairnessMetric

_LEVEL = ("measurement", "level")
_GAP = (*_LEVEL, "metric", "score_bin", "group", "reference")


def gathered_families(gathered: Iterable[FairnessMetric], last: Iterable[FairnessMetric]) -> Iterator[Metric]:
    """All families.

    Args:
        gathered: of each level the last record with `detection`. last: of each level the last record.
    """
    threshold = _gauge("edetector_log_threshold", "Log evidence from which there is an alarm", _LEVEL)
    evidence = _gauge(
        "edetector_log_evidence", "Log evidence, gathered over windows, that a gap is not a tolerated one", _GAP
    )
    alarm = _gauge("edetector_alarm", "1 while an alarm stands, else 0", _GAP)
    breaches = _gauge(
        "gap_breach_windows", "Windows in a row in which a gap's interval lay beyond what is tolerated", _GAP
    )
    newest: dict[str, FairnessMetric] = {}
    for record in gathered:
        detection = record.detection
        if detection is None:
            continue
        threshold.add_metric([record.measurement, record.level], detection.log_threshold)
        for result in record.results:
            if result.log_evidence is not None:
                labels = (result.metric, result.score_bin, result.group, record.reference)
                evidence.add_metric([record.measurement, record.level, *labels], result.log_evidence)
                alarm.add_metric([record.measurement, record.level, *labels], float(result.alarm is True))
        for state in detection.state:
            labels = (state.metric, state.score_bin, state.group, record.reference)
            breaches.add_metric([record.measurement, record.level, *labels], state.breach_windows)
        known = newest.get(record.measurement)
        if known is None or known.revision < record.revision:
            newest[record.measurement] = record
    yield from (_tolerated(newest.values()), breaches, evidence, threshold, alarm, _disagree(last))


def _tolerated(records: Iterable[FairnessMetric]) -> Metric:
    """As the revision has it that the windows have reached."""
    gauge = _gauge("gap_threshold_ratio", "Gaps within it, above or below, are tolerated", ("measurement", "metric"))
    for record in records:
        for metric, gap in () if record.detection is None else record.detection.tolerated_gaps.items():
            gauge.add_metric([record.measurement, metric], gap)
    return gauge


def _disagree(last: Iterable[FairnessMetric]) -> Metric:
    """Only where the window was checked."""
    gauge = _gauge(
        "estimators_disagree",
        "1 where the last window's corrected and rectified estimates differ by more than chance allows",
        _LEVEL,
    )
    for record in last:
        checked = None if record.checks is None else record.checks.estimators
        if checked is not None:
            gauge.add_metric([record.measurement, record.level], float(checked == "disagree"))
    return gauge


def _gauge(name: str, text: str, labels: tuple[str, ...]) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"evenstream_{name}", text, labels=labels)
