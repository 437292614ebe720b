"""Race probabilities: the rules around CFPB's proxy (its arithmetic is in test_cfpb.py), given names, and codes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from estimator import GROUPS, EstimatorError, Population, RaceModel
from estimator.census import NATION, load_given_names, load_places, load_surnames
from estimator.population import People


@pytest.fixture(scope="module")
def model() -> RaceModel:
    return RaceModel.load()


@pytest.fixture(scope="module")
def people() -> People:
    return Population(level="tract").draw(np.random.default_rng(11), 100_000)


def shares(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = counts / counts.sum()
    return found


def test_names_and_places_that_everyone_knows(model: RaceModel) -> None:
    """The proxy says what it should of plain cases: columns are in the order of GROUPS and nothing is swapped."""
    names = ["Smith", "Washington", "Nguyen", "Garcia", "Begay", "Smith"]
    zctas = ["59718", "30314", "95122", "79901", "86515", "30314"]
    expected = ["white", "black", "api", "hispanic", "native", "black"]
    found = model.posterior(names, zctas=zctas)
    assert [GROUPS[k] for k in found.argmax(axis=1)] == expected
    assert found.max(axis=1).min() > 0.9


def test_unmatched_surname_leaves_the_place_alone(model: RaceModel) -> None:
    """Without a usable surname the result is P(race | place), from the counts of the place itself."""
    places = load_places()
    found = model.posterior([None, "", "Xyzzyq", "محمد"], zctas=["10001"] * 4)
    assert np.abs(found - shares(places.adults[places.zctas["10001"]])).max() < 1e-3
    assert np.all(found == found[0])


def test_unmatched_everything_is_the_national_prior(model: RaceModel) -> None:
    """Who is not known at all counts as the nation, whoever else is in the batch: never a batch mean."""
    alone = model.posterior([None])
    among = model.posterior(
        ["Garcia"] * 50 + ["Xyzzyq"], given_names=["Juan"] * 50 + ["J. R."], zctas=["79901"] * 50 + ["00000"]
    )
    assert np.allclose(alone[0], load_places().prior, atol=1e-12)
    assert np.array_equal(among[-1], alone[0])
    assert np.array_equal(model.posterior_of_codes(np.zeros((1, 3), dtype=np.uint32)), alone)


@pytest.mark.parametrize(
    ("year", "published"),
    [
        (2010, (0.7090, 0.2311, 0.0050, 0.0240, 0.0089, 0.0219)),
        (2020, (0.6799, 0.2262, 0.0068, 0.0350, 0.0083, 0.0437)),
    ],
)
def test_surname_alone_is_the_surname_table(year: int, published: tuple[float, ...]) -> None:
    """Without anything else the result is the Census Bureau's published distribution (SMITH), to its rounding."""
    found = RaceModel.load(surnames=year).posterior(["Smith"])[0]
    assert np.abs(found - published).max() < 2e-4


def test_given_name_multiplies_by_its_share_of_each_race(model: RaceModel) -> None:
    """P(r | s, g, f) is proportional to P(r | s, g) P(f | r), the latter of all persons, rare names included."""
    names, places = load_given_names(), load_places()
    without = model.posterior(["Smith"], zctas=["30314"])[0]
    everyone = names.persons.sum(axis=0) + names.others
    expected = shares(without * (names.persons[names.codes["TYRONE"] - 1] + places.prior) / everyone)
    assert np.allclose(model.posterior(["Smith"], given_names=["Tyrone"], zctas=["30314"])[0], expected, atol=1e-12)


def test_unmatched_given_name_changes_nothing(model: RaceModel) -> None:
    """No given name, one that is too rare, and initials leave the surname and the place alone, to the last bit."""
    found = model.posterior(["Smith"] * 5, given_names=[None, "", "Xyzzyq", "J. R.", "محمد"], states=["GA"] * 5)
    assert np.all(found == model.posterior(["Smith"], states=["GA"]))


