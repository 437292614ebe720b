"""A population with a known truth, for simulation only: place by population, race by place, surname by race.

Drawn from the same Census tables as the proxy, in the direction of nature (never from the posterior), so that the proxy
can be judged by it. Surname and place are independent given race, as the proxy assumes. What it leaves out: surnames
that fewer than 100 people bear (a tenth of the real population) are never drawn, and everyone lives where the adults of
2020 lived.

The sources hold no map from ZCTAs to counties or states (ZCTAs cross both), so people are drawn either by ZCTA, and
then have no county or state, or by county, which lies in one state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from estimator.census import Census, load_census
from estimator.groups import GROUPS


@dataclass(frozen=True)
class People:
    """Simulated people: arrays of shape (n,). A place that was not drawn is "" for everyone.

    Attributes:
        state: str, postal code. county: str, FIPS, 5 digits. zcta: str, 5 digits.
        race: int64, place in ``estimator.GROUPS``: the truth, which no role of the system may read.
        surname: str as in the Census table.
    """

    state: NDArray[np.str_]
    county: NDArray[np.str_]
    zcta: NDArray[np.str_]
    race: NDArray[np.int64]
    surname: NDArray[np.str_]


class Population:
    """The adults of the United States, by the Census pack.

    Args:
        census: the pack; by default the one in the package.
        level: draw places as "zcta" (the finest, default) or as "county" (which gives the state as well).
    """

    def __init__(self, census: Census | None = None, *, level: Literal["zcta", "county"] = "zcta") -> None:
        census = census or load_census()
        table = census.zctas if level == "zcta" else census.counties
        self._level = level
        self._places = np.array(list(table))
        counts = census.place_counts[np.fromiter(table.values(), np.int64, len(table))]
        self._cumulative_cells = np.cumsum(counts.ravel() / counts.sum())
        self._surnames = np.array(list(census.surnames))
        by_race = census.surname_counts[1:].T
        self._cumulative_surnames = np.cumsum(by_race / by_race.sum(axis=1, keepdims=True), axis=1)
        # States are under their postal code and their FIPS code: the code both share joins them.
        postal = {code: name for name, code in census.states.items() if name.isalpha()}
        self._postal = {fips: postal[code] for fips, code in census.states.items() if fips.isdigit()}

    def draw(self, rng: np.random.Generator, count: int) -> People:
        """Draw ``count`` people independently.

        Args:
            rng: a simulation's generator, seeded as the simulation likes; never a source of privacy.
            count: how many.

        Returns:
            Their places, races and surnames, in random order.
        """
        # Place and race together: a cell of the table of adults by place and race, in proportion to its count.
        cell = np.searchsorted(self._cumulative_cells, rng.random(count), side="right")
        cell = np.minimum(cell, self._cumulative_cells.size - 1)  # a sum of shares may end just below 1
        place, race = np.divmod(cell, len(GROUPS))
        surname = np.empty(count, dtype=np.int64)
        for group in range(len(GROUPS)):
            members = np.flatnonzero(race == group)
            drawn = np.searchsorted(self._cumulative_surnames[group], rng.random(members.size), side="right")
            surname[members] = np.minimum(drawn, self._surnames.size - 1)
        places, nowhere = self._places[place], np.full(count, "", dtype="U5")
        if self._level == "zcta":
            return People(nowhere.astype("U2"), nowhere, places, race, self._surnames[surname])
        fips, which = np.unique(places.astype("U2"), return_inverse=True)
        state = np.array([self._postal[code] for code in fips.tolist()], dtype="U2")[which]
        return People(state, places, nowhere, race, self._surnames[surname])
