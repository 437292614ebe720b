"""The Census pack in the wheel: counts by name and by place, and the codes that name them.

Counts are shipped and probabilities derived (``estimator.posterior``). Each list is read when it is first asked for,
and once a process. See docs/data.md for sources and licence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from importlib import resources
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from estimator.errors import PackDamaged
from estimator.groups import GROUPS

UNMATCHED = 0
"""Code of a name that is not in the table."""

NATION = 0
"""Code of the place that everyone is in."""

SURNAME_YEARS = (2010, 2020)
"""Censuses of which the pack has surnames."""

_GIVEN_NAMES = "given_names_2020"
_FIPS = {
    "AL": 1, "AK": 2, "AZ": 4, "AR": 5, "CA": 6, "CO": 8, "CT": 9, "DE": 10, "DC": 11, "FL": 12, "GA": 13, "HI": 15,
    "ID": 16, "IL": 17, "IN": 18, "IA": 19, "KS": 20, "KY": 21, "LA": 22, "ME": 23, "MD": 24, "MA": 25, "MI": 26,
    "MN": 27, "MS": 28, "MO": 29, "MT": 30, "NE": 31, "NV": 32, "NH": 33, "NJ": 34, "NM": 35, "NY": 36, "NC": 37,
    "ND": 38, "OH": 39, "OK": 40, "OR": 41, "PA": 42, "RI": 44, "SC": 45, "SD": 46, "TN": 47, "TX": 48, "UT": 49,
    "VT": 50, "VA": 51, "WA": 53, "WV": 54, "WI": 55, "WY": 56,
}  # fmt: skip


class Level(IntEnum):
    """Levels of places, from the widest to the most specific; place codes are numbered in this order."""

    NATION = 0
    STATE = 1
    COUNTY = 2
    ZIP3 = 3
    ZCTA = 4
    TRACT = 5


@dataclass(frozen=True, eq=False)
class NameTable:
    """A list of names.

    Attributes:
        codes: name (upper-case letters A to Z) -> code, from 1, in alphabetical order.
        persons: shape (names, 6), float64: row ``code - 1`` holds a name's persons by group. Cells that the Bureau has
            suppressed share equally what the others leave.
        others: shape (6,), float64: persons whose name is not in the list; zeros where that is not published.
    """

    codes: Mapping[str, int]
    persons: NDArray[np.float64]
    others: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Places:
    """Adults by place.

    Attributes:
        states, counties, zip3s, zctas, tracts: postal code or FIPS, FIPS (5 digits), first 3 digits, 5 digits, FIPS (11
            digits) -> place code.
        adults: shape (1 + places, 6), float64; row 0 is the nation.
        first_codes: shape (6,), int64: the first code of each ``Level``.
    """

    states: Mapping[str, int]
    counties: Mapping[str, int]
    zip3s: Mapping[str, int]
    zctas: Mapping[str, int]
    tracts: Mapping[str, int]
    adults: NDArray[np.float64]
    first_codes: NDArray[np.int64]

    @property
    def prior(self) -> NDArray[np.float64]:
        """The nation's shares: shape (6,), float64."""
        nation = self.adults[NATION]
        return np.asarray(nation / nation.sum())

    def levels(self, codes: NDArray[np.uint32]) -> NDArray[np.uint8]:
        """The ``Level`` of each place code: shape (n,), uint8."""
        return (np.searchsorted(self.first_codes, codes, side="right") - 1).astype(np.uint8)


@lru_cache(maxsize=len(SURNAME_YEARS))
def load_surnames(year: int = 2010) -> NameTable:
    """Surnames of a Census (0.1 s).

    Raises:
        ValueError: the pack has no surnames of that year.
        PackDamaged: the file is missing, unreadable or inconsistent.
    """
    if year not in SURNAME_YEARS:
        raise ValueError(f"there are surnames of {' and '.join(map(str, SURNAME_YEARS))}, not of {year}")
    return _names(f"surnames_{year}")


@lru_cache(maxsize=1)
def load_given_names() -> NameTable:
    """Given names of 2020. Raises: PackDamaged, as :func:`load_surnames` does."""
    return _names(_GIVEN_NAMES)


