"""Places as people write them, the order in which they decide, and how the matches are told."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator import EstimatorError, Level, NameMatch, RaceModel
from estimator.census import NATION, load_places, load_surnames
from estimator.matching import NameMatcher, PlaceColumns, PlaceMatcher
from estimator.names import surname_forms

PLACES = load_places()
MATCHER = PlaceMatcher(PLACES)


def code(**written: str | None) -> int:
    columns = PlaceColumns(**{name: [value] for name, value in written.items()})
    return int(MATCHER.codes(1, columns)[0])


@pytest.mark.parametrize(
    ("written", "expected", "why"),
    [
        ({"tracts": "06037206020", "zctas": "10001"}, ("tracts", "06037206020"), "a tract is the most specific"),
        ({"tracts": "06037999999", "zctas": "10001"}, ("zctas", "10001"), "an unknown tract leaves it to the ZCTA"),
        ({"tracts": "06037999999"}, ("counties", "06037"), "and still names its county"),
        ({"tracts": "06999999999"}, ("states", "CA"), "and its state"),
        ({"zctas": "10001", "counties": "06037"}, ("zctas", "10001"), "a ZCTA before a county"),
        ({"zctas": None, "zips": "10001"}, ("zctas", "10001"), "a ZIP code for the ZCTA of its number"),
        ({"zctas": "10001", "zips": "90011"}, ("zctas", "10001"), "a ZCTA before a ZIP code"),
        ({"zctas": "99999", "zips": "90011"}, ("zctas", "90011"), "but not one that is none"),
        ({"zips": "90009", "counties": "36061"}, ("zip3s", "900"), "a ZIP code that is no ZCTA names its ZIP3"),
        ({"zctas": "90009"}, ("zip3s", "900"), "in the column of ZCTAs as well"),
        ({"zctas": "00000", "counties": "06037", "states": "WY"}, ("counties", "06037"), "then the county"),
        ({"counties": "06999", "states": "WY"}, ("states", "CA"), "an unknown county still names its state"),
        ({"counties": "09110"}, ("states", "CT"), "such as Connecticut's of 2022"),
        ({"tracts": "09110400101"}, ("states", "CT"), "and their tracts"),
        ({"counties": "99999", "states": "WY"}, ("states", "WY"), "then the state"),
        ({"zctas": "00901", "states": "PR"}, None, "Puerto Rico is not in the tables: the nation"),
        ({"counties": "99999", "states": "ZZ"}, None, "nothing known: the nation"),
        ({"zctas": "", "states": None}, None, "nothing given: the nation"),
    ],
)
def test_the_most_specific_known_place_decides(
    written: dict[str, str | None], expected: tuple[str, str] | None, why: str
) -> None:
    """Back-off: tract, ZCTA, ZIP3, county, state, nation; what is unknown is as if it were not given."""
    assert code(**written) == (NATION if expected is None else getattr(PLACES, expected[0])[expected[1]]), why


@pytest.mark.parametrize(
    ("column", "written", "meant"),
    [
        ("states", "ma", "25"),
        ("states", " MA ", "25"),
        ("states", "MA", "25"),
        ("states", "6", "CA"),
        ("zctas", "2139", "02139"),
        ("zctas", "02139-4307", "02139"),
        ("zctas", "021394307", "02139"),
        ("zctas", " 02139 ", "02139"),
        ("zips", "02139-4307", "02139"),
        ("counties", "6037", "06037"),
        ("tracts", "6037206020", "06037206020"),
        ("tracts", " 060372060.20", "06037206020"),
        ("tracts", "060372060201", "06037206020"),
        ("tracts", "060372060201003", "06037206020"),
    ],
)
def test_places_as_people_write_them(column: str, written: str, meant: str) -> None:
    """Postal and FIPS codes, lost leading zeros, ZIP+4, stray spaces, block groups and blocks name the same place."""
    assert code(**{column: written}) == code(**{column: meant}) != NATION


@given(st.text("0123456789-. A", max_size=80))
def test_any_text_is_a_place_or_none(text: str) -> None:
    """Whatever is typed as a place, nothing raises, and the code is one of the pack's."""
    for column in ("tracts", "zctas", "zips", "counties", "states"):
        assert 0 <= code(**{column: text}) < len(PLACES.adults)


def test_rows_of_one_column_decide_for_themselves() -> None:
    """Each member's most specific place decides for that member alone."""
    columns = PlaceColumns(
        tracts=["06037206020", None, None, "", None],
        zctas=["10001", "10001", "90009", None, None],
        counties=["36061", "36061", "06037", "36061", None],
        states=["WY"] * 4 + [None],
    )
    found = PLACES.levels(MATCHER.codes(5, columns)).tolist()
    assert found == [Level.TRACT, Level.ZCTA, Level.ZIP3, Level.COUNTY, Level.NATION]


def test_columns_of_other_lengths_are_refused() -> None:
    """A column that is too short or too long would move places between members, so it raises and says which."""
    with pytest.raises(EstimatorError, match="zctas has 1 entries for 2 members"):
        MATCHER.codes(2, PlaceColumns(zctas=["10001"]))
    with pytest.raises(EstimatorError, match="states has 3 entries for 2 members"):
        MATCHER.codes(2, PlaceColumns(tracts=["06037206020"] * 2, states=["MA", "CA", "WY"]))


def test_matches_are_told() -> None:
    """The flags of a model say what each row was matched by, without saying which name or place it is."""
    found = RaceModel.load().match(
        ["O'Brien", "Garcia Jr", "Xyzzyq-Smith", "Xyzzyq", None],
        given_names=["Mary", "J. R.", "Mary Xyzzyq", "", None],
        zctas=["10001", "90009", None, None, None],
        counties=[None, None, "06037", None, None],
        states=[None, None, None, "WY", None],
    )
    collapsed, suffix, part = NameMatch.COLLAPSED, NameMatch.EXACT | NameMatch.SUFFIX_REMOVED, NameMatch.PART
    assert found.surname.tolist() == [collapsed, suffix, part, NameMatch.UNMATCHED, NameMatch.MISSING]
    assert found.given_name.tolist() == [NameMatch.EXACT, NameMatch.UNMATCHED, part, 0, 0]
    assert found.place.tolist() == [Level.ZCTA, Level.ZIP3, Level.COUNTY, Level.STATE, Level.NATION]
    assert found.surname.dtype == found.given_name.dtype == found.place.dtype == np.uint8


def test_a_model_without_given_names_matches_none() -> None:
    """What a model does not look at is told as missing."""
    found = RaceModel.load(given_names=False).match(["Smith"], given_names=["Mary"])
    assert found.given_name.tolist() == [NameMatch.MISSING]
    assert RaceModel.load().match(["Smith"]).given_name.tolist() == [NameMatch.MISSING]


def test_names_do_not_gather_in_memory() -> None:
    """Names that need more than a look at the table are remembered while one column is read, and no longer."""
    matcher = NameMatcher(load_surnames().codes, surname_forms)
    names = [f"Garcia-Xyzzy{'q' * (k % 5)}" for k in range(50)]
    searched: list[str] = []
    search = matcher._search
    matcher._search = lambda name: searched.append(name) or search(name)  # type: ignore[func-returns-value,method-assign]
    first = matcher.codes(names)
    assert np.all(first == load_surnames().codes["GARCIA"])
    assert len(searched) == 5
    assert np.array_equal(matcher.codes(names), first)
    assert len(searched) == 10
    assert not any(name in repr(vars(matcher)) for name in names if "Xyzzy" in name and name not in searched)
