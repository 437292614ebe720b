r"""Moments: what is known of a window's race probabilities without any feature.

M = sum of p p' over the rows that count, their number, and how many of them are of members who said their group
(Self-ID). M is what the corrected estimator divides by; the two numbers give f, the Self-ID share (DESIGN section 6).

On the wire they are one vector of k (k + 1) / 2 + 2 numbers: the upper triangle of M, row by row, entries off the
diagonal times sqrt 2, then the two counts. So a row's vector is as long as its matrix: |p p'|_F = |p|^2 <= 1, and the
sensitivities are those of DESIGN section 5. Noise of one standard deviation s on each entry is then s on M's diagonal
and s / sqrt 2 off it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F = NDArray[np.float64]


def moments_size(groups: int) -> int:
    """Numbers in the vector for this many groups."""
    return groups * (groups + 1) // 2 + 2


def moments_of(values: NDArray[np.uint64], self_id: NDArray[np.bool_], scale: int) -> NDArray[np.uint64]:
    """The moments of one batch, in fixed-point units: shape (moments_size(k),), uint64.

    Args:
        values: shape (n, k), uint64: fixed-point probabilities of the rows that count (each row sums to ``scale``), at
            most 4,096 rows.
        self_id: shape (n,), bool: whose member said a group.
        scale: fixed-point units of one row, 2**20.

    Rounding is once a batch: an entry is within half a unit of its value, so one row moves an entry of M by at most its
    own value and one unit.
    """
    p = values.astype(np.float64)
    # Sums of products of 20-bit integers over 2**12 rows stay below 2**53: exact.
    products = p.T @ p
    upper = np.triu_indices(p.shape[1])
    weights = np.where(upper[0] == upper[1], 1.0, math.sqrt(2))
    vector = np.empty(moments_size(p.shape[1]), dtype=np.float64)
    vector[:-2] = np.rint(products[upper] * weights / scale)
    vector[-2:] = scale * p.shape[0], scale * int(self_id.sum())
    return vector.astype(np.uint64)


@dataclass(frozen=True, eq=False)
class Moments:
    """Moments of one window, in rows; noised where they are published.

    Attributes:
        products: M, shape (k, k), float64, symmetric.
        rows: rows that count. self_id_rows: those among them whose member said a group.
    """

    products: F
    rows: float
    self_id_rows: float

    @classmethod
    def from_vector(cls, vector: F) -> Moments:
        """Undo the embedding: ``vector`` of shape (k (k + 1) / 2 + 2,), float64, rows. ValueError for other lengths."""
        groups = (math.isqrt(8 * (vector.size - 2) + 1) - 1) // 2
        if vector.ndim != 1 or vector.size < 3 or moments_size(groups) != vector.size:
            raise ValueError(f"expected k (k + 1) / 2 + 2 moments for some number of groups k, got {vector.shape}")
        upper = np.triu_indices(groups)
        products = np.zeros((groups, groups))
        products[upper] = vector[:-2] / np.where(upper[0] == upper[1], 1.0, math.sqrt(2))
        products = products + np.triu(products, 1).T
        return cls(products, float(vector[-2]), float(vector[-1]))

    @property
    def self_id_share(self) -> float:
        """f, between 0 and 1; 0 where there are no rows."""
        return min(max(self.self_id_rows / self.rows, 0.0), 1.0) if self.rows > 0 else 0.0
