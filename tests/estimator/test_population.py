"""The simulated population has the distributions of the Census tables it is drawn from."""

from __future__ import annotations

import time

import numpy as np
import pytest
from numpy.typing import NDArray

from estimator import GROUPS, Population
from estimator.census import NameTable, load_given_names, load_places, load_surnames
from estimator.population import People

COUNT = 300_000


@pytest.fixture(scope="module")
def by_zcta() -> People:
    return Population().draw(np.random.default_rng(1), COUNT)


@pytest.fixture(scope="module")
def by_county() -> People:
    return Population(level="county").draw(np.random.default_rng(2), COUNT)


@pytest.fixture(scope="module")
def by_tract() -> People:
    return Population(level="tract").draw(np.random.default_rng(3), COUNT)


def z_scores(observed: NDArray[np.int64], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    return (observed - COUNT * shares) / np.sqrt(COUNT * shares * (1 - shares))


def test_races_are_the_nations(by_zcta: People, by_county: People, by_tract: People) -> None:
    """Each group has its share of the nation's adults, within five standard deviations."""
    for people in (by_zcta, by_county, by_tract):
        assert np.abs(z_scores(np.bincount(people.race, minlength=6), load_places().prior)).max() < 5


@pytest.mark.parametrize("level", ["by_county", "by_tract"])
def test_places_by_population(level: str, request: pytest.FixtureRequest) -> None:
    """Each state has its share of the nation's adults, within five standard deviations, and holds its counties."""
    people: People = request.getfixturevalue(level)
    places = load_places()
    states = sorted(name for name in places.states if name.isalpha())
    counts = np.array([places.adults[places.states[name]].sum() for name in states])
    observed = np.array([(people.state == name).sum() for name in states])
    assert np.abs(z_scores(observed, counts / counts.sum())).max() < 5
    for state, county in set(zip(people.state.tolist(), people.county.tolist(), strict=True)):
        assert places.states[state] == places.states[county[:2]]


def test_a_tract_gives_county_and_state(by_tract: People) -> None:
    """A tract lies in the county and the state that its code begins with, and is one of the tables'."""
    places = load_places()
    assert np.array_equal(by_tract.tract.astype("U5"), by_tract.county)
    assert set(by_tract.tract.tolist()) <= set(places.tracts)
    assert set(by_tract.county.tolist()) <= set(places.counties)


def test_race_by_place(by_zcta: People, by_tract: People) -> None:
    """Within a mostly black city (Detroit: 482xx, Wayne County), races are those of its adults."""
    places = load_places()
    for drawn, table, prefix, people in (
        (by_zcta.zcta, places.zctas, "482", by_zcta),
        (by_tract.tract, places.tracts, "26163", by_tract),
    ):
        here = np.char.startswith(drawn, prefix)
        counts = places.adults[[code for place, code in table.items() if place.startswith(prefix)]].sum(axis=0)
        share = counts[GROUPS.index("black")] / counts.sum()
        observed = (people.race[here] == GROUPS.index("black")).mean()
        assert abs(observed - share) < 5 * np.sqrt(share * (1 - share) / here.sum())


def shares_by_race(table: NameTable, name: str) -> NDArray[np.float64]:
    """P(name | race) by the table, of all persons, those with rare names included; "" is all rare names together."""
    persons = table.persons[table.codes[name] - 1] if name else table.others
    return np.asarray(persons / (table.persons.sum(axis=0) + table.others))


def differs(people: People, bears: NDArray[np.bool_], shares: NDArray[np.float64]) -> bool:
    """Whether a name's bearers in any race are five standard deviations and one person away from its share."""
    members = np.bincount(people.race, minlength=6)
    observed = np.bincount(people.race[bears], minlength=6)
    return bool(np.any(np.abs(observed - members * shares) >= 5 * (np.sqrt(members * shares) + 1)))


@pytest.mark.parametrize("name", ["SMITH", "GARCIA", "NGUYEN", "WASHINGTON"])
def test_surnames_by_race(by_zcta: People, name: str) -> None:
    """A surname is as frequent within each race as in the surname table: P(surname | race), not the posterior."""
    assert not differs(by_zcta, by_zcta.surname == name, shares_by_race(load_surnames(2010), name))


@pytest.mark.parametrize("name", ["MARY", "JOSE", "TYRONE", "WEI", ""])
def test_given_names_by_race(by_tract: People, name: str) -> None:
    """So is a given name, and one too rare for the table: a quarter of the api group, a fortieth of the white one."""
    assert not differs(by_tract, by_tract.given_name == name, shares_by_race(load_given_names(), name))


def test_surnames_of_2020_are_drawn_on_request() -> None:
    """A population may bear the surnames of 2020, of which half as many persons more are of several races."""
    people = Population(surnames=2020).draw(np.random.default_rng(4), COUNT)
    assert not differs(people, people.surname == "GARCIA", shares_by_race(load_surnames(2020), "GARCIA"))
    assert set(people.surname.tolist()) <= set(load_surnames(2020).codes)


def test_names_are_independent_given_race(by_tract: People) -> None:
    """Hispanic Garcias are called Jose as often as other Hispanics: the assumption that the proxy makes."""
    hispanic = by_tract.race == GROUPS.index("hispanic")
    jose, garcia = by_tract.given_name == "JOSE", by_tract.surname == "GARCIA"
    share = jose[hispanic].mean()
    among = jose[hispanic & garcia]
    assert abs(among.mean() - share) < 5 * np.sqrt(share * (1 - share) / among.size)


def test_surname_and_place_are_independent_given_race(by_zcta: People) -> None:
    """White Smiths live in Texas as often as other white people: the assumption that the proxy makes."""
    white = by_zcta.race == GROUPS.index("white")
    texas = np.char.startswith(by_zcta.zcta, "75") | np.char.startswith(by_zcta.zcta, "77")
    smith = by_zcta.surname == "SMITH"
    share = texas[white].mean()
    among = texas[white & smith]
    assert abs(among.mean() - share) < 5 * np.sqrt(share * (1 - share) / among.size)


def test_what_is_not_drawn_is_empty(by_zcta: People, by_county: People, by_tract: People) -> None:
    """By ZCTA there is no other place, by county and tract no ZCTA: nothing is made up that the sources do not hold."""
    for nowhere in (by_zcta.county, by_zcta.state, by_zcta.tract, by_county.tract, by_county.zcta, by_tract.zcta):
        assert nowhere.size == COUNT and not np.any(nowhere != "")
    assert set(np.char.str_len(by_zcta.zcta)) == set(np.char.str_len(by_county.county)) == {5}
    assert set(np.char.str_len(by_tract.tract)) == {11}


def test_same_seed_same_people() -> None:
    """A simulation can be repeated; another seed gives other people; nobody is a valid draw."""
    population = Population(level="tract")
    one, again, other = (population.draw(np.random.default_rng(seed), 1000) for seed in (7, 7, 8))
    for field in ("state", "county", "tract", "zcta", "race", "surname", "given_name"):
        assert np.array_equal(getattr(one, field), getattr(again, field))
    assert not np.array_equal(one.surname, other.surname)
    assert not np.array_equal(one.given_name, other.given_name)
    nobody = population.draw(np.random.default_rng(7), 0)
    assert nobody.race.size == nobody.state.size == nobody.given_name.size == 0


def test_speed() -> None:
    """200,000 people, as the demo has, take well under two seconds."""
    population = Population()
    started = time.perf_counter()
    population.draw(np.random.default_rng(1), 200_000)
    assert time.perf_counter() - started < 2.0  # 0.1 s on a free core
