"""Where each level of a measurement stands: its newest windows, how old they are, and what is to be said first."""

from __future__ import annotations

from dataclasses import dataclass

from streams.control import Approved
from streams.report.numbers import moment
from streams.watch.pages import words
from streams.watch.pages.site import Shown, Snapshot
from streams.watch.window_history import ShownWindow, ShownWindows


@dataclass(frozen=True)
class LevelView:
    """One level of a measurement.

    Attributes:
        current: the revision that its windows have reached, else the first that is to come.
        windows: those that are kept, the newest last.
    """

    measurement: str
    name: str
    length_ms: int
    current: Approved
    windows: tuple[ShownWindow, ...]

    @property
    def newest(self) -> ShownWindow | None:
        """The last window."""
        return self.windows[-1] if self.windows else None

    @property
    def newest_said(self) -> ShownWindow | None:
        """The last window that says something."""
        return next((w for w in reversed(self.windows) if w.status == "published"), None)

    @property
    def replayed(self) -> bool:
        """Whether its windows are of a log that is replayed, with times of its own."""
        return self.current.measurement.source.arrival == "record_time"

    def headline(self, now_ms: int) -> str:
        """What is to be said of it first."""
        if self.newest is None:
            if self.current.state(now_ms) not in ("scheduled", "active"):
                return "No window of it is kept here, and none is to come."
            due_ms = self.current.from_ms + self.length_ms + self.current.measurement.lateness_ms
            return words.no_windows(self.current.from_ms, due_ms, now_ms, replayed=self.replayed)
        told = words.headline(self.newest.record())
        if self.newest.status == "published" or self.newest_said is None:
            return told
        said = self.newest_said
        return (
            f"{told} The last window that says something ended {moment(said.end_ms)}: {words.headline(said.record())}"
        )

    def freshness(self, now_ms: int) -> str | None:
        """How old its last window is; None before there is one, and where none is to come."""
        spec = self.current.measurement
        if self.newest is None or (not self.replayed and self.current.state(now_ms) != "active"):
            return None
        return words.freshness(self.newest.end_ms, self.length_ms, spec.lateness_ms, now_ms, replayed=self.replayed)


def levels_of(snapshot: Snapshot, entries: list[Shown]) -> list[LevelView]:
    """The levels of a measurement, the shortest first; those that only an earlier revision has come too."""
    windows = snapshot.of(ShownWindows) or ShownWindows()
    found = []
    lengths = {level.name: level.length_ms for entry in entries for level in entry.approved.measurement.levels}
    for name, length_ms in sorted(lengths.items(), key=lambda item: item[1]):
        having = [e.approved for e in entries if any(level.name == name for level in e.approved.measurement.levels)]
        kept = windows.of(having[0].measurement.id, name)
        reached = [approved for approved in having if kept and approved.from_ms < kept[-1].end_ms]
        found.append(LevelView(having[0].measurement.id, name, length_ms, (reached or having[:1])[-1], kept))
    return found


def first_choice(levels: list[LevelView], alarmed: frozenset[str] = frozenset()) -> LevelView:
    """The level to speak of: one with an alarm, else the longest whose last window says something, else any."""
    with_alarm = [level for level in levels if level.name in alarmed]
    saying = [level for level in levels if level.newest is not None and level.newest.status == "published"]
    said = [level for level in levels if level.newest_said is not None]
    return (with_alarm or saying or said or levels[:1])[-1]
