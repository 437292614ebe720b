"""Check: is what a deployment stands on as it must be? Topics' settings, and the machines' clocks."""

from __future__ import annotations

from collections.abc import Iterator

from streams.doctor.findings import Finding
from streams.doctor.look import Look

CHECK = "deployment"

_CLOCK_SECONDS = 5.0


def check(before: Look, now: Look) -> Iterator[Finding]:
    """One finding for each difference of a topic, and for each clock that is off."""
    well = True
    for difference in now.differences:
        well = False
        says, _, mend = difference.partition("; ")
        yield Finding(CHECK, "wrong", says, mend)
    for seen in now.workers:
        for _, seconds in seen.values("evenstream_clock_ahead_seconds"):
            if abs(seconds) > _CLOCK_SECONDS:
                well = False
                side = "ahead of" if seconds > 0 else "behind"
                yield Finding(CHECK, "wrong", f"its clock is {abs(seconds):.0f} s {side} the broker's",
                              "set the clock (NTP)", seen.worker.name)  # fmt: skip
    for reason in now.unseen:
        well = False
        yield Finding(CHECK, "unseen", reason)
    if well:
        yield Finding(CHECK, "ok", "topics are as the protocol needs them, and no clock is off")
