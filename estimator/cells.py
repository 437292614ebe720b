"""Cells: the cross product of a measurement's categorical features, and what each statistic counts of them.

A statistic is a rate: rows in its numerator cells over rows in its denominator cells. The numerator is always part of
the denominator, so every rate lies between 0 and 1. Source: DESIGN section 6.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ALL_BINS = "all"
AXES = ("score", "decision", "outcome", "rank")
"""Every axis that a measurement may have, in the order in which cells are numbered."""


@dataclass(frozen=True, eq=False)
class Statistic:
    """A rate over cells.

    Attributes:
        metric: its name. score_bin: the bin's number, or "all".
        numerator, denominator: shape (cells,), bool; the numerator is a subset of the denominator.
    """

    metric: str
    score_bin: str
    numerator: NDArray[np.bool_]
    denominator: NDArray[np.bool_]


@dataclass(frozen=True)
class CellLayout:
    """Where a cell lies: ``axes`` are (name, size) in C order, out of score, decision, outcome, rank.

    Raises:
        ValueError: an axis is unknown, repeated, out of order or has a size that it cannot have.
    """

    axes: tuple[tuple[str, int], ...]

    def __post_init__(self) -> None:
        names = [name for name, _ in self.axes]
        if names != [name for name in AXES if name in names]:
            raise ValueError(f"expected axes out of {AXES}, each at most once and in this order, got {tuple(names)}")
        for name, size in self.axes:
            flag = name in ("decision", "outcome")
            if size != 2 if flag else size < 1:
                raise ValueError(f"expected {'2 values' if flag else 'at least 1 bin'} on axis {name!r}, got {size}")

    @property
    def count(self) -> int:
        """Number of cells."""
        return math.prod(size for _, size in self.axes)

    def axis(self, name: str) -> NDArray[np.int64] | None:
        """Coordinate of each cell on an axis: shape (cells,), int64; None where there is no such axis."""
        names = [axis for axis, _ in self.axes]
        if name not in names:
            return None
        grid = np.indices([size for _, size in self.axes]).reshape(len(self.axes), -1)
        return np.asarray(grid[names.index(name)], dtype=np.int64)

    def statistics(self) -> Iterator[Statistic]:
        """The Equal Treatment statistics that these axes allow.

        predictive_parity E[outcome | score bin]; precision E[outcome | decision]; tpr and fpr, true and false positive
        rate, E[decision | outcome] and E[decision | no outcome]; recommendation_rate E[decision].
        """
        everywhere = np.ones(self.count, dtype=bool)
        score, decision, outcome = self.axis("score"), self.axis("decision"), self.axis("outcome")
        if outcome is not None:
            good = outcome == 1
            if score is None:
                yield Statistic("predictive_parity", ALL_BINS, good, everywhere)
            else:
                for bin_ in range(int(score.max()) + 1):
                    yield Statistic("predictive_parity", str(bin_), good & (score == bin_), score == bin_)
        if decision is not None:
            chosen = decision == 1
            if outcome is not None:
                good = outcome == 1
                yield Statistic("precision", ALL_BINS, good & chosen, chosen)
                yield Statistic("tpr", ALL_BINS, chosen & good, good)
                yield Statistic("fpr", ALL_BINS, chosen & ~good, ~good)
            yield Statistic("recommendation_rate", ALL_BINS, chosen, everywhere)
