"""``files/topics.yaml``: every topic of evenstream's own, from ``streams.kafka.topics``, for KafkaTopic resources.

What follows from a setting stands there as that setting's name and what it is multiplied by. Which values do is found
out by asking for the plan with numbers that occur nowhere else, so that no table here can be forgotten.
"""

from __future__ import annotations

from typing import Any

from streams.kafka.topics import plan
from streams.settings import Settings

_DEPLOYMENT = "deployment-of-a-release"
_HOUR_MS, _MINUTE_MS = 3_600_000, 60_000
_UNITS = {
    "min_insync_replicas": 1,
    "retention_hours": _HOUR_MS,
    "metrics_retention_hours": _HOUR_MS,
    "concerns_retention_hours": _HOUR_MS,
    "segment_minutes": _MINUTE_MS,
}
"""By setting of ``topics``, what Kafka's property counts: a whole number of these."""
_PARTITIONS, _COPIES = 1019, 1013
_MARKS = dict(zip(_UNITS, (1009, 9_000_011, 9_000_041, 9_000_049, 9_000_059), strict=True))
"""Primes that no topic's property has of itself."""


def topics() -> dict[str, Any]:
    """The settings' defaults, and by topic its name after the deployment's, its partitions and its properties.

    ``partitions`` is 1, or "P": as many as ``topics.partitions`` says. A property is text, or ``{from: SETTING, times:
    UNIT}``: the setting times the unit, as a whole number.
    """
    marked = {"partitions": _PARTITIONS, "replication_factor": _COPIES, **_MARKS}
    settings = Settings.model_validate({"deployment": _DEPLOYMENT, "topics": marked})
    defaults = Settings().topics
    return {
        "defaults": {name: _whole(getattr(defaults, name)) for name in marked},
        "topics": [
            {
                "name": topic.name.removeprefix(f"{_DEPLOYMENT}."),
                "partitions": "P" if topic.partitions == _PARTITIONS else topic.partitions,
                "config": {name: _property(value) for name, value in topic.config.items()},
            }
            for topic in plan(settings)
        ],
    }


def _property(value: str) -> str | dict[str, Any]:
    for name, unit in _UNITS.items():
        if value == str(_MARKS[name] * unit):
            return {"from": name, "times": unit}
    return value


def _whole(number: float) -> float:
    return int(number) if number == int(number) else number
