"""The Census pack in the package: what it holds, what it weighs, and what happens when it is damaged."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from estimator import GROUPS, census
from estimator.census import NATION, Level, NameTable, load_given_names, load_places, load_surnames
from estimator.errors import PackDamaged

PACK = resources.files("estimator") / "data" / "census.npz"
LISTS: dict[str, Callable[[], NameTable]] = {
    "surnames of 2010": lambda: load_surnames(2010),
    "surnames of 2020": lambda: load_surnames(2020),
    "given names of 2020": load_given_names,
}


@pytest.mark.parametrize(
    ("table", "name", "count", "percent"),
    [
        ("surnames of 2010", "SMITH", 2_442_977, (70.9, 23.11, 0.5, None, 0.89, 2.19)),
        ("surnames of 2010", "GARCIA", 1_166_120, (5.38, 0.45, 1.41, 92.03, 0.47, 0.26)),
        ("surnames of 2020", "SMITH", 2_369_644, (67.99, 22.62, 0.68, 3.5, 0.83, 4.37)),
        ("given names of 2020", "MICHAEL", 3_476_715, (79.02, 7.89, 1.91, 7.79, 0.53, 2.86)),
    ],
)
def test_names_are_the_published_ones(table: str, name: str, count: int, percent: tuple[float | None, ...]) -> None:
    """Rows of the Census Bureau's files, typed from its publications, are in the pack."""
    names = LISTS[table]()
    row = names.persons[names.codes[name] - 1]
    assert row.sum() == pytest.approx(count, rel=2e-4)
    for group, value in enumerate(percent):
        if value is not None:
            assert 100 * row[group] / count == pytest.approx(value, abs=0.01)


@pytest.mark.parametrize(
    ("table", "size", "persons", "others"),
    [
        ("surnames of 2010", 162_253, 265_666_898, 0),
        ("surnames of 2020", 156_619, 262_613_167, 0),
        ("given names of 2020", 53_615, 283_234_877, 18_794_703),
    ],
)
def test_sizes_of_the_lists(table: str, size: int, persons: int, others: int) -> None:
    """Every published name is there, "ALL OTHER NAMES" is none, and codes count from 1 in alphabetical order."""
    names = LISTS[table]()
    assert len(names.codes) == len(names.persons) == size
    assert list(names.codes) == sorted(names.codes)
    assert list(names.codes.values()) == list(range(1, 1 + size))
    assert "ALL OTHER NAMES" not in names.codes and "ALLOTHERNAMES" not in names.codes
    assert names.persons.sum() == pytest.approx(persons, abs=1)
    assert names.others.sum() == pytest.approx(others, rel=1e-4)
    assert np.all(names.persons >= 0) and np.all(names.persons.sum(axis=1) >= 89)


def test_suppressed_cells_share_equally() -> None:
    """A cell of 2010 that the Bureau suppressed has its equal part of what the row's published cells leave."""
    names = load_surnames(2010)
    row = names.persons[names.codes["AAB"] - 1]  # published: 87.97, (S), (S), 6.77 % multiple, 0 % native, (S) of 133
    hidden = [GROUPS.index(group) for group in ("black", "api", "hispanic")]
    assert row[hidden] == pytest.approx([7 / 3] * 3)
    assert row.sum() == pytest.approx(133)


def test_sizes_of_the_places() -> None:
    """Every inhabited tract, ZCTA, ZIP3, county and state, states by two names, Puerto Rico left out."""
    places = load_places()
    assert len(places.states) == 2 * 51
    assert len(places.counties) == 3143
    assert len(places.zctas) == 33_483
    assert len(places.tracts) == 83_828
    assert 880 < len(places.zip3s) < 900
    assert not any(code.startswith("72") for code in (*places.counties, *places.tracts))
    assert not any(code.startswith(("006", "007", "009")) for code in (*places.zctas, *places.zip3s))
    assert "PR" not in places.states


