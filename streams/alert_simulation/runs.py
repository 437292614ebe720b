r"""Runs to the first alarm, many at once, and what they say when some of them have not ended.

A run that sees no alarm within the horizon counts as its horizon: the mean of run lengths is then a lower bound. What
is held against the promise is *windows watched for each alarm*, sum min(T, H) / (runs that ended). That is the very
thing an e-detector promises: M_t - t is a supermartingale, so A P(T <= H) <= E[M at min(T, H)] <= E[min(T, H)], for
every horizon H (and for H without end, E[T] >= A).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from estimator.detection import Gaps

B = NDArray[np.bool_]
I = NDArray[np.int64]  # noqa: E741  # whole numbers

NONE_SEEN = 3.0
"""Where no run ended: with 95 % confidence there is less than one alarm in a third of the windows watched."""


class Stream(Protocol):
    """The gaps of runs that go on side by side, window after window."""

    def windows(self) -> Gaps:
        """The next window of each run: shape (runs, detectors)."""

    def keep(self, going: B) -> None:
        """Go on with these runs only: shape (runs,)."""


class Watch(Protocol):
    """A rule at work on such runs."""

    def look(self, gaps: Gaps) -> B:
        """Which detectors are in alarm after this window: shape (runs, detectors)."""

    def keep(self, going: B) -> None:
        """Go on with these runs only: shape (runs,)."""


class World(Protocol):
    """How gaps come about."""

    def begin(self, rng: np.random.Generator, runs: int) -> Stream:
        """Begin that many runs."""


class Rule(Protocol):
    """When to raise an alarm."""

    def begin(self, shape: tuple[int, ...]) -> Watch:
        """Begin without any evidence, for detectors of this shape."""


@dataclass(frozen=True, eq=False)
class RunLengths:
    """Windows until something happened, in each run.

    Attributes:
        windows: shape (runs,), int64; the horizon where it did not happen. ended: bool, whether it did.
        horizon: windows.
    """

    windows: I
    ended: B
    horizon: int

    @property
    def unfinished(self) -> int:
        """Runs in which it did not happen."""
        return int((~self.ended).sum())

    @property
    def mean(self) -> float:
        """Mean run length, windows: a lower bound where some are unfinished."""
        return float(self.windows.mean())

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        return float(self.windows.std(ddof=1) / math.sqrt(self.windows.size)) if self.windows.size > 1 else math.nan

    @property
    def per_alarm(self) -> float:
        """Windows watched for each alarm; where there was none, with 95 % confidence at least so many."""
        return float(self.windows.sum() / (self.ended.sum() if self.ended.any() else NONE_SEEN))

    @property
    def per_alarm_error(self) -> float:
        """Standard error of ``per_alarm`` (of a ratio, by the delta method); NaN where there was no alarm."""
        alarms = int(self.ended.sum())
        if not alarms:
            return math.nan
        return float(math.sqrt(((self.windows - self.per_alarm * self.ended) ** 2).sum()) / alarms)

    def quantile(self, share: float) -> float | None:
        """The number of windows within which this share of runs ended; None where it never did."""
        ordered = np.sort(np.where(self.ended, self.windows, np.iinfo(np.int64).max))
        found = int(ordered[math.ceil(share * ordered.size) - 1])
        return float(found) if found <= self.horizon else None


def to_alarm(world: World, rule: Rule, runs: int, horizon: int, rng: np.random.Generator) -> RunLengths:
    """Windows to each run's first alarm of any detector, from no evidence at all."""
    stream, watch = world.begin(rng, runs), None
    lengths, ended, going = np.full(runs, horizon), np.zeros(runs, np.bool_), np.arange(runs)
    for window in range(1, horizon + 1):
        gaps = stream.windows()
        if watch is None:
            watch = rule.begin(gaps.estimate.shape)
        alarm = np.asarray(watch.look(gaps).any(axis=-1))
        if not alarm.any():
            continue
        lengths[going[alarm]], ended[going[alarm]] = window, True
        going = going[~alarm]
        if not going.size:
            break
        stream.keep(~alarm)
        watch.keep(~alarm)
    return RunLengths(lengths, ended, horizon)


def to_end(
    unfair: World, unfair_windows: int, fair: World, rule: Rule, runs: int, horizon: int, rng: np.random.Generator
) -> RunLengths:
    """Windows from the return to fairness until no detector is in alarm, 1 for at once, of runs that are in alarm then.

    Args:
        unfair, unfair_windows: what is seen first, and for how long. fair: what is seen then.
    """
    stream, watch, alarm = unfair.begin(rng, runs), None, np.zeros(runs, np.bool_)
    for _ in range(unfair_windows):
        gaps = stream.windows()
        if watch is None:
            watch = rule.begin(gaps.estimate.shape)
        alarm = np.asarray(watch.look(gaps).any(axis=-1))
    found, stream = np.where(alarm, 0, -1), fair.begin(rng, runs)
    for window in range(1, horizon + 1):
        assert watch is not None
        alarm = np.asarray(watch.look(stream.windows()).any(axis=-1))
        found = np.where((found == 0) & ~alarm, window, found)
        if found.all():
            break
    found = found[found >= 0]
    return RunLengths(np.where(found > 0, found, horizon), found > 0, horizon)
