"""Fixed-point race probabilities: each row sums to the scale exactly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from estimator.errors import NotProbabilities

SCALE = 1 << 20
"""Fixed-point units of one row."""

_TOLERANCE = 1e-6
# Between 2**52 and 2**53 float64 holds whole numbers only, as that bit pattern plus the number.
_TO_WHOLE = float(1 << 52)
_WHOLE_BITS = np.float64(_TO_WHOLE).view(np.uint64)


def to_fixed_point(probabilities: NDArray[np.float64], scale: int = SCALE) -> NDArray[np.uint64]:
    """Round rows so that each sums to ``scale`` exactly.

    The running sums are rounded and differenced, so each entry is within one unit of its value, none is negative, and
    no unit is lost or made: whoever adds up rows gets the number of rows.

    Args:
        probabilities: shape (n, k), float64, entries not negative, rows that sum to 1 within 1e-6.
        scale: fixed-point units of one row, at most 2**32.

    Returns:
        Shape (n, k), uint64, column by column in memory (Fortran order).

    Raises:
        NotProbabilities: a row is negative somewhere, does not sum to 1, or is not a number. Such a row would wrap
            around in the ring and spoil every total it enters, so it stops here.
    """
    rows, groups = probabilities.shape
    edges = np.empty((groups, rows))  # column by column: several times as fast as sums along short rows
    edges[0] = probabilities[:, 0]
    for group in range(1, groups):
        np.add(edges[group - 1], probabilities[:, group], out=edges[group])
    # Written so that a NaN, for which every comparison is false, is refused as well.
    if rows and not (probabilities.min() >= 0 and np.abs(edges[-1] - 1.0).max() <= _TOLERANCE):
        edges.fill(0)
        raise NotProbabilities(
            "race probabilities must be non-negative and sum to 1 in every row; check the race model that made them"
        )
    edges *= scale
    edges += _TO_WHOLE  # rounds to whole numbers, half to even, and leaves them in the low bits
    np.minimum(edges, scale + _TO_WHOLE, out=edges)
    edges[-1] = scale + _TO_WHOLE
    fixed = edges.view(np.uint64)
    for group in range(groups - 1, 0, -1):  # what lies above the low bits is the same in all, and goes with it
        fixed[group] -= fixed[group - 1]
    fixed[0] -= _WHOLE_BITS
    return fixed.T
