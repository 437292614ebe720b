"""Resident memory of each role: without traffic, under half of what the machine carries, in bursts, over backlogs.

    python -m bench.performance.memory [--quick] [--capacity EVENTS_A_SECOND] [--out FILE]

A burst is ten times the rate for some seconds, or as fast as the machine writes it; a backlog is what is on the source
topic when `seal` starts to read after it stood still. What waits has to wait in Kafka: a role's peak must not grow with
it, so two backlogs are compared of which one is three times the other.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.performance.alone import alone
from bench.performance.capacity import find_capacity
from bench.performance.deployment import ROLES
from bench.performance.live import Live
from bench.performance.processes import resident_bytes

LOAD, BURST = 0.5, 10.0
GROWTH = 1.25
"""A peak over three times the backlog that is above this multiple of the peak over one is growth."""
_MB = 1_000_000
_SAMPLE_SECONDS = 0.1
_KEPT_SECONDS = 1.0
_LIMIT_SECONDS = 110.0
# More than the machine carries waits in the writing process and the broker: it would be late, and refused.
_LATENESS_MS = 10_000


class Sampler(threading.Thread):
    """Resident memory of each role, until it is closed."""

    def __init__(self, pids: dict[str, int]) -> None:
        super().__init__(daemon=True)
        self._pids = pids
        self._closed = threading.Event()
        self.begun = time.monotonic()
        self.samples: list[tuple[float, dict[str, int]]] = []
        """(seconds since it began, bytes by role)."""
        self.start()

    def run(self) -> None:
        """Sample."""
        while True:
            at = time.monotonic() - self.begun
            self.samples.append((at, {role: resident_bytes(pid) for role, pid in self._pids.items()}))
            if self._closed.wait(_SAMPLE_SECONDS):
                return

    def peaks(self, since: float) -> dict[str, int]:
        """The highest of each role since so many seconds after it began; bytes."""
        found = [sample for at, sample in list(self.samples) if at >= since]
        return {role: max((sample[role] for sample in found), default=0) for role in self._pids}

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.begun

    def close(self) -> None:
        """Stop."""
        self._closed.set()
        self.join()


def run(
    bootstrap: str, folder: Path, quick: bool, say: Callable[[str], None], *, capacity: float | None = None
) -> list[dict[str, Any]]:
    """Figures: one a phase, and the course of it all."""
    members = 100_000 if quick else 1_000_000
    # The smaller one fills a party's queue of `shares` (64 MiB, 52 bytes a row): a fuller one would look like growth.
    backlogs = (200_000, 600_000) if quick else (2_000_000, 6_000_000)
    with Live(folder / "memory", bootstrap, members=members, lateness_ms=_LATENESS_MS, say=say) as live:
        if capacity is None:
            capacity = find_capacity(live, say, halvings=1)["events_per_second"]
        live.await_begin()
        sampler = Sampler({role: live.deployment.pid(role) for role in ROLES})
        try:
            return _phases(live, sampler, LOAD * capacity, backlogs, 5.0 if quick else 20.0, say)
        finally:
            sampler.close()


def _phases(
    live: Live,
    sampler: Sampler,
    rate: float,
    backlogs: Sequence[int],
    seconds: float,
    say: Callable[[str], None],
) -> list[dict[str, Any]]:
    figures: list[dict[str, Any]] = []

    def phase(name: str, what: Callable[[], tuple[int, float]]) -> None:
        begun, refused = sampler.seconds, _refused(live)
        events, written = what()
        peaks = sampler.peaks(begun)
        figures.append(
            {
                "campaign": "memory",
                "kind": "phase",
                "phase": name,
                "begun": round(begun, 1),
                "seconds": round(sampler.seconds - begun, 1),
                "events": events,
                "written_per_second": round(written),
                "refused": _refused(live) - refused,
                "peak_mb": {role: round(peak / _MB, 1) for role, peak in peaks.items()},
            }
        )
        say(f"{name}: {events:,} events; at most, MB: {figures[-1]['peak_mb']}")

    phase("no traffic", lambda: _wait(seconds))
    phase(f"{rate:,.0f} events/s", lambda: _write(live, rate, seconds))
    phase(f"{BURST:.0f} times that", lambda: _write(live, BURST * rate, seconds / 4))
    for backlog in backlogs:
        phase(f"backlog of {backlog:,}", lambda count=backlog: _behind(live, count))  # type: ignore[misc]  # bound now
    phase("no traffic again", lambda: _wait(seconds))
    sampler.close()
    course, kept_at = [], float("-inf")
    for at, sample in sampler.samples:
        if at - kept_at >= _KEPT_SECONDS:
            kept_at = at
            course.append([round(at, 1), *(round(sample[role] / _MB, 1) for role in ROLES)])
    figures.append({"campaign": "memory", "kind": "course", "roles": list(ROLES), "seconds_mb": course})
    return figures


def _refused(live: Live) -> int:
    return round(live.deployment.value("seal", "evenstream_records_refused_total"))


Sending = tuple[int, float]
"""Events, and how many a second were written."""


def _wait(seconds: float) -> Sending:
    time.sleep(seconds)
    return 0, 0.0


def _write(live: Live, rate: float, seconds: float) -> Sending:
    """Write, and wait until all of it was seen."""
    traffic = live.send(rate, seconds)
    watch = live.watch()
    sent = traffic.end(early=False)
    live.await_quiet(watch, sent.end_ms, _LIMIT_SECONDS)
    watch.close()
    return sent.events, sent.rate


def _behind(live: Live, events: int) -> Sending:
    """Write while `seal` stands still; let it go on, and wait until all of it was seen."""
    live.deployment.hold("seal")
    try:
        sent = live.send(200_000, events / 200_000).end(early=False)
    finally:
        live.deployment.go("seal")
    watch = live.watch(from_ms=sent.begin_ms)
    live.await_quiet(watch, sent.end_ms, _LIMIT_SECONDS)
    watch.close()
    return sent.events, sent.rate


def backlogs(figures: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The phases with a backlog, the smallest first."""
    phases = (f for f in figures if f["kind"] == "phase" and f["phase"].startswith("backlog"))
    return sorted(phases, key=lambda f: int(f["events"]))


