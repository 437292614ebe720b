"""Targets of the live campaigns, judged by their figures: latency, standstill, low traffic, memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.performance.comparison_section import Verdict
from bench.performance.latency import TARGET_P99_MS
from bench.performance.low_traffic import ENVELOPES_A_MINUTE, IDLE_CORES, ONE
from bench.performance.memory import GROWTH

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
    idle = [(cores, role) for f in figures if f["phase"] != ONE for role, cores in f["cores"].items()]
    ten = [max(f["envelopes_per_minute"].values()) for f in figures if (f["base"], f["phase"]) == ("10s", ONE)]
    found = []
    if idle:
        most, role = max(idle)
        found.append(
            Verdict(f"idle: under {IDLE_CORES:.0%} of a core a role", f"{most:.1%} at most ({role})", most < IDLE_CORES)
        )
    if ten:
        found.append(
            Verdict(
                f"one event a second: a few dozen envelopes a minute ({ENVELOPES_A_MINUTE} on a topic)",
                f"{max(ten):.0f}",
                max(ten) <= ENVELOPES_A_MINUTE,
            )
        )
    return found


def of_memory(figures: Figures) -> list[Verdict]:
    """Peaks do not grow with a backlog."""
    backlogs = sorted(
        (f for f in figures if f["kind"] == "phase" and f["phase"].startswith("backlog")),
        key=lambda f: int(f["events"]),
    )
    if len(backlogs) < 2:
        return []
    less, more = backlogs[0], backlogs[-1]
    growth = {role: peak / max(less["peak_mb"][role], 1.0) for role, peak in more["peak_mb"].items()}
    most = max(growth, key=lambda role: growth[role])
    return [
        Verdict(
            f"memory: over {more['events'] / less['events']:.0f} times the backlog at most {GROWTH} times the peak",
            f"{growth[most]:.2f} times ({most}); peaks of {max(more['peak_mb'].values()):.0f} MB at most",
            growth[most] <= GROWTH,
        )
    ]
