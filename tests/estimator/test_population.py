"""The simulated population has the distributions of the Census tables it is drawn from."""

from __future__ import annotations

import time

import numpy as np
import pytest
from numpy.typing import NDArray

from estimator import GROUPS, Population
from estimator.census import load_census
from estimator.population import People

COUNT = 300_000


@pytest.fixture(scope="module")
def by_zcta() -> People:
    return Population().draw(np.random.default_rng(1), COUNT)


@pytest.fixture(scope="module")
def by_county() -> People:
    return Population(level="county").draw(np.random.default_rng(2), COUNT)


def z_scores(observed: NDArray[np.int64], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    return (observed - COUNT * shares) / np.sqrt(COUNT * shares * (1 - shares))


def test_races_are_the_nations(by_zcta: People, by_county: People) -> None:
    """Each group has its share of the nation's adults, within five standard deviations."""
    for people in (by_zcta, by_county):
        assert np.abs(z_scores(np.bincount(people.race, minlength=6), load_census().prior)).max() < 5


def test_places_by_population(by_county: People) -> None:
    """Each state has its share of the nation's adults, within five standard deviations, and holds its counties."""
    census = load_census()
    states = sorted(name for name in census.states if name.isalpha())
    counts = np.array([census.place_counts[census.states[name]].sum() for name in states])
    observed = np.array([(by_county.state == name).sum() for name in states])
    assert np.abs(z_scores(observed, counts / counts.sum())).max() < 5
    for state, county in set(zip(by_county.state.tolist(), by_county.county.tolist(), strict=True)):
        assert census.states[state] == census.states[county[:2]]


def test_race_by_place(by_zcta: People) -> None:
    """Within the places of a mostly black city (Detroit, 482xx), races are those of these places' adults."""
    census = load_census()
    here = np.char.startswith(by_zcta.zcta, "482")
    counts = census.place_counts[[code for zcta, code in census.zctas.items() if zcta.startswith("482")]].sum(axis=0)
    share = counts[GROUPS.index("black")] / counts.sum()
    observed = (by_zcta.race[here] == GROUPS.index("black")).mean()
    assert abs(observed - share) < 5 * np.sqrt(share * (1 - share) / here.sum())


@pytest.mark.parametrize("name", ["SMITH", "GARCIA", "NGUYEN", "WASHINGTON"])
def test_surnames_by_race(by_zcta: People, name: str) -> None:
    """A surname is as frequent within each race as in the surname table: P(surname | race), not the posterior."""
    census = load_census()
    share = census.surname_counts[census.surnames[name]] / census.surname_counts[1:].sum(axis=0)
    for group in range(len(GROUPS)):
        members = by_zcta.race == group
        spread = np.sqrt(members.sum() * share[group]) + 1
        assert abs((by_zcta.surname[members] == name).sum() - members.sum() * share[group]) < 5 * spread


def test_surname_and_place_are_independent_given_race(by_zcta: People) -> None:
    """White Smiths live in Texas as often as other white people: the assumption that the proxy makes."""
    white = by_zcta.race == GROUPS.index("white")
    texas = np.char.startswith(by_zcta.zcta, "75") | np.char.startswith(by_zcta.zcta, "77")
    smith = by_zcta.surname == "SMITH"
    share = texas[white].mean()
    among = texas[white & smith]
    assert abs(among.mean() - share) < 5 * np.sqrt(share * (1 - share) / among.size)


def test_what_is_not_drawn_is_empty(by_zcta: People, by_county: People) -> None:
    """By ZCTA there is no county or state, by county no ZCTA: nothing is made up that the sources do not hold."""
    assert not np.any(by_zcta.county != "") and not np.any(by_zcta.state != "")
    assert not np.any(by_county.zcta != "")
    assert set(np.char.str_len(by_zcta.zcta)) == set(np.char.str_len(by_county.county)) == {5}


def test_same_seed_same_people() -> None:
    """A simulation can be repeated; another seed gives other people; nobody is a valid draw."""
    population = Population()
    one, again, other = (population.draw(np.random.default_rng(seed), 1000) for seed in (7, 7, 8))
    for field in ("state", "county", "zcta", "race", "surname"):
        assert np.array_equal(getattr(one, field), getattr(again, field))
    assert not np.array_equal(one.surname, other.surname)
    assert population.draw(np.random.default_rng(7), 0).race.size == 0
    assert Population(level="county").draw(np.random.default_rng(7), 0).state.size == 0


def test_speed() -> None:
    """200,000 people, as the demo has, take well under two seconds."""
    population = Population()
    started = time.perf_counter()
    population.draw(np.random.default_rng(1), 200_000)
    assert time.perf_counter() - started < 2.0  # 0.1 s on a free core
