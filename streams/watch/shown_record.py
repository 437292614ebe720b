"""A record of `fairness-metrics` as pages read it: the fields that are shown, and no others.

Reading is lenient where ``streams.records.metric`` is strict: a record of an older build lacks fields, one of a newer
build has more. What is missing is None.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from streams.alarm_name import AlarmName

Status = Literal["published", "void", "suppressed", "withdrawn"]


class Interval(msgspec.Struct, frozen=True):
    """A number with its interval, ratios (no unit)."""

    estimate: float
    lower: float
    upper: float


class Result(msgspec.Struct, frozen=True):
    """One statistic of one group by one estimator; ``suppressed`` says why there is no value."""

    metric: str
    score_bin: str
    group: str
    estimator: str
    value: Interval | None = None
    gap: Interval | None = None
    ratio: Interval | None = None
    suppressed: str | None = None
    log_evidence: float | None = None
    alarm: bool | None = None
    alarm_since_ms: int | None = None


class Window(msgspec.Struct, frozen=True):
    """Epoch milliseconds."""

    start_ms: int
    end_ms: int


class Privacy(msgspec.Struct, frozen=True):
    """What the window cost (``streams.records.metric.Privacy``)."""

    unit: str
    period: str
    delta: float
    rho: float
    rho_limit: float
    epsilon_spent: float | None = None
    epsilon_limit: float | None = None
    epsilon_add_remove: float | None = None
    noise_sigma_rows: float | None = None


class Difference(msgspec.Struct, frozen=True):
    """Where two estimators differ most."""

    metric: str
    score_bin: str
    group: str
    deviations: float
    limit: float


class Checks(msgspec.Struct, frozen=True):
    """What stands behind the numbers."""

    estimators: str | None = None
    difference: Difference | None = None
    release_signature_a: str | None = None
    release_signature_b: str | None = None
    debit_a: str | None = None
    debit_b: str | None = None


class Detector(msgspec.Struct, frozen=True):
    """What one detector has come to."""

    metric: str
    score_bin: str
    group: str
    breach_windows: int = 0


class Detection(msgspec.Struct, frozen=True):
    """The detectors of the level, after this window."""

    estimator: str
    false_alarm_windows: float
    detectors: int
    log_threshold: float
    tolerated_gaps: dict[str, float] = {}
    state: tuple[Detector, ...] = ()


class CorrectedBy(msgspec.Struct, frozen=True):
    """The window that corrects this one's rectified estimates."""

    level: str
    end_ms: int


class ShownRecord(msgspec.Struct, frozen=True):
    """One window of one level of one measurement."""

    measurement: str
    revision: int
    spec_sha256: str
    level: str
    window: Window
    status: Status
    reference: str
    confidence: float
    reason: str | None = None
    results: tuple[Result, ...] = ()
    privacy: Privacy | None = None
    checks: Checks | None = None
    corrected_by: CorrectedBy | None = None
    detection: Detection | None = None


_decoder = msgspec.json.Decoder(ShownRecord)


def read(value: bytes) -> ShownRecord | None:
    """A record's value, or None where it is none."""
    try:
        return _decoder.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def alarms(record: ShownRecord) -> tuple[AlarmName, ...]:
    """The alarms that stand after a window."""
    return tuple(
        AlarmName(record.measurement, record.level, r.metric, r.score_bin, r.group, r.alarm_since_ms)
        for r in record.results
        if r.alarm and r.alarm_since_ms is not None
    )
