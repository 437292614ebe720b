"""The cells of a measurement, as the estimators read them."""

from __future__ import annotations

from functools import lru_cache

from estimator import CellLayout, rank_exposure
from privacy import Measurement


def layout_of(measurement: Measurement) -> CellLayout:
    """Its axes, and what a place in its ranked list is worth, where it has one.

    Measurements with the same cells share one layout, and so the statistics that it has worked out.
    """
    rank = measurement.cells.rank
    return _layout(measurement.cell_axes, None if rank is None else (rank.bins, rank.first))


@lru_cache(maxsize=256)
def _layout(axes: tuple[tuple[str, int], ...], rank: tuple[tuple[float, ...], int] | None) -> CellLayout:
    return CellLayout(axes, None if rank is None else rank_exposure(*rank))
