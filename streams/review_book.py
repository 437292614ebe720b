"""Alarms on `fairness-metrics`, and the reviews that they open.

A detector's alarm begins with one window, and every record while it stands says with which: ``alarm_since_ms``. The
earliest record that names it opens a review, named by the alarm's id, with a deadline that the spec sets
(``detection.review_within``), counted from the alarm's beginning. That record mostly is of the window with which the
alarm began; it is a later one where that window's was written before there were detectors, or is no longer kept.
Reviewers close the review by a signed disposition on the log of decisions (``privacy.dispositions``). That the alarm
ends, or that its measurement expires or is superseded, closes nothing: what happened still has to be looked at. A
revocation does: its reviews are over, whether its windows were withdrawn or not. Only records that publish has signed
are read, and only alarms that a detector of the approved spec can have had are to be decided about.

Nothing here changes a ranking, and nothing follows from a review by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from estimator.detection import DetectorName
from privacy.dispositions import SignedDisposition, is_alarm
from privacy.revocation import YEAR_10000_MS
from streams.alarm_name import AlarmName
from streams.control import Approved
from streams.records.metric import VERSION, FairnessMetric
from streams.records.published import PublishedRecord
from streams.roles.detecting import LevelDetectors


@dataclass(frozen=True)
class Alarm(AlarmName):
    """A detector's alarm, with what the first window says that names it.

    Attributes:
        spec: SHA-256 of the spec; empty where no record names it (any more), as are the next three.
        reference: the group with which it is compared.
        estimator: whose gap it is.
        gap: (estimate, lower, upper) in the first window that names it, ratios; None where it says none.
    """

    spec: bytes = b""
    reference: str = ""
    estimator: str = ""
    gap: tuple[float, float, float] | None = None

    @classmethod
    def named(cls, name: str) -> Alarm:
        """Of an id alone, which a disposition holds and so is one."""
        measurement, level, metric, score_bin, group, since_ms = name.split("/")
        return cls(measurement, level, metric, score_bin, group, int(since_ms))


@dataclass(frozen=True)
class Review:
    """What an alarm opened, and what came of it.

    Attributes:
        deadline_ms: by when reviewers are to decide, epoch milliseconds; None where no approved spec says so.
        dispositions: oldest first; of those that were signed since the alarm began the last one stands.
        over: why nothing is to be decided any more, or None.
    """

    alarm: Alarm
    deadline_ms: int | None
    dispositions: tuple[SignedDisposition, ...]
    over: str | None = None

    @property
    def standing(self) -> SignedDisposition | None:
        """What was decided last."""
        counted = self._counted()
        return counted[-1] if counted else None

    @property
    def is_disputed(self) -> bool:
        """Whether the last word takes the place of another reviewer's, who had decided something else."""
        *_, earlier, later = [None, None, *self._counted()]
        if earlier is None or later is None or not earlier.disposition.closes:
            return False
        return earlier.key_id != later.key_id and earlier.disposition.decision != later.disposition.decision

    def _counted(self) -> list[SignedDisposition]:
        # One key could else close a review before there is anything to look at.
        return [each for each in self.dispositions if not each.is_premature]

    @property
    def is_open(self) -> bool:
        """Whether reviewers are still to decide."""
        return self.over is None and not (self.standing and self.standing.disposition.closes)

    def state(self, now_ms: int) -> str:
        """open, overdue (open, past its deadline), decided, or over (nothing is to be decided any more)."""
        if self.over is not None:
            return "over"
        if not self.is_open:
            return "decided"
        return "overdue" if self.deadline_ms is not None and now_ms > self.deadline_ms else "open"


class _Window(msgspec.Struct):
    end_ms: int


class _Interval(msgspec.Struct):
    estimate: float
    lower: float
    upper: float


_Plain = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_.+-]{1,300}\Z")]
"""Pages and commands name it, in a line to paste too: whoever wrote the record, nothing else gets there."""


class _Result(msgspec.Struct):
    metric: _Plain
    score_bin: _Plain
    group: _Plain
    estimator: _Plain
    gap: _Interval | None
    alarm: bool | None = None
    alarm_since_ms: int | None = None


class _Record(msgspec.Struct):
    """The fields of a `FairnessMetric` that are needed here; the others are skipped, unread."""

    measurement: str
    level: str
    spec_sha256: str
    window: _Window
    reference: _Plain
    results: list[_Result]


_SINCE = re.compile(rb'"alarm_since_ms":[0-9]')
_LATEST_MS = YEAR_10000_MS - 366 * 86_400_000
"""Before this a window ends: later ones, and their deadlines, could not be written as a date."""

_decoder = msgspec.json.Decoder(_Record)


