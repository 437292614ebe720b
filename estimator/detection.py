r"""An e-detector on gaps: evidence that a group is treated otherwise than is tolerated, window after window.

Source: Shin, Ramdas and Rinaldo (2023), E-detectors: a nonparametric framework for sequential change detection, of the
Shiryaev-Roberts kind; DESIGN section 6. One *detector* watches one gap D_t (a group's rate less the reference's) in the
windows t of one level. For each side (above: D - tau; below: -D - tau) and each bet c of a fixed grid,

    M_t = (M_{t-1} + 1) exp(c (D_t - tau) / sigma_t - c^2 / 2),        M_0 = 0.

The +1 bets afresh on a change in every window, so nothing is said of when it began. Bets are in units of 1 / sigma, so
one grid serves large groups and small ones. A detector's *evidence* is the mean of M over sides and bets, and it is in
*alarm* while log evidence >= log(A K), with A the windows to a false alarm that were promised and K the detectors of
the level, which share that promise: the mean of all K is an e-detector as well, and has reached A by then. So while
every true gap lies within tau, the first alarm of a level comes after at least A windows on average, whatever the
number of looks.

What is taken for (D_t - tau) / sigma_t is not the published gap, which is cut and, near the limit of suppression,
shown where noise favours it, but a contrast of sums (``estimator.excess``): its mean is at most 0 under tolerated gaps,
however small the group, so it is taken in whether or not the gap is shown. Where there are no sums (`rectified`, too
few Self-ID rows), M is set to 0: where s_t is 1 in a window with sums and 0 elsewhere, the mean of s_t exp(...) is no
larger than that of exp(...), whatever s_t has to do with them, so the promise stands. While an alarm stands, M stays as
it is: of the first alarm nothing more is to be promised, and such a window says nothing of whether the gap is over. So
it is, while an alarm stands, in windows in which no group at all can be compared, as when traffic has stopped.

What that takes. Given what was seen before, the deviation is sub-Gaussian about a mean of at most 0, with variance
proxy 1. What bends it: members who come back, so that one window's deviation is in the next one too; skewed counts,
where noise is small and hits are few; sigma_t is estimated, from the noised sums. A `rectified` short window would
share the error of its correction with its neighbours, so at levels without a rectifier of their own the `weighted` gaps
are to be watched. Set tau above what a pool of members may differ by chance; docs/detection.md shows what was measured.

Evidence is a pure function of published numbers, for anybody and to the last bit. M is kept as its logarithm in whole
hundredths, rounded down in every step, and capped, so that an alarm ends some windows after a change has ended. Both
only make M less than it should be, and the promise holds for anything below an e-detector. exp and log, whose last bit
differs between machines, only enter tables of whole numbers that are rounded down from values which all lie much
further from the next whole number than such differences reach (a test holds that); what is left is one rounded
operation of IEEE 754 after the other, and sums of whole numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from estimator.intervals import critical_value

F = NDArray[np.float64]
I = NDArray[np.int64]  # noqa: E741  # whole numbers, beside F
B = NDArray[np.bool_]

DetectorName = tuple[str, str, str]
"""(metric, score_bin, group)."""

VERSION = 2
"""Of what evidence is made of: where a record names another, its evidence is not gone on from, nor judged."""

BETS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""The grid, in units of 1 / sigma: a gap of c sigma beyond the tolerated one is found soonest by the bet c."""

NO_ALARM = -1
"""In place of the time at which an alarm began."""

STEPS = 100
"""Logarithms are kept in hundredths."""

LEAST = -10 * STEPS
"""M at or below exp(-10) counts as 0: it is less than a ten-thousandth of the 1 that each window adds."""

ENDS_BELOW = 3 * STEPS
"""An alarm ends when log evidence is less than the threshold by more than this: exp(-3), a twentieth."""

SMALLEST_SIGMA = 1e-6
"""A narrower interval is taken for this wide: a larger variance proxy is always allowed."""

_SIDES = 2
_MEAN_OF = _SIDES * len(BETS)
_BETS = np.array(BETS)
_SPENT = STEPS / 2 * _BETS**2
_TABLE = 25 * STEPS
_LOG1P_SCALE = 1000
_LOG1P = np.floor(_LOG1P_SCALE * STEPS * np.log1p(np.exp(-np.arange(_TABLE) / STEPS))).astype(np.int64)
"""By whole hundredths k: log(1 + exp(-k / 100)) in hundredths, in thousandths of them; 0 from the table's end on."""
_EXP_SCALE = 1 << 30
_EXP = np.floor(_EXP_SCALE * np.exp(-np.arange(_TABLE) / STEPS)).astype(np.int64)
"""By whole hundredths k: exp(-k / 100) of 2^30."""
_MEAN_STEPS = math.ceil(STEPS * math.log(_MEAN_OF))
_MEAN = np.ceil(_MEAN_OF * _EXP_SCALE * np.exp(-np.arange(_MEAN_STEPS + 1)[::-1] / STEPS)).astype(np.int64)
"""The least sum of parts (of the largest M, of 2^30) whose mean has its logarithm 231, 230, ... 0 hundredths below."""
_CAP_ABOVE_THRESHOLD = math.floor(STEPS * math.log(2 * _MEAN_OF))


