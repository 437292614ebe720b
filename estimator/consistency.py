"""Whether the noised channels of a window can be true together.

One row adds to all channels at once, and what it adds to one follows in part from what it adds to another. Its
probabilities sum to 1, so the table's sum is the number of rows; each row of M, which sums p_r p_s over all s, sums to
that group's column of the table; Self-ID and probabilities both sum to 1, so a cell of the rectifier sums to 0. Each of
these differences is noise alone, whatever the data. What lies beyond 8 standard deviations of it cannot come about
honestly: somebody has changed one channel and not the others. Nothing here is learnt beyond the published numbers.

Not noticed is what keeps to all of this: rows that were made up, or left out, in every channel alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from estimator.moments import IMPLAUSIBLE_DEVIATIONS, Moments

F = NDArray[np.float64]

CHANNELS_DISAGREE = "channels_disagree"

_UNIT_ROWS = 2.0**-20


def channels_disagree(
    table: F, moments: Moments | None, rectifier: F | None, sigma_rows: Mapping[str, float]
) -> str | None:
    """Why a window must be void, or None.

    Args:
        table: shape (cells, k), float64, noised, rows. moments, rectifier: None where the window does not have them;
            the rectifier has the table's shape.
        sigma_rows: by channel ("table", "moments", "rectifier"), the standard deviation of one entry's noise, rows.
    """
    found = False
    if moments is not None:
        found = _table_against_moments(table, moments, sigma_rows) or _moments_within(moments, sigma_rows["moments"])
    if rectifier is not None and not found:
        found = _rectifier_off(table, rectifier, sigma_rows)
    return CHANNELS_DISAGREE if found else None


def _beyond(excess: float | F, variance: float, slack: float = 0.0) -> bool:
    # Half a row absorbs fixed-point rounding where the noise is tiny, as in `implausibly_low`.
    return bool(np.max(excess) > IMPLAUSIBLE_DEVIATIONS * math.sqrt(variance) + 0.5 + slack)


def _table_against_moments(table: F, moments: Moments, sigma_rows: Mapping[str, float]) -> bool:
    cells, k = table.shape
    v_table, v_moments = sigma_rows["table"] ** 2, sigma_rows["moments"] ** 2
    rows = abs(float(table.sum()) - moments.rows)
    columns = np.abs(table.sum(axis=0) - moments.products.sum(axis=1))
    # An entry of M off its diagonal has half the variance. Each is rounded to a whole unit, row by row.
    v_columns = cells * v_table + v_moments * (1 + (k - 1) / 2)
    rounding = k * _UNIT_ROWS * max(moments.rows, 0.0)
    return _beyond(rows, cells * k * v_table + v_moments) or _beyond(columns, v_columns, rounding)


def _moments_within(moments: Moments, sigma: float) -> bool:
    """Of a row, sum of p_r^2 lies within 1/k and 1, and sum of (R_r - p_r)^2 below 2; who said a group is a row."""
    k, variance = moments.residual_squares.size, sigma**2
    trace, squares = float(np.trace(moments.products)), float(moments.residual_squares.sum())
    return (
        _beyond(trace - moments.rows, (k + 1) * variance)
        or _beyond(moments.rows / k - trace, (k + 1) * variance)
        or _beyond(moments.self_id_rows - moments.rows, 2 * variance)
        or _beyond(squares - 2 * moments.self_id_rows, 4 * (k + 1) * variance)
    )


def _rectifier_off(table: F, rectifier: F, sigma_rows: Mapping[str, float]) -> bool:
    """A cell of it sums to 0, and no entry is beyond the cell's rows."""
    k = table.shape[1]
    v_table, v_rectifier = sigma_rows["table"] ** 2, sigma_rows["rectifier"] ** 2
    beyond = np.abs(rectifier) - table.sum(axis=1, keepdims=True)
    return _beyond(np.abs(rectifier.sum(axis=1)), k * v_rectifier) or _beyond(beyond, k * v_table + v_rectifier)