class ReviewBook:
    """The alarms that records of `fairness-metrics` name, each as the record of the earliest window has it.

    Which that is does not depend on the order in which windows are read: a level's lie on several partitions.
    """

    def __init__(self) -> None:
        self._alarms: dict[str, tuple[int, bytes, Alarm]] = {}  # with the end and the key of the first that names it
        self._named: dict[bytes, set[str]] = {}  # the same, by the key
        self._detectors: dict[tuple[bytes, str], frozenset[DetectorName]] = {}  # of a spec's level
        self._versions: dict[bytes, int] = {}  # of the records that took another's place
        self.version = 0
        """Rises whenever there are other alarms."""

    def read(self, signed: PublishedRecord) -> None:
        """Take in one record of the topic, in its partition's order; what is no record of a window opens nothing."""
        key = signed.key
        if signed.version < self._versions.get(key, 0):
            return  # it was withdrawn, and somebody has put a copy of it behind that
        if signed.version > VERSION:
            self._versions[key] = signed.version
        # The bytes are compact JSON. Most records are long, and name no alarm.
        if not _SINCE.search(signed.value):
            self._put(key, 0, {})
            return
        try:
            record = _decoder.decode(signed.value)
            spec = bytes.fromhex(record.spec_sha256)
        except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, RecursionError):
            return
        if not 0 <= record.window.end_ms < _LATEST_MS:
            return
        if key == f"{record.measurement}/{record.level}/{record.window.end_ms}".encode():
            self._take(key, spec, record)

    def window(self, window: FairnessMetric) -> None:
        """Take in a window that `publish` has just made."""
        self._take(window.topic_key(), bytes.fromhex(window.spec_sha256), window)

    def _take(self, key: bytes, spec: bytes, record: Any) -> None:
        end_ms = record.window.end_ms
        standing = {
            alarm.id: alarm
            for result in record.results
            if result.alarm and result.alarm_since_ms is not None and 0 <= result.alarm_since_ms <= end_ms
            for alarm in (_alarm(record, spec, result),)
            if is_alarm(alarm.id)
        }
        self._put(key, end_ms, standing)

    def _put(self, key: bytes, end_ms: int, standing: Mapping[str, Alarm]) -> None:
        """``standing``: what the window's record names; a withdrawn one names none, and takes its alarms with it."""
        before = {name: self._alarms.pop(name)[2] for name in self._named.pop(key, ())}
        named = {}
        for name, alarm in standing.items():
            known = self._alarms.get(name)
            if known is None or end_ms < known[0]:
                named[name] = alarm
                self._alarms[name] = end_ms, key, alarm
                if known is not None:
                    self._named[known[1]].discard(name)
        if named:
            self._named[key] = set(named)
        if before != named:
            self.version += 1

    def alarms(self) -> Iterator[Alarm]:
        """Every alarm, in no order."""
        for _, _, alarm in self._alarms.values():
            yield alarm

    def reviews(
        self, dispositions: Mapping[str, Sequence[SignedDisposition]], approved: Iterable[Approved]
    ) -> list[Review]:
        """Every review: open ones first, by their deadlines; then the others, the newest first.

        Args:
            dispositions: by alarm, as the log of decisions has them.
            approved: the registry's revisions.
        """
        specs = {entry.spec: entry for entry in approved}
        alarms = {alarm.id: alarm for alarm in self.alarms()}
        alarms |= {name: Alarm.named(name) for name in dispositions if name not in alarms}
        found = [self._review(alarm, tuple(dispositions.get(name, ())), specs) for name, alarm in alarms.items()]
        return sorted(found, key=_order)

    def _review(
        self, alarm: Alarm, dispositions: tuple[SignedDisposition, ...], specs: Mapping[bytes, Approved]
    ) -> Review:
        entry = specs.get(alarm.spec)
        if not alarm.spec:
            return Review(alarm, None, dispositions, "no record on the topic names it any more, or they were withdrawn")
        if entry is None:
            return Review(alarm, None, dispositions, "no approved measurement has this window")
        if not self._can_be(alarm, entry):
            return Review(alarm, None, dispositions, "the approved measurement has no such detector or window")
        deadline_ms = alarm.since_ms + entry.measurement.alarms.review_within_ms
        over = "the measurement was revoked" if entry.revoked else None
        return Review(alarm, deadline_ms, dispositions, over)

    def _can_be(self, alarm: Alarm, entry: Approved) -> bool:
        """Whether a detector of the spec can have begun an alarm with a window of its level that ends then."""
        length_ms = {level.name: level.length_ms for level in entry.measurement.levels}.get(alarm.level)
        if length_ms is None or not entry.has_window(alarm.level, alarm.since_ms - length_ms, alarm.since_ms):
            return False
        level = entry.spec, alarm.level
        if level not in self._detectors:
            self._detectors[level] = frozenset(LevelDetectors.of(entry.measurement, alarm.level).names)
        return (alarm.metric, alarm.score_bin, alarm.group) in self._detectors[level]


def _alarm(record: Any, spec: bytes, result: Any) -> Alarm:
    gap = None if result.gap is None else (result.gap.estimate, result.gap.lower, result.gap.upper)
    return Alarm(
        record.measurement,
        record.level,
        result.metric,
        result.score_bin,
        result.group,
        result.alarm_since_ms,
        spec,
        record.reference,
        result.estimator,
        gap,
    )


def _order(review: Review) -> tuple[bool, int, str]:
    if review.is_open:
        return False, review.deadline_ms or 0, review.alarm.id
    return True, -review.alarm.since_ms, review.alarm.id