def test_a_model_without_given_names_does_not_look_at_them(model: RaceModel) -> None:
    """CFPB's proxy is one keyword away, and such a model does not ask for the attribute at all."""
    plain = RaceModel.load(given_names=False)
    assert np.array_equal(plain.posterior(["Smith"], given_names=["Tyrone"]), model.posterior(["Smith"]))
    assert "given_name" in model.attributes and "given_name" not in plain.attributes
    assert not plain.encode({"family_name": ["Smith"], "given_name": ["Tyrone"]})[:, 1].any()


def test_attributes_are_the_arguments(model: RaceModel, people: People) -> None:
    """Codes of attributes, as `attach` makes them, give the same bits as names and places, in any order and batch."""
    few = slice(0, 1000)
    columns = {
        "family_name": people.surname[few].tolist(),
        "given_name": people.given_name[few].tolist(),
        "tract": people.tract[few].tolist(),
        "county": people.county[few].tolist(),
        "state": people.state[few].tolist(),
    }
    whole = model.posterior(
        columns["family_name"],
        given_names=columns["given_name"],
        tracts=columns["tract"],
        counties=columns["county"],
        states=columns["state"],
    )
    codes = model.encode({**columns, "zcta": [None] * 1000, "zip": [""] * 1000})
    assert codes.shape == (1000, 3) and codes.dtype == np.uint32
    assert codes.all(axis=0).tolist() == [True, False, True], "some given names are rare"
    order = np.random.default_rng(4).permutation(1000)
    parts = [model.posterior_of_codes(codes[part]) for part in np.array_split(order, 7)]
    assert np.array_equal(np.concatenate(parts), whole[order])
    assert np.array_equal(model.encode(columns), codes), "a column that is left out is nobody's"


def test_zip_codes_are_an_attribute(model: RaceModel) -> None:
    """A ZIP code counts where no ZCTA is given, and by its first three digits where it is no ZCTA."""
    codes = model.encode({"family_name": [None] * 3, "zip": ["10001", "90009", "10001"], "zcta": [None, "", "79901"]})
    expected = model.posterior([None] * 3, zctas=["10001", "90009", "79901"])
    assert np.array_equal(model.posterior_of_codes(codes), expected)
    places = load_places()
    assert np.abs(expected[1] - shares(places.adults[places.zip3s["900"]])).max() < 1e-3


@given(
    st.lists(
        st.tuples(st.text(max_size=12), st.text(max_size=8), st.text("0123456789- ", max_size=12), st.text(max_size=3)),
        max_size=8,
    )
)
def test_any_input_gives_probabilities(rows: list[tuple[str, str, str, str]]) -> None:
    """Whatever is written in names and places, every row is positive and sums to 1."""
    names, given_names, places, states = ([row[k] for row in rows] for k in range(4))
    found = RaceModel.load().posterior(
        names, given_names=given_names, tracts=places, zctas=places, counties=places, states=states
    )
    assert found.shape == (len(rows), 6)
    assert np.all(found > 0)
    assert np.allclose(found.sum(axis=1), 1, atol=1e-12)


@pytest.mark.parametrize("year", [2010, 2020])
def test_every_name_and_every_place_is_usable(year: int) -> None:
    """No row of the pack gives a zero, an infinity or a sum other than 1."""
    model = RaceModel.load(surnames=year)
    sizes = len(load_surnames(year).codes) + 1, len(load_given_names().codes) + 1, len(load_places().adults)
    codes = np.column_stack([np.resize(np.arange(size, dtype=np.uint32), max(sizes)) for size in sizes])
    found = model.posterior_of_codes(codes)
    assert np.all(found > 0)
    assert np.abs(found.sum(axis=1) - 1).max() < 1e-12


