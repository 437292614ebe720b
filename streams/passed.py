"""What has passed of a topic before a record: the windows that its numbers go on from, where they are at hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from estimator import reestimate
from estimator.errors import EstimatorError
from estimator.recompute import pools_of
from streams.settled import Settled

Record = Mapping[str, Any]

CORRECTION_WINDOWS = 8
"""How many lengths of the longest level a correction is used for, as ``streams.roles.publish`` has it."""

_KEPT = 2 * CORRECTION_WINDOWS


@dataclass(frozen=True)
class PassedLevel:
    """One level of one revision, up to some window.

    Attributes:
        end_ms: of its newest window that has passed; before any, the start of its first, where the spec says that.
        previous: the last that is neither void nor withdrawn, with no window missing since; None where it is not known.
        pools: of `corrected`, the last ones, with no window missing since; () where there were none, None where it is
            not known.
        whole: no window has been missing since the level's first.
    """

    end_ms: int | None = None
    previous: Record | None = None
    pools: tuple[str, ...] | None = None
    whole: bool = False

    @classmethod
    def begun(cls, settled: Settled | None) -> PassedLevel:
        """Before its first window."""
        first_ms = None if settled is None else settled.first_ms
        return cls() if first_ms is None else cls(first_ms, pools=(), whole=True)

    def before(self, record: Record) -> PassedLevel:
        """What a window goes on from: this, or nothing that is known where a window between is missing."""
        return self if self.end_ms == record["window"]["start_ms"] else PassedLevel()

    @property
    def empty(self) -> bool:
        """Whether it is known that no window has said anything yet."""
        return self.whole and self.previous is None

    def after(self, record: Record) -> PassedLevel:
        """With one window more; one that comes after a later one, or again, changes nothing."""
        end_ms = record["window"]["end_ms"]
        if self.end_ms is not None and end_ms <= self.end_ms:
            return self
        found = replace(self.before(record), end_ms=end_ms)
        if record["status"] not in ("published", "suppressed"):
            return found
        pools = pools_of(record)
        return replace(found, previous=record, pools=found.pools if pools is None else pools)


class PassedCorrections:
    """The windows of a revision's longest level, which correct shorter ones."""

    def __init__(self) -> None:
        self._windows: dict[int, Record] = {}
        self._learned: dict[int, bool] = {}
        self._longest: tuple[str, int] | None = None

    def add(self, record: Record, settled: Settled | None) -> None:
        """A window has passed."""
        level, length_ms = record["level"], record["window"]["end_ms"] - record["window"]["start_ms"]
        if settled is not None:
            self._longest = settled.longest if settled.rectified else None
        elif record["rectifier"] is not None:
            self._longest = level, length_ms
        if self._longest == (level, length_ms):
            end_ms = record["window"]["end_ms"]
            self._windows[end_ms] = record
            self._learned.pop(end_ms, None)
            if len(self._windows) > _KEPT:
                oldest = min(self._windows)
                del self._windows[oldest]
                self._learned.pop(oldest, None)

    def named(self, record: Record) -> Record | None:
        """The record that a record names as the one that corrects it; None where it is not at hand."""
        by = record.get("corrected_by")
        found = None if by is None else self._windows.get(by["end_ms"])
        return found if found is not None and by is not None and found["level"] == by["level"] else None

    @property
    def known(self) -> bool:
        """Whether it is known that the revision has such windows."""
        return self._longest is not None

    def expected(self, start_ms: int, settled: Settled | None) -> tuple[dict[str, Any] | None, str | None]:
        """What a shorter window that starts then is corrected by: the newest window before it that says how.

        Returns:
            What its `corrected_by` must be; or why that cannot be told.
        """
        longest = self._longest if settled is None else settled.longest
        if longest is None:
            return None, "rectified results: which longer window corrects them is not known"
        level, length_ms = longest
        end_ms = start_ms // length_ms * length_ms
        while start_ms - end_ms < CORRECTION_WINDOWS * length_ms:
            if settled is not None and settled.first_ms is not None and end_ms - length_ms < settled.first_ms:
                break
            if end_ms not in self._windows:
                return None, f"rectified results: the record of {level} that ends at {end_ms} is not at hand"
            if self._says_how(end_ms):
                return {"level": level, "end_ms": end_ms}, None
            end_ms -= length_ms
        return None, None

    def _says_how(self, end_ms: int) -> bool:
        if end_ms not in self._learned:
            record = self._windows[end_ms]
            found = False
            if record["table"] is not None and record["rectifier"] is not None:
                try:
                    correction = reestimate(record).correction
                except (EstimatorError, ValueError):
                    correction = None
                found = correction is not None and bool(correction.shifts)
            self._learned[end_ms] = found
        return self._learned[end_ms]
