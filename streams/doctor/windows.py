"""Check: which window is due and not published, who has not released it, and what holds it back.

A window closes when every stream has been punctuated past its end and lateness; so the first role, in the direction of
the data, that has not passed that time somewhere is the one that holds it back, and there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from streams.control import Approved
from streams.doctor.findings import Finding, WindowName
from streams.doctor.look import INPUTS, PARTIES, Level, Look
from streams.doctor.plight import STOPPED, of_role
from streams.doctor.standing import log_of, passed_ms, standings

CHECK = "windows"

DUE_MS = 5_000
"""A window should be published so long after its end and lateness: after a kill of any role, it took less than that."""

_FAR_BEHIND = 3
"""Fewer windows than this that are due, of a level that moves on, are nothing to speak of."""

_MOST = 10_000


@dataclass(frozen=True)
class Missing:
    """Windows of one level that are due and not there.

    Attributes:
        first: the oldest of them. count: how many there are. due_ms: when the oldest was due (its end and lateness).
    """

    entry: Approved
    first: WindowName
    count: int
    due_ms: int


def check(before: Look, now: Look) -> Iterator[Finding]:
    """One finding for each level that stands still, or falls behind."""
    if now.control is None or now.kafka is None:
        return
    if before.kafka is None:
        yield Finding(CHECK, "unseen", "Kafka has answered only now, so that nothing can be compared", "look again")
        return
    if _newest(now, "published") is None:
        yield Finding(CHECK, "unseen", "this principal may not read fairness-metrics, and publish does not answer",
                      "run it as a principal that may, such as `governance`")  # fmt: skip
    earlier, newest, late = _newest(before, "published") or {}, _newest(now, "published") or {}, False
    for found in missing(now, "published"):
        level = found.first.measurement, found.first.level
        if earlier.get(level) == newest.get(level):
            late = True
            yield from _blamed(before, now, found)
        elif found.count >= _FAR_BEHIND:
            late = True
            yield Finding(
                CHECK,
                "wrong",
                f"{found.count} windows are due and not published; they come, one after another",
                "wait; if they come ever later, see the unread records of each role above",
                window=found.first,
                since_ms=found.due_ms,
            )
    if not late:
        live = [level for entry in now.live() for level in entry.measurement.levels]
        yield Finding(CHECK, "ok", f"no window is overdue, of {len(live)} levels of live measurements")


def missing(look: Look, which: str) -> Iterator[Missing]:
    """Levels whose newest window is older than it should be.

    Args:
        which: "published", or the party whose release is looked for.
    """
    newest = _newest(look, which)
    if newest is None or look.kafka is None:
        return
    for entry in look.live():
        lateness_ms = entry.measurement.lateness_ms
        for level in entry.measurement.levels:
            length_ms = level.length_ms
            known = newest.get((entry.measurement.id, level.name))
            # A window before the oldest record that was read may have been published and not been seen.
            begin = look.kafka.windows_since_ms.get(which, 0) if known is None else known
            first_ms = max(begin // length_ms * length_ms, -(-entry.from_ms // length_ms) * length_ms) + length_ms
            last_ms = (look.at_ms - lateness_ms - DUE_MS) // length_ms * length_ms
            ends = [end for end in range(first_ms, last_ms + 1, length_ms)[:_MOST] if entry.covers(end - length_ms)]
            if ends:
                name = WindowName(entry.measurement.id, level.name, ends[0])
                yield Missing(entry, name, len(ends), ends[0] + lateness_ms)


def _newest(look: Look, which: str) -> dict[Level, int] | None:
    """The newest window of each level, by the topic and by publish's own word; None where nothing tells."""
    found: dict[Level, int] | None = None
    if look.kafka is not None and which in look.kafka.windows:
        found = dict(look.kafka.windows[which])
    for seen in look.of("publish"):
        if not seen.answers or not seen.ready:
            continue
        metric = {"published": "evenstream_window_end_timestamp_seconds"}
        name = metric.get(which, "evenstream_released_window_end_timestamp_seconds")
        party = {} if which == "published" else {"party": which}
        found = found or {}
        for labels, value in seen.values(name, **party):
            level = labels["measurement"], labels["level"]
            found[level] = max(found.get(level, 0), round(1000 * value))
    return _by_time(look, which) if found is None else found


def _by_time(look: Look, which: str) -> dict[Level, int] | None:
    """What a topic that may not be read can hold: of a window that was due after its newest record, nothing."""
    if look.kafka is None or which not in look.kafka.written_ms:
        return None
    return {
        (entry.measurement.id, level.name): (look.kafka.written_ms[which] - entry.measurement.lateness_ms)
        // level.length_ms
        * level.length_ms
        for entry in look.live()
        for level in entry.measurement.levels
    }


def _blamed(before: Look, now: Look, found: Missing) -> Iterator[Finding]:
    """Who holds a window back, and where."""
    said = f"{found.count} windows are due and not published" if found.count > 1 else "it is due and not published"
    source, closed_ms = found.entry.measurement.source.topic, found.due_ms

    def finding(role: str, what: str, topic: str, partitions: tuple[int, ...]) -> Finding:
        plight = of_role(now, role, partitions)
        return Finding(
            CHECK, "wrong", f"{said}: {what}; {plight.says}", plight.do, role, topic, partitions, found.first,
            found.due_ms,
        )  # fmt: skip

    sources = range(0 if now.kafka is None else now.kafka.sources.get(source, 0))
    behind = tuple(i for i in sources if _not_past(passed_ms(now, "seal", (source, i)), closed_ms))
    if behind:
        yield finding("seal", "seal has not passed its end there", source, behind)
        return
    sealed = now.topics["sealed"]
    passed = {j: passed_ms(now, "attach", (sealed, j), found.entry.source) for j in log_of(now, "shares") or ()}
    behind = tuple(j for j, at_ms in sorted(passed.items()) if _not_past(at_ms, closed_ms))
    if behind:
        yield finding("attach", "attach has not passed its end there", sealed, behind)
        return
    silent = [party for party in PARTIES if _lacks(now, party, found.first)]
    for party in silent:
        what = f"party {party} has not released it"
        yield finding(party, what, now.topics[INPUTS[party]], _held_by(before, now, party, closed_ms))
    if not silent:
        known = all(_newest(now, party) is not None for party in PARTIES)
        what = "both parties have released it" if known else "it is closed in the log"
        yield finding("publish", what, f"{now.topics['releases-a']}, {now.topics['releases-b']}", (0,))


def _lacks(look: Look, party: str, window: WindowName) -> bool:
    newest = _newest(look, party)
    return newest is not None and newest.get((window.measurement, window.level), 0) < window.end_ms


def _held_by(before: Look, now: Look, party: str, closed_ms: int) -> tuple[int, ...]:
    """Partitions in which a party stands still, or has more to read and has not passed a time; all where none shows."""
    own = standings(before, now, party)
    stopped = {
        int(found[2]) for seen in now.of(party) for found in [STOPPED.search(seen.readiness)] if found is not None
    }
    behind = {i for (_, i), s in own.items() if s.stands or (s.unread and _not_past(s.passed_ms, closed_ms))}
    return tuple(sorted(behind | stopped)) or tuple(sorted(i for _, i in own))


def _not_past(passed: int | None, closed_ms: int) -> bool:
    return passed is not None and passed < closed_ms
