"""No canary lives where a program's own text would be found: what is read of programs, and what is drawn then."""

from __future__ import annotations

from pathlib import Path

import pytest

from estimator import RaceModel
from estimator.census import load_given_names
from streams.canary.members import Canaries
from streams.canary.own_texts import texts_in_programs
from streams.errors import EvenstreamError


@pytest.mark.slow
def test_places_in_a_programs_texts_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Quoted as the canary looks for them; not five digits that stand in something longer, or without quotes."""
    text = "by Konstantin, "
    text += f"'{54_321}', \"{43_210}\", zcta={32_109}, {98_765_432_101}; 65432, '765430', {123_456_789_012}"
    (tmp_path / "some_library.py").write_text(f"TEXT = {text!r}\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = texts_in_programs(["some_library"])
    assert {"54321", "43210", "32109", "98765432101", "konstantin"} <= found
    assert not {"65432", "765430", "123456789012"} & found


def test_a_program_that_cannot_be_loaded_is_told() -> None:
    """The reason is in the error."""
    with pytest.raises(EvenstreamError, match="no_such_module"):
        texts_in_programs(["no_such_module"])


def test_no_canary_lives_there_and_no_two_in_one_place() -> None:
    """Of the places that no table has, eight are left, for the seven people who live in none that a table has."""
    taken = {f"00{number:03d}" for number in range(9, 99)}
    canaries = Canaries.draw(RaceModel.load(), taken)
    places = [str((member.attributes or {}).get("zcta", "")) for member in canaries.members]
    invented = [zcta for zcta in places if zcta.startswith("00") and int(zcta) < 100]
    assert set(invented) <= {f"00{number:03d}" for number in range(1, 9)}
    assert len(set(invented)) == len(invented) > 4


def test_no_canary_has_a_name_that_a_program_holds() -> None:
    """Also where the name is a part of a longer word: of all given names only a tenth is left to be drawn."""
    long = sorted(name for name in load_given_names().codes if len(name) >= 8)
    left, held = long[::10], [f"dr{name.lower()}s" for k, name in enumerate(long) if k % 10]
    canaries = Canaries.draw(RaceModel.load(), held)
    drawn = {str((member.attributes or {}).get("given_name", "")).upper() for member in canaries.members}
    assert len(drawn & set(left)) > 5
    assert not drawn & set(long) - set(left)
