"""The concerns on the topic, as many of them as a reader keeps.

Whoever may write `concerns` can flood it, so of each measurement the newest are kept and the others counted.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Collection, Iterator

import msgspec

from streams.errors import RecordMalformed
from streams.records.concern import Concern, decode_concern

KEPT = 1000
"""Of one measurement, the newest concerns that a reader keeps."""


class ConcernBook:
    """The concerns on the topic, at most :data:`KEPT` a measurement, however many were written.

    Args:
        measurements: ids that are known. Concerns of others wait, the newest of them, for theirs to become known.
        kept: how many of a measurement, and of those that wait, are kept.
        with_text: False keeps no text, for who only counts.
    """

    def __init__(self, measurements: Collection[str] = (), *, kept: int = KEPT, with_text: bool = True) -> None:
        self._known = frozenset(measurements)
        self._kept = kept
        self._with_text = with_text
        self._concerns: dict[str, OrderedDict[str, Concern]] = {}
        self._waiting: deque[Concern] = deque()
        self.left_out: Counter[str] = Counter()
        """Records that are not among the concerns, by reason: malformed, repeated, older (than those kept), or of an
        unknown_measurement that became none of the known ones."""

    def know(self, measurements: Collection[str]) -> None:
        """These measurements are known now; what waited for one of them counts."""
        if self._known == frozenset(measurements):
            return
        self._known = frozenset(measurements)
        waiting, self._waiting = self._waiting, deque()
        for concern in waiting:
            self._place(concern)

    def apply(self, key: bytes | None, value: bytes | None) -> None:
        """Take in the next record of the topic."""
        try:
            concern = decode_concern(key, value)
        except RecordMalformed:
            self.left_out["malformed"] += 1
            return
        self._place(concern if self._with_text else msgspec.structs.replace(concern, text=""))

    def _place(self, concern: Concern) -> None:
        if concern.measurement not in self._known:
            self._waiting.append(concern)
            if len(self._waiting) > self._kept:
                self._waiting.popleft()
                self.left_out["unknown_measurement"] += 1
            return
        if any(concern.id in concerns for concerns in self._concerns.values()):
            self.left_out["repeated"] += 1  # the first one stands
            return
        concerns = self._concerns.setdefault(concern.measurement, OrderedDict())
        concerns[concern.id] = concern
        if len(concerns) > self._kept:
            concerns.popitem(last=False)
            self.left_out["older"] += 1

    @property
    def waiting(self) -> int:
        """How many concerns of unknown measurements are kept."""
        return len(self._waiting)

    def all(self) -> Iterator[Concern]:
        """Every concern of a known measurement, by measurement, oldest first."""
        for measurement in sorted(self._concerns.keys() & self._known):
            yield from self._concerns[measurement].values()

    def open(self, closed: Collection[str]) -> dict[str, int]:
        """How many are open, for every known measurement.

        Args:
            closed: ids that a valid decision has closed.
        """
        return {
            name: sum(concern not in closed for concern in self._concerns.get(name, ())) for name in sorted(self._known)
        }
