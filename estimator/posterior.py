"""Bayesian Improved Surname Geocoding in CFPB's definition, on arrays.

P(r | surname, place) is proportional to P(r | surname) P(place | r) (Elliott et al. 2009; Consumer Financial Protection
Bureau, "Using publicly available information to proxy for unidentified race and ethnicity", 2014). An unmatched surname
leaves the place alone, P(r | place); unmatched everything leaves the national prior, never a batch's mean.

The result is a set of probabilities about how a name and a place are distributed, not a statement about a person.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from estimator.census import NATION, UNMATCHED, Census, load_census
from estimator.errors import UnequalColumns
from estimator.groups import GROUPS
from estimator.names import MAX_NAME_CHARACTERS, candidates

Text = Sequence[str | None]
"""A column of text: one entry a member, None or "" where unknown."""

_REMEMBERED_NAMES = 1 << 16
_ONES = np.ones((len(GROUPS), 1))


class RaceModel:
    """Race probabilities from surname and place: a :class:`GroupModel`. Make it with :meth:`load`."""

    groups = GROUPS
    attributes = ("family_name", "zcta", "zip", "county", "state")
    code_width = 2

    def __init__(self, census: Census) -> None:
        self._census = census
        prior = census.prior
        smoothed = census.surname_counts + prior
        # P(r | surname); row 0, for unmatched names, is the national prior, so that the place alone decides.
        self._by_surname = smoothed / smoothed.sum(axis=1, keepdims=True)
        self._by_surname[UNMATCHED] = prior
        places = census.place_counts + prior
        # P(place | r) up to a factor that is the same for all r; row 0, the nation, says nothing.
        self._by_place = places / census.place_counts[NATION]
        self._by_place /= self._by_place.max(axis=1, keepdims=True)
        self._by_place[NATION] = 1.0
        self._remembered: dict[str, int] = {}

    @classmethod
    def load(cls) -> RaceModel:
        """Load the tables in the package (surnames of 2010; adults of 2020 by ZCTA, county and state)."""
        return cls(load_census())

    def surname_codes(self, surnames: Text) -> NDArray[np.uint32]:
        """Code names: shape (n,), uint32; 0 where no form of the name is in the table."""
        code = self._surname_code
        return np.fromiter((code(name) if name else UNMATCHED for name in surnames), np.uint32, len(surnames))

    def _surname_code(self, name: str) -> int:
        if len(name) > MAX_NAME_CHARACTERS:
            return UNMATCHED
        table = self._census.surnames
        # Most names are plain: what is in the table once it is in upper case is its own collapsed form.
        code = table.get(name.upper())
        if code is not None:
            return code
        code = self._remembered.get(name)
        if code is None:
            code = next((table[form] for form in candidates(name) if form in table), UNMATCHED)
            if len(self._remembered) >= _REMEMBERED_NAMES:
                self._remembered.clear()  # bounded, so that the names of all members never gather in memory
            self._remembered[name] = code
        return code

    def place_codes(
        self, count: int, zctas: Text | None, counties: Text | None, states: Text | None
    ) -> NDArray[np.uint32]:
        """Code places: shape (count,), uint32.

        The most specific place that is given and known decides: ZCTA, county, the state that begins a county's FIPS,
        state, nation. Arguments as in :meth:`posterior`.

        Raises:
            UnequalColumns: a column does not have ``count`` entries.
        """
        census = self._census
        codes = np.full(count, NATION, dtype=np.uint32)
        for kind, column, code in (
            ("states", states, _coder(census.states, 2)),
            ("counties", counties, _state_of_county(census)),
            ("counties", counties, _coder(census.counties, 5)),
            ("zctas", zctas, _coder(census.zctas, 5)),
        ):
            if column is None:
                continue
            if len(column) != count:
                raise UnequalColumns(f"{kind} has {len(column)} entries for {count} members; give one for each")
            found = np.fromiter((code(value) if value else NATION for value in column), np.uint32, count)
            np.copyto(codes, found, where=found != NATION)
        return codes

    def encode(self, attributes: Mapping[str, Text]) -> NDArray[np.uint32]:
        """Code names and places once, as they are read (see :class:`estimator.model.GroupModel`).

        Args:
            attributes: a column for each of :attr:`attributes`; ``zip`` stands in where ``zcta`` is unknown.

        Returns:
            Shape (n, 2), uint32: surname and place; 0 is unmatched, and the nation. Codes are valid for this pack only:
            keep them in memory, never on disk.

        Raises:
            UnequalColumns: the columns have different lengths.
        """
        zctas = [zcta or zip_ for zcta, zip_ in zip(attributes["zcta"], attributes["zip"], strict=True)]
        return self._codes(attributes["family_name"], zctas, attributes["county"], attributes["state"])

    def _codes(
        self, surnames: Text, zctas: Text | None = None, counties: Text | None = None, states: Text | None = None
    ) -> NDArray[np.uint32]:
        return np.stack(
            (self.surname_codes(surnames), self.place_codes(len(surnames), zctas, counties, states)), axis=1
        )

    def posterior_of_codes(self, codes: NDArray[np.uint32]) -> NDArray[np.float64]:
        """Race probabilities of coded members: two gathers and a normalisation.

        Args:
            codes: shape (n, 2), as :meth:`encode` made them.

        Returns:
            Shape (n, 6), float64, columns ``estimator.GROUPS``, rows sum to 1. A fresh array, so that whoever asked
            can overwrite it after use.

        Raises:
            IndexError: a code is not of this pack.
        """
        joint: NDArray[np.float64] = self._by_surname[codes[:, 0]]
        joint *= self._by_place[codes[:, 1]]
        joint /= joint @ _ONES
        return joint

    def posterior(
        self, surnames: Text, *, zctas: Text | None = None, counties: Text | None = None, states: Text | None = None
    ) -> NDArray[np.float64]:
        """Race probabilities from names and places as people write them.

        Args:
            surnames: n family names; None or "" where unknown.
            zctas: n ZCTAs or ZIP codes, 5 digits (ZIP+4 is cut). counties: n FIPS codes, 5 digits. states: n postal
                codes or 2-digit FIPS codes. Each None or "" where unknown; Puerto Rico counts as unknown.

        Returns:
            Shape (n, 6), float64, columns ``estimator.GROUPS``, rows sum to 1.

        Raises:
            UnequalColumns: the columns have different lengths.
        """
        return self.posterior_of_codes(self._codes(surnames, zctas, counties, states))


def _coder(table: Mapping[str, int], width: int) -> Callable[[str], int]:
    def code(value: str) -> int:
        known = table.get(value)
        return table.get(_as_code(value, width), NATION) if known is None else known

    return code


def _state_of_county(census: Census) -> Callable[[str], int]:
    """A county that the table does not have (Connecticut's planning regions of 2022, say) still names its state."""

    def code(value: str) -> int:
        return census.states.get(_as_code(value, 5)[:2], NATION)

    return code


def _as_code(value: str, width: int) -> str:
    """Places as people write them: " ma " -> MA, "02139-4307" -> 02139, "2139" (a spreadsheet ate the 0) -> 02139."""
    value = value.strip().upper()
    if width == 5:
        value = value.partition("-")[0].strip()
        if len(value) == 9 and value.isdigit():
            value = value[:5]
    return value.zfill(width) if value.isdigit() else value
