"""Agreement with the method of the Consumer Financial Protection Bureau, on people drawn from the population.

The oracle follows the Bureau's description ("Using publicly available information to proxy for unidentified race and
ethnicity", 2014, section 3 and its appendix) in plain Python, over the arrays of the pack as they lie in the file: it
decodes them by itself, smooths nothing, and shares no code with the model.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from importlib import resources

import numpy as np
import pytest

from estimator import Population, RaceModel

PEOPLE = 5_000
PROMISED = 0.002


class Cfpb:
    """The proxy: for surname s and area g, u(r) = p(r|s) q(g|r), and the probability of r is u(r) / sum of u.

    p(r|s) are a surname's shares, suppressed cells having equal parts of what the published ones leave; q(g|r) is the
    proportion of all adults of race r who live in g.
    """

    def __init__(self) -> None:
        with resources.as_file(resources.files("estimator") / "data" / "census.npz") as file, np.load(file) as pack:
            names = bytes(pack["surnames_2010"]).decode().split("\n")
            self._of_name = dict(zip(names, self._rows(pack["surnames_2010_persons"]), strict=True))
            self._hidden = dict(zip(names, pack["surnames_2010_suppressed"].tolist(), strict=True))
            zctas = [f"{code:05d}" for code in pack["zctas"].astype(int).cumsum().tolist()]
            self._of_zcta = dict(zip(zctas, self._rows(pack["zctas_adults"]), strict=True))
            self._adults = [sum(row[r] for row in self._rows(pack["tracts_adults"])) for r in range(6)]

    @staticmethod
    def _rows(planes: np.ndarray) -> list[list[int]]:
        low, middle, high = (plane.T.astype(int) for plane in planes)
        return (low + 256 * middle + 65536 * high).tolist()

    def surname_shares(self, surname: str) -> list[float]:
        """p(r|s)."""
        persons, hidden = self._of_name[surname], self._hidden[surname]
        cells = [r for r in range(6) if hidden >> r & 1]
        left = sum(persons[r] for r in cells)
        return [(left / len(cells) if r in cells else persons[r]) / sum(persons) for r in range(6)]

    def proxy(self, surname: str, zcta: str) -> list[float] | None:
        """The probabilities; None where no one of a race that bears the name lives there, and they are undefined."""
        of_zcta = self._of_zcta[zcta]
        u = [p * of_zcta[r] / self._adults[r] for r, p in enumerate(self.surname_shares(surname))]
        return [value / sum(u) for value in u] if sum(u) > 0 else None


@pytest.fixture(scope="module")
def cfpb() -> Cfpb:
    return Cfpb()


def test_agrees_with_the_published_method(cfpb: Cfpb, record_property: Callable[[str, object], None]) -> None:
    """On 5,000 people drawn by ZCTA, the median absolute difference to CFPB's proxy is far below 0.002.

    What differs is the pseudo-person in each row, which keeps probabilities off 0 where a place or a name has few.
    """
    people = Population().draw(np.random.default_rng(8), PEOPLE)
    surnames, zctas = people.surname.tolist(), people.zcta.tolist()
    ours = RaceModel.load(given_names=False).posterior(surnames, zctas=zctas)
    differences: list[float] = []
    for row, surname, zcta in zip(ours.tolist(), surnames, zctas, strict=True):
        theirs = cfpb.proxy(surname, zcta)
        if theirs is not None:
            differences += [abs(a - b) for a, b in zip(row, theirs, strict=True)]
    median, most = statistics.median(differences), max(differences)
    record_property("people", len(differences) // 6)
    record_property("median_absolute_difference", median)
    record_property("max_absolute_difference", most)
    assert len(differences) > 6 * 0.99 * PEOPLE
    assert median < PROMISED / 10
    assert statistics.quantiles(differences, n=100)[98] < 0.01
    assert most < 0.1  # a name or a ZCTA of a hundred people, where a pseudo-person weighs


def test_the_oracle_is_the_published_arithmetic(cfpb: Cfpb) -> None:
    """By hand, from the published rows: SMITH is 70.90 % white; shares sum to 1; a place moves them its way."""
    assert cfpb.surname_shares("SMITH")[0] == pytest.approx(0.7090, abs=1e-4)
    assert cfpb.surname_shares("AAB")[1:4] == pytest.approx([7 / 3 / 133] * 3)
    found = cfpb.proxy("SMITH", "30314")  # Atlanta's west side, nine in ten black
    assert found is not None and sum(found) == pytest.approx(1) and found[1] > 0.9


def test_the_comparison_would_see_a_swapped_column(cfpb: Cfpb) -> None:
    """The median is no measure that anything passes: with two groups exchanged, or without places, it is far above."""
    people = Population().draw(np.random.default_rng(8), 500)
    model = RaceModel.load(given_names=False)
    ours = model.posterior(people.surname.tolist(), zctas=people.zcta.tolist())
    theirs = [
        cfpb.proxy(*pair) or [0.0] * 6 for pair in zip(people.surname.tolist(), people.zcta.tolist(), strict=True)
    ]
    alone = model.posterior(people.surname.tolist())
    assert np.median(np.abs(ours - theirs)) < PROMISED / 10
    assert np.median(np.abs(ours[:, [1, 0, 2, 4, 3, 5]] - theirs)) > PROMISED
    assert np.median(np.abs(alone - theirs)) > PROMISED
