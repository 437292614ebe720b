"""Both kinds of points of the scale campaign, small, on a real Kafka with all five roles."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.performance import scale
from bench.performance.drained import Shape, drain
from bench.performance.paced import Steps, pace

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

ROLES = ("seal", "attach", "a", "b", "publish")


def test_a_topic_is_drained_role_by_role(kafka: str, kafka_logs: Path, tmp_path: Path) -> None:
    """Each role has done all of the work, and what it did, used and wrote is counted as it is."""
    shape = Shape(
        "batch_rows", 1_500, partitions=2, measurements=2, batch_rows=100, members=300, rectifier=True, ahead=1
    )
    figure = drain(shape, tmp_path, kafka, kafka_logs)
    assert json.loads(json.dumps(figure)) == figure
    roles, topics = figure["roles"], figure["topics"]
    assert list(roles) == list(ROLES)
    rows, slots = 1_500 * 2, 2 * 2 * 2 * figure["windows"]
    assert (roles["seal"]["events"], roles["seal"]["rows"], roles["attach"]["rows"]) == (1_500, rows, rows)
    # A batch of each slot is not full.
    assert rows / 100 <= roles["seal"]["batches"] <= rows / 100 + slots
    assert roles["seal"]["batches"] == roles["attach"]["batches"] == roles["b"]["batches"]
    assert roles["seal"]["decodings"] == rows + 1_500
    assert roles["attach"]["elements"] > 12 * rows
    assert roles["publish"]["windows"] == roles["a"]["windows"] == 2 * figure["windows"]
    for role in ROLES:
        assert roles[role]["transactions"] >= 1
        assert 0 < roles[role]["own_cpu_seconds"] <= roles[role]["cpu_seconds"] < roles[role]["seconds"] * 2
        assert 0 < roles[role]["own_seconds"] <= roles[role]["seconds"]
    # The source's topic is compressed; the others hold ciphertext, and Kafka's own framing with it.
    assert topics["events"]["records"] == 1_500
    assert topics["events"]["log_bytes"] < topics["events"]["value_bytes"]
    for name in ("sealed", "shares"):
        assert topics[name]["batch_bytes"] < topics[name]["value_bytes"] < topics[name]["log_bytes"]
    assert "| 100 | 1,500 |" in scale.section([figure, {**figure, "axis": "base", "batch_rows": 4_096}])


def test_roles_are_measured_at_a_steady_rate(kafka: str, kafka_logs: Path, tmp_path: Path) -> None:
    """At rest nothing is done; at a rate, the rows of that rate are, by all roles, and windows end once a second."""
    steps = Steps((50.0, 400.0), partitions=1, seconds=3, members=300, sources=2)
    rest, slow, fast = pace(steps, tmp_path, kafka, kafka_logs, print)
    assert json.loads(json.dumps(fast)) == fast
    assert (rest["measurements"], rest["rate"], rest["roles"]["seal"]["transactions"]) == (0, 0.0, 0.0)
    assert 50_000_000 < rest["resident_bytes"]["seal"] < 500_000_000
    assert slow["rate"] == pytest.approx(50.0, rel=0.3)
    assert fast["rate"] == pytest.approx(400.0, rel=0.3)
    for role in ROLES:
        assert 0 < fast["roles"][role]["cpu_seconds"] < 2 * fast["roles"][role]["seconds"]
    for role in ("attach", "a", "b"):
        assert fast["roles"][role]["rows"] == pytest.approx(1_200, rel=0.5)
    assert 1 <= fast["roles"]["publish"]["windows"] <= 5
    assert fast["roles"]["seal"]["polls"] > 0
