"""A population with a known truth, for simulation only: place by population, race by place, names by race.

Drawn from the same Census tables as the proxy, in the direction of nature (never from the posterior), so that the proxy
can be judged by it. Surname, given name and place are independent given race, as the proxy assumes. What it leaves out:
surnames that fewer than 100 people bear (a tenth of the real population) are never drawn, and everyone lives where the
adults of 2020 lived. Rare given names are drawn as often as people bear them, and are "": which they are is not known.

The sources hold no map from ZCTAs to counties or states (ZCTAs cross both), so people are drawn either by ZCTA, and
then have no other place, or by county, which lies in one state, or by tract, which lies in one county.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from estimator.census import NameTable, Places, load_given_names, load_places, load_surnames
from estimator.groups import GROUPS

PlaceLevel = Literal["zcta", "county", "tract"]


@dataclass(frozen=True)
class People:
    """Simulated people: arrays of shape (n,). A place that was not drawn is "" for everyone.

    Attributes:
        state: str, postal code. county: str, FIPS, 5 digits. tract: str, FIPS, 11 digits. zcta: str, 5 digits.
        race: int64, place in ``estimator.GROUPS``: the truth, which no role of the system may read.
        surname: str as in the Census table. given_name: likewise, "" where it is too rare to be in the table.
    """

    state: NDArray[np.str_]
    county: NDArray[np.str_]
    tract: NDArray[np.str_]
    zcta: NDArray[np.str_]
    race: NDArray[np.int64]
    surname: NDArray[np.str_]
    given_name: NDArray[np.str_]


class Population:
    """The adults of the United States, by the Census pack.

    Args:
        level: draw places as "zcta" (default), as "county" (which gives the state as well) or as "tract" (the finest,
            which gives county and state as well).
        surnames: 2010 or 2020, the Census whose surnames people bear.
    """

    def __init__(self, *, level: PlaceLevel = "zcta", surnames: int = 2010) -> None:
        places = load_places()
        table = {"zcta": places.zctas, "county": places.counties, "tract": places.tracts}[level]
        self._level = level
        self._places = np.array(list(table))
        counts = places.adults[np.fromiter(table.values(), np.int64, len(table))]
        self._cumulative_cells = np.cumsum(counts.ravel() / counts.sum())
        self._postal = _postal_codes(places)
        self._surnames = _NamesByRace(load_surnames(surnames))
        self._given_names = _NamesByRace(load_given_names())

    def draw(self, rng: np.random.Generator, count: int) -> People:
        """Draw ``count`` people independently.

        Args:
            rng: a simulation's generator, seeded as the simulation likes; never a source of privacy.
            count: how many.

        Returns:
            Their places, races and names, in random order.
        """
        # Place and race together: a cell of the table of adults by place and race, in proportion to its count.
        cell = np.searchsorted(self._cumulative_cells, rng.random(count), side="right")
        cell = np.minimum(cell, self._cumulative_cells.size - 1)  # a sum of shares may end just below 1
        place, race = np.divmod(cell, len(GROUPS))
        surname = self._surnames.draw(rng, race)
        given_name = self._given_names.draw(rng, race)
        state, county, tract, zcta = self._written(self._places[place])
        return People(state, county, tract, zcta, race, surname, given_name)

    def _written(self, places: NDArray[np.str_]) -> tuple[NDArray[np.str_], ...]:
        """State, county, tract and ZCTA of places of the level that was drawn."""
        nowhere = np.full(places.size, "", dtype="U1")
        if self._level == "zcta":
            return nowhere, nowhere, nowhere, places
        fips, which = np.unique(places.astype("U2"), return_inverse=True)
        state = np.array([self._postal[code] for code in fips.tolist()], dtype="U2")[which]
        return state, places.astype("U5"), places if self._level == "tract" else nowhere, nowhere


class _NamesByRace:
    """Draws names by P(name | race); a name that is not in the table is ""."""

    def __init__(self, table: NameTable) -> None:
        self._names = np.array([*table.codes, ""])
        by_race = np.vstack((table.persons, table.others)).T
        self._cumulative = np.cumsum(by_race / by_race.sum(axis=1, keepdims=True), axis=1)
        # Where no one's name is rare, none may be drawn because a sum of shares ends just below 1.
        self._last = self._names.size - (1 if table.others.any() else 2)

    def draw(self, rng: np.random.Generator, race: NDArray[np.int64]) -> NDArray[np.str_]:
        drawn = np.empty(race.size, dtype=np.int64)
        for group, cumulative in enumerate(self._cumulative):
            members = np.flatnonzero(race == group)
            drawn[members] = np.searchsorted(cumulative, rng.random(members.size), side="right")
        names: NDArray[np.str_] = self._names[np.minimum(drawn, self._last)]
        return names


def _postal_codes(places: Places) -> Mapping[str, str]:
    """FIPS code -> postal code: states are under both, and the code that both share joins them."""
    postal = {code: name for name, code in places.states.items() if name.isalpha()}
    return {fips: postal[code] for fips, code in places.states.items() if fips.isdigit()}
