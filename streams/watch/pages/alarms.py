"""Which alarms stand and which have ended, read from the windows that are kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from streams.alarm_name import AlarmName
from streams.control import Approved
from streams.watch.pages.site import Snapshot
from streams.watch.window_history import ShownWindow, ShownWindows


@dataclass(frozen=True)
class AlarmSpan:
    """An alarm.

    Attributes:
        last_ms: end of the last window after which it was seen to stand.
        ended_ms: end of the first window after which it stood no more; None while it stands.
    """

    alarm: AlarmName
    last_ms: int
    ended_ms: int | None


def spans(windows: Sequence[ShownWindow]) -> list[AlarmSpan]:
    """The alarms of one level, by their beginning.

    A window that says nothing of alarms (void, withdrawn) ends none: what was gathered stays as it was. One of another
    revision does: its detectors begin anew.
    """
    seen: dict[AlarmName, list[int | None]] = {}
    spec = None
    for window in windows:
        if window.alarms is None and window.spec == spec:
            continue
        standing = set(window.alarms or ())
        for alarm, ends in seen.items():
            if ends[1] is None and alarm not in standing:
                ends[1] = window.end_ms
        for alarm in standing:
            seen.setdefault(alarm, [window.end_ms, None])[0] = window.end_ms
        spec = window.spec
    return [
        AlarmSpan(alarm, last_ms or 0, ended_ms)
        for alarm, (last_ms, ended_ms) in sorted(seen.items(), key=lambda item: (item[0].since_ms, item[0]))
    ]


def all_spans(snapshot: Snapshot) -> list[AlarmSpan]:
    """Of all levels of what is approved; of a revision that is over none stands, as on /metrics."""
    windows = snapshot.of(ShownWindows) or ShownWindows()
    found = []
    for measurement, entries in snapshot.measurements().items():
        over = {entry.approved.spec.hex(): _end_ms(entry.approved, snapshot.now_ms) for entry in entries}
        for name in dict.fromkeys(level.name for entry in entries for level in entry.approved.measurement.levels):
            kept = windows.of(measurement, name)
            stopped_ms = over.get(kept[-1].spec) if kept else None
            found += [_stopped(span, stopped_ms) for span in spans(kept)]
    return found


def _end_ms(approved: Approved, now_ms: int) -> int | None:
    if not approved.is_over(now_ms):
        return None
    return approved.until_ms if approved.revoked_at_ms is None else approved.revoked_at_ms


def _stopped(span: AlarmSpan, stopped_ms: int | None) -> AlarmSpan:
    if span.ended_ms is None and stopped_ms is not None:
        return AlarmSpan(span.alarm, span.last_ms, max(stopped_ms, span.last_ms))
    return span


def standing(found: Iterable[AlarmSpan]) -> list[AlarmName]:
    """Those that stand, by their beginning."""
    return [span.alarm for span in found if span.ended_ms is None]
