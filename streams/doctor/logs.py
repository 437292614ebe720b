"""Check: does an open transaction hide what is behind it? Roles read committed records only, and wait for its end."""

from __future__ import annotations

from collections.abc import Iterator

from streams.doctor.findings import Finding
from streams.doctor.look import Look

CHECK = "transactions"

_HELD_SECONDS = 5.0
"""A transaction at work lasts for moments; that of a role that was killed is ended by the broker after 10 s."""

_FIX = (
    "`kafka-transactions.sh find-hanging` names its producer, and `abort` ends it; see "
    "docs/runbooks/EvenstreamControlHeldBack.md"
)


def check(before: Look, now: Look) -> Iterator[Finding]:
    """One finding for each partition whose end for readers of committed records did not move, while it has more."""
    held: dict[tuple[str, int], str] = {}
    if now.kafka is not None and before.kafka is not None:
        for place, ends in now.kafka.ends.items():
            was = before.kafka.ends.get(place)
            if was is None or ends.committed_end >= ends.end or was.committed_end >= was.end:
                continue
            if was.committed_end == ends.committed_end:
                held[place] = f"nothing after offset {ends.committed_end} of {ends.end} is seen by any role"
    for seen in now.workers:
        for labels, seconds in seen.values("evenstream_control_held_back_seconds"):
            place = labels["topic"], 0
            if seconds > _HELD_SECONDS and place in held:
                held[place] += f"; {seen.worker.name} has waited for {seconds:.0f} s"
    for (topic, i), says in held.items():
        says = f"a transaction stands open there, and {says}"
        yield Finding(CHECK, "wrong", says, _FIX, topic=topic, partitions=(i,))
    if not held and now.kafka is not None:
        yield Finding(CHECK, "ok", "no open transaction hides anything")
