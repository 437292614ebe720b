"""Cells: the cross product of a measurement's categorical features, and what each statistic counts of them.

A statistic is a mean over the rows of its denominator cells: of what each of these cells is worth, between 0 and 1.
For a rate that is 1 in the numerator cells and 0 in the others; for position exposure it is the discount of a rank. So
every statistic lies between 0 and 1. Source: DESIGN section 6.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

ALL_BINS = "all"
AXES = ("score", "decision", "outcome", "rank")
"""Every axis that a measurement may have, in the order in which cells are numbered."""


@dataclass(frozen=True, eq=False)
class Statistic:
    """A mean over cells.

    Attributes:
        metric: its name. score_bin: the bin's number, or "all".
        worth: shape (cells,), float64: what a row in each cell is worth, 0 to 1; 0 outside the denominator.
        denominator: shape (cells,), bool: the cells whose rows it is a mean over.

    Both arrays become read-only: a layout hands out the same statistics for each window.
    """

    metric: str
    score_bin: str
    worth: NDArray[np.float64]
    denominator: NDArray[np.bool_]

    def __post_init__(self) -> None:
        self.worth.setflags(write=False)
        self.denominator.setflags(write=False)

    @cached_property
    def noise_terms(self) -> NDArray[np.float64]:
        """(v0, v1, v2) of the residual's variance when every table entry has noise of variance 1: shape (3,)."""
        terms = np.array([self.worth @ self.worth, self.worth.sum(), self.denominator.sum()], dtype=np.float64)
        terms.setflags(write=False)
        return terms


def rank_exposure(edges: Sequence[float], starts_at: int = 1) -> tuple[float, ...]:
    """What a place in a ranked list is worth, by rank bin: the mean of 1 / log2(1 + rank) over the bin's ranks.

    The discount of DCG (Järvelin and Kekäläinen 2002). The last bin has no end, so it is worth 0, as places past the
    cutoff are in DCG@k: choose the last edge as the first rank that no one looks at.

    Args:
        edges: rising edges, as the measurement has them: bin k holds the ranks with exactly k edges at or below them.
        starts_at: the number of the first place, 0 or 1.

    Returns:
        One more number than edges, between 0 and 1; a bin without a rank is worth 0.
    """
    ranks = np.arange(starts_at, max(math.ceil(edges[-1]), starts_at))
    bins = np.searchsorted(np.asarray(edges, dtype=np.float64), ranks, side="right")
    discount = 1.0 / np.log2(2.0 + ranks - starts_at)
    size = np.bincount(bins, minlength=len(edges) + 1)
    total = np.bincount(bins, weights=discount, minlength=len(edges) + 1)
    return tuple((total / np.maximum(size, 1)).tolist())


@dataclass(frozen=True)
class CellLayout:
    """Where a cell lies, and what its rank is worth.

    Args:
        axes: (name, size) in C order, out of score, decision, outcome, rank.
        exposure: what each rank bin is worth (:func:`rank_exposure`); without it a rank feeds no statistic.

    Raises:
        ValueError: an axis is unknown, repeated, out of order or has a size that it cannot have, or the exposure does
            not have one number between 0 and 1 for each rank bin.
    """

    axes: tuple[tuple[str, int], ...]
    exposure: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        names = [name for name, _ in self.axes]
        if names != [name for name in AXES if name in names]:
            raise ValueError(f"expected axes out of {AXES}, each at most once and in this order, got {tuple(names)}")
        for name, size in self.axes:
            flag = name in ("decision", "outcome")
            if size != 2 if flag else size < 1:
                raise ValueError(f"expected {'2 values' if flag else 'at least 1 bin'} on axis {name!r}, got {size}")
        if self.exposure is not None:
            ranks = dict(self.axes).get("rank", 0)
            if len(self.exposure) != ranks or not all(0 <= worth <= 1 for worth in self.exposure):
                raise ValueError(
                    f"expected what each of {ranks} rank bins is worth, between 0 and 1, got {self.exposure}"
                )

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

    def statistic(
        self, name: str, worth: Mapping[str, Collection[int]], among: Mapping[str, Collection[int]]
    ) -> Statistic:
        """A statistic of one's own: the share of rows with ``worth`` among the rows with ``among``.

        Args:
            name: its name. worth, among: by axis, the values that count; of an axis that is not named, all of them.

        Raises:
            ValueError: there is no such axis, or no such value on it.
        """
        return _rate(name, self._where(worth), self._where(among))

    def _where(self, wanted: Mapping[str, Collection[int]]) -> NDArray[np.bool_]:
        """Cells with these values: shape (cells,)."""
        found = np.ones(self.count, dtype=bool)
        sizes = dict(self.axes)
        for axis, values in wanted.items():
            at = self.axis(axis)
            if at is None:
                raise ValueError(f"expected an axis out of {', '.join(sizes)}, got {axis!r}")
            strange = [value for value in values if not 0 <= value < sizes[axis]]
            if strange or not values:
                raise ValueError(f"expected values of {axis} from 0 to {sizes[axis] - 1}, got {strange or 'none'}")
            found &= np.isin(at, list(values))
        return found

    def statistics(self) -> Iterator[Statistic]:
        """The Equal Treatment statistics that these axes allow.

        predictive_parity E[outcome | score bin]; precision E[outcome | decision]; tpr and fpr, true and false positive
        rate, E[decision | outcome] and E[decision | no outcome]; recommendation_rate E[decision]; position_exposure
        E[discount of the rank].
        """
        yield from self._statistics

    @cached_property
    def _statistics(self) -> tuple[Statistic, ...]:
        return tuple(self._allowed())

    def _allowed(self) -> Iterator[Statistic]:
        everywhere = np.ones(self.count, dtype=bool)
        score, decision, outcome, rank = (self.axis(name) for name in AXES)
        if outcome is not None:
            good = outcome == 1
            if score is None:
                yield _rate("predictive_parity", good, everywhere)
            else:
                for bin_ in range(int(score.max()) + 1):
                    yield _rate("predictive_parity", good, score == bin_, str(bin_))
        if decision is not None:
            chosen = decision == 1
            if outcome is not None:
                good = outcome == 1
                yield _rate("precision", good, chosen)
                yield _rate("tpr", chosen, good)
                yield _rate("fpr", chosen, ~good)
            yield _rate("recommendation_rate", chosen, everywhere)
        if rank is not None and self.exposure is not None:
            yield Statistic("position_exposure", ALL_BINS, np.array(self.exposure)[rank], everywhere)


def _rate(
    metric: str, numerator: NDArray[np.bool_], denominator: NDArray[np.bool_], score_bin: str = ALL_BINS
) -> Statistic:
    return Statistic(metric, score_bin, (numerator & denominator).astype(np.float64), denominator)
