"""Waits until a role's workers are healthy, ready, and have moved since the command began: what `helm test` asks for.

A role has moved when a further window has come of it (`publish`, `a`, `b`), or an arrival time that it has passed
(`seal`, `attach`). Behind one address several workers may answer in turn, so that what is compared is each window's
and each partition's own figure, with the first that was seen of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from streams.acl import TABLE
from streams.doctor.findings import Finding, Verdict
from streams.doctor.look import WorkerSeen
from streams.doctor.plight import of_worker
from streams.doctor.readiness.subject import WORKERS, Subject
from streams.report.numbers import moment

CHECK = "progress"

_MOVES = {
    "seal": ("evenstream_watermark_timestamp_seconds", "its watermark to move"),
    "attach": ("evenstream_watermark_timestamp_seconds", "its watermark to move"),
    "a": ("evenstream_releases_total", "a further window to be closed"),
    "b": ("evenstream_releases_total", "a further window to be closed"),
    "publish": ("evenstream_window_end_timestamp_seconds", "a further window to be published"),
}
"""The metric that rises, and what is waited for, in words."""

_PAUSE_SECONDS = 1.0
_SAY_SECONDS = 10.0
_STANDS_BY = "standing by"

Series = tuple[tuple[str, str], ...]


@dataclass
class Watched:
    """One worker, and what has been seen of it."""

    role: str
    name: str
    last: WorkerSeen
    first: dict[Series, float] = field(default_factory=dict)
    heard: bool = False
    moved: bool = False

    def note(self, seen: WorkerSeen) -> None:
        """Take in what the worker says now."""
        self.last = seen
        metric, _ = _MOVES[self.role]
        # A counter that is born while this waits was 0; a partition that appears may be another worker's.
        counts = self.heard and metric.endswith("_total")
        for labels, value in seen.series.get(metric, ()):
            series = tuple(sorted(labels.items()))
            self.moved = self.moved or value > self.first.setdefault(series, 0.0 if counts else value)
        self.heard = self.heard or seen.answers

    @property
    def stands_by(self) -> bool:
        """Whether it has no part, and so nothing to move."""
        return self.last.ready and _STANDS_BY in self.last.readiness

    @property
    def done(self) -> bool:
        """Whether nothing is to be waited for any more."""
        return self.last.healthy and self.last.ready and (self.moved or self.stands_by)

    @property
    def waits_for(self) -> str:
        """What is missing, in words."""
        plight = of_worker(self.last)
        if plight is not None:
            return plight.says
        return f"{_MOVES[self.role][1]}; it says {self.last.readiness or 'nothing'!r}"


def begin(subject: Subject) -> tuple[Watched, ...]:
    """The workers as they stand when the command begins."""
    watched = tuple(Watched(subject.role, seen.worker.name, seen) for seen in subject.at_first)
    for each in watched:
        each.note(each.last)
    return watched


def wait(
    subject: Subject, watched: tuple[Watched, ...], seconds: float, say: Callable[[str], None]
) -> Iterator[Finding]:
    """One finding for each worker, when all have moved or the time is over.

    Args:
        watched: as :func:`begin` gave them, when the command began.
        say: shows a line for people who wait.
    """
    reason = _nothing_to_wait_for(subject)
    if reason is not None:
        yield Finding(CHECK, reason[0], reason[1])
        return
    if not watched:
        yield Finding(
            CHECK, "unseen", "http.port is 0, so nobody knows where it answers", "name it: --role ROLE=HOST:PORT"
        )
        return
    deadline, said = time.monotonic() + seconds, time.monotonic()
    while not all(each.done for each in watched) and time.monotonic() < deadline:
        time.sleep(min(_PAUSE_SECONDS, max(0.0, deadline - time.monotonic())))
        for each, seen in zip(watched, subject.ask_workers(), strict=True):
            each.note(seen)
        if time.monotonic() - said >= _SAY_SECONDS:
            said = time.monotonic()
            left = [f"{each.name}: {each.waits_for}" for each in watched if not each.done]
            if left:
                say(f"waiting, {max(0.0, deadline - said):.0f} s left, for {'; '.join(left)}")
    for each in watched:
        yield _told(each, seconds)


def _told(each: Watched, seconds: float) -> Finding:
    if each.done:
        says = "it stands by, with nothing to move" if each.stands_by else "healthy, ready, and it has moved"
        return Finding(CHECK, "ok", says, role=each.name)
    plight = of_worker(each.last)
    do = plight.do if plight is not None else "`evenstream doctor`, as the principal operator, says what holds it back"
    readiness = each.last.readiness or "nothing"
    return Finding(
        CHECK,
        "wrong",
        f"within {seconds:g} s it did not get so far: {each.waits_for} (/readyz: {readiness})",
        do,
        role=each.name,
    )


def _nothing_to_wait_for(subject: Subject) -> tuple[Verdict, str] | None:
    if subject.role not in WORKERS:
        return "ok", f"{subject.role} has no worker that can be asked: not waited for"
    if not subject.reached or "measurements" not in TABLE[subject.role].reads:
        return "unseen", "which measurements there are cannot be seen: not waited for"
    entries = [entry for entry in subject.control.approved() if entry.measurement.source.arrival == "live"]
    if any(entry.state(subject.now_ms) == "active" for entry in entries):
        return None
    coming = [entry.from_ms for entry in entries if entry.state(subject.now_ms) == "scheduled"]
    if coming:
        return "ok", f"no measurement is active before {moment(min(coming))}: there is nothing to wait for"
    return "ok", "no live measurement is active: there is nothing to wait for"
