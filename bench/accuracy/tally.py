"""What a campaign counts of each interval, and how counts are put together."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

REFERENCE = "white"
KINDS = ("value", "gap", "ratio")
_FIELDS = ("windows", "shown", "below", "above", "width", "error", "squared")


def _zeros() -> NDArray[np.float64]:
    return np.zeros(len(_FIELDS))


class Interval(Protocol):
    """An estimate with its ends, as the estimator or a published record has it."""

    @property
    def estimate(self) -> float: ...
    @property
    def lower(self) -> float: ...
    @property
    def upper(self) -> float: ...


class Result(Protocol):
    """One statistic of one group, as the estimator or a published record has it."""

    @property
    def metric(self) -> str: ...
    @property
    def score_bin(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def estimator(self) -> str: ...
    @property
    def value(self) -> Interval | None: ...
    @property
    def gap(self) -> Interval | None: ...
    @property
    def ratio(self) -> Interval | None: ...


class TrueValues(Protocol):
    """Where the truth is asked for."""

    def value(self, metric: str, score_bin: str, group: str) -> float:
        """The statistic of a group or pool."""


@dataclass(frozen=True, order=True)
class Key:
    """Which interval: ``setting`` is the world and how it was looked at ("direct, noise")."""

    setting: str
    estimator: str
    metric: str
    score_bin: str
    group: str
    kind: str


@dataclass(frozen=True)
class Coverage:
    """How often one interval held the truth.

    Attributes:
        windows: of the setting, also those in which a pool of groups was not formed. shown: with a number; everything
            else is of these.
        below, above: where the truth lay under the lower end, over the upper end.
        half_width: mean. bias: mean of estimate less truth. deviation: of the estimates.
    """

    key: Key
    windows: int
    shown: int
    below: int
    above: int
    half_width: float
    bias: float
    deviation: float

    @property
    def share(self) -> float:
        """Share of the shown intervals that held the truth."""
        return 1 - (self.below + self.above) / self.shown

    @property
    def error(self) -> float:
        """Monte-Carlo standard error of :attr:`share`, never less than one window's worth says."""
        share = min(max(self.share, 1 / self.shown), 1 - 1 / self.shown)
        return math.sqrt(share * (1 - share) / self.shown)

    @property
    def shown_share(self) -> float:
        """Share of the windows with a number."""
        return self.shown / self.windows


class Tally:
    """Counts by :class:`Key`. Adding tallies in a fixed order gives the same bits every time."""

    def __init__(self) -> None:
        self._counts: defaultdict[Key, NDArray[np.float64]] = defaultdict(_zeros)
        self.events: defaultdict[str, int] = defaultdict(int)
        """Anything else that is counted, by name."""

    def __iadd__(self, other: Tally) -> Tally:
        for key, counts in other._counts.items():
            self._counts[key] += counts
        for name, count in other.events.items():
            self.events[name] += count
        return self

    def score(self, setting: str, results: Iterable[Result], truth: TrueValues) -> None:
        """Hold one window's results against the truth; a suppressed number counts as not shown."""
        results = list(results)
        self.events[f"{setting}: windows"] += 1
        references = {(r.estimator, r.metric, r.score_bin): r.group for r in results if REFERENCE in r.group.split("+")}
        for result in results:
            reference = references[result.estimator, result.metric, result.score_bin]
            value = truth.value(result.metric, result.score_bin, result.group)
            base = truth.value(result.metric, result.score_bin, reference)
            self._one(setting, result, "value", result.value, value)
            if result.group != reference:
                self._one(setting, result, "gap", result.gap, value - base)
                self._one(setting, result, "ratio", result.ratio, value / base)

    def _one(self, setting: str, result: Result, kind: str, interval: Interval | None, truth: float) -> None:
        key = Key(setting, result.estimator, result.metric, result.score_bin, result.group, kind)
        self.add(key, None if interval is None else (interval.estimate, interval.lower, interval.upper), truth)

    def add(self, key: Key, interval: tuple[float, float, float] | None, truth: float) -> None:
        """Count one interval (estimate, lower, upper), or that there is none."""
        counts = self._counts[key]
        counts[0] += 1
        if interval is None:
            return
        estimate, lower, upper = interval
        error = estimate - truth
        # A rounding error is no miss: a rate of exactly 0 has 0 as its lower end.
        counts[1:] += (1, truth < lower - 1e-12, truth > upper + 1e-12, (upper - lower) / 2, error, error**2)

    def coverages(self) -> Iterator[Coverage]:
        """In order of their keys, those that were ever shown."""
        for key in sorted(self._counts):
            windows, shown, below, above, width, error, squared = self._counts[key].tolist()
            if shown:
                windows = max(windows, self.events.get(f"{key.setting}: windows", 0))
                bias = error / shown
                deviation = math.sqrt(max(squared / shown - bias**2, 0.0))
                yield Coverage(key, int(windows), int(shown), int(below), int(above), width / shown, bias, deviation)

    def to_json(self) -> dict[str, object]:
        """Everything, as JSON holds it."""
        rows = [[*vars(key).values(), *counts.tolist()] for key, counts in sorted(self._counts.items())]
        return {"counts": rows, "events": dict(sorted(self.events.items()))}

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> Tally:
        """The reverse of :meth:`to_json`."""
        tally, names = cls(), len(Key.__dataclass_fields__)
        for row in value["counts"]:  # type: ignore[attr-defined]
            tally._counts[Key(*row[:names])] = np.array(row[names:])
        tally.events.update(value["events"])  # type: ignore[call-overload]
        return tally
