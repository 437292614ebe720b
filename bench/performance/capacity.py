"""How many events a second this machine carries with everything beside each other: a short ramp.

A rate is carried if the process that writes reaches it and the windows of the second half of a step come within a
second of their end and lateness. Rates are doubled until one is not carried (or halved until
one is), then the gap is halved.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.performance.live import Live
from streams.errors import EvenstreamError

FIRST_RATE = 20_000.0
DELAY_SECONDS = 1.0
"""Within which a window must come."""
_STEP_SECONDS = 6.0
_HALVINGS = 2
_LEAST_RATE, _MOST_RATE = 1_250.0, 1_000_000.0
_REACHED = 0.97
_LIMIT_SECONDS = 90.0


def find_capacity(live: Live, say: Callable[[str], None], *, halvings: int = _HALVINGS) -> dict[str, Any]:
    """The highest rate that a deployment carried, and every step.

    Raises:
        EvenstreamError: not even 1,250 events a second are, or what was written does not drain.
    """
    return ramp(lambda rate: _step(live, rate), say, halvings=halvings)


def ramp(
    attempt: Callable[[float], dict[str, Any]], say: Callable[[str], None], *, halvings: int = _HALVINGS
) -> dict[str, Any]:
    """The same by any attempt at a rate, which says whether it was "carried", and what was "written".

    Args:
        halvings: how often the gap between the highest rate that was carried and the lowest that was not is halved.
    """
    steps: list[dict[str, Any]] = []
    carried, failed, rate = 0.0, _MOST_RATE, FIRST_RATE
    while halvings >= 0 and rate < _MOST_RATE:
        step = attempt(rate)
        steps.append(step)
        say(
            f"{rate:,.0f} events/s: written {step['written']:,.0f}/s, slowest window {step['slowest_ms']} ms: "
            + ("carried" if step["carried"] else "not carried")
        )
        if step["carried"]:
            carried = rate
        else:
            failed = rate
        if not carried:
            if rate <= _LEAST_RATE:
                break
            rate /= 2
        elif failed == _MOST_RATE:
            rate = 2 * carried
        else:
            rate, halvings = (carried + failed) / 2, halvings - 1
    if not carried:
        raise EvenstreamError(f"no rate down to {rate:,.0f} events a second was carried: other work is on this machine")
    return {"events_per_second": carried, "steps": steps}


def _step(live: Live, rate: float) -> dict[str, Any]:
    traffic = live.send(rate, _STEP_SECONDS)
    watch = live.watch()
    sent = traffic.end(early=False)
    live.await_ordinary(watch, DELAY_SECONDS, _LIMIT_SECONDS)
    delays = watch.close().delays
    half_ms = (sent.begin_ms + sent.end_ms) // 2
    judged = [delay for end_ms, delay in delays.items() if half_ms < end_ms <= sent.end_ms]
    slowest = max(judged, default=_LIMIT_SECONDS)
    # The last event is written, and flushed, some milliseconds after the time that was meant for it.
    written = sent.rate if sent.seconds > _STEP_SECONDS + 0.2 else rate
    return {
        "rate": rate,
        "written": round(written),
        "slowest_ms": round(1000 * slowest),
        "carried": bool(written >= _REACHED * rate and slowest <= DELAY_SECONDS),
    }
