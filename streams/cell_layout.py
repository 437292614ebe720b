"""The cells of a measurement, as the estimators read them."""

from __future__ import annotations

from estimator import CellLayout, rank_exposure
from privacy import Measurement


def layout_of(measurement: Measurement) -> CellLayout:
    """Its axes, and what a place in its ranked list is worth, where it has one."""
    rank = measurement.cells.rank
    return CellLayout(measurement.cell_axes, None if rank is None else rank_exposure(rank.bins, rank.first))
