"""The part of `fairness-metrics` that says what has been gathered over windows: the evidence of a level's detectors.

It holds all that the next window's evidence follows from, so that whoever has two records of a level, one after the
other, can repeat the step between them to the last bit (docs/detection.md).
"""

from __future__ import annotations

from collections.abc import Sequence

from estimator import Detectors, Evidence
from estimator.detection import BETS, VERSION, DetectorName
from streams.records.public_part import PublicPart


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
        version: of what evidence is made of; only evidence of the same version can be gone on from.
        estimator: whose gaps they watch. false_alarm_windows: A, the promise that all of the level share, windows.
        detectors: K, how many they are, whether or not they have had a gap to look at.
        log_threshold: log(A K), rounded up to hundredths: where evidence becomes an alarm.
        tolerated_gaps: by metric, ratios. bets: in units of one over a gap's standard deviation.
        state: of each detector that has had a gap to look at, in the order of the results.
    """

    version: int
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
        return cls(
            version=VERSION,
            estimator=estimator,
            false_alarm_windows=detectors.false_alarm_windows,
            detectors=detectors.count,
            log_threshold=detectors.log_threshold,
            tolerated_gaps=tolerated_gaps,
            bets=BETS,
            state=tuple(DetectorState.model_validate(state) for state in evidence.states(names)),
        )

    def evidence(self, names: Sequence[DetectorName]) -> Evidence:
        """The arrays again, for detectors of these names.

        Raises:
            ValueError: a state is of another detector, twice there, or of another number of bets.
        """
        return Evidence.of_states((state.model_dump() for state in self.state), names)
