"""Records of `fairness-metrics` with alarms in them, for tests whose subject is what an alarm opens."""

from __future__ import annotations

import json
from typing import Any

from streams.records.published import PublishedRecord

ALARM_MS = 1_764_000_010_000
"""End of the window with which the alarm began, epoch milliseconds."""


def result(
    group: str = "black", since_ms: int | None = ALARM_MS, metric: str = "tpr", **changes: Any
) -> dict[str, Any]:
    """One result, in alarm since that window; None where it is not."""
    return {
        "metric": metric,
        "score_bin": "all",
        "group": group,
        "estimator": "weighted",
        "value": {"estimate": 0.4, "lower": 0.38, "upper": 0.42},
        "gap": {"estimate": -0.1, "lower": -0.13, "upper": -0.07},
        "ratio": None,
        "suppressed": None,
        "log_evidence": 12.5,
        "alarm": since_ms is not None,
        "alarm_since_ms": since_ms,
    } | changes


def record(
    *results: dict[str, Any],
    measurement: str = "feed",
    spec: bytes = bytes(range(32)),
    end_ms: int = ALARM_MS,
    **changes: Any,
) -> tuple[bytes, bytes]:
    """(key, value) of a window; fields that what an alarm opens does not look at are left out."""
    content = {
        "measurement": measurement,
        "revision": 1,
        "spec_sha256": spec.hex(),
        "level": "10s",
        "window": {"start_ms": end_ms - 10_000, "end_ms": end_ms},
        "status": "published",
        "reason": None,
        "reference": "white",
        "results": list(results),
    }
    return f"{measurement}/10s/{end_ms}".encode(), json.dumps(content | changes, separators=(",", ":")).encode()


def signed(*results: dict[str, Any], **changes: Any) -> PublishedRecord:
    """The same, by a publish that is believed."""
    return as_signed(*record(*results, **changes))


def as_signed(key: bytes, value: bytes) -> PublishedRecord:
    """A record as it is once its signature was verified."""
    return PublishedRecord(key, value, 2 if b'"status":"withdrawn"' in value else 1)
