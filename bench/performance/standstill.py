"""From burst to drained: `attach` stands still for a while under traffic, then all that has piled up goes through.

    python -m bench.performance.standstill [--quick] [--capacity EVENTS_A_SECOND] [--out FILE]

`attach` is stopped by a signal and goes on by another, as a machine does that hangs. Drained it is when the newest
window comes within its ordinary delay again. That nothing was lost or late is held against exact counts: events
written and rows sealed, batches written and folded by each role, windows that were published and their outcome.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.performance.alone import alone
from bench.performance.capacity import find_capacity
from bench.performance.deployment import ROLES
from bench.performance.events import now_ms
from bench.performance.live import Live

HOLD_SECONDS, QUICK_HOLD_SECONDS = 60.0, 5.0
LOAD = 0.5
MEMBERS, QUICK_MEMBERS = 1_000_000, 100_000
LATENESS_MS = 2_000
"""No event is to be late because the process that writes it waits for a core, while all roles catch up on two."""
_ORDINARY_WINDOWS = 10
_SETTLE_SECONDS = 4.0
_LIMIT_SECONDS = 110.0
_QUIET_SECONDS = 30.0


def run(
    bootstrap: str, folder: Path, quick: bool, say: Callable[[str], None], *, capacity: float | None = None
) -> list[dict[str, Any]]:
    """One figure."""
    hold = QUICK_HOLD_SECONDS if quick else HOLD_SECONDS
    members = QUICK_MEMBERS if quick else MEMBERS
    with Live(folder / "standstill", bootstrap, members=members, lateness_ms=LATENESS_MS, say=say) as live:
        if capacity is None:
            capacity = find_capacity(live, say, halvings=1)["events_per_second"]
        return [_measure(live, LOAD * capacity, hold, say)]


def _measure(live: Live, rate: float, hold: float, say: Callable[[str], None]) -> dict[str, Any]:
    before = _counts(live)
    traffic = live.send(rate, _SETTLE_SECONDS + _ORDINARY_WINDOWS + hold + _LIMIT_SECONDS)
    time.sleep(_SETTLE_SECONDS)
    watch = live.watch()
    time.sleep(_ORDINARY_WINDOWS)
    ordinary = max(watch.seen.delays.values(), default=1.0)
    say(f"attach is held for {hold:.0f} s under {rate:,.0f} events/s; until then no window took over {ordinary:.2f} s")
    live.deployment.hold("attach")
    time.sleep(hold)
    live.deployment.go("attach")
    went_ms, used, batches = now_ms(), live.deployment.used(), live.deployment.value("attach", _BATCHES)
    waiting = live.deployment.value("seal", _BATCHES) - batches
    seconds = live.await_ordinary(watch, ordinary, _LIMIT_SECONDS)
    used = {role: after - used[role] for role, after in live.deployment.used().items()}
    sent = traffic.end()
    live.await_quiet(watch, sent.end_ms, _QUIET_SECONDS)
    delays = watch.close().delays
    after = _counts(live)
    found = {name: after[name] - before[name] for name in after}
    windows = [end_ms for end_ms in delays if end_ms <= sent.end_ms]
    figure = {
        "campaign": "standstill",
        "rate": round(rate),
        "hold_seconds": hold,
        "ordinary_ms": round(1000 * ordinary),
        "drained_seconds": round(seconds, 2),
        "batches_waiting": round(waiting),
        "events_meanwhile": round(rate * hold),
        "cores": {role: round(used[role].seconds / seconds, 3) for role in ROLES},
        "written": sent.events,
        "windows": len(windows),
        "first_after_seconds": round(_first(delays, went_ms), 2),
        "delays_ms": [[end_ms - went_ms, round(1000 * delay)] for end_ms, delay in delays.items()],
        **found,
    }
    figure["complete"] = bool(
        found["sealed"] == sent.events
        and found["refused"] == found["gaps"] == found["void"] == 0
        and found["batches_seal"] == found["batches_a"] == found["batches_b"] <= found["batches_attach"]
    )
    say(
        f"drained {seconds:.1f} s after attach went on; "
        + ("complete" if figure["complete"] else f"NOT COMPLETE {found}")
    )
    return figure


_BATCHES = "evenstream_batches_total"


def _counts(live: Live) -> dict[str, int]:
    """What the roles have counted."""
    value = live.deployment.value
    counts = {f"batches_{role}": round(value(role, _BATCHES)) for role in ("seal", "attach", "a", "b")}
    void = [
        float(line.rsplit(" ", 1)[1])
        for line in live.deployment.trial.scrape("publish").splitlines()
        if line.startswith("evenstream_windows_total{") and 'status="void"' in line
    ]
    return counts | {
        "sealed": round(value("seal", "evenstream_rows_total")),
        "refused": round(sum(value(role, "evenstream_records_refused_total") for role in ROLES[:4])),
        "gaps": round(sum(value(role, "evenstream_sequence_gaps_total") for role in ROLES[:4])),
        "void": round(sum(void)),
    }


def _first(delays: dict[int, float], went_ms: int) -> float:
    """Seconds from when it went on until the first window was seen."""
    seen = [(end_ms + LATENESS_MS) / 1000 + delay - went_ms / 1000 for end_ms, delay in delays.items()]
    return min((at for at in seen if at > 0), default=0.0)


def section(figures: Sequence[dict[str, Any]]) -> str:
    """For docs/performance.md."""
    lines = ["## From burst to drained", ""]
    for f in (figure for figure in figures if figure["campaign"] == "standstill"):
        ratio = f["drained_seconds"] / f["hold_seconds"]
        lines += [
            f"`attach` stood still for {f['hold_seconds']:.0f} s under {f['rate']:,} events a second: "
            f"{f['events_meanwhile']:,} events, {f['batches_waiting']:,} batches waited for it. It went on; after "
            f"{f['drained_seconds']:.1f} s ({ratio:.0%} of that) the newest window came within its "
            f"ordinary delay ({f['ordinary_ms']} ms at most before), the first one after "
            f"{f['first_after_seconds']:.1f} s.",
            "",
        ]
        again = f["batches_attach"] - f["batches_seal"]
        if f["complete"]:
            lines.append(
                f"All is there: {f['written']:,} events written, as many rows sealed, none refused or late; "
                f"{f['batches_seal']:,} batches sealed, and as many folded by each party"
                + (f" (`attach` did {again} anew: its transaction had stood open too long)" if again else "")
                + f"; no gap, and none of {f['windows']} windows void."
            )
        else:
            lines.append(
                f"**Not complete**: {f['written']:,} events written, {f['sealed']:,} rows sealed, {f['refused']:,} "
                f"refused, {f['gaps']} gaps, {f['void']} windows void; batches sealed {f['batches_seal']:,}, attached "
                f"{f['batches_attach']:,}, folded {f['batches_a']:,} and {f['batches_b']:,}."
            )
    return "\n".join(lines) + "\n"


def plot(figures: Sequence[dict[str, Any]], folder: Path) -> list[Path]:
    """Delay of each window by when it ended."""
    from bench.performance.live_plots import delay_over_time

    found = [f for f in figures if f["campaign"] == "standstill"]
    return [delay_over_time(found[-1], folder / "standstill.png")] if found else []


if __name__ == "__main__":
    alone("standstill", run, section)