def test_totals_over_a_population_are_near_the_truth(model: RaceModel, people: People) -> None:
    """Summed over a drawn population, probabilities give each large group's true size to within a tenth of it.

    Not exactly: P(race | surname) is of 2010 and of all ages, people are drawn from 2020 and adult. "multiple" has
    grown most since, and CFPB's proxy finds three quarters of it. A swapped column would be far outside.
    """
    found = model.posterior(
        people.surname.tolist(), given_names=people.given_name.tolist(), tracts=people.tract.tolist()
    )
    ratio = found.sum(axis=0) / np.bincount(people.race, minlength=6)
    assert np.all(np.abs(ratio[:4] - 1) < 0.1), ratio
    assert np.all(np.abs(ratio[4:] - 1) < 0.4), ratio


def test_each_attribute_helps(model: RaceModel, people: People) -> None:
    """The truth's log-loss falls from state to county to tract, and again with the given name."""
    surnames, truth = people.surname.tolist(), people.race
    states, counties, tracts = people.state.tolist(), people.county.tolist(), people.tract.tolist()

    def log_loss(found: NDArray[np.float64]) -> float:
        return float(-np.log(found[np.arange(truth.size), truth]).mean())

    losses = [
        log_loss(model.posterior(surnames, states=states)),
        log_loss(model.posterior(surnames, counties=counties, states=states)),
        log_loss(model.posterior(surnames, tracts=tracts)),
        log_loss(model.posterior(surnames, given_names=people.given_name.tolist(), tracts=tracts)),
    ]
    assert all(after < before - 0.02 for before, after in pairwise(losses)), losses


def test_columns_of_other_lengths_are_refused(model: RaceModel) -> None:
    """A column that is too short or too long would move attributes between members, so it raises and says which."""
    with pytest.raises(EstimatorError, match="zctas has 1 entries for 2 members"):
        model.posterior(["Smith", "Jones"], zctas=["10001"])
    with pytest.raises(EstimatorError, match="given_names has 3 entries for 2 members"):
        model.match(["Smith", "Jones"], given_names=["A", "B", "C"])
    with pytest.raises(EstimatorError, match="states has 1 entries for 2 members"):
        model.encode({"family_name": ["Smith", "Jones"], "state": ["MA"]})
    with pytest.raises(EstimatorError, match="states has 2 entries for 1 members"):
        model.encode({"family_name": ["Smith"], "state": ["MA", "MA"]})


def test_codes_of_another_pack_are_refused(model: RaceModel) -> None:
    """A code beyond a table is an error that says which, never another row's probabilities; so is another shape."""
    for word, size in enumerate((len(load_surnames().codes), len(load_given_names().codes), len(load_places().adults))):
        codes = np.zeros((2, 3), dtype=np.uint32)
        codes[1, word] = size + 1
        with pytest.raises(IndexError, match=("surname", "given name", "place")[word]):
            model.posterior_of_codes(codes)
    with pytest.raises(EstimatorError, match=r"\(n, 3\), got \(4, 2\)"):
        model.posterior_of_codes(np.zeros((4, 2), dtype=np.uint32))


def test_the_nation_says_nothing(model: RaceModel) -> None:
    """The nation as a place leaves a surname as it is, to the last bit of its table."""
    code = model.encode({"family_name": ["Smith"]})
    assert code[0, 2] == NATION
    assert np.allclose(model.posterior_of_codes(code), model._by_surname[code[0, 0]], atol=1e-15)


def test_a_tables_gaps_are_unknown_and_other_things_are_named(model: RaceModel) -> None:
    """NaN is what tables have where nothing is known; one text for a column, or a number, is a mistake with a place."""
    with_gaps = np.array(["Smith", None, float("nan")], dtype=object)
    assert np.array_equal(model.posterior(with_gaps), model.posterior(["Smith", None, None]))
    with pytest.raises(EstimatorError, match="surnames is one text"):
        model.posterior("Smith")
    with pytest.raises(EstimatorError, match="zctas, row 1: expected text or None, got int"):
        model.posterior(["Smith", "Jones"], zctas=["94110", 94110])  # type: ignore[list-item]
