"""A keyed order of a few places (hours of a day, days of a month) for each member, without any state.

The hash is splitmix64's finaliser (Steele, Lea and Flood 2014) over the member's tag, a key and the place: it spreads
evenly and is predictable only with the key. It is not a cryptographic promise. Each step of the finaliser is a
bijection on 64 bits, so a member's places hash to different values: every place has one rank, whatever the key.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_PLACE_STEP = np.uint64(0xD1342543DE82EF95)


def rank_of(
    place: NDArray[np.integer] | int, tag: NDArray[np.uint64], key: np.uint64, places: int
) -> NDArray[np.int64]:
    """Where a place stands in each member's order of all places.

    Args:
        place: 0 to ``places`` - 1: one for all members, or shape (n,).
        tag: shape (n,), uint64: the members' keyed hashes.
        key: whose order it is.
        places: how many there are.

    Returns:
        Shape (n,), int64, 0 to ``places`` - 1: how many places come before it.
    """
    with np.errstate(over="ignore"):
        base = _mix(tag ^ key)[:, None]
        scores = _mix(base + np.arange(places, dtype=np.uint64)[None, :] * _PLACE_STEP)
    column = np.broadcast_to(np.asarray(place, dtype=np.intp), tag.shape)[:, None]
    own = np.take_along_axis(scores, column, axis=1)
    return np.asarray((scores < own).sum(axis=1), dtype=np.int64)


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
