"""What a row costs in evenstream's own stages, on arrays and without Kafka: CPU nanoseconds by stage and part.

Each stage is fed with what the one before made, by its real entry points (``in_process``), and is then looked into: a
clock is put around the parts that ``PARTS`` names, and a part's time is its own, less that of parts within it. Whole
stages are measured apart from that, without any clock inside.

    python -m bench.performance.stages [--quick] [--out FILE]

Times are of the thread's CPU clock. A figure is the median over repetitions; ``spread`` is the range of the middle half
of them, as a share of the median.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import numpy as np

from bench.performance.in_process import Shape, Turns
from bench.performance.member_stores import StoreFigure, measure_stores
from bench.performance.parts import Clocks, clocks

QUICK_ROWS = (16, 4_096)
ROWS = (1, 16, 256, 1_024, 4_096)
CELLS = (4, 20, 40, 100, 200)
MEASUREMENTS = (1, 4, 16)
MEMBERS = (10_000, 100_000, 1_000_000, 10_000_000, 50_000_000)
QUICK_MEMBERS = (10_000, 1_000_000)
CHANNELS = (("table",), ("table", "moments"), ("table", "rectifier", "moments"))
CAPS = (2, 24)
_BASE = Shape(4_096)
_WARM_UP = 3
# So many rows are measured, but at least and at most so many turns.
_ROWS_IN_ALL = 160_000
_QUICK_ROWS_IN_ALL = 40_000
_TURNS = 8, 200


@dataclass(frozen=True)
class Figure:
    """One measurement of a stage, or of a part of it.

    Attributes:
        stage: a role. part: an entry point (``step``, ``told``, ``checkpoint``, ``apply``), or a part within one.
        rows: of a batch. cells, measurements, members, channels, cap: see ``in_process.Shape``.
        ns_per_row: CPU nanoseconds a row and measurement, median. spread: of the middle half, relative.
        us_per_turn: CPU microseconds a turn (a batch of each measurement), median.
        repetitions: how many turns the median is over.
    """

    stage: str
    part: str
    rows: int
    cells: int
    measurements: int
    members: int
    channels: str
    cap: int
    ns_per_row: float
    spread: float
    us_per_turn: float
    repetitions: int


def figure(shape: Shape, stage: str, part: str, seconds: Sequence[float]) -> Figure:
    """A figure from the seconds of each turn."""
    low, median, high = np.percentile(seconds, (25, 50, 75))
    return Figure(
        stage,
        part,
        shape.rows,
        shape.cells,
        shape.measurements,
        shape.members,
        "+".join(shape.channels),
        shape.cap,
        round(1e9 * float(median) / (shape.rows * shape.measurements), 2),
        round(float((high - low) / median), 3) if median else 0.0,
        round(1e6 * float(median), 1),
        len(seconds),
    )


def turns_of(shape: Shape, rows_in_all: int) -> int:
    """How many turns are measured."""
    return int(np.clip(rows_in_all // (shape.rows * shape.measurements), *_TURNS))


def measure(shape: Shape, rows_in_all: int) -> list[Figure]:
    """Every stage, and every part of it, for one shape."""
    whole: dict[tuple[str, str], list[float]] = defaultdict(list)
    inside: dict[tuple[str, str], list[float]] = defaultdict(list)

    def timed(role: str, entry: str, call: Callable[[], object]) -> None:
        begun = time.thread_time()
        call()
        whole[role, entry].append(time.thread_time() - begun)

    with TemporaryDirectory() as folder:
        turns, count = Turns(shape, Path(folder)), turns_of(shape, rows_in_all)
        turns.run(_WARM_UP, lambda role, entry, call: cast(None, call()))
        gc.collect()
        turns.run(count, timed)
        with clocks() as watched:
            turns.run(count, _looked_into(watched, inside))
    return [figure(shape, *name, seconds) for name, seconds in (*whole.items(), *inside.items())]


def _looked_into(watched: Clocks, inside: dict[tuple[str, str], list[float]]) -> Callable[..., None]:
    def look(role: str, entry: str, call: Callable[[], object]) -> None:
        watched.clear()
        begun = time.thread_time()
        call()
        rest = time.thread_time() - begun
        for part, seconds in watched.own.items():
            inside[role, f"{entry}: {part}"].append(seconds)
            rest -= seconds
        inside[role, f"{entry}: the rest"].append(rest)

    return look


def shapes(quick: bool) -> Iterator[Shape]:
    """What is varied, one thing at a time, around 4,096 rows, 20 cells, one measurement and 100,000 members."""
    yield _BASE
    yield from (Shape(rows) for rows in (QUICK_ROWS if quick else ROWS) if rows != _BASE.rows)
    if not quick:
        yield from (Shape(_BASE.rows, cells=cells) for cells in CELLS if cells != _BASE.cells)
        yield from (Shape(_BASE.rows, channels=channels) for channels in CHANNELS if channels != _BASE.channels)
        yield from (Shape(_BASE.rows, cap=cap) for cap in CAPS if cap != _BASE.cap)
        yield Shape(_BASE.rows, members=10_000_000)
    for number in MEASUREMENTS[1:2] if quick else MEASUREMENTS[1:]:
        yield Shape(_BASE.rows // (1 if quick else 4), measurements=number)


@dataclass(frozen=True)
class Found:
    """All of it; ``asdict`` is what is kept."""

    stages: list[Figure]
    stores: list[StoreFigure]


def run(quick: bool, progress: Callable[[str], object] = lambda text: None) -> Found:
    """Every shape, then every size of the store."""
    stages: list[Figure] = []
    for shape in shapes(quick):
        progress(f"stages: {shape}")
        stages += measure(shape, _QUICK_ROWS_IN_ALL if quick else _ROWS_IN_ALL)
    return Found(stages, measure_stores(QUICK_MEMBERS if quick else MEMBERS, progress))


def table(found: Found) -> str:
    """For the terminal."""
    stages = [
        f"{one.stage:8} {one.part:36} {one.rows:>6,} {one.cells:>5} {one.measurements:>5} {one.members:>11,} "
        f"{one.cap:>3} {one.channels:24} {one.ns_per_row:>10,.1f} {one.spread:>6.0%}"
        for one in found.stages
    ]
    stores = [
        f"{one.members:>12,} {one.bytes_per_member:>11.1f} {one.peak_bytes_per_member:>15.1f} "
        f"{one.load_ns_per_member:>13.0f} {one.lookups_per_second:>17,.0f}"
        for one in found.stores
    ]
    return "\n".join(
        [
            f"{'stage':8} {'part':36} {'rows':>6} {'cells':>5} {'meas.':>5} {'members':>11} {'cap':>3} "
            f"{'channels':24} {'ns/row':>10} {'spread':>6}",
            *stages,
            "",
            f"{'members':>12} {'bytes each':>11} {'at most':>15} {'load ns each':>13} {'lookups a second':>17}",
            *stores,
        ]
    )


def main() -> None:
    """Print the table, and write the records where one says so."""
    parser = argparse.ArgumentParser(prog="python -m bench.performance.stages", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer shapes and repetitions: half a minute")
    parser.add_argument("--out", type=Path, help="write all records there, as JSON")
    options = parser.parse_args()
    found = run(options.quick, lambda text: print(text, file=sys.stderr, flush=True))
    if options.out:
        options.out.write_text(json.dumps(asdict(found), indent=1) + "\n")
    print(table(found))


if __name__ == "__main__":
    main()
