"""The Census pack in the package: what it holds, what it weighs, and what happens when it is damaged."""

from __future__ import annotations

import time
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from estimator import GROUPS, census
from estimator.census import load_census
from estimator.errors import PackDamaged

PACK = resources.files("estimator") / "data" / "census.npz"


@pytest.mark.parametrize(
    ("name", "count", "percent"),
    [
        ("SMITH", 2_442_977, {"white": 70.9, "black": 23.11, "api": 0.5, "native": 0.89, "multiple": 2.19}),
        ("GARCIA", 1_166_120, {"white": 5.38, "black": 0.45, "api": 1.41, "native": 0.47, "hispanic": 92.03}),
    ],
)
def test_surnames_are_the_published_ones(name: str, count: int, percent: dict[str, float]) -> None:
    """Rows of the Census Bureau's file of 2010, typed from its publication, are in the pack."""
    pack = load_census()
    row = pack.surname_counts[pack.surnames[name]]
    assert row.sum() == pytest.approx(count, abs=0.1)
    for group, value in percent.items():
        assert 100 * row[GROUPS.index(group)] / count == pytest.approx(value, abs=0.02)


def test_sizes() -> None:
    """All surnames of 2010, 50 states and DC by two names, every county and inhabited ZCTA, Puerto Rico left out."""
    pack = load_census()
    assert len(pack.surnames) == 162_253
    assert len(pack.states) == 2 * 51
    assert len(pack.counties) == 3143
    assert 33_000 < len(pack.zctas) < 33_600
    assert not any(code.startswith("72") for code in pack.counties)
    assert not any(code.startswith(("006", "007", "009")) for code in pack.zctas)
    assert "PR" not in pack.states


def test_adults_add_up() -> None:
    """Counties add up to their states exactly, ZCTAs to the nation nearly, and the nation to the published adults."""
    pack = load_census()
    by_fips = {fips: pack.place_counts[code].copy() for fips, code in pack.states.items() if fips.isdigit()}
    for county, code in pack.counties.items():
        by_fips[county[:2]] -= pack.place_counts[code]
    assert max(np.abs(rest).max() for rest in by_fips.values()) < 1e-6
    nation = pack.place_counts[census.NATION]
    zctas = pack.place_counts[list(pack.zctas.values())].sum(axis=0)
    assert np.abs(zctas / nation - 1).max() < 1e-3
    assert nation.sum() == pytest.approx(258.3e6, rel=1e-3)  # U.S. adults on 1 April 2020
    assert np.allclose(pack.prior, nation / nation.sum())


def test_every_place_is_inhabited() -> None:
    """A place without adults says nothing, and would hide the wider area that does."""
    assert load_census().place_counts.sum(axis=1).min() > 0


def test_codes_are_distinct() -> None:
    """Each surname and each place has a code of its own; only the two names of a state share one."""
    pack = load_census()
    assert sorted(pack.surnames.values()) == list(range(1, 1 + len(pack.surnames)))
    codes = sorted({*pack.states.values(), *pack.counties.values(), *pack.zctas.values()})
    assert codes == list(range(1, len(pack.place_counts)))
    assert pack.states["CA"] == pack.states["06"]


def test_small_and_quick() -> None:
    """The pack weighs a few megabytes in the wheel and loads in well under a second."""
    with resources.as_file(PACK) as file:
        assert file.stat().st_size < 4_000_000
    started = time.perf_counter()
    load_census.__wrapped__()
    assert time.perf_counter() - started < 1.0  # 0.1 s on a free core


@pytest.mark.parametrize("damage", ["missing", "cut", "other file", "unequal"])
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
    elif damage == "unequal":
        with np.load(PACK.open("rb")) as arrays:
            changed = {**arrays, "zctas": arrays["zctas"][:-1]}
        np.savez(pack, **changed)
    monkeypatch.setattr("estimator.census.resources.files", lambda _: tmp_path)
    with pytest.raises(PackDamaged, match=r"(re)?build"):
        load_census.__wrapped__()