def test_adults_add_up() -> None:
    """Tracts make counties, counties make states, states the nation; ZCTAs make ZIP3s and nearly the nation."""
    places = load_places()
    nation = places.adults[NATION]

    def rest(whole: dict[str, int], parts: dict[str, int], digits: int) -> float:
        left = {code: places.adults[k].copy() for code, k in whole.items() if code.isdigit()}
        for code, k in parts.items():
            left[code[:digits]] -= places.adults[k]
        return max(float(np.abs(row).max()) for row in left.values())

    assert rest(dict(places.counties), dict(places.tracts), 5) < 1e-6
    assert rest(dict(places.states), dict(places.counties), 2) < 1e-6
    assert rest(dict(places.zip3s), dict(places.zctas), 3) < 1e-6
    zctas = places.adults[list(places.zctas.values())].sum(axis=0)
    assert np.abs(zctas / nation - 1).max() < 1e-3
    assert nation.sum() == pytest.approx(258_343_281, rel=1e-4)  # U.S. adults on 1 April 2020, as published
    assert np.allclose(places.prior, nation / nation.sum())


def test_every_place_is_inhabited() -> None:
    """A place without adults says nothing, and would hide the wider area that does."""
    assert load_places().adults.sum(axis=1).min() > 0


def test_place_codes_are_distinct_and_tell_their_level() -> None:
    """Each place has a code of its own, only a state's two names share one, and codes of a level lie together."""
    places = load_places()
    levels = {
        Level.STATE: places.states,
        Level.COUNTY: places.counties,
        Level.ZIP3: places.zip3s,
        Level.ZCTA: places.zctas,
        Level.TRACT: places.tracts,
    }
    codes = sorted({code for table in levels.values() for code in table.values()})
    assert codes == list(range(1, len(places.adults)))
    assert places.states["CA"] == places.states["06"]
    for level, table in levels.items():
        assert set(places.levels(np.fromiter(table.values(), np.uint32)).tolist()) == {level}
    assert places.levels(np.zeros(1, np.uint32)).tolist() == [Level.NATION]


def test_small() -> None:
    """The pack weighs a few megabytes in the wheel."""
    with resources.as_file(PACK) as file:
        assert file.stat().st_size < 5_000_000


def test_only_what_is_asked_for_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of the surnames of 2010 does not read those of 2020, and each list is read once a process."""
    asked: list[str] = []
    read = census._read
    monkeypatch.setattr(census, "_read", lambda *names: (asked.extend(names), read(*names))[1])
    census.load_surnames.__wrapped__(2010)
    assert asked and not any("2020" in name or "tracts" in name for name in asked)
    before = len(asked)
    assert load_surnames(2010) is load_surnames(2010)
    assert len(asked) == before


def test_quick() -> None:
    """In a new process everything that the default model needs loads in under a second, after the imports."""
    script = (
        "import time, estimator; t = time.process_time(); estimator.RaceModel.load(); print(time.process_time() - t)"
    )
    seconds = min(
        float(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout)
        for _ in range(2)
    )
    assert seconds < 1.0  # of its own processor time; 0.4 s on a free core


def test_there_are_two_censuses() -> None:
    """A year of which there are no surnames is said to be one, with those that there are."""
    with pytest.raises(ValueError, match="2010 and 2020, not of 2000"):
        load_surnames(2000)


@pytest.mark.parametrize("damage", ["missing", "cut", "other file", "unequal", "old"])
def test_damaged_pack_says_what_to_do(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pack that cannot be used is one clear error with its remedy, not a traceback from the zip library."""
    (tmp_path / "data").mkdir()
    pack = tmp_path / "data" / "census.npz"
    with resources.as_file(PACK) as file:
        whole = file.read_bytes()
    if damage == "cut":
        pack.write_bytes(whole[: len(whole) // 2])
    elif damage == "other file":
        pack.write_bytes(b"not a zip")
    elif damage in ("unequal", "old"):
        with np.load(PACK.open("rb")) as arrays:
            names = ("tracts", "tracts_adults", "zctas", "zctas_adults")
            changed = {name: arrays[name] for name in names}
        changed["zctas_adults" if damage == "unequal" else "zctas"] = changed["zctas"][:-1]
        np.savez(pack, **changed)
    monkeypatch.setattr("estimator.census.resources.files", lambda _: tmp_path)
    with pytest.raises(PackDamaged, match=r"(re)?build"):
        load_places.__wrapped__()
