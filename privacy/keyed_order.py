"""A keyed order of a few places (hours of a day, days of a month) for each member, without any state.

The hash is splitmix64's finaliser (Steele, Lea and Flood 2014) over the member's tag, a key and the place: it spreads
evenly and is predictable only with the key. It is not a cryptographic promise. Each step of the finaliser is a
bijection on 64 bits, so a member's places hash to different values: every place has one rank, whatever the key.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_PLACE_STEP = np.uint64(0xD1342543DE82EF95)
# So many places at a time for many members: what is worked on stays in the processor's cache, and most members are
# decided after the first ones. For few members the calls are what costs.
_PLACES_AT_ONCE = 8
_MANY_MEMBERS = 512


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


def is_among_first(
    place: NDArray[np.integer] | int, tag: NDArray[np.uint64], key: np.uint64, places: int, most: int
) -> NDArray[np.bool_]:
    """Whether a place is among the first ``most`` of a member's order.

    It is ``rank_of(...) < most``, in a third to a sixth of the time: who is decided by a few places is let go of.

    Returns:
        Shape (n,), bool.
    """
    if most >= places:
        return np.ones(tag.size, dtype=bool)
    at_once = _PLACES_AT_ONCE if tag.size >= _MANY_MEMBERS else places
    steps = np.arange(places, dtype=np.uint64) * _PLACE_STEP
    base = _mix(tag ^ key) + _GAMMA
    with np.errstate(over="ignore"):  # one place for all is a scalar, of which numpy would say that it wraps
        own = base + np.asarray(place, dtype=np.uint64) * _PLACE_STEP
    _scramble(own)
    found = np.zeros(tag.size, dtype=bool)
    undecided = np.arange(tag.size)
    before = np.zeros(tag.size, dtype=np.uint8)
    for start in range(0, places, at_once):
        scores = base + steps[start : start + at_once, None]
        _scramble(scores)
        before += np.add.reduce((scores < own).view(np.uint8), axis=0, dtype=np.uint8)
        still = np.flatnonzero(before < most)
        undecided, base, own, before = undecided[still], base[still], own[still], before[still]
    found[undecided] = True
    return found


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    mixed = values + _GAMMA
    _scramble(mixed)
    return mixed


def _scramble(values: NDArray[np.uint64]) -> None:
    """The finaliser after its addition, in place; array arithmetic wraps, which is what it wants."""
    shifted = np.empty_like(values)
    np.right_shift(values, np.uint64(30), out=shifted)
    values ^= shifted
    values *= np.uint64(0xBF58476D1CE4E5B9)
    np.right_shift(values, np.uint64(27), out=shifted)
    values ^= shifted
    values *= np.uint64(0x94D049BB133111EB)
    np.right_shift(values, np.uint64(31), out=shifted)
    values ^= shifted
