"""Verdicts on the live campaigns follow from their figures, and each can be a miss."""

from __future__ import annotations

from typing import Any

from bench.performance.live_verdicts import of_latency, of_low_traffic, of_memory, of_standstill

Figure = dict[str, Any]


def _delay(partitions: int, load: float, p99_ms: float) -> Figure:
    return {"kind": "delay", "partitions": partitions, "load": load, "p99_ms": p99_ms}


def test_the_slowest_load_decides() -> None:
    """p99 is judged at every load: one that is too slow misses the target of its number of partitions alone."""
    figures = [
        {"kind": "capacity", "partitions": 4},
        _delay(4, 0.01, 200.0),
        _delay(4, 0.9, 510.0),
        _delay(16, 0.5, 900),
    ]
    four, sixteen = of_latency(figures)
    assert (four.met, sixteen.met) == (False, True)
    assert "510 ms at 90%" in four.found


def test_what_was_not_measured_is_not_judged() -> None:
    """No figures, no verdict."""
    assert of_latency([]) == of_standstill([]) == of_low_traffic([]) == of_memory([]) == []


def test_a_standstill_must_lose_nothing() -> None:
    """The verdict is the campaign's own count of what is there."""
    figure = {"hold_seconds": 60.0, "drained_seconds": 9.0, "rate": 1_000, "complete": False}
    assert [each.met for each in of_standstill([figure, figure | {"complete": True}])] == [False, True]


def _low(base: str, phase: str, cores: float, envelopes: float) -> Figure:
    return {
        "base": base,
        "phase": phase,
        "cores": {"seal": cores, "attach": 0.001},
        "envelopes_per_minute": {"sealed": envelopes, "shares": envelopes},
    }


def test_low_traffic() -> None:
    """Idle is judged without events, envelopes with one a second and windows of 10 s; the dearest role is named."""
    figures = [_low("10s", "no event", 0.021, 0), _low("10s", "1 event/s", 0.9, 24), _low("1s", "1 event/s", 0.9, 200)]
    idle, envelopes = of_low_traffic(figures)
    assert (idle.met, envelopes.met) == (False, True)
    assert "seal" in idle.found


def test_memory_must_not_grow_with_a_backlog() -> None:
    """The role that grows most between two backlogs decides."""
    phases = [
        {"kind": "phase", "phase": f"backlog of {events}", "events": events, "peak_mb": {"seal": 100.0, "a": peak}}
        for events, peak in ((1_000_000, 80.0), (3_000_000, 120.0))
    ]
    (grows,) = of_memory(phases)
    assert grows.met is False
    assert "1.50 times (a)" in grows.found
    phases[1]["peak_mb"]["a"] = 90.0
    assert of_memory(phases)[0].met
