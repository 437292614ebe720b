r"""The rules that are compared: the e-detector, plain thresholds, and a CUSUM.

The e-detector is the one that runs, ``estimator.detection``. The thresholds count breaches as it does (a test holds
that), without keeping evidence.

The CUSUM is the tabular one (Page 1954) on standardised gaps, one sum for each side,

    S_t = max(0, S_{t-1} + (+-D_t - tau) / sigma_t - k),        alarm at S_t >= h,

with the reference value k = 1/2, which makes it the quickest there is for a gap of 1 sigma beyond tau (Moustakides
1986). Its threshold is set for an average run length by solving Page's integral equation as a Markov chain (Brook and
Evans 1972). That takes for granted that gaps are Gaussian with known sigma: it is an opponent that knows the world,
and promises nothing where it is wrong.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from estimator.detection import Detectors, Evidence, Gaps
from estimator.intervals import critical_value

F = NDArray[np.float64]
B = NDArray[np.bool_]
I = NDArray[np.int64]  # noqa: E741  # whole numbers

REFERENCE_VALUE = 0.5
"""Of the CUSUM, in sigma: half of the gap that it is tuned for."""

_CELLS = 120
_CLOSE = 1e-6


@dataclass(frozen=True, eq=False)
class EDetector:
    """``estimator.Detectors``, as `publish` runs it.

    Attributes:
        tolerated: tau, ratio: one, or one for each detector. false_alarm_windows: A. detectors: K, who share it.
    """

    tolerated: float | tuple[float, ...]
    false_alarm_windows: int
    detectors: int

    def begin(self, shape: tuple[int, ...]) -> _EvidenceWatch:
        """Begin without any evidence."""
        terms = Detectors(np.asarray(self.tolerated), self.false_alarm_windows, self.detectors)
        return _EvidenceWatch(terms, Evidence.none(shape))


class _EvidenceWatch:
    def __init__(self, detectors: Detectors, state: Evidence) -> None:
        self._detectors, self._state = detectors, state

    def look(self, gaps: Gaps) -> B:
        self._state = self._detectors.after(self._state, gaps, 0)
        return self._state.alarm

    def keep(self, going: B) -> None:
        state = self._state
        self._state = Evidence(*(getattr(state, field.name)[going] for field in fields(Evidence)))


@dataclass(frozen=True, eq=False)
class Threshold:
    """An interval's nearer end beyond what is tolerated, in so many windows in a row: 3 is GapBeyondThreshold."""

    tolerated: float | tuple[float, ...]
    in_a_row: int

    def begin(self, shape: tuple[int, ...]) -> _BreachWatch:
        """Begin with no breach."""
        return _BreachWatch(np.asarray(self.tolerated), self.in_a_row, np.zeros(shape, np.int64))


class _BreachWatch:
    def __init__(self, tolerated: F, in_a_row: int, breaches: I) -> None:
        self._tolerated, self._in_a_row, self._breaches = tolerated, in_a_row, breaches

    def look(self, gaps: Gaps) -> B:
        beyond = (gaps.lower > self._tolerated) | (gaps.upper < -self._tolerated)
        counted = np.where(beyond, self._breaches + 1, 0)
        self._breaches = np.where(np.isnan(gaps.estimate), self._breaches, counted)
        return np.asarray(self._breaches >= self._in_a_row)

    def keep(self, going: B) -> None:
        self._breaches = self._breaches[going]


@dataclass(frozen=True, eq=False)
class Cusum:
    """Two-sided tabular CUSUM.

    Attributes:
        tolerated: tau, ratio. run_length: for which its threshold is set, windows: of one side and one detector, at
            exactly the tolerated gap.
    """

    tolerated: float | tuple[float, ...]
    run_length: float

    def begin(self, shape: tuple[int, ...]) -> _CusumWatch:
        """Begin with both sums at 0."""
        return _CusumWatch(np.asarray(self.tolerated), cusum_limit(self.run_length), np.zeros((2, *shape)))


class _CusumWatch:
    def __init__(self, tolerated: F, limit: float, sums: F) -> None:
        self._tolerated, self._limit, self._sums = tolerated, limit, sums

    def look(self, gaps: Gaps) -> B:
        shown = ~np.isnan(gaps.estimate)
        half = np.maximum(gaps.upper - gaps.estimate, gaps.estimate - gaps.lower)
        sigma = np.where(shown, half / critical_value(gaps.confidence), 1.0)
        sides = np.stack([gaps.estimate, -gaps.estimate])
        steps = np.where(shown, (sides - self._tolerated) / sigma - REFERENCE_VALUE, 0.0)
        self._sums = np.maximum(self._sums + steps, 0.0)
        return np.asarray((self._sums >= self._limit).any(axis=0))

    def keep(self, going: B) -> None:
        self._sums = self._sums[:, going]


def cusum_run_length(limit: float, gap: float = 0.0) -> float:
    """Average run length of one side from 0, windows, when gaps are Gaussian, ``gap`` sigma beyond the tolerated one.

    Args:
        limit: h, sigma, above 0.
    """
    width = 2 * limit / (2 * _CELLS - 1)
    normal = NormalDist(gap - REFERENCE_VALUE, 1.0)
    # From the middle of cell i to cell j: only j - i matters, but for cell 0, which takes all that lies below.
    steps = np.array([normal.cdf((d + 0.5) * width) for d in range(-_CELLS, _CELLS)])
    differences = np.arange(_CELLS)[np.newaxis, :] - np.arange(_CELLS)[:, np.newaxis]
    chances = steps[differences + _CELLS] - steps[differences + _CELLS - 1]
    chances[:, 0] = steps[_CELLS - np.arange(_CELLS)]
    return float(np.linalg.solve(np.eye(_CELLS) - chances, np.ones(_CELLS))[0])


@lru_cache(maxsize=64)
def cusum_limit(run_length: float) -> float:
    """The threshold of one side for an average run length (windows, at least 4) at exactly the tolerated gap."""
    if not 4 <= run_length < math.inf:
        raise ValueError(f"expected a run length of 4 windows or more, got {run_length}")
    # Its logarithm is all but linear in h, so the secant gets there in a few steps.
    wanted = math.log(run_length)
    earlier, limit = 0.0, max(wanted - 1.0, 0.5)
    error = -wanted  # that of no threshold at all: an alarm in every window
    while abs(found := math.log(cusum_run_length(limit)) - wanted) > _CLOSE:
        earlier, limit, error = limit, max(limit - found * (limit - earlier) / (found - error), 0.01), found
    return limit
