"""The detectors of a level, as `publish` runs them: which gaps they watch, and what they have seen window by window.

Evidence is a pure function of a level's releases in the order of their windows, and lies in each window's record. So a
window that is passed over at start, since its record lies on `fairness-metrics`, passes its evidence on by that record.
`emitted` keeps the last few of a level; where an older one turns out to be needed, since a record before them is not
there or cannot be believed, the level's evidence has to be worked out anew from all its releases: it is *lost*, and
whoever reads them reads them once more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from pydantic import ValidationError

from estimator import Detectors, Deviations, Disparity, Evidence, Gaps
from estimator.detection import DetectorName
from privacy import Measurement
from streams.cell_layout import layout_of
from streams.control import Approved
from streams.errors import EvenstreamError
from streams.records.detection import Detection
from streams.records.metric import Excess, Result, result_of

LevelName = tuple[str, str]
"""(measurement, level)."""


class HistoryNeeded(EvenstreamError):
    """The evidence before a window is in no record that was kept: read again, and pass over none of these levels."""

    def __init__(self, levels: Collection[LevelName]) -> None:
        names = ", ".join(sorted("/".join(level) for level in levels))
        super().__init__(
            f"{names}: fairness-metrics does not hold the evidence before a window that is to be published or shown "
            "(records of an earlier version, or one that is missing or not of these releases): all windows of these "
            "levels are to be estimated anew, which takes some milliseconds each"
        )


@dataclass(frozen=True, eq=False)
class LevelDetectors:
    """The detectors of one level of one revision.

    Attributes:
        estimator: whose gaps they watch.
        tolerated_gaps: by metric, ratios.
        names: each one's (metric, score bin, group), in the order of the results; the reference has none.
    """

    estimator: str
    tolerated_gaps: dict[str, float]
    names: tuple[DetectorName, ...]
    false_alarm_windows: int

    @classmethod
    def of(cls, measurement: Measurement, level: str) -> LevelDetectors:
        """Of a measurement's level, which must be one of its own.

        `rectified` gaps where the level has a rectifier; elsewhere `weighted`, for the rectified ones of a short window
        all carry the error of one correction, which would count again in each of them.
        """
        length_ms = next(each.length_ms for each in measurement.levels if each.name == level)
        groups = [group for group in measurement.group_names if group != measurement.reference]
        statistics = list(layout_of(measurement).statistics())
        return cls(
            estimator="rectified" if "rectifier" in measurement.channel_shares(level) else "weighted",
            tolerated_gaps={each: measurement.alarms.tolerated(each) for each in measurement.cells.metrics},
            names=tuple((each.metric, each.score_bin, group) for each in statistics for group in groups),
            false_alarm_windows=measurement.alarms.false_alarm_windows(length_ms),
        )

    @cached_property
    def detectors(self) -> Detectors:
        """What they tolerate and promise, as arrays."""
        tolerated = np.array([self.tolerated_gaps[metric] for metric, _, _ in self.names])
        return Detectors(tolerated, self.false_alarm_windows, len(self.names))

    def gaps(self, results: Iterable[Disparity | Result], confidence: float) -> Gaps:
        """The watched gaps among a window's results, in the detectors' order."""
        found = {
            (result.metric, result.score_bin, result.group): result
            for result in results
            if result.estimator == self.estimator
        }
        gaps, excess = np.full((len(self.names), 3), np.nan), np.full((len(self.names), 2), np.nan)
        for place, name in enumerate(self.names):
            result = found.get(name)
            if result is not None and result.gap is not None:
                gaps[place] = result.gap.estimate, result.gap.lower, result.gap.upper
            if result is not None and result.excess is not None:
                excess[place] = result.excess.above, result.excess.below
        return Gaps(gaps[:, 0], gaps[:, 1], gaps[:, 2], confidence, Deviations(excess[:, 0], excess[:, 1]))

    def said(self, evidence: Evidence) -> Detection:
        """The detectors after a window, as they are published."""
        return Detection.of(self.estimator, self.detectors, self.tolerated_gaps, self.names, evidence)

    def read(self, recorded: bytes | None) -> Evidence | None:
        """The evidence in a record's `detection`, JSON; None where it is not of these very detectors."""
        try:
            detection = Detection.model_validate_json(recorded or b"")
            evidence = detection.evidence(self.names)
        except (ValidationError, ValueError, OverflowError):
            return None
        # Another version's, with another grid or threshold, cannot be gone on from.
        return evidence if self.said(evidence) == detection else None

    def results(self, disparities: Iterable[Disparity], evidence: Evidence | None) -> tuple[Result, ...]:
        """A window's results as they are published, with what the detectors say after it."""
        if evidence is None:
            return tuple(map(result_of, disparities))
        said = evidence.said(self.names)
        return tuple(
            result_of(each, excess=_excess(each), **said.get((each.metric, each.score_bin, each.group), {}))
            if each.estimator == self.estimator
            else result_of(each)
            for each in disparities
        )


def _excess(disparity: Disparity) -> Excess | None:
    found = disparity.excess
    return None if found is None else Excess(above=found.above, below=found.below)


@dataclass(frozen=True, slots=True)
class _After:
    """A level after one of its windows; ``recorded`` instead of ``evidence`` where that window was passed over."""

    end_ms: int
    evidence: Evidence | None = None
    recorded: bytes | None = None


class LevelEvidence:
    """What the detectors of each level of each revision have seen, from its first window on."""

    def __init__(self) -> None:
        self.lost: set[LevelName] = set()
        """Levels of whose windows some had to go without evidence, since that before them was in no record."""
        self._detectors: dict[tuple[bytes, str], LevelDetectors] = {}
        self._after: dict[tuple[bytes, str], _After] = {}

    def detectors(self, approved: Approved, level: str) -> LevelDetectors:
        """Of a level, worked out once."""
        key = approved.spec, level
        found = self._detectors.get(key)
        if found is None:
            found = self._detectors[key] = LevelDetectors.of(approved.measurement, level)
        return found

    def after(
        self,
        approved: Approved,
        level: str,
        end_ms: int,
        results: Iterable[Disparity],
        confidence: float,
        *,
        needed: bool = True,
    ) -> Evidence | None:
        """Take in a window's results; None where a later window of the level was there before it, or where windows
        before it were passed over whose record was not kept. Then the level is ``lost``, if the evidence is needed.
        """
        detectors = self.detectors(approved, level)
        before = self._after.get((approved.spec, level))
        if before is None:
            seen = Evidence.none(len(detectors.names))
        elif before.end_ms >= end_ms:
            return None
        else:
            known = before.evidence or detectors.read(before.recorded)
            if known is None:
                if needed:
                    self.lost.add((approved.measurement.id, level))
                self._after[approved.spec, level] = _After(end_ms)
                return None
            seen = known
        evidence = detectors.detectors.after(seen, detectors.gaps(results, confidence), end_ms)
        self._after[approved.spec, level] = _After(end_ms, evidence)
        return evidence

    def passed_over(self, approved: Approved, level: str, end_ms: int, recorded: bytes | None) -> None:
        """A window that said something is not estimated again.

        Args:
            recorded: `detection` of its record, JSON; None where that was not kept.
        """
        before = self._after.get((approved.spec, level))
        if before is None or before.end_ms < end_ms:
            self._after[approved.spec, level] = _After(end_ms, recorded=recorded)