@dataclass(frozen=True, eq=False)
class Deviations:
    """By how many standard deviations each gap lies beyond the tolerated one (``estimator.excess``).

    Attributes:
        above, below: arrays of one shape, float64; NaN where there is nothing to take in.
    """

    above: F
    below: F


@dataclass(frozen=True, eq=False)
class Gaps:
    """One window's gaps, as they are published: arrays of one shape, float64, ratios; NaN where suppressed.

    Attributes:
        estimate, lower, upper: each detector's gap and its interval. confidence: of the intervals.
        excess: what becomes evidence. None: what estimate and interval say, for gaps that are Gaussian and never
            suppressed, as in a simulation.
    """

    estimate: F
    lower: F
    upper: F
    confidence: float
    excess: Deviations | None = None

    def deviations(self, tolerated_gap: F | float) -> Deviations:
        """What becomes evidence."""
        if self.excess is not None:
            return self.excess
        # To nine digits, so that a quantile whose last bit differs between machines is one number.
        z = round(critical_value(self.confidence), 9)
        half = np.maximum(self.upper - self.estimate, self.estimate - self.lower)
        sigma = np.maximum(half / z, SMALLEST_SIGMA)
        return Deviations((self.estimate - tolerated_gap) / sigma, (-self.estimate - tolerated_gap) / sigma)


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the detectors have seen so far: all that the next window needs.

    Attributes:
        above, below: shape (..., bets), int64: log M in hundredths, ``LEAST`` where M is 0.
        breach_windows: shape (...), int64: in how many windows in a row the interval lay beyond what is tolerated.
        alarm_since_ms: int64: the end of the window with which the present alarm began, epoch milliseconds;
            ``NO_ALARM`` where there is none.
        seen: bool: whether the detector has ever had a gap to look at.
    """

    above: I
    below: I
    breach_windows: I
    alarm_since_ms: I
    seen: B

    @classmethod
    def none(cls, shape: int | tuple[int, ...]) -> Evidence:
        """Before the first window, for detectors of this shape."""
        dims = (shape,) if isinstance(shape, int) else shape
        nothing = np.full((*dims, len(BETS)), LEAST)
        return cls(nothing, nothing.copy(), np.zeros(dims, np.int64), np.full(dims, NO_ALARM), np.zeros(dims, np.bool_))

    @classmethod
    def of_states(cls, states: Iterable[Mapping[str, Any]], names: Sequence[DetectorName]) -> Evidence:
        """From the states in a record's `detection`, as :meth:`states` gives them.

        Args:
            names: of the detectors, in their order.

        Raises:
            ValueError: a state is of another detector, twice there, or of another number of bets.
        """
        found = cls.none(len(names))
        places = {name: place for place, name in enumerate(names)}
        for state in states:
            name = state["metric"], state["score_bin"], state["group"]
            place = places.pop(name, None)
            if place is None or len(state["below"]) != len(BETS) or len(state["above"]) != len(BETS):
                raise ValueError(f"no state of a detector here: {', '.join(map(str, name))}")
            found.above[place], found.below[place] = state["above"], state["below"]
            found.breach_windows[place] = state["breach_windows"]
            found.alarm_since_ms[place] = NO_ALARM if state["alarm_since_ms"] is None else state["alarm_since_ms"]
            found.seen[place] = True
        return found

    def states(self, names: Sequence[DetectorName]) -> Iterator[dict[str, Any]]:
        """What a record's `detection` has of each detector that has had a gap to look at, in the order of ``names``."""
        whole = (self.seen, self.breach_windows, self.alarm_since_ms, self.below, self.above)
        columns = zip(names, *(array.tolist() for array in whole), strict=True)
        for (metric, score_bin, group), seen, breaches, since, below, above in columns:
            if seen:
                yield {
                    "metric": metric,
                    "score_bin": score_bin,
                    "group": group,
                    "breach_windows": breaches,
                    "alarm_since_ms": None if since == NO_ALARM else since,
                    "below": below,
                    "above": above,
                }

    def said(self, names: Sequence[DetectorName]) -> dict[DetectorName, dict[str, Any]]:
        """What a record's results have of the same detectors, by name: fields of a result."""
        columns = zip(
            names,
            self.seen.tolist(),
            self.log_evidence.tolist(),
            self.alarm.tolist(),
            self.alarm_since_ms.tolist(),
            strict=True,
        )
        return {
            name: {"log_evidence": log_evidence, "alarm": alarm, "alarm_since_ms": since if alarm else None}
            for name, seen, log_evidence, alarm, since in columns
            if seen
        }

    @property
    def alarm(self) -> B:
        """Which detectors are in alarm."""
        return np.asarray(self.alarm_since_ms != NO_ALARM)

    @property
    def log_evidence(self) -> F:
        """Natural logarithm of each detector's evidence, rounded down to hundredths; NaN before its first gap.

        Never below -10, at which it is "next to nothing, if anything".
        """
        return np.where(self.seen, _log_evidence(self) / STEPS, np.nan)


