"""Why a role does not go on, in its own words or by its silence, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from streams.doctor.look import Look, WorkerSeen

STOPPED = re.compile(r"(\S+) \[(\d+)\] is stopped: (.*)")
"""What /readyz says of a partition that the protocol has stopped."""

_OFFSET = re.compile(r"at offset (\d+)")


@dataclass(frozen=True)
class Plight:
    """What is wrong with a worker, and what to do."""

    says: str
    do: str


def of_worker(seen: WorkerSeen) -> Plight | None:
    """What is wrong with one worker; None where it is at work, or stands by."""
    name, address = seen.worker.name, seen.worker.address
    if seen.silence == "closed":
        return Plight(
            f"nobody listens at {address}",
            f"start {name}; its log says why it ended. If it runs elsewhere: --role {name}=HOST:PORT",
        )
    if seen.silence == "mute":
        return Plight(
            f"it accepts connections at {address} and does not answer: stopped by a signal, or hung",
            f"let {name} go on (kill -CONT), or kill it and start it again: it goes on where it was",
        )
    if seen.silence == "unlike":
        return Plight(
            f"what listens at {address} does not speak as it was asked, or its certificate is another",
            f"name http.certificate_file of {name} in the settings, or its address: --role {name}=https://HOST:PORT, "
            "or http:// where it speaks no TLS",
        )
    if is_refusal(seen):
        return Plight(f"it shows this caller no metrics at {address}", "give its bearer token with --token-file")
    if not seen.healthy:
        return Plight(f"it says that it hangs: {seen.health}", f"kill {name} and start it again: it goes on there")
    if not seen.ready:
        return Plight(f"it is not at work: {seen.readiness}", _advice(seen))
    return None


def is_refusal(seen: WorkerSeen) -> bool:
    """Whether a worker does not let this caller see all, and what it lets be seen is in order."""
    return seen.silence == "refused" and (not seen.health or (seen.healthy and seen.ready))


def _advice(seen: WorkerSeen) -> str:
    said, role = seen.readiness, seen.worker.role
    stopped = STOPPED.search(said)
    if stopped is not None:
        offset = _OFFSET.search(stopped[3])
        where = f"--role {role} --partition {stopped[2]} --offset {offset[1]}" if offset else f"--role {role}"
        skip = "" if role == "seal" else f"; where that cannot be done: `evenstream skip {where} --reason ...`"
        return f"restore what is missing there{skip} (docs/operations.md, A stopped partition)"
    waits = re.search(r"valid epoch key of ([\w, ]+) on", said)
    if waits is not None:
        return f"start {waits[1]}, which announces a key when it runs; nothing is lost meanwhile"
    if "held back" in said:
        return "end the open transaction: docs/runbooks/EvenstreamControlHeldBack.md"
    if "starting" in said or "replaying" in said or "going back" in said:
        return "wait some seconds; if it stays so, its log says why"
    return "its log says more"


def of_role(look: Look, role: str, partitions: Collection[int]) -> Plight:
    """What is wrong with a role in these partitions: with those of its workers whose they are."""
    workers = look.of(role)
    for seen in workers:
        found = of_worker(seen)
        if found is not None and any(look.owns(seen.worker, i) for i in partitions):
            return found if len(workers) == 1 else Plight(f"{seen.worker.name}: {found.says}", found.do)
    return Plight("it answers, and says that it is at work", f"look into the log of {role}")
