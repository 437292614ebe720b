"""From text to codes: names and places as people write them, looked up in the Census tables.

A code says which row of a table speaks for a member; how it was found is told apart from it (:class:`Matches`), for
whoever must judge how well a company's attributes match. Neither is ever kept with a member's features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from estimator.census import NATION, UNMATCHED, Places
from estimator.errors import UnequalColumns
from estimator.model import Text
from estimator.names import MAX_NAME_CHARACTERS, Form, NameMatch

_TRACT_DIGITS = 11
_MAX_PLACE_CHARACTERS = 64


@dataclass(frozen=True, eq=False)
class Matches:
    """How each of n members was matched: arrays of shape (n,), uint8.

    Attributes:
        surname, given_name: bits of ``NameMatch``; 0 where nothing was written.
        place: ``Level``; the nation where no place is known.
    """

    surname: NDArray[np.uint8]
    given_name: NDArray[np.uint8]
    place: NDArray[np.uint8]


_Remembered = dict[str, tuple[int, int]]
"""Names that took a search, for as long as one column is read: names of members do not gather in memory."""


class NameMatcher:
    """Looks names up in a table.

    Args:
        codes: name -> code.
        forms: the forms under which a written name is looked up, best first.
    """

    def __init__(self, codes: Mapping[str, int], forms: Callable[[str], Iterator[Form]]) -> None:
        self._codes = codes
        self._forms = forms

    def codes(self, names: Text) -> NDArray[np.uint32]:
        """Codes of names: shape (n,), uint32; 0 where missing or unmatched."""
        # Most names are plain: one look in the table each. No name there is as long as those that are refused.
        look = self._codes.get
        found = [look(name.upper()) if name else UNMATCHED for name in names]
        if None in found:
            seen = _Remembered()
            for place in [place for place, code in enumerate(found) if code is None]:
                found[place] = self._find(names[place] or "", seen)[0]
        return np.array(found, dtype=np.uint32)

    def matches(self, names: Text) -> NDArray[np.uint8]:
        """``NameMatch`` of names: shape (n,), uint8."""
        find, seen = self._find, _Remembered()
        missing = int(NameMatch.MISSING)
        return np.fromiter((find(name, seen)[1] if name else missing for name in names), np.uint8, len(names))

    def _find(self, name: str, remembered: _Remembered) -> tuple[int, int]:
        if len(name) > MAX_NAME_CHARACTERS:
            return UNMATCHED, int(NameMatch.UNMATCHED)
        # Most names are plain: what is in the table once it is in upper case is its own collapsed form.
        code = self._codes.get(name.upper())
        if code is not None:
            return code, int(NameMatch.EXACT)
        found = remembered.get(name)
        if found is None:
            found = remembered[name] = self._search(name)
        return found

    def _search(self, name: str) -> tuple[int, int]:
        for form, match in self._forms(name):
            if form in self._codes:
                return self._codes[form], int(match)
        return UNMATCHED, int(NameMatch.UNMATCHED if name.strip() else NameMatch.MISSING)


@dataclass(frozen=True, eq=False)
class PlaceColumns:
    """Places as they are written: columns of n entries each, None where nobody's is known.

    Attributes:
        tracts: 11-digit FIPS codes. zctas, zips: 5 digits; a ZIP code is taken for the ZCTA of the same number.
        counties: 5-digit FIPS codes. states: postal codes or 2-digit FIPS codes.
    """

    tracts: Text | None = None
    zctas: Text | None = None
    zips: Text | None = None
    counties: Text | None = None
    states: Text | None = None


class PlaceMatcher:
    """Looks places up: the most specific one that is given and known decides.

    Tract, ZCTA, the ZIP3 that begins a ZCTA or ZIP code, county, state, nation. A tract or county that the tables do
    not have (Connecticut's planning regions of 2022, say) still names its county and state; a ZIP code that is no ZCTA
    (a post office's boxes, a single large address) still names its ZIP3.
    """

    def __init__(self, places: Places) -> None:
        self._places = places

    def codes(self, count: int, columns: PlaceColumns) -> NDArray[np.uint32]:
        """Place codes: shape (count,), uint32.

        Raises:
            UnequalColumns: a column does not have ``count`` entries.
        """
        for name in vars(columns):
            column: Text | None = getattr(columns, name)
            if column is not None and len(column) != count:
                raise UnequalColumns(f"{name} has {len(column)} entries for {count} members; give one for each")
        codes = np.full(count, NATION, dtype=np.uint32)
        for column, digits, table, kept in self._steps(columns):
            if column is None or not any(column):
                continue
            found = np.array(_found(column, digits, table, kept), dtype=np.uint32)
            np.copyto(codes, found, where=codes == NATION)
            if codes.all():
                break
        return codes

    def _steps(self, columns: PlaceColumns) -> Iterator[tuple[Text | None, int, Mapping[str, int], int]]:
        """Columns in the order in which they decide: the digits of their codes, where to look, by how many of them."""
        places = self._places
        yield columns.tracts, _TRACT_DIGITS, places.tracts, _TRACT_DIGITS
        yield columns.zctas, 5, places.zctas, 5
        yield columns.zips, 5, places.zctas, 5
        yield columns.zctas, 5, places.zip3s, 3
        yield columns.zips, 5, places.zip3s, 3
        yield columns.tracts, _TRACT_DIGITS, places.counties, 5
        yield columns.counties, 5, places.counties, 5
        yield columns.tracts, _TRACT_DIGITS, places.states, 2
        yield columns.counties, 5, places.states, 2
        yield columns.states, 2, places.states, 2


def _found(column: Text, digits: int, table: Mapping[str, int], kept: int) -> list[int]:
    """Codes of one column, by the first ``kept`` of its digits."""
    look = table.get
    known = [(look(value[:kept]) if len(value) == digits else None) if value else NATION for value in column]
    return [
        look(_as_code(value or "", digits)[:kept], NATION) if code is None else code
        for value, code in zip(column, known, strict=True)
    ]


def _as_code(value: str, digits: int) -> str:
    """Places as people write them: " ma " -> MA, "02139-4307" -> 02139, "2139" (a spreadsheet ate the 0) -> 02139."""
    if len(value) > _MAX_PLACE_CHARACTERS:
        return ""
    value = value.strip().upper()
    if digits == 5:
        value = value.partition("-")[0].strip()
        if len(value) == 9 and value.isdigit():
            value = value[:5]
    if digits == _TRACT_DIGITS:
        value = value.replace(".", "")
        if len(value) in (12, 15):  # a block group or a block begins with its tract
            value = value[:11]
    return value.zfill(digits) if value.isdigit() else value
