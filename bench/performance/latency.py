"""How long a window takes to be seen: from its end plus lateness until `publish`'s /metrics has it.

    python -m bench.performance.latency [--quick] [--capacity EVENTS_A_SECOND] [--out FILE]

At 1 %, 50 % and 90 % of what the machine carries, with 4 and with 16 partitions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.performance.alone import alone
from bench.performance.capacity import find_capacity
from bench.performance.deployment import ROLES
from bench.performance.live import LATENESS_MS, Live
from bench.performance.processes import usage

TARGET_P99_MS = {4: 500.0, 16: 2_000.0}
"""By partitions, without faults."""
MEMBERS, QUICK_MEMBERS = 1_000_000, 100_000
_SETTLE_SECONDS = 4.0
_POLLS = 40
_LIMIT_SECONDS = 120.0


@dataclass(frozen=True)
class Case:
    """One measurement: partitions, share of the capacity, windows of a second."""

    partitions: int
    load: float
    windows: int


FULL = tuple(Case(partitions, load, 300) for partitions in (4, 16) for load in (0.01, 0.5, 0.9))
QUICK = (Case(4, 0.01, 10), Case(4, 0.5, 10))
_LOW_LOAD = 0.05
"""Up to this share of the capacity, deployments leave each other alone."""


def run(
    bootstrap: str,
    folder: Path,
    quick: bool,
    say: Callable[[str], None],
    *,
    capacity: float | None = None,
    cases: Sequence[Case] | None = None,
) -> list[dict[str, Any]]:
    """Figures: one of the capacity by number of partitions (where it was not given), and one a case.

    Each deployment is alone on the machine at a high load. At a low one all are measured at the same time, to be done
    sooner: the last is made while those before it are still there, at rest.
    """
    cases = cases or (QUICK if quick else FULL)
    capacities: list[dict[str, Any]] = []
    delays: list[dict[str, Any]] = []
    lives: dict[int, Live] = {}
    carried: dict[int, float] = {}

    def make(partitions: int, until: ExitStack) -> None:
        members = QUICK_MEMBERS if quick else MEMBERS
        live = Live(folder / f"latency-{partitions}", bootstrap, partitions=partitions, members=members)
        lives[partitions] = until.enter_context(live)
        if capacity is not None:
            carried[partitions] = capacity
            return
        found = find_capacity(live, say, halvings=1 if quick else 2)
        carried[partitions] = float(found["events_per_second"])
        capacities.append({"campaign": "latency", "kind": "capacity", "partitions": partitions, **found})

    def measure(case: Case) -> None:
        delays.append(_measure(lives[case.partitions], case, carried[case.partitions]))
        say(_line(delays[-1]))

    def measure_high(partitions: int) -> None:
        for case in cases:
            if case.partitions == partitions and case.load > _LOW_LOAD:
                measure(case)

    *first, last = dict.fromkeys(case.partitions for case in cases)
    with ExitStack() as until_all_are_done, ExitStack() as until_the_last_is_alone:
        for partitions in first:
            make(partitions, until_the_last_is_alone)
            measure_high(partitions)
        make(last, until_all_are_done)
        low = [case for case in cases if case.load <= _LOW_LOAD]
        for load in dict.fromkeys(case.load for case in low):
            with ThreadPoolExecutor() as together:
                list(together.map(measure, [case for case in low if case.load == load]))
        until_the_last_is_alone.close()
        measure_high(last)
    return capacities + sorted(delays, key=lambda figure: (figure["partitions"], figure["load"]))


def _measure(live: Live, case: Case, capacity: float) -> dict[str, Any]:
    rate = max(1.0, case.load * capacity)
    traffic = live.send(rate, case.windows + _SETTLE_SECONDS + 3)
    time.sleep(_SETTLE_SECONDS)
    own = _own_delay(live)
    used, begun = live.deployment.used(), time.monotonic()
    writer = usage(traffic.pid)
    watch = live.watch()
    last_ms = watch.next_ms + (case.windows - 1) * live.measurement.base_ms
    time.sleep(case.windows + 1)
    seconds = time.monotonic() - begun
    used = {role: after - used[role] for role, after in live.deployment.used().items()}
    writer = usage(traffic.pid) - writer
    sent = traffic.end()
    live.await_quiet(watch, last_ms, _LIMIT_SECONDS)
    seen = watch.close()
    count, total = (b - a for a, b in zip(own, _own_delay(live), strict=True))
    poll = _poll_cost(live)
    delays = 1000 * np.array(list(seen.delays.values())[: case.windows])
    gaps = 1000 * np.array(list(seen.gaps.values())[: case.windows])
    p50, p99 = np.percentile(delays, (50, 99))
    asked = seen.questions / seconds
    return {
        "campaign": "latency",
        "kind": "delay",
        "partitions": case.partitions,
        "load": case.load,
        "rate": round(rate),
        "written": round(sent.rate),
        "lateness_ms": LATENESS_MS,
        "windows": int(delays.size),
        "p50_ms": round(float(p50), 1),
        "p99_ms": round(float(p99), 1),
        "max_ms": round(float(delays.max()), 1),
        "publish_mean_ms": round(1000 * total / count, 1) if count else None,
        "mean_ms": round(float(delays.mean()), 1),
        "questions_per_window": round(asked, 1),
        "gap_ms": round(float(np.median(gaps)), 1),
        "answer_ms": round(1000 * seen.answer_seconds / max(1, seen.questions), 1),
        "publish_cores_for_questions": round(asked * poll, 4),
        "cores": {role: round(used[role].seconds / seconds, 4) for role in ROLES},
        "writer_cores": round(writer.seconds / seconds, 4),
        "delays_ms": [round(float(delay), 1) for delay in delays],
    }


def _own_delay(live: Live) -> tuple[float, float]:
    """What `publish` itself says: windows, and the sum of their delays in seconds."""
    name = "evenstream_publish_delay_seconds"
    return live.deployment.value("publish", f"{name}_count"), live.deployment.value("publish", f"{name}_sum")


def _poll_cost(live: Live) -> float:
    """CPU seconds that one question costs `publish`."""
    pid = live.deployment.pid("publish")
    quiet, begun = usage(pid), time.monotonic()
    time.sleep(1.0)
    idle = (usage(pid) - quiet).seconds / (time.monotonic() - begun)
    watch = live.watch()
    watch.close()
    before, begun = usage(pid), time.monotonic()
    for _ in range(_POLLS):
        watch.ask()
    return max(0.0, (usage(pid) - before).seconds - idle * (time.monotonic() - begun)) / _POLLS


def _line(figure: dict[str, Any]) -> str:
    return (
        f"{figure['partitions']} partitions, {figure['load']:.0%} ({figure['rate']:,} events/s): {figure['windows']} "
        f"windows, p50 {figure['p50_ms']:.0f} ms, p99 {figure['p99_ms']:.0f} ms, max {figure['max_ms']:.0f} ms"
    )


def section(figures: Sequence[dict[str, Any]]) -> str:
    """For docs/performance.md."""
    capacities = [f for f in figures if f["campaign"] == "latency" and f["kind"] == "capacity"]
    delays = [f for f in figures if f["campaign"] == "latency" and f["kind"] == "delay"]
    lines = ["## Latency", ""]
    lines += [
        f"With {found['partitions']} partitions, and the broker and the process that writes events on the same cores, "
        f"this machine carried {found['events_per_second']:,.0f} events a second (a ramp of {len(found['steps'])} "
        "steps of 6 s; carried means that windows came within a second)."
        for found in capacities
    ]
    if len(capacities) > 1:
        lines.append(f"Up to a load of {_LOW_LOAD:.0%} they were measured at the same time, above it each alone.")
    lines += [
        "",
        f"From a window's end plus its lateness ({LATENESS_MS} ms) until `/metrics` shows it, windows of 1 s:",
        "",
        "| partitions | load | events/s | windows | p50 ms | p99 ms | max ms | target p99 | |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for f in delays:
        target = TARGET_P99_MS.get(f["partitions"])
        met = "" if target is None else ("met" if f["p99_ms"] <= target else f"missed, {f['p99_ms'] / target:.1f} x")
        lines.append(
            f"| {f['partitions']} | {f['load']:.0%} | {f['written']:,} | {f['windows']} | {f['p50_ms']:.0f} | "
            f"{f['p99_ms']:.0f} | {f['max_ms']:.0f} | {'' if target is None else f'{target:.0f} ms'} | {met} |"
        )
    if delays:
        lines += ["", _about_asking(delays)]
    return "\n".join(lines) + "\n"


def _about_asking(delays: Sequence[dict[str, Any]]) -> str:
    def span(name: str) -> str:
        values = [f[name] for f in delays if f[name] is not None]
        return f"{min(values):.0f} to {max(values):.0f}" if values else "0"

    cores = max(f["publish_cores_for_questions"] for f in delays)
    own = [f["mean_ms"] - f["publish_mean_ms"] for f in delays if f["publish_mean_ms"] is not None]
    apart = f" By `publish`'s own clock the mean is {np.mean(own):.0f} ms less." if own else ""
    return (
        f"`/metrics` was asked {span('questions_per_window')} times a window, from shortly before the figure could be "
        f"there, every 5 ms and the answer's own time ({span('answer_ms')} ms): a delay is too long by "
        f"{span('gap_ms')} ms at most, and the questions cost `publish` up to {cores:.1%} of a core.{apart}"
    )


def plot(figures: Sequence[dict[str, Any]], folder: Path) -> list[Path]:
    """How many windows had been seen after how long, one line a case."""
    from bench.performance.live_plots import shares_by_delay

    delays = [f for f in figures if f["campaign"] == "latency" and f["kind"] == "delay"]
    return [shares_by_delay(delays, folder / "latency.png")] if delays else []


if __name__ == "__main__":
    alone("latency", run, section)
