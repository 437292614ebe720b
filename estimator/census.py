"""The Census pack in the wheel: counts by surname and by place, and the codes that name them.

Counts are shipped and probabilities derived, with one pseudo-person of the national prior in every row, so that no
probability is exactly zero because nobody happened to be counted. See docs/data.md for sources and licence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from estimator.errors import PackDamaged
from estimator.groups import GROUPS

UNMATCHED = 0
"""Code of a surname that is not in the table."""

NATION = 0
"""Code of the place that everyone is in."""

_FIPS = {
    "AL": 1, "AK": 2, "AZ": 4, "AR": 5, "CA": 6, "CO": 8, "CT": 9, "DE": 10, "DC": 11, "FL": 12, "GA": 13, "HI": 15,
    "ID": 16, "IL": 17, "IN": 18, "IA": 19, "KS": 20, "KY": 21, "LA": 22, "ME": 23, "MD": 24, "MA": 25, "MI": 26,
    "MN": 27, "MS": 28, "MO": 29, "MT": 30, "NE": 31, "NV": 32, "NH": 33, "NJ": 34, "NM": 35, "NY": 36, "NC": 37,
    "ND": 38, "OH": 39, "OK": 40, "OR": 41, "PA": 42, "RI": 44, "SC": 45, "SD": 46, "TN": 47, "TX": 48, "UT": 49,
    "VT": 50, "VA": 51, "WA": 53, "WV": 54, "WI": 55, "WY": 56,
}  # fmt: skip


@dataclass(frozen=True)
class Census:
    """The pack, loaded.

    Further levels (tracts, ZIP3, given names) become further mappings and rows, without a change to these.

    Attributes:
        surnames: name -> code, codes from 1.
        surname_counts: shape (1 + names, 6), float64, persons; row 0 is the nation (for unmatched names).
        states, counties, zctas: postal code, FIPS and ZCTA -> place code.
        place_counts: shape (1 + places, 6), float64, adults; row 0 is the nation.
        prior: shape (6,), float64: the nation's shares.
    """

    surnames: Mapping[str, int]
    surname_counts: NDArray[np.float64]
    states: Mapping[str, int]
    counties: Mapping[str, int]
    zctas: Mapping[str, int]
    place_counts: NDArray[np.float64]
    prior: NDArray[np.float64]


@lru_cache(maxsize=1)
def load_census() -> Census:
    """Load the pack from the package (once a process; about 0.1 s).

    Raises:
        PackDamaged: the file is missing, unreadable or inconsistent.
    """
    path = resources.files("estimator") / "data" / "census.npz"
    try:
        with resources.as_file(path) as file, np.load(file) as pack:
            names = pack["surnames_2010"].tobytes().decode().split("\n")
            surname_counts = pack["surnames_2010_counts"] / 100.0  # stored as hundredths of persons
            areas = {area: (pack[area], pack[f"{area}_counts"] / 10.0) for area in ("states", "counties", "zctas")}
    except (OSError, KeyError, ValueError, BadZipFile) as error:
        raise PackDamaged(
            f"the Census pack cannot be read ({error}); reinstall evenstream, or build it with "
            "`python -m estimator.census_build`"
        ) from None
    counted = [(len(names), surname_counts), *((codes.size, counts) for codes, counts in areas.values())]
    if any(counts.shape != (size, len(GROUPS)) for size, counts in counted):
        raise PackDamaged("the Census pack's codes and counts do not belong together; rebuild it")
    nation = areas["states"][1].sum(axis=0)
    offsets = {}
    start = 1
    for area, (codes, _) in areas.items():
        offsets[area] = start
        start += codes.size
    postal = {fips: name for name, fips in _FIPS.items()}
    states: dict[str, int] = {}
    for k, fips in enumerate(areas["states"][0]):
        states[postal[int(fips)]] = states[f"{int(fips):02d}"] = offsets["states"] + k
    return Census(
        surnames={name: k + 1 for k, name in enumerate(names)},
        surname_counts=np.vstack((nation, surname_counts)),
        states=states,
        counties={f"{int(code):05d}": offsets["counties"] + k for k, code in enumerate(areas["counties"][0])},
        zctas={f"{int(code):05d}": offsets["zctas"] + k for k, code in enumerate(areas["zctas"][0])},
        place_counts=np.vstack((nation, *(counts for _, counts in areas.values()))),
        prior=nation / nation.sum(),
    )
