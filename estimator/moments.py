r"""Moments: what is known of a window's race probabilities without any feature.

M = sum of p p' over the rows that count, and their number; and of those among them whose member said a group (Self-ID),
the number, and by how much the proxy missed: sum of (R_r - p_r)^2. M is what the corrected estimator divides by; the
others give the rectified estimator its f, and its variance (DESIGN section 6).

On the wire they are one vector of k (k + 1) / 2 + 2 + k numbers: the upper triangle of M, row by row, entries off the
diagonal times sqrt 2; the two counts; half of each sum of squares. So a row's part of M is as long as its matrix,
|p p'|_F = |p|^2 <= 1, and its part of the squares at most 1 / sqrt 2, since |((R_r - p_r)^2)_r| <= sqrt 2. Noise of
variance v on each number is then v on M's diagonal, v / 2 off it, and 4 v on a sum of squares.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

F = NDArray[np.float64]

IMPLAUSIBLE_DEVIATIONS = 8.0
NOT_FINITE = "not_finite"
IMPLAUSIBLE_MOMENTS = "implausible_moments"


def moments_size(groups: int) -> int:
    """Numbers in the vector for this many groups."""
    return groups * (groups + 1) // 2 + 2 + groups


def moments_of(values: NDArray[np.uint64], residuals: NDArray[np.int64], scale: int) -> NDArray[np.uint64]:
    """The moments of one batch, in fixed-point units: shape (moments_size(k),), uint64.

    Args:
        values: shape (n, k), uint64: fixed-point probabilities of the rows that count (each row sums to ``scale``), at
            most 4,096 rows.
        residuals: shape (m, k), int64: R - p, in the same units, of those rows whose member said a group; no rows where
            Self-ID is not used.
        scale: fixed-point units of one row, 2**20.

    Each row's vector is rounded by itself, to whole units, and then added: so a window's moments are a function of its
    rows, however they came to lie in batches, and one row moves an entry by its own rounded value and no other's.
    """
    columns = values.T.astype(np.float64, order="C")
    groups = columns.shape[0]
    vector = np.empty(moments_size(groups), dtype=np.float64)
    # Products of 20-bit integers are exact in float64, and so are sums of 2**12 of them once rounded to 20 bits. A row
    # of the triangle at a time: all of it would not stay in the processor's cache.
    scratch, begin = np.empty_like(columns), 0
    for group in range(groups):
        end = begin + groups - group
        products = np.multiply(columns[group:], columns[group], out=scratch[group:])
        products[0] *= 1 / scale  # on the diagonal
        products[1:] *= math.sqrt(2) / scale
        np.rint(products, out=products)
        products.sum(axis=1, out=vector[begin:end])
        begin = end
    squares = residuals.astype(np.float64)
    squares *= squares
    squares *= 0.5 / scale
    np.rint(squares, out=squares)
    vector[begin : begin + 2] = scale * values.shape[0], scale * residuals.shape[0]
    vector[begin + 2 :] = squares.sum(axis=0)
    moments = vector.astype(np.uint64)
    for array in (columns, scratch, squares, vector):
        array.fill(0)
    return moments


@lru_cache(maxsize=16)
def _triangle(groups: int) -> tuple[NDArray[np.intp], NDArray[np.intp], F]:
    """Rows and columns of M's upper triangle, and what the embedding multiplies it by: asked for with every batch."""
    row, column = np.triu_indices(groups)
    weights = np.where(row == column, 1.0, math.sqrt(2))
    for array in (row, column, weights):
        array.flags.writeable = False
    return row, column, weights


def implausibly_low(lowest: float, sigma_rows: float) -> bool:
    """Whether a number that cannot be negative lies below -8 standard deviations of its noise, rows."""
    # Half a row absorbs fixed-point rounding where the noise is tiny.
    return lowest < -(IMPLAUSIBLE_DEVIATIONS * sigma_rows + 0.5)


def implausible_moments(moments: Moments, sigma_rows: float) -> str | None:
    """Why moments must be void, or None: none but M off its diagonal can honestly lie below -8 standard deviations.

    Args:
        sigma_rows: standard deviation of the noise of one entry of the vector (both parties'), rows.
    """
    entries = np.array([*np.diag(moments.products), moments.rows, moments.self_id_rows])
    if not np.isfinite([*moments.products.ravel(), *entries, *moments.residual_squares]).all():
        return NOT_FINITE
    lowest = min(float(entries.min()), float(moments.residual_squares.min()) / 2)
    return IMPLAUSIBLE_MOMENTS if implausibly_low(lowest, sigma_rows) else None


@dataclass(frozen=True, eq=False)
class Moments:
    """Moments of one window, in rows; noised where they are published.

    Attributes:
        products: M, shape (k, k), float64, symmetric.
        rows: rows that count. self_id_rows: those among them whose member said a group.
        residual_squares: shape (k,), float64: sum of (R_r - p_r)^2 over the latter.
    """

    products: F
    rows: float
    self_id_rows: float
    residual_squares: F

    @classmethod
    def from_vector(cls, vector: F) -> Moments:
        """Undo the embedding.

        Args:
            vector: shape (k (k + 1) / 2 + 2 + k,), float64, rows.

        Raises:
            ValueError: there is no number of groups k for this length.
        """
        groups = next((k for k in range(1, 256) if moments_size(k) == vector.size), 0)
        if vector.ndim != 1 or not groups:
            raise ValueError(f"expected k (k + 1) / 2 + 2 + k moments for some number of groups k, got {vector.shape}")
        products = np.zeros((groups, groups))
        first, second, weights = _triangle(groups)
        products[first, second] = vector[: -groups - 2] / weights
        products = products + np.triu(products, 1).T
        return cls(products, float(vector[-groups - 2]), float(vector[-groups - 1]), 2 * vector[-groups:])

    @classmethod
    def of(cls, probabilities: F, self_id: F | None = None, said: NDArray[np.bool_] | None = None) -> Moments:
        """Exact moments of rows, for files and simulations.

        Args:
            probabilities: shape (n, k), float64. self_id: shape (n, k), float64: R, whatever it is in rows of members
                who said nothing. said: shape (n,), bool: whose member did.
        """
        residuals = np.zeros((0, probabilities.shape[1]))
        if self_id is not None and said is not None:
            residuals = self_id[said] - probabilities[said]
        squares = (residuals**2).sum(axis=0)
        return cls(probabilities.T @ probabilities, float(probabilities.shape[0]), float(residuals.shape[0]), squares)

    @property
    def self_id_share(self) -> float:
        """f, between 0 and 1; 0 where there are no rows."""
        return min(max(self.self_id_rows / self.rows, 0.0), 1.0) if self.rows > 0 else 0.0