@lru_cache(maxsize=1)
def load_places() -> Places:
    """Adults of 2020 by tract and ZCTA, and the sums of these (0.1 s). Raises: PackDamaged, as :func:`load_surnames`.

    Counties, states and the nation are sums of tracts; ZIP3s are sums of ZCTAs.
    """
    arrays = _read("tracts", "tracts_adults", "zctas", "zctas_adults")
    tracts, tract_adults = _coded(arrays, "tracts")
    zctas, zcta_adults = _coded(arrays, "zctas")
    counties, county_adults = _summed(tracts // 10**6, tract_adults)
    states, state_adults = _summed(tracts // 10**9, tract_adults)
    zip3s, zip3_adults = _summed(zctas // 100, zcta_adults)
    blocks = [tract_adults.sum(axis=0, keepdims=True), state_adults, county_adults, zip3_adults, zcta_adults]
    blocks.append(tract_adults)
    first = np.cumsum([0] + [len(block) for block in blocks[:-1]])
    by_fips = _numbered(states, 2, first[Level.STATE])
    postal = {name: by_fips[f"{fips:02d}"] for name, fips in _FIPS.items() if f"{fips:02d}" in by_fips}
    return Places(
        states=postal | by_fips,
        counties=_numbered(counties, 5, first[Level.COUNTY]),
        zip3s=_numbered(zip3s, 3, first[Level.ZIP3]),
        zctas=_numbered(zctas, 5, first[Level.ZCTA]),
        tracts=_numbered(tracts, 11, first[Level.TRACT]),
        adults=np.vstack(blocks),
        first_codes=first,
    )


def _names(name: str) -> NameTable:
    arrays = _read(name, f"{name}_persons", f"{name}_suppressed", f"{name}_others")
    names = arrays[name].tobytes().decode().split("\n")
    persons = _counts(arrays, f"{name}_persons", len(names))
    hidden = arrays[f"{name}_suppressed"].astype(np.uint8)
    rows = np.flatnonzero(hidden)
    bits = np.unpackbits(hidden[rows, None], axis=1, bitorder="little", count=len(GROUPS))
    # What a row's suppressed cells hold together, in equal parts.
    shares = (persons[rows] * bits).sum(axis=1) / bits.sum(axis=1)
    persons[rows] = np.where(bits, shares[:, None], persons[rows])
    persons.setflags(write=False)  # shared by all who ask for it
    return NameTable(
        dict(zip(names, range(1, 1 + len(names)), strict=True)), persons, arrays[f"{name}_others"].astype(np.float64)
    )


def _coded(arrays: Mapping[str, NDArray[np.generic]], name: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Codes of places, from the steps between them, and adults, from tenths of them."""
    codes = np.cumsum(arrays[name].astype(np.int64))
    return codes, _counts(arrays, f"{name}_adults", codes.size) / 10.0


def _counts(arrays: Mapping[str, NDArray[np.generic]], name: str, rows: int) -> NDArray[np.float64]:
    """Counts from planes of bytes: shape (rows, 6), float64."""
    planes = arrays[name]
    if planes.ndim != 3 or planes.dtype != np.uint8 or planes.shape[1:] != (len(GROUPS), rows):
        raise PackDamaged("the Census pack's codes and counts do not belong together; rebuild it")
    counts = np.zeros((len(GROUPS), rows), dtype=np.float64)
    for k, plane in enumerate(planes):
        counts += plane * np.float64(1 << 8 * k)
    return np.ascontiguousarray(counts.T)


def _read(*names: str) -> dict[str, NDArray[np.generic]]:
    path = resources.files("estimator") / "data" / "census.npz"
    try:
        with resources.as_file(path) as file, np.load(file) as pack:
            return {name: pack[name] for name in names}
    except (OSError, KeyError, ValueError, BadZipFile) as error:
        raise PackDamaged(
            f"the Census pack cannot be read ({error}); reinstall evenstream, or build it with "
            "`python -m estimator.census_build`"
        ) from None


def _summed(codes: NDArray[np.int64], adults: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Sums over runs of equal codes, which are sorted: the codes, once each, and their sums."""
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    return codes[starts], np.add.reduceat(adults, starts, axis=0)


def _numbered(codes: NDArray[np.int64], digits: int, first: int) -> dict[str, int]:
    return {f"{code:0{digits}d}": int(first) + k for k, code in enumerate(codes.tolist())}
