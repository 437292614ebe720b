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

IMPLAUSIBLE_DEVIATIONS = 8.0
NOT_FINITE = "not_finite"
IMPLAUSIBLE_MOMENTS = "implausible_moments"


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

    Each row's vector is rounded by itself, to whole units, and then added: so a window's moments are a function of its
    rows, however they came to lie in batches, and one row moves an entry of M by its own rounded value and no other's.
    """
    columns = np.ascontiguousarray(values.T).astype(np.float64)
    groups = columns.shape[0]
    first, second = np.triu_indices(groups)
    weights = np.where(first == second, 1.0, math.sqrt(2)) / scale
    # Products of 20-bit integers are exact in float64, and so are sums of 2**12 of them once rounded to 20 bits.
    products = columns[first]
    products *= columns[second]
    products *= weights[:, None]
    np.rint(products, out=products)
    vector = np.empty(moments_size(groups), dtype=np.float64)
    vector[:-2] = products.sum(axis=1)
    vector[-2:] = scale * columns.shape[1], scale * int(self_id.sum())
    columns.fill(0)
    products.fill(0)
    return vector.astype(np.uint64)


def implausible_moments(moments: Moments, sigma_rows: float) -> str | None:
    """Why moments must be void, or None: rows and M's diagonal cannot honestly lie below -8 standard deviations.

    Args:
        sigma_rows: standard deviation of the noise of one entry of the vector (both parties'), rows.
    """
    diagonal = np.diag(moments.products)
    if not (np.isfinite(moments.products).all() and math.isfinite(moments.rows + moments.self_id_rows)):
        return NOT_FINITE
    lowest = min(float(diagonal.min()), moments.rows, moments.self_id_rows)
    # Half a row absorbs fixed-point rounding where the noise is tiny.
    return IMPLAUSIBLE_MOMENTS if lowest < -(IMPLAUSIBLE_DEVIATIONS * sigma_rows + 0.5) else None


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
        groups = (math.isqrt(8 * max(vector.size - 2, 0) + 1) - 1) // 2
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
