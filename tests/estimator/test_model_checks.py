"""The conformance test of group models: it passes what keeps the protocol, and names the rule that is broken."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from estimator import EstimatorError, Population, RaceModel, check_model
from estimator.errors import ModelBroken
from estimator.model import GroupModel, Text

EXAMPLES: dict[str, list[str | None]] = {"pronouns": ["she", "he", "they", None, "", "She", "?", "he"]}


class GenderModel:
    """A company's own model, as a user would write it: gender from pronouns, three groups."""

    groups: tuple[str, ...] = ("women", "men", "others")
    attributes: tuple[str, ...] = ("pronouns",)
    code_width = 1

    def __init__(self) -> None:
        self.codes = {"she": 1, "he": 2, "they": 3}
        self.table = np.array([[0.505, 0.485, 0.01], [0.99, 0.005, 0.005], [0.005, 0.99, 0.005], [0.2, 0.2, 0.6]])

    def encode(self, attributes: Mapping[str, Text]) -> NDArray[np.uint32]:
        written = [(value or "").lower() for value in attributes["pronouns"]]
        return np.array([[self.codes.get(value, 0)] for value in written], dtype=np.uint32).reshape(-1, 1)

    def posterior_of_codes(self, codes: NDArray[np.uint32]) -> NDArray[np.float64]:
        return self.table[codes[:, 0]]


def test_a_gender_model_keeps_the_protocol() -> None:
    """A small model about another attribute than race passes."""
    check_model(GenderModel(), EXAMPLES)


@pytest.mark.parametrize("model", [RaceModel.load(), RaceModel.load(surnames=2020, given_names=False)])
def test_race_models_keep_the_protocol(model: RaceModel) -> None:
    """Our own models pass, on drawn people and on what else people write."""
    people = Population(level="tract").draw(np.random.default_rng(5), 30)
    odd = ["O'Brien", "GARCIA JR", "", None, "محمد", "😀", "A" * 10_000, "Smith-Jones"]
    check_model(
        model,
        {
            "family_name": [*people.surname.tolist(), *odd],
            "given_name": [*people.given_name.tolist(), *odd[::-1]],
            "tract": [*people.tract.tolist(), *[None] * 8],
            "zcta": [*[None] * 30, "10001", "", "2139", "x", None, None, "99999", "90009"],
            "zip": [*[""] * 30, *["10001"] * 8],
            "county": [*people.county.tolist(), *["06037"] * 8],
            "state": [*people.state.tolist(), *["ZZ"] * 8],
        },
    )


def _replacing(name: str, value: object) -> GroupModel:
    model = GenderModel()
    setattr(model, name, value)
    return model


def _coding(change: Callable[[NDArray[np.uint32]], object]) -> GroupModel:
    """A model whose codes are changed."""
    model = GenderModel()
    encode = model.encode
    return _replacing("encode", lambda attributes: change(encode(attributes)))


def _answering(change: Callable[[NDArray[np.float64]], object]) -> GroupModel:
    """A model whose probabilities are changed."""
    table = GenderModel().table
    return _replacing("posterior_of_codes", lambda codes: change(table[codes[:, 0]]))


class _Learning(GenderModel):
    """Moves towards those whom it has seen."""

    def posterior_of_codes(self, codes: NDArray[np.uint32]) -> NDArray[np.float64]:
        rows = super().posterior_of_codes(codes)
        if len(rows):
            self.table = 0.9 * self.table + 0.1 * rows.mean(axis=0)
        return rows


class _CodesBySeen(GenderModel):
    """Numbers pronouns as they come."""

    def encode(self, attributes: Mapping[str, Text]) -> NDArray[np.uint32]:
        seen: dict[str, int] = {}
        written = [(value or "").lower() for value in attributes["pronouns"]]
        return np.array(
            [[seen.setdefault(value, 1 + len(seen)) if value in self.codes else 0] for value in written],
            dtype=np.uint32,
        ).reshape(-1, 1)


class _BatchMean(GenderModel):
    """Gives the unknown the mean of the batch."""

    def posterior_of_codes(self, codes: NDArray[np.uint32]) -> NDArray[np.float64]:
        rows = super().posterior_of_codes(codes)
        unknown = codes[:, 0] == 0
        if unknown.any() and not unknown.all():
            rows[unknown] = rows[~unknown].mean(axis=0)
        return rows


class _ByPosition(GenderModel):
    """Knows the first row better."""

    def posterior_of_codes(self, codes: NDArray[np.uint32]) -> NDArray[np.float64]:
        rows = super().posterior_of_codes(codes)
        if len(rows) > 1:
            rows[0] = 1 / 3
        return rows


