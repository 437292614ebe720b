"""Check: does each worker answer, is it well and at work?"""

from __future__ import annotations

from collections.abc import Iterator

from streams.doctor.findings import Finding
from streams.doctor.look import Look
from streams.doctor.plight import STOPPED, of_worker
from streams.doctor.standing import last_sign_ms, works_elsewhere

CHECK = "roles"


def check(before: Look, now: Look) -> Iterator[Finding]:
    """One finding for each worker that is not at work."""
    well = True
    for earlier, seen in zip(before.workers, now.workers, strict=False):
        plight, role = of_worker(seen), seen.worker.role
        if plight is None:
            continue
        well = False
        if seen.silence is not None and works_elsewhere(before, now, role):
            says = f"{plight.says}, and yet {role} moves on: it was started just now, or runs elsewhere"
            yield Finding(CHECK, "unseen", says, f"name its address: --role {role}=HOST:PORT", seen.worker.name)
            continue
        if seen.answers and seen.healthy and not seen.ready and earlier.readiness != seen.readiness:
            yield Finding(CHECK, "unseen", f"{plight.says} (it was: {earlier.readiness or 'silent'})",
                          "it is on its way; look again", seen.worker.name)  # fmt: skip
            continue
        stopped = STOPPED.search(seen.readiness)
        yield Finding(
            CHECK,
            "wrong",
            plight.says,
            plight.do,
            seen.worker.name,
            topic=stopped[1] if stopped else None,
            partitions=(int(stopped[2]),) if stopped else (),
            since_ms=None if seen.answers else last_sign_ms(now, role),
        )
    if well:
        yield Finding(CHECK, "ok", f"all {len(now.workers)} workers answer and are at work, or stand by")