def growth(figures: Sequence[Mapping[str, Any]]) -> tuple[float, str, float] | None:
    """How many times the smallest backlog the largest is; the role whose peak grows most over that, and how many times.

    None where there is one backlog at most.
    """
    found = backlogs(figures)
    if len(found) < 2:
        return None
    less, more = found[0], found[-1]
    by_role = {role: peak / max(less["peak_mb"][role], 1.0) for role, peak in more["peak_mb"].items()}
    most = max(by_role, key=lambda role: by_role[role])
    return more["events"] / less["events"], most, by_role[most]


def section(figures: Sequence[dict[str, Any]]) -> str:
    """For docs/performance.md."""
    phases = [f for f in figures if f["campaign"] == "memory" and f["kind"] == "phase"]
    lines = [
        "## Memory",
        "",
        "Peak resident size by role, MB, of each phase until all of its windows were published:",
        "",
        "| phase | events | written/s | s | " + " | ".join(f"`{role}`" for role in ROLES) + " |",
        "|---|---:|---:|---:|" + "---:|" * len(ROLES),
    ]
    lines += [
        f"| {f['phase']} | {f['events']:,} | {f['written_per_second']:,} | {f['seconds']:.0f} | "
        + " | ".join(f"{f['peak_mb'][role]:.0f}" for role in ROLES)
        + " |"
        for f in phases
    ]
    refused = sum(f["refused"] for f in phases)
    lines += ["", f"Events refused as late: {refused:,} of {sum(f['events'] for f in phases):,}."]
    found = growth(phases)
    if found is not None:
        times, most, of_most = found
        lines += [
            "",
            f"Over {times:.0f} times the backlog the peak of `{most}` is {of_most:.2f} "
            f"times that over the smaller one, of every other role less: "
            + ("bounded, met." if of_most <= GROWTH else f"it grows ({GROWTH} at most was meant), missed."),
        ]
    return "\n".join(lines) + "\n"


def plot(figures: Sequence[dict[str, Any]], folder: Path) -> list[Path]:
    """Memory by role over the whole campaign."""
    from bench.performance.live_plots import memory_over_time

    phases = [f for f in figures if f["campaign"] == "memory" and f["kind"] == "phase"]
    courses = [f for f in figures if f["campaign"] == "memory" and f["kind"] == "course"]
    return [memory_over_time(courses[-1], phases, folder / "memory.png")] if courses else []


if __name__ == "__main__":
    alone("memory", run, section)
