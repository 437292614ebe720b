"""Self-ID: which groups members say they belong to, as bit masks, and the unit mass that a mask stands for.

Self-ID never overwrites a model's probabilities: it measures their error (the rectifier, DESIGN sections 4 and 6).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MAX_GROUPS = 16
"""Bits of a mask."""


def mask_of(names: Sequence[str], groups: Sequence[str]) -> int | None:
    """Bit g for each named group g; None where a name is none of them."""
    places = {name: place for place, name in enumerate(groups)}
    if not all(name in places for name in names):
        return None
    return sum(1 << place for place in {places[name] for name in names})


def masses_of(masks: NDArray[np.uint16], groups: int, scale: int) -> NDArray[np.uint64]:
    """What members said, as fixed-point vectors: the unit mass in equal parts over the groups that each ticked.

    Args:
        masks: shape (n,), uint16, none of them 0, no bit at or above ``groups``.
        groups: k, at most 16.
        scale: fixed-point units of one row.

    Returns:
        Shape (n, k), uint64: each row sums to ``scale`` exactly, entries are within a unit of equal parts, and a group
        that was not ticked has 0.
    """
    ticked = (masks[:, None] >> np.arange(groups, dtype=np.uint16)) & 1
    until = np.cumsum(ticked, axis=1, dtype=np.int64)
    # Running sums rounded down and differenced, as in estimator.rounding: the last one is the scale itself.
    edges = until * scale // until[:, -1:]
    before = edges[:, :-1].copy()
    edges[:, 1:] -= before
    for array in (ticked, until, before):
        array.fill(0)  # they say what members said
    return edges.view(np.uint64)
