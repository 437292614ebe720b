"""Low traffic: what each role uses while nothing comes, and what one event a second costs.

    python -m bench.performance.low_traffic [--quick] [--out FILE]

With windows of 10 s, as an operator may have them, and of 1 s: two deployments beside each other on one broker, each
first without a measurement, then with one but without an event, then with one event a second. Envelopes are batches on
`sealed` and `shares` (each with its rows sealed to its recipients); punctuation is the small signed record that says
how far a partition is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.performance.alone import alone
from bench.performance.amounts import Content, content
from bench.performance.deployment import ROLES
from bench.performance.events import now_ms
from bench.performance.live import Live

BASES = ("10s", "1s")
SECONDS, QUICK_SECONDS = 60.0, 6.0
"""Whole windows: what is written of one is written at its end."""
MEMBERS = 10_000
IDLE_CORES, ENVELOPES_A_MINUTE = 0.02, 48
"""The targets: of a core, a role; "a few dozen" is four."""
_TOPICS = ("sealed", "shares", "releases-a", "releases-b", "fairness-metrics")
_SETTLE_SECONDS = 5.0
NONE, IDLE, ONE = "no measurement", "no event", "1 event/s"


def run(bootstrap: str, folder: Path, quick: bool, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Figures: one a base window and phase."""
    seconds = QUICK_SECONDS if quick else SECONDS
    figures: list[dict[str, Any]] = []
    with ExitStack() as stack:
        lives = [
            stack.enter_context(Live(folder / f"low-{base}", bootstrap, members=MEMBERS, base=base, approve=False))
            for base in BASES
        ]
        for phase in (NONE, IDLE, ONE):
            for live in lives:
                if phase == IDLE:
                    live.approve()
                elif phase == ONE:
                    live.send(1.0, seconds + 2 * _SETTLE_SECONDS)
            begin_ms = max(live.begin_ms for live in lives)
            time.sleep(max(0.0, (begin_ms - now_ms()) / 1000) + _SETTLE_SECONDS)
            found = _measure(lives, phase, seconds)
            for figure in found:
                say(_line(figure))
            figures += found
    return figures


def _measure(lives: Sequence[Live], phase: str, seconds: float) -> list[dict[str, Any]]:
    records = [(time.monotonic(), _written(live)) for live in lives]
    time.sleep(1.0)  # what has just been asked costs the roles nothing any more
    used, begun = [live.deployment.used() for live in lives], time.monotonic()
    time.sleep(seconds - (begun - records[0][0]))
    after, took = [live.deployment.used() for live in lives], time.monotonic() - begun
    figures = []
    for live, base, asked, used_before, used_after in zip(lives, BASES, records, used, after, strict=True):
        at, before = asked
        minutes = (time.monotonic() - at) / 60
        now = _written(live)
        figures.append(
            {
                "campaign": "low_traffic",
                "base": base,
                "phase": phase,
                "seconds": round(took, 2),
                "cores": {role: round((used_after[role] - used_before[role]).seconds / took, 4) for role in ROLES},
                "envelopes_per_minute": {
                    name: round((now[name].batches - before[name].batches) / minutes, 1) for name in _TOPICS[:2]
                },
                "punctuation_per_minute": {
                    name: round((now[name].punctuations - before[name].punctuations) / minutes, 1)
                    for name in _TOPICS[:2]
                },
                "bytes_per_minute": round(sum(now[n].value_bytes - before[n].value_bytes for n in _TOPICS) / minutes),
            }
        )
    return figures


def _written(live: Live) -> dict[str, Content]:
    settings = live.deployment.trial.settings
    return {name: content(settings, settings.topic(name)) for name in _TOPICS}


def busiest_idle(figures: Sequence[Mapping[str, Any]]) -> tuple[float, str, str, str] | None:
    """The most of a core that a role used without events: cores, role, windows, phase; None: not looked at."""
    idle = [
        (cores, role, f["base"], f["phase"]) for f in figures if f["phase"] != ONE for role, cores in f["cores"].items()
    ]
    return max(idle, default=None)


def envelopes_of_one(figures: Sequence[Mapping[str, Any]]) -> float | None:
    """Envelopes a minute on the busier topic, of one event a second and windows of 10 s; None: not looked at."""
    ten = [max(f["envelopes_per_minute"].values()) for f in figures if (f["base"], f["phase"]) == ("10s", ONE)]
    return max(ten, default=None)


def _line(figure: dict[str, Any]) -> str:
    cores = ", ".join(f"{role} {cores:.1%}" for role, cores in figure["cores"].items())
    return (
        f"{figure['base']} windows, {figure['phase']}: {cores}; a minute: envelopes {figure['envelopes_per_minute']}, "
        f"punctuation {figure['punctuation_per_minute']}"
    )


def section(figures: Sequence[dict[str, Any]]) -> str:
    """For docs/performance.md."""
    found = [f for f in figures if f["campaign"] == "low_traffic"]
    if not found:
        return ""
    lines = [
        "## Low traffic",
        "",
        f"Share of a core by role over {found[0]['seconds']:.0f} s, and what is written a minute (4 partitions):",
        "",
        "| windows | traffic | "
        + " | ".join(f"`{role}`" for role in ROLES)
        + " | envelopes sealed + shares | punctuation | bytes |",
        "|---|---|" + "---:|" * (len(ROLES) + 3),
    ]
    lines += [
        f"| {f['base']} | {f['phase']} | "
        + " | ".join(f"{f['cores'][role]:.1%}" for role in ROLES)
        + f" | {f['envelopes_per_minute']['sealed']:.0f} + {f['envelopes_per_minute']['shares']:.0f}"
        + f" | {sum(f['punctuation_per_minute'].values()):.0f} | {f['bytes_per_minute']:,} |"
        for f in found
    ]
    idle, envelopes = busiest_idle(found), envelopes_of_one(found)
    if idle is not None:
        most, role, base, phase = idle
        lines += [
            "",
            f"Idle: at most {most:.1%} of a core (`{role}`, {base} windows, {phase}); target {IDLE_CORES:.0%}: "
            + ("met." if most < IDLE_CORES else "missed."),
        ]
    if envelopes is not None:
        lines += [
            f"One event a second with windows of 10 s: {envelopes:.0f} envelopes a minute on a topic; target a few "
            f"dozen ({ENVELOPES_A_MINUTE}): " + ("met." if envelopes <= ENVELOPES_A_MINUTE else "missed.")
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    alone("low_traffic", run, section)
