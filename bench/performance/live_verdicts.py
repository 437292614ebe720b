"""Targets of the live campaigns, judged by their figures: latency, standstill, low traffic, memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.performance.comparison_section import Verdict
from bench.performance.latency import TARGET_P99_MS
from bench.performance.low_traffic import ENVELOPES_A_MINUTE, IDLE_CORES, busiest_idle, envelopes_of_one
from bench.performance.memory import GROWTH, backlogs, growth

Figures = Sequence[Mapping[str, Any]]


def of_latency(figures: Figures) -> list[Verdict]:
    """p99 at each load, by partitions: the worst one counts."""
    found = []
    for partitions, target in TARGET_P99_MS.items():
        cases = [f for f in figures if f["kind"] == "delay" and f["partitions"] == partitions]
        if cases:
            told = ", ".join(f"{case['p99_ms']:.0f} ms at {case['load']:.0%}" for case in cases)
            met = max(case["p99_ms"] for case in cases) < target
            found.append(
                Verdict(f"window visible, {partitions} partitions: p99 under {target:.0f} ms at every load", told, met)
            )
    return found


def of_standstill(figures: Figures) -> list[Verdict]:
    """After attach stood still, all is there."""
    return [
        Verdict(
            f"attach stands still for {figure['hold_seconds']:.0f} s: nothing lost, nothing late",
            f"drained {figure['drained_seconds']:.1f} s after it went on, at {figure['rate']:,} events/s",
            bool(figure["complete"]),
        )
        for figure in figures
    ]


def of_low_traffic(figures: Figures) -> list[Verdict]:
    """Idle roles, and envelopes of one event a second."""
    idle, envelopes = busiest_idle(figures), envelopes_of_one(figures)
    found = []
    if idle is not None:
        most, role, *_ = idle
        found.append(
            Verdict(f"idle: under {IDLE_CORES:.0%} of a core a role", f"{most:.1%} at most ({role})", most < IDLE_CORES)
        )
    if envelopes is not None:
        found.append(
            Verdict(
                f"one event a second: a few dozen envelopes a minute ({ENVELOPES_A_MINUTE} on a topic)",
                f"{envelopes:.0f}",
                envelopes <= ENVELOPES_A_MINUTE,
            )
        )
    return found


def of_memory(figures: Figures) -> list[Verdict]:
    """Peaks do not grow with a backlog."""
    found = growth(figures)
    if found is None:
        return []
    times, most, of_most = found
    peak = max(backlogs(figures)[-1]["peak_mb"].values())
    return [
        Verdict(
            f"memory: over {times:.0f} times the backlog at most {GROWTH} times the peak",
            f"{of_most:.2f} times ({most}); peaks of {peak:.0f} MB at most",
            of_most <= GROWTH,
        )
    ]
