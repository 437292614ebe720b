"""The last windows of each level, for the live page.

`publish` feeds it with each record that it makes. After a restart most windows lie on `fairness-metrics` already and
are not estimated again (``streams.roles.emitted``): their records, as publish has signed them, are read from there, and
shown only once the two releases on which a record says it rests were read and verified. Nothing is shown before replay
is complete.

Memory is bounded: so many windows a level, each packed to some kilobytes; a page unpacks those that it shows. What was
read last is packed only once there is much of it, or it is confirmed: packing takes longer than reading, and most of
what a long topic holds gives way to later windows before that.
"""

from __future__ import annotations

import hashlib
import zlib
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from streams.alarm_name import AlarmName
from streams.records.metric import FairnessMetric
from streams.records.published import PublishedRecord
from streams.watch.shown_record import ShownRecord, Status, alarms, read

_UNPACKED_BYTES = 32 << 20
"""Of records that were read and not confirmed; beyond that the oldest are packed."""

Level = tuple[str, str]
"""(measurement, level)."""


@dataclass(frozen=True, slots=True)
class ShownWindow:
    """One window: what lists of windows show, and its whole record, packed.

    Attributes:
        spec: of its revision, hex.
        alarms: those that stand after it; None where it says nothing of alarms, which stay as they were.
        anew: it was worked out anew from its releases, and differs from the record that lies on `fairness-metrics`,
            which another build has written.
    """

    measurement: str
    level: str
    start_ms: int
    end_ms: int
    status: Status
    reason: str | None
    spec: str
    alarms: tuple[AlarmName, ...] | None
    packed: bytes
    anew: bool = False

    @classmethod
    def of(cls, value: bytes, packed: bytes | None = None, *, anew: bool = False) -> ShownWindow | None:
        """From a record's value, or None where it is none; ``packed`` where it was packed before."""
        record = read(value)
        if record is None:
            return None
        return cls(
            measurement=record.measurement,
            level=record.level,
            start_ms=record.window.start_ms,
            end_ms=record.window.end_ms,
            status=record.status,
            reason=record.reason,
            spec=record.spec_sha256,
            alarms=None if record.detection is None else alarms(record),
            packed=_packed(value) if packed is None else packed,
            anew=anew,
        )

    def value(self) -> bytes:
        """The record's value, as it lies on `fairness-metrics`; not so where it was worked out anew."""
        return zlib.decompress(self.packed)

    def record(self) -> ShownRecord:
        """The record."""
        found = read(self.value())
        assert found is not None  # it was read before it was packed
        return found


def digest(windows: Iterable[ShownWindow]) -> str:
    """Of which windows a picture or list is, each by its end, its status and its terms; hex.

    A window in the middle may become another: when a measurement is revoked, all of its windows are withdrawn.
    """
    found = hashlib.blake2b(digest_size=8)
    for window in windows:
        found.update(f"{window.end_ms} {window.status} {window.spec}\n".encode())
    return found.hexdigest()


def _packed(value: bytes) -> bytes:
    return zlib.compress(value, 1)


@dataclass(frozen=True, slots=True)
class _Unconfirmed:
    """A record's value that was read, as it is or packed."""

    value: bytes = b""
    packed: bytes | None = None

    def unpacked(self) -> bytes:
        return self.value if self.packed is None else zlib.decompress(self.packed)

    def shown(self) -> ShownWindow | None:
        return ShownWindow.of(self.unpacked(), self.packed)


class ShownWindows(msgspec.Struct, frozen=True):
    """The windows of each level, in the order of their ends, at one moment."""

    levels: Mapping[Level, tuple[ShownWindow, ...]] = {}

    def of(self, measurement: str, level: str) -> tuple[ShownWindow, ...]:
        """Those of one level; the newest comes last."""
        return self.levels.get((measurement, level), ())

    def find(self, measurement: str, level: str, end_ms: int) -> ShownWindow | None:
        """One window."""
        windows = self.of(measurement, level)
        place = bisect_left(windows, end_ms, key=lambda window: window.end_ms)
        return windows[place] if place < len(windows) and windows[place].end_ms == end_ms else None


