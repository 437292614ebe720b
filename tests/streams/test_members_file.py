"""A members file is read as `attach` reads its topic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from estimator import GROUPS, RaceModel
from streams.errors import InputError
from streams.members_file import MembersFile, load_members_file


@pytest.fixture(scope="module")
def model() -> RaceModel:
    """The race model."""
    return RaceModel.load()


def load(path: Path, model: RaceModel, *records: dict[str, Any]) -> MembersFile:
    """Write records and read them."""
    file = path / "members.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    return load_members_file(file, model)


def test_the_last_record_of_a_member_counts(tmp_path: Path, model: RaceModel) -> None:
    """Several records of one member are one member, as the last one says."""
    people = load(tmp_path, model, {"member_id": 7, "family_name": "Kim"}, {"member_id": "7", "opt_out": True})
    assert len(people) == 1
    assert people.opted_out.tolist() == [True]
    assert people.attributes["family_name"] == [None]


def test_ids_are_found_whatever_their_order(tmp_path: Path, model: RaceModel) -> None:
    """Known ids are found, unknown ones are -1, and a prefix of an id is no id."""
    people = load(tmp_path, model, *({"member_id": name} for name in ("b", "abc", "a", "é")))
    ids = np.array([b"a", b"ab", b"abc", "é".encode(), b"zz"])
    assert [people.ids[i].decode() if i >= 0 else None for i in people.find(ids)] == ["a", None, "abc", "é", None]


def test_a_record_that_cannot_be_read_takes_its_member_out(tmp_path: Path, model: RaceModel) -> None:
    """A wrong type is no attribute: the member does not count, and it is told how many."""
    people = load(tmp_path, model, {"member_id": "a", "family_name": 3}, {"member_id": "b", "opt_out": "yes"})
    assert people.opted_out.tolist() == [True, True]
    assert people.unreadable == 2


def test_self_id_is_one_name_or_several(tmp_path: Path, model: RaceModel) -> None:
    """A multi-select is several groups; a name that is no group is no Self-ID, and is counted; nothing is nothing."""
    said: list[Any] = [["black"], "api", ["black", "white", "black"], ["martian"], [], None, 4]
    people = load(tmp_path, model, *({"member_id": f"m{k}", "self_id": value} for k, value in enumerate(said)))
    white, black, api = (1 << GROUPS.index(name) for name in ("white", "black", "api"))
    assert people.self_id.tolist() == [black, api, white | black, 0, 0, 0, 0]
    assert people.said.tolist() == [True, True, True, False, False, False, False]
    assert people.unreadable_self_ids == 2


def test_probabilities_are_the_models(tmp_path: Path, model: RaceModel) -> None:
    """Attributes reach the model under their own names."""
    people = load(tmp_path, model, {"member_id": "x", "family_name": "Nguyen", "state": "CA"})
    assert np.array_equal(people.probabilities(model), model.posterior(["Nguyen"], states=["CA"]))


def test_a_file_without_members_is_an_error(tmp_path: Path, model: RaceModel) -> None:
    """An empty file is told apart from one without matches."""
    with pytest.raises(InputError, match="holds no members"):
        load(tmp_path, model)
