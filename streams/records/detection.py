"""The part of `fairness-metrics` that says what has been gathered over windows: the evidence of a level's detectors.

It holds all that the next window's evidence follows from, so that whoever has two records of a level, one after the
other, can repeat the step between them to the last bit (docs/detection.md).
"""

from __future__ import annotations

from collections.abc import Sequence

from estimator import Detectors, Evidence
from estimator.detection import BETS, NO_ALARM
from streams.records.public_part import PublicPart

DetectorName = tuple[str, str, str]
"""(metric, score_bin, group)."""


class DetectorState(PublicPart):
    """One detector after the window.

    Attributes:
        metric, score_bin, group: whose gap it watches.
        breach_windows: in how many windows in a row the gap's interval lay beyond what is tolerated.
        alarm_since_ms: the end of the window with which the present alarm began, epoch milliseconds; None without one.
        below, above: for each bet, log M of the bet on a gap that is too low, and too high, in whole hundredths.
    """

    metric: str
    score_bin: str
    group: str
    breach_windows: int
    alarm_since_ms: int | None
    below: tuple[int, ...]
    above: tuple[int, ...]


class Detection(PublicPart):
    """What a level's detectors tolerate and promise, and how they stand after the window.

    Attributes:
        estimator: whose gaps they watch. false_alarm_windows: A, the promise that all of the level share, windows.
        detectors: K, how many they are, whether or not they have had a gap to look at.
        log_threshold: log(A K), rounded up to hundredths: where evidence becomes an alarm.
        tolerated_gaps: by metric, ratios. bets: in units of one over a gap's standard deviation.
        state: of each detector that has had a gap to look at, in the order of the results.
    """

    estimator: str
    false_alarm_windows: int
    detectors: int
    log_threshold: float
    tolerated_gaps: dict[str, float]
    bets: tuple[float, ...]
    state: tuple[DetectorState, ...]

    @classmethod
    def of(
        cls,
        estimator: str,
        detectors: Detectors,
        tolerated_gaps: dict[str, float],
        names: Sequence[DetectorName],
        evidence: Evidence,
    ) -> Detection:
        """From the arrays; ``names`` are the detectors', in their order."""
        whole = (evidence.breach_windows, evidence.alarm_since_ms, evidence.below, evidence.above)
        columns = zip(names, evidence.seen.tolist(), *(array.tolist() for array in whole), strict=True)
        return cls(
            estimator=estimator,
            false_alarm_windows=detectors.false_alarm_windows,
            detectors=detectors.count,
            log_threshold=detectors.log_threshold,
            tolerated_gaps=tolerated_gaps,
            bets=BETS,
            state=tuple(
                DetectorState(
                    metric=metric,
                    score_bin=score_bin,
                    group=group,
                    breach_windows=breaches,
                    alarm_since_ms=None if since == NO_ALARM else since,
                    below=tuple(below),
                    above=tuple(above),
                )
                for (metric, score_bin, group), seen, breaches, since, below, above in columns
                if seen
            ),
        )

    def evidence(self, names: Sequence[DetectorName]) -> Evidence:
        """The arrays again, for detectors of these names.

        Raises:
            ValueError: a state is of another detector, twice there, or of another number of bets.
        """
        found = Evidence.none(len(names))
        places = {name: place for place, name in enumerate(names)}
        for state in self.state:
            place = places.pop((state.metric, state.score_bin, state.group), None)
            if place is None or len(state.below) != len(BETS) or len(state.above) != len(BETS):
                raise ValueError(f"no state of a detector here: {state.metric}, {state.score_bin}, {state.group}")
            found.above[place], found.below[place] = state.above, state.below
            found.breach_windows[place] = state.breach_windows
            found.alarm_since_ms[place] = NO_ALARM if state.alarm_since_ms is None else state.alarm_since_ms
            found.seen[place] = True
        return found
