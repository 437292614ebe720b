"""How cost grows: CPU an event and role against rate, partitions, measurements and batch fill, through a real Kafka.

Two kinds of points. *Drained* ones (``drained``) hold a topic that was written before, and each role meets all of it at
once: what an event costs at capacity. *Paced* ones (``paced``) have all roles at work at a steady rate: what it costs
when a role mostly waits. Cells and members on arrays, without Kafka, are ``stages``' and ``member_stores``'.

    python -m bench.performance.scale [--quick] [--out FILE] [--plots FOLDER] [--write] [--figures FILE]

It starts a broker of its own; ten minutes, or one with ``--quick``. ``--figures`` reads what an earlier run, or `make
bench` (docs/performance/figures.json), wrote in place of measuring, ``--plots`` draws, and ``--write`` writes the
model's constants (``streams/sizing/constants.json``).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.performance import scale_fit, scale_section
from bench.performance.amounts import Figure
from bench.performance.drained import Shape, drain
from bench.performance.paced import Steps, pace
from streams.errors import EvenstreamError
from streams.kafka.dev_broker import temporary_broker

BASE = Shape("base", 400_000)
SHAPES = (
    BASE,
    Shape("partitions", 400_000, partitions=1),
    Shape("partitions", 400_000, partitions=16),
    Shape("partitions", 200_000, partitions=64),
    Shape("measurements", 200_000, measurements=4),
    Shape("measurements", 200_000, measurements=16),
    Shape("batch_rows", 4_000, batch_rows=1),
    Shape("batch_rows", 100_000, batch_rows=16),
    Shape("batch_rows", 400_000, batch_rows=256),
    # For the model alone, what the others never vary: values of a window, and windows; elements of a row; events that
    # are decoded and have no row.
    Shape("values", 200_000, cells=200, base_ms=200),
    Shape("elements", 400_000, rectifier=True),
    Shape("decodings", 400_000, ahead=4),
)
QUICK_SHAPES = (Shape("base", 100_000),)
RATES = (100.0, 1_000.0, 10_000.0, 100_000.0)
STEPS = (
    Steps(RATES),
    Steps(RATES[:3], partitions=16),
    Steps(RATES[:3], partitions=64),
    # Only the source's partitions are given; evenstream's own may be fewer.
    Steps(RATES[:2], partitions=4, sources=64),
)
QUICK_STEPS = (Steps((100.0, 10_000.0), seconds=3),)
REPETITIONS = 1


def points(quick: bool) -> Iterator[tuple[int, Shape | Steps]]:
    """(repetition, what is measured), every second round in the opposite order."""
    if quick:
        yield from ((0, point) for point in (*QUICK_SHAPES, *QUICK_STEPS))
        return
    for repetition in range(REPETITIONS):
        yield from ((repetition, shape) for shape in SHAPES[:: -1 if repetition % 2 else 1])
    yield from ((0, steps) for steps in STEPS)


def run(
    folder: Path,
    bootstrap: str,
    *,
    data: Path | None = None,
    quick: bool = False,
    progress: Callable[[str], object] = lambda text: None,
) -> list[Figure]:
    """Measure every point, each in a deployment of its own.

    Args:
        folder: for logs and keys. bootstrap: the Kafka.
        data: the broker's folder of logs, where it is on this machine: for bytes on disk.

    Returns:
        A figure a point, plain data for JSON; where a role was not done in time, one of the kind "left out".
    """
    found: list[Figure] = []
    for number, (repetition, point) in enumerate(points(quick)):
        begun = time.monotonic()
        place = folder / f"scale-{number}"
        progress(f"{point}")
        try:
            measured = _measured(point, place, bootstrap, data, progress)
        except EvenstreamError as error:  # one point that a busy machine did not finish must not cost all the others
            progress(f"  left out: {error}")
            why = str(error).partition(";")[0]  # what follows is where its logs were
            measured = [{"kind": "left out", "point": str(point), "why": why}]
        found += [figure | {"repetition": repetition} for figure in measured]
        progress(f"  {time.monotonic() - begun:.0f} s")
    return found


def _measured(
    point: Shape | Steps, place: Path, bootstrap: str, data: Path | None, progress: Callable[[str], object]
) -> list[Figure]:
    if isinstance(point, Shape):
        return [drain(point, place, bootstrap, data)]
    return pace(point, place, bootstrap, data, progress)


def fit(figures: Iterable[Figure], *, write: bool = False) -> Figure:
    """The constants of the model of cost, and how well it predicts each point that had no part in them.

    Args:
        write: to ``streams/sizing/constants.json``.
    """
    return scale_fit.fit(list(figures), write=write)


def section(figures: Iterable[Figure], stages: Figure | None = None) -> str:
    """The text of docs/performance.md, from figures alone.

    Args:
        stages: ``asdict(bench.performance.stages.Found)``, for cells and members.
    """
    return scale_section.section(list(figures), stages)


def read(file: Path) -> tuple[list[Figure], Figure | None]:
    """Figures of a campaign, and of ``stages`` where they are beside them."""
    kept = json.loads(file.read_text())
    if isinstance(kept, list):
        return kept, None
    return kept["scale"]["figures"], kept["stages"]["figures"] if "stages" in kept else None


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(prog="python -m bench.performance.scale", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few points and events: a minute")
    parser.add_argument("--out", type=Path, help="write all figures there, as JSON")
    parser.add_argument("--figures", type=Path, help="read figures from there in place of measuring")
    parser.add_argument("--stages", type=Path, help="what bench.performance.stages --out has written")
    parser.add_argument("--plots", type=Path, help="draw into that folder")
    parser.add_argument("--write", action="store_true", help="write the model's constants")
    options = parser.parse_args()

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    stages = json.loads(options.stages.read_text()) if options.stages else None
    if options.figures:
        figures, kept = read(options.figures)
        stages = stages or kept
    else:
        with TemporaryDirectory(prefix="evenstream-scale-") as name:
            folder = Path(name)
            with temporary_broker(folder / "broker", say) as broker:
                figures = run(
                    folder, broker.bootstrap, data=folder / "broker" / "data", quick=options.quick, progress=say
                )
    if options.out:
        options.out.write_text(json.dumps(figures, indent=1) + "\n")
    if options.write:
        fit(figures, write=True)
        say(
            "written; docs/planning.md shows sizes that follow from it: tests/streams/report/test_sizing.py prints them"
        )
    if options.plots:
        from bench.performance import plots  # matplotlib takes a while, and is an extra

        plots.scale(figures, stages, options.plots)
    print(section(figures, stages))


if __name__ == "__main__":
    main()
