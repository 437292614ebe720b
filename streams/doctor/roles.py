"""Check: does each worker answer, is it well and at work?"""

from __future__ import annotations

from collections.abc import Iterator

from streams.doctor.findings import Finding
from streams.doctor.look import Look
from streams.doctor.plight import STOPPED, is_refusal, of_worker
from streams.doctor.standing import last_sign_ms, works_elsewhere

CHECK = "roles"


def check(before: Look, now: Look) -> Iterator[Finding]:
    """One finding for each worker that is not at work."""
    well, earlier = True, {seen.worker.name: seen.readiness for seen in before.workers}
    for seen in now.workers:
        plight, was = of_worker(seen), earlier.get(seen.worker.name, "")
        if plight is None:
            continue
        well = False
        if is_refusal(seen) or seen.silence == "unlike":  # it may be well: this caller cannot tell
            yield Finding(CHECK, "unseen", plight.says, plight.do, seen.worker.name)
            continue
        if not seen.health and works_elsewhere(before, now, seen.worker):
            says = f"{plight.says}, and yet it moved on: it runs elsewhere, or has only just ended or begun"
            do = f"look again, or name its address: --role {seen.worker.name}=HOST:PORT"
            yield Finding(CHECK, "unseen", says, do, seen.worker.name)
            continue
        if seen.healthy and was != seen.readiness:
            says = f"{plight.says} (it was: {was or 'silent'})"
            yield Finding(CHECK, "unseen", says, "it is on its way; look again", seen.worker.name)
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
            since_ms=None if seen.health else last_sign_ms(now, seen.worker),
        )
    if well:
        yield Finding(CHECK, "ok", f"all {len(now.workers)} workers answer and are at work, or stand by")