class _SharedTable(GenderModel):
    """Answers with a view of one array of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[bytes, NDArray[np.float64]] = {}

    def posterior_of_codes(self, codes: NDArray[np.uint32]) -> NDArray[np.float64]:
        return self.kept.setdefault(codes.tobytes(), self.table[codes[:, 0]])[:]


class _CachedTable(_SharedTable):
    """Copies its answers, but keeps what the first caller was given, so that wiping that spoils the rest."""

    def posterior_of_codes(self, codes: NDArray[np.uint32]) -> NDArray[np.float64]:
        if codes.tobytes() not in self.kept:
            self.kept[codes.tobytes()] = self.table[codes[:, 0]]
            return self.kept[codes.tobytes()]
        return self.kept[codes.tobytes()].copy()


class _WipesCodes(GenderModel):
    """Leaves no trace of the codes it was given."""

    def posterior_of_codes(self, codes: NDArray[np.uint32]) -> NDArray[np.float64]:
        rows = super().posterior_of_codes(codes)
        if len(codes) > 4:
            codes[:] = codes[0] * 0
        return rows


def _negative(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return rows + np.array([-0.1, 0.1, 0.0])


def _not_a_number(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    rows[:1] = np.nan
    return rows


def _read_only(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    rows.flags.writeable = False
    return rows


BROKEN: dict[str, tuple[GroupModel, str]] = {
    "no model": (object(), "protocol"),  # type: ignore[dict-item]
    "one group": (_replacing("groups", ("all",)), "group names"),
    "seventeen groups": (_replacing("groups", tuple(f"g{k}" for k in range(17))), "group names"),
    "a list of groups": (_replacing("groups", ["women", "men", "others"]), "group names"),
    "a group twice": (_replacing("groups", ("women", "men", "men")), "group names"),
    "upper case": (_replacing("groups", ("Women", "men", "others")), "group names"),
    "two words": (_replacing("groups", ("women", "men", "all others")), "group names"),
    "no attributes": (_replacing("attributes", ()), "attributes"),
    "an attribute twice": (_replacing("attributes", ("pronouns", "pronouns")), "attributes"),
    "no code": (_replacing("code_width", 0), "code width"),
    "wider codes": (_replacing("code_width", 2), "code shape"),
    "codes of another type": (_coding(lambda codes: codes.astype(np.int64)), "code dtype"),
    "codes in a list": (_coding(lambda codes: codes.tolist()), "code dtype"),
    "flat codes": (_coding(np.ravel), "code shape"),
    "a code too few": (_coding(lambda codes: codes[:-1] if len(codes) else codes), "code shape"),
    "a code for nobody": (_coding(lambda codes: codes if len(codes) else np.zeros((1, 1), np.uint32)), "code shape"),
    "float32": (_answering(lambda rows: rows.astype(np.float32)), "dtype"),
    "a group too few": (_answering(lambda rows: rows[:, :2]), "shape"),
    "a row for no one": (_answering(lambda rows: rows if len(rows) else np.ones((1, 3)) / 3), "shape"),
    "not a number": (_answering(_not_a_number), "numbers"),
    "below 0": (_answering(_negative), "not negative"),
    "a sum of 1.1": (_answering(lambda rows: rows * 1.1), "sum"),
    "learns": (_Learning(), "determinism"),
    "codes by who is there": (_CodesBySeen(), "independence"),
    "batch mean": (_BatchMean(), "independence"),
    "position": (_ByPosition(), "independence"),
    "nothing has a code": (_coding(lambda codes: np.where(codes == 0, 3, codes).astype(np.uint32)), "nothing known"),
    "read only": (_answering(_read_only), "fresh array"),
    "one array": (_SharedTable(), "fresh array"),
    "first caller's array": (_CachedTable(), "fresh array"),
    "codes wiped": (_WipesCodes(), "codes kept"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_every_broken_rule_is_named(name: str) -> None:
    """Each way of breaking the protocol is caught, and the error begins with the rule that is broken."""
    model, rule = BROKEN[name]
    with pytest.raises(ModelBroken, match=f"^{rule}: "):
        check_model(model, EXAMPLES)


def test_errors_tell_nothing_of_members() -> None:
    """An error of the check holds no attribute and no probability of the examples."""
    for model, _ in BROKEN.values():
        with pytest.raises(ModelBroken) as raised:
            check_model(model, {"pronouns": ["xqzv-she", "they", *EXAMPLES["pronouns"]]})
        assert "xqzv" not in str(raised.value) and "0.4" not in str(raised.value)


@pytest.mark.parametrize(
    "examples",
    [{}, {"pronouns": ["she"]}, {"pronouns": []}, {"names": ["a", "b"]}],
    ids=["none", "one", "empty", "other"],
)
def test_examples_that_try_nothing_are_refused(examples: dict[str, list[str | None]]) -> None:
    """Too few examples would pass anything, so they raise; and it is no fault of the model's."""
    with pytest.raises(ValueError, match="examples") as raised:
        check_model(GenderModel(), examples)
    assert not isinstance(raised.value, EstimatorError)