@dataclass
class _Kept:
    """The windows of a level, by their ends: a record's value until it is confirmed, then what is shown."""

    ends: list[int] = field(default_factory=list)
    windows: dict[int, _Unconfirmed | ShownWindow] = field(default_factory=dict)
    shown: tuple[ShownWindow, ...] | None = None
    """Those that are shown, in their order; None until they are asked for."""

    def put(self, end_ms: int, window: _Unconfirmed | ShownWindow, most: int) -> None:
        if end_ms not in self.windows:
            insort(self.ends, end_ms)
        self.windows[end_ms] = window
        if len(self.ends) > most:
            del self.windows[self.ends.pop(0)]
        self.shown = None

    def drop(self, end_ms: int) -> None:
        if self.windows.pop(end_ms, None) is not None:
            self.ends.remove(end_ms)
        self.shown = None

    def in_order(self) -> tuple[ShownWindow, ...]:
        if self.shown is None:
            windows = map(self.windows.__getitem__, self.ends)
            self.shown = tuple(window for window in windows if isinstance(window, ShownWindow))
        return self.shown


class WindowHistory:
    """See the module's text. It belongs to the thread that reads releases; what it tells does not change any more.

    Args:
        most: windows that are kept of a level.
        tell: is told what is shown, and of which level something is new.
    """

    def __init__(self, most: int, tell: Callable[[ShownWindows, str], None] = lambda shown, subject: None) -> None:
        self._most = most
        self._tell = tell
        self._levels: dict[Level, _Kept] = {}
        self._unpacked: deque[tuple[_Kept, int, _Unconfirmed]] = deque()
        self._unpacked_bytes = 0
        self._open = False

    def read(self, record: PublishedRecord) -> None:
        """Take in a record of `fairness-metrics`, in its order; it is shown once it is confirmed."""
        try:
            measurement, level, end = record.key.decode("ascii").split("/")
            end_ms = int(end)
        except ValueError:  # UnicodeDecodeError is one
            return
        kept = self._levels.setdefault((measurement, level), _Kept())
        window = _Unconfirmed(record.value)
        kept.put(end_ms, window, self._most)
        self._unpacked.append((kept, end_ms, window))
        self._unpacked_bytes += len(record.value)
        while self._unpacked_bytes > _UNPACKED_BYTES:
            self._pack(*self._unpacked.popleft())

    def _pack(self, kept: _Kept, end_ms: int, window: _Unconfirmed) -> None:
        self._unpacked_bytes -= len(window.value)
        if kept.windows.get(end_ms) is window:
            kept.windows[end_ms] = _Unconfirmed(packed=_packed(window.value))

    def confirm(self, measurement: str, level: str, end_ms: int) -> None:
        """The record of this window rests on releases that were verified."""
        kept = self._levels.get((measurement, level))
        found = None if kept is None else kept.windows.get(end_ms)
        if kept is None or not isinstance(found, _Unconfirmed):
            return
        window = found.shown()
        if window is not None and (window.measurement, window.level, window.end_ms) == (measurement, level, end_ms):
            kept.put(end_ms, window, self._most)

    def add(self, record: FairnessMetric) -> None:
        """A window is done, or withdrawn."""
        value, end_ms = record.encode(), record.window.end_ms
        kept = self._levels.setdefault((record.measurement, record.level), _Kept())
        window = ShownWindow.of(value, anew=_stays(kept.windows.get(end_ms), record, value))
        assert window is not None
        kept.put(end_ms, window, self._most)
        if self._open:
            self._tell(self.shown(), record.subject)

    def open(self) -> None:
        """Replay is complete: what was not confirmed goes, and the rest is shown."""
        for kept in self._levels.values():
            for end_ms in [end_ms for end_ms, window in kept.windows.items() if isinstance(window, _Unconfirmed)]:
                kept.drop(end_ms)
        self._unpacked.clear()
        self._unpacked_bytes = 0
        self._open = True
        self._tell(self.shown(), "")

    def shown(self) -> ShownWindows:
        """What is shown now; nothing before :meth:`open`."""
        if not self._open:
            return ShownWindows()
        return ShownWindows({level: kept.in_order() for level, kept in self._levels.items() if kept.ends})


def _stays(lies: _Unconfirmed | ShownWindow | None, record: FairnessMetric, value: bytes) -> bool:
    """Whether another record of this window lies on the topic, and stays there.

    A window is written once, and a second time only when it is withdrawn (``FairnessMetric.version``).
    """
    if not isinstance(lies, _Unconfirmed) or lies.unpacked() == value:
        return False
    found = read(lies.unpacked())
    return found is None or record.status != "withdrawn" or found.status == "withdrawn"