@dataclass(frozen=True, eq=False)
class Detectors:
    """The detectors of one level: what they tolerate and what they promise together.

    Args:
        tolerated_gap: tau, in [0, 1): one for all detectors, or an array of their shape.
        false_alarm_windows: A, windows, at least 1: while all true gaps are tolerated ones, the first alarm of the
            level comes after so many windows or more, on average.
        count: K: how many detectors share that promise, at least 1.

    Raises:
        ValueError: one of them is out of range.
    """

    tolerated_gap: F | float
    false_alarm_windows: int
    count: int

    def __post_init__(self) -> None:
        gaps = np.asarray(self.tolerated_gap)
        if not np.all((gaps >= 0) & (gaps < 1)):
            raise ValueError(f"expected tolerated gaps of 0 or more and below 1, got {self.tolerated_gap}")
        if self.false_alarm_windows < 1 or self.count < 1:
            raise ValueError(
                f"expected 1 or more windows to a false alarm and 1 or more detectors, got {self.false_alarm_windows} "
                f"and {self.count}"
            )

    @cached_property
    def threshold_steps(self) -> int:
        """log(A K) in hundredths, rounded up."""
        return math.ceil(STEPS * Decimal(self.false_alarm_windows * self.count).ln())

    @property
    def log_threshold(self) -> float:
        """An alarm begins when log evidence is this or more."""
        return self.threshold_steps / STEPS

    def after(self, before: Evidence, gaps: Gaps, end_ms: int) -> Evidence:
        """The evidence with one window more.

        Args:
            before: of the window before; void windows are left out, and change nothing.
            gaps: of the detectors' shape, the detectors of a level along the last axis. Where a deviation is NaN, an
                alarm and its evidence stay, and evidence without an alarm goes; where an estimate is, breaches stay.
                Where no gap of the level is shown, alarms and their evidence stay: no traffic is no fair traffic.
            end_ms: the window's end, epoch milliseconds.
        """
        excess, shown = gaps.deviations(self.tolerated_gap), ~np.isnan(gaps.estimate)
        silent = ~shown.any(axis=-1, keepdims=True)
        known = ~(np.isnan(excess.above) | np.isnan(excess.below) | (silent & before.alarm))
        kept = before.alarm[..., np.newaxis]
        above, below = (
            np.where(known[..., np.newaxis], self._step(old, np.where(known, side, 0.0)), np.where(kept, old, LEAST))
            for old, side in ((before.above, excess.above), (before.below, excess.below))
        )
        beyond = (gaps.lower > self.tolerated_gap) | (gaps.upper < -np.asarray(self.tolerated_gap))
        after = Evidence(
            above=above,
            below=below,
            breach_windows=np.where(shown, np.where(beyond, before.breach_windows + 1, 0), before.breach_windows),
            alarm_since_ms=before.alarm_since_ms,
            seen=before.seen | known,
        )
        above_threshold = _log_evidence(after) - self.threshold_steps
        alarm = after.seen & (above_threshold >= np.where(before.alarm, -ENDS_BELOW, 0))
        since = np.where(alarm, np.where(before.alarm, before.alarm_since_ms, end_ms), NO_ALARM)
        return Evidence(after.above, after.below, after.breach_windows, since, after.seen)

    def _step(self, log_m: I, deviations: F) -> I:
        """log M one window later; ``deviations``: by how many sigma the gap is beyond the tolerated one."""
        won = STEPS * _BETS * deviations[..., np.newaxis] - _SPENT
        grown = np.floor(_log_plus_one(log_m) + won)
        # Each cap lets its bet alone raise the alarm, and no more than twice that.
        return np.clip(grown, LEAST, self.threshold_steps + _CAP_ABOVE_THRESHOLD).astype(np.int64)


def _log_plus_one(log_m: I) -> F:
    """log(M + 1) in hundredths, rounded down to a thousandth of one."""
    distance = np.minimum(np.abs(log_m), _TABLE - 1)
    plus = np.where(np.abs(log_m) < _TABLE, _LOG1P[distance], 0) / _LOG1P_SCALE
    return np.asarray(np.where(log_m <= LEAST, 0.0, np.maximum(log_m, 0) + plus))


def _log_evidence(state: Evidence) -> I:
    """Logarithm of the mean of M over sides and bets, hundredths, rounded down, not below ``LEAST``."""
    logs = np.concatenate([state.above, state.below], axis=-1)
    largest = logs.max(axis=-1)
    distance = largest[..., np.newaxis] - logs
    parts = np.where((distance < _TABLE) & (logs > LEAST), _EXP[np.minimum(distance, _TABLE - 1)], 0)
    below = np.searchsorted(_MEAN, parts.sum(axis=-1), side="right") - 1 - _MEAN_STEPS
    return np.asarray(np.where(largest <= LEAST, LEAST, np.maximum(largest + below, LEAST)))
