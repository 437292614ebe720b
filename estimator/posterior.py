"""Bayesian Improved (First Name) Surname Geocoding in CFPB's definition, on arrays.

P(r | surname, place) is proportional to P(r | surname) P(place | r) (Elliott et al. 2009; Consumer Financial Protection
Bureau, "Using publicly available information to proxy for unidentified race and ethnicity", 2014), and with a matched
given name times P(given name | r) (Voicu 2018). An unmatched surname leaves the rest alone, so that a place without it
gives P(r | place); unmatched everything leaves the national prior, never a batch's mean. One pseudo-person of the
national prior is in every row of every table: nothing is impossible because nobody happened to be counted.

The result is a set of probabilities about how names and places are distributed, not a statement about a person.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from estimator.census import NATION, NameTable, Places, load_given_names, load_places, load_surnames
from estimator.errors import UnequalColumns
from estimator.groups import GROUPS
from estimator.matching import Matches, NameMatcher, PlaceColumns, PlaceMatcher
from estimator.model import Text
from estimator.names import given_name_forms, surname_forms

_Table = NDArray[np.float64]
_CODES = ("surname", "given name", "place")


class RaceModel:
    """Race probabilities from surname, given name and place. Make it with :meth:`load`.

    It fulfils ``estimator.GroupModel``: a member's code is three words, of surname, given name and place, and 0 is
    unmatched, unmatched and the nation. Codes are of one pack and one process: keep them in memory, never on disk.
    """

    groups = GROUPS
    code_width = len(_CODES)

    def __init__(self, surnames: NameTable, places: Places, given_names: NameTable | None) -> None:
        self.attributes: tuple[str, ...] = ("family_name", "given_name", "tract", "zcta", "zip", "county", "state")
        if given_names is None:
            self.attributes = tuple(name for name in self.attributes if name != "given_name")
            given_names = NameTable({}, np.empty((0, len(GROUPS))), np.zeros(len(GROUPS)))
        self._surnames = NameMatcher(surnames.codes, surname_forms)
        self._given_names = NameMatcher(given_names.codes, given_name_forms)
        self._place_matcher = PlaceMatcher(places)
        self._places = places
        prior = places.prior
        self._by_surname = _of_surname(surnames, prior)
        self._by_given_name = _of_given_name(given_names, prior)
        self._by_place = _of_place(places, prior)

    @classmethod
    def load(cls, surnames: int = 2010, given_names: bool = True) -> RaceModel:
        """Load the tables in the package that this model needs, once a process (0.4 s).

        Args:
            surnames: 2010 or 2020, the Census whose surnames are used.
            given_names: use given names where they match; False is CFPB's proxy, from surname and place alone.

        Raises:
            ValueError: the pack has no surnames of that year.
            PackDamaged: the pack is missing, unreadable or inconsistent.
        """
        return cls(load_surnames(surnames), load_places(), load_given_names() if given_names else None)

    def posterior(
        self,
        surnames: Text,
        *,
        given_names: Text | None = None,
        tracts: Text | None = None,
        zctas: Text | None = None,
        counties: Text | None = None,
        states: Text | None = None,
    ) -> NDArray[np.float64]:
        """Race probabilities from names and places as people write them.

        Args:
            surnames: n family names; None or "" where unknown, as in all columns.
            given_names: n given names; not looked at by a model loaded without them.
            tracts: n FIPS codes of 2020, 11 digits. zctas: n ZCTAs or ZIP codes, 5 digits (ZIP+4 is cut). counties: n
                FIPS codes, 5 digits. states: n postal codes or 2-digit FIPS codes. The most specific place that is
                known decides; Puerto Rico counts as unknown.

        Returns:
            Shape (n, 6), float64, columns ``estimator.GROUPS``, rows sum to 1.

        Raises:
            UnequalColumns: the columns have different lengths, or one is no column of text (a table's NaN is unknown).
        """
        surnames, given_names, columns = _read(surnames, given_names, tracts, zctas, counties, states)
        return self.posterior_of_codes(self._codes(surnames, given_names, columns))

    def match(
        self,
        surnames: Text,
        *,
        given_names: Text | None = None,
        tracts: Text | None = None,
        zctas: Text | None = None,
        counties: Text | None = None,
        states: Text | None = None,
    ) -> Matches:
        """How :meth:`posterior` matches each row; arguments and errors as there."""
        surnames, given_names, columns = _read(surnames, given_names, tracts, zctas, counties, states)
        given_names = self._checked_given_names(surnames, given_names)
        return Matches(
            self._surnames.matches(surnames),
            np.zeros(len(surnames), dtype=np.uint8) if given_names is None else self._given_names.matches(given_names),
            self._places.levels(self._place_matcher.codes(len(surnames), columns)),
        )

    def encode(self, attributes: Mapping[str, Text]) -> NDArray[np.uint32]:
        """Code members as they are read; see ``estimator.GroupModel``.

        Args:
            attributes: columns of n entries by the names of :attr:`attributes`; one that is left out is nobody's.

        Returns:
            Shape (n, 3), uint32.

        Raises:
            UnequalColumns: the columns have different lengths.
        """
        count = max((len(column) for column in attributes.values()), default=0)
        columns = PlaceColumns(
            tracts=attributes.get("tract"),
            zctas=attributes.get("zcta"),
            zips=attributes.get("zip"),
            counties=attributes.get("county"),
            states=attributes.get("state"),
        )
        return self._codes(attributes.get("family_name", (None,) * count), attributes.get("given_name"), columns)

    def posterior_of_codes(self, codes: NDArray[np.uint32]) -> NDArray[np.float64]:
        """Race probabilities of coded members: a gather a word and a normalisation.

        Args:
            codes: shape (n, 3), uint32, as :meth:`encode` made them.

        Returns:
            Shape (n, 6), float64, columns ``estimator.GROUPS``, rows sum to 1. A fresh array, so that whoever asked
            can overwrite it after use; a row does not depend on the others, to the last bit.

        Raises:
            UnequalColumns: the codes have another shape.
            IndexError: a code is not of this pack.
        """
        if codes.ndim != 2 or codes.shape[1] != self.code_width:
            raise UnequalColumns(f"expected codes of shape (n, {self.code_width}), got {codes.shape}")
        tables = (self._by_surname, self._by_given_name, self._by_place)
        words = np.ascontiguousarray(codes.T)  # a third faster than to look at each column where it lies
        largest = [int(word.max(initial=0)) for word in words]
        for what, code, table in zip(_CODES, largest, tables, strict=True):
            if code >= len(table):
                raise IndexError(f"{what} code {code} is not of this pack, which has {len(table)}; encode members anew")
        # The codes are checked above: with mode="clip" numpy need not check them, and gathers three times as fast.
        joint: NDArray[np.float64] = self._by_surname.take(words[0], axis=0, mode="clip")
        likelihood = self._by_place.take(words[2], axis=0, mode="clip")
        joint *= likelihood
        if largest[1]:  # else no one's given name is known
            self._by_given_name.take(words[1], axis=0, mode="clip", out=likelihood)
            joint *= likelihood
        likelihood.fill(0)  # it tells much of what the result tells, and only the result's owner can wipe that
        # Column by column: as fast as a matrix product, whose last bits depend on how many rows there are.
        total = joint[:, 0] + joint[:, 1]
        for group in range(2, len(GROUPS)):
            total += joint[:, group]
        joint /= total[:, None]
        return joint

    def _codes(self, surnames: Text, given_names: Text | None, columns: PlaceColumns) -> NDArray[np.uint32]:
        given_names = self._checked_given_names(surnames, given_names)
        codes = np.zeros((len(surnames), self.code_width), dtype=np.uint32)
        codes[:, 0] = self._surnames.codes(surnames)
        if given_names is not None and any(given_names):
            codes[:, 1] = self._given_names.codes(given_names)
        codes[:, 2] = self._place_matcher.codes(len(surnames), columns)
        return codes

    def _checked_given_names(self, surnames: Text, given_names: Text | None) -> Text | None:
        if given_names is not None and len(given_names) != len(surnames):
            raise UnequalColumns(
                f"given_names has {len(given_names)} entries for {len(surnames)} members; give one for each"
            )
        return given_names if "given_name" in self.attributes else None


def _read(
    surnames: Text,
    given_names: Text | None,
    tracts: Text | None,
    zctas: Text | None,
    counties: Text | None,
    states: Text | None,
) -> tuple[Text, Text | None, PlaceColumns]:
    """The columns as lists of text or None, from whatever sequence they come in."""
    family = _text("surnames", surnames)
    given, tract, zcta, county, state = (
        None if column is None else _text(name, column)
        for name, column in (
            ("given_names", given_names),
            ("tracts", tracts),
            ("zctas", zctas),
            ("counties", counties),
            ("states", states),
        )
    )
    return family, given, PlaceColumns(tracts=tract, zctas=zcta, counties=county, states=state)


def _text(name: str, column: Text) -> Text:
    if isinstance(column, str):
        raise UnequalColumns(f"{name} is one text; give a column with one text a member, a list say")
    values = list(column)
    for row, value in enumerate(values):
        if value is None or isinstance(value, str):
            continue
        if isinstance(value, float) and value != value:  # what tables have where nothing is known
            values[row] = None
        else:
            raise UnequalColumns(f"{name}, row {row}: expected text or None, got {type(value).__name__}")
    return values


def _of_surname(surnames: NameTable, prior: NDArray[np.float64]) -> _Table:
    """P(r | surname): shape (1 + names, 6). Row 0, for unmatched names, is the prior, so that the rest decides."""
    table = np.vstack((prior, surnames.persons + prior))
    table /= table.sum(axis=1, keepdims=True)
    return table


def _of_given_name(given_names: NameTable, prior: NDArray[np.float64]) -> _Table:
    """P(given name | r) up to a factor that is the same for all r: shape (1 + names, 6). Row 0 says nothing.

    Persons whose names are too rare for the list are in the denominator: they are a quarter of the api group and a
    fortieth of the white one, so that to leave them out would make every listed name seem too much of an api one.
    """
    everyone = given_names.persons.sum(axis=0) + given_names.others
    return _likelihood(given_names.persons, everyone, prior)


def _of_place(places: Places, prior: NDArray[np.float64]) -> _Table:
    """P(place | r) up to a factor that is the same for all r: shape (1 + places, 6). Row 0, the nation, is all 1."""
    return _likelihood(places.adults[NATION + 1 :], places.adults[NATION], prior)


def _likelihood(counts: NDArray[np.float64], everyone: NDArray[np.float64], prior: NDArray[np.float64]) -> _Table:
    table = np.ones((1 + len(counts), len(GROUPS)))
    if len(counts):
        table[1:] = (counts + prior) / everyone
        table[1:] /= table[1:].max(axis=1, keepdims=True)
    return table
