"""What the live campaigns say: from their figures only, with each target met or missed."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from bench.performance import latency, low_traffic, memory, standstill
from bench.performance.deployment import ROLES

CORES = dict.fromkeys(ROLES, 0.01)


def _delay(partitions: int, p99_ms: float) -> dict[str, Any]:
    return {
        "campaign": "latency",
        "kind": "delay",
        "partitions": partitions,
        "load": 0.5,
        "rate": 50_000,
        "written": 49_990,
        "windows": 300,
        "p50_ms": 170.0,
        "p99_ms": p99_ms,
        "max_ms": p99_ms + 30,
        "mean_ms": 180.0,
        "publish_mean_ms": 172.0,
        "questions_per_window": 8.0,
        "gap_ms": 9.0,
        "answer_ms": 4.0,
        "publish_cores_for_questions": 0.012,
        "cores": CORES,
        "delays_ms": [170.0] * 298 + [p99_ms, p99_ms + 30],
    }


LATENCY = [
    {"campaign": "latency", "kind": "capacity", "partitions": 4, "events_per_second": 100_000.0, "steps": [{}] * 5},
    _delay(4, 310.0),
    _delay(16, 3_000.0),
]
DRAINED = {
    "campaign": "standstill",
    "rate": 50_000,
    "hold_seconds": 60.0,
    "ordinary_ms": 300,
    "drained_seconds": 12.0,
    "batches_waiting": 2_400,
    "events_meanwhile": 3_000_000,
    "cores": CORES,
    "written": 4_500_000,
    "windows": 90,
    "first_after_seconds": 1.2,
    "delays_ms": [[-1_000, 250], [0, 12_000], [1_000, 280]],
    "batches_seal": 3_000,
    "batches_attach": 3_040,
    "batches_a": 3_000,
    "batches_b": 3_000,
    "sealed": 4_500_000,
    "refused": 0,
    "gaps": 0,
    "void": 0,
    "complete": True,
}


def _low(base: str, phase: str, *, cores: float = 0.01, envelopes: float = 24.0) -> dict[str, Any]:
    return {
        "campaign": "low_traffic",
        "base": base,
        "phase": phase,
        "seconds": 60.0,
        "cores": CORES | {"seal": cores},
        "envelopes_per_minute": {"sealed": envelopes, "shares": envelopes},
        "punctuation_per_minute": {"sealed": 24.0, "shares": 24.0},
        "bytes_per_minute": 500_000,
    }


def _phase(name: str, events: int, attach_mb: float) -> dict[str, Any]:
    return {
        "campaign": "memory",
        "kind": "phase",
        "phase": name,
        "begun": 1.0,
        "seconds": 20.0,
        "events": events,
        "written_per_second": 1_000,
        "refused": 0,
        "peak_mb": dict.fromkeys(ROLES, 100.0) | {"attach": attach_mb},
    }


def test_latency_says_each_target() -> None:
    """500 ms at 4 partitions is met, 2 s at 16 is missed, and by how much; what asking adds is said."""
    text = latency.section(LATENCY)
    assert "| 4 | 50% | 49,990 | 300 | 170 | 310 | 340 | 500 ms | met |" in text
    assert "| 16 | 50% | 49,990 | 300 | 170 | 3000 | 3030 | 2000 ms | missed, 1.5 x |" in text
    assert "carried 100,000 events a second" in text
    assert "too long by 9 to 9 ms at most" in text


def test_standstill_says_whether_all_is_there() -> None:
    """Complete with what was done anew; where a row is missing it says so first."""
    assert "20% of that" in standstill.section([DRAINED])
    assert "(`attach` did 40 anew" in standstill.section([DRAINED])
    text = standstill.section([DRAINED | {"sealed": 4_499_999, "complete": False}])
    assert "**Not complete**: 4,500,000 events written, 4,499,999 rows sealed" in text


@pytest.mark.parametrize(
    ("cores", "envelopes", "idle", "one"), [(0.019, 48, "met", "met"), (0.021, 61, "missed", "missed")]
)
def test_low_traffic_says_each_target(cores: float, envelopes: float, idle: str, one: str) -> None:
    """The worst role while nothing comes, and envelopes a minute at one event a second."""
    text = low_traffic.section(
        [_low("1s", low_traffic.IDLE, cores=cores), _low("10s", low_traffic.ONE, cores=0.5, envelopes=envelopes)]
    )
    assert f"Idle: at most {cores:.1%} of a core (`seal`, 1s windows, no event); target 2%: {idle}." in text
    assert f"target a few dozen (48): {one}." in text


@pytest.mark.parametrize(
    ("more_mb", "word"), [(110.0, "bounded, met"), (300.0, "it grows (1.25 at most was meant), missed")]
)
def test_memory_says_whether_it_grows(more_mb: float, word: str) -> None:
    """The peak over three times the backlog, by the peak over one."""
    text = memory.section([_phase("backlog of 1,000", 1_000, 100.0), _phase("backlog of 3,000", 3_000, more_mb)])
    assert word in text
    assert f"peak of `attach` is {more_mb / 100:.2f} times" in text


def test_sections_and_plots_need_the_figures_only(tmp_path: Path) -> None:
    """What was kept as JSON gives the same page and the same pictures, each below 60 kB."""
    course = {
        "campaign": "memory",
        "kind": "course",
        "roles": list(ROLES),
        "seconds_mb": [[0.0, *[90.0] * 5], [9.0, *[95.0] * 5]],
    }
    figures = [
        *LATENCY,
        DRAINED,
        _low("10s", low_traffic.ONE),
        _low("1s", low_traffic.IDLE),
        _phase("no traffic", 0, 99.0),
        course,
    ]
    kept = json.loads(json.dumps(figures))
    for campaign in (latency, standstill, low_traffic, memory):
        assert campaign.section(kept) == campaign.section(figures)
    for campaign in (latency, standstill, memory):
        (path,) = campaign.plot(kept, tmp_path / "one")
        (again,) = campaign.plot(kept, tmp_path / "two")
        assert path.read_bytes() == again.read_bytes()
        assert 5_000 < path.stat().st_size < 60_000


def test_peaks_are_of_their_phase() -> None:
    """A role's highest resident size since a phase began: what was before does not count, a process that ended is 0."""
    sampler = memory.Sampler({"seal": os.getpid(), "attach": 1 << 30})
    deadline = time.monotonic() + 5
    while len(sampler.samples) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    sampler.close()
    sampler.samples.append((1e9, {"seal": 7, "attach": 0}))
    assert sampler.peaks(0.0)["seal"] > 10_000_000
    assert sampler.peaks(1e9) == {"seal": 7, "attach": 0}
