"""Rows a second of the race model on one core: ``python -m bench.posterior [--rows N] [--repetitions K]``.

What `attach` does for each batch, `posterior_of_codes` on codes as the member store holds them: surnames and given
names as frequent as people bear them, places drawn evenly out of all tracts, ZCTAs and counties, batches of 4,096 rows.
Then how long it takes to load the model and to code members. The promise is 5 million rows a second. Times are of the
processor and this thread: what others do on the machine counts only by the caches that they share.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from estimator import Population, RaceModel
from estimator.census import load_places

BATCH = 4_096
PROMISED_ROWS_PER_SECOND = 5e6
_SEED = 20


def rates(work: Callable[[], object], rows: int, repetitions: int) -> dict[str, float]:
    """Rows a second: least, median and most over repetitions."""
    found = []
    for _ in range(repetitions):
        begun = time.thread_time()
        work()
        found.append(rows / (time.thread_time() - begun))
    return {"min": min(found), "median": statistics.median(found), "max": max(found)}


def realistic_codes(model: RaceModel, rows: int) -> NDArray[np.uint32]:
    """Codes of drawn people, in random order, in places that are drawn evenly: no cache is warm for them."""
    rng = np.random.default_rng(_SEED)
    people = Population().draw(rng, rows)
    codes = model.encode({"family_name": people.surname.tolist(), "given_name": people.given_name.tolist()})
    codes[:, 2] = rng.integers(0, len(load_places().adults), rows)
    return codes


def through(model: RaceModel, codes: NDArray[np.uint32]) -> Callable[[], None]:
    """All codes, a batch at a time; what comes out is wiped, as `attach` does."""

    def work() -> None:
        for start in range(0, len(codes), BATCH):
            model.posterior_of_codes(codes[start : start + BATCH]).fill(0)

    return work


def load_seconds(repetitions: int) -> list[float]:
    """Processor seconds to load the default model in a new process, imports left out."""
    script = "import time, estimator as e; t = time.process_time(); e.RaceModel.load(); print(time.process_time() - t)"
    return [
        float(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout)
        for _ in range(repetitions)
    ]


def measure(rows: int, repetitions: int) -> dict[str, dict[str, float]]:
    """All figures: what -> least, median and most."""
    model = RaceModel.load()
    codes = realistic_codes(model, rows)
    without = codes.copy()
    without[:, 1] = 0
    people = Population(level="tract").draw(np.random.default_rng(_SEED), min(rows, 200_000))
    columns = {
        "family_name": [
            f"{name.title()} Jr." if k % 10 == 0 else name for k, name in enumerate(people.surname.tolist())
        ],
        "given_name": people.given_name.tolist(),
        "tract": people.tract.tolist(),
    }
    seconds = load_seconds(min(repetitions, 5))
    return {
        "rows/s, with given names": rates(through(model, codes), rows, repetitions),
        "rows/s, without given names": rates(through(model, without), rows, repetitions),
        "members coded/s": rates(lambda: model.encode(columns), people.race.size, min(repetitions, 5)),
        "seconds to load": {"min": min(seconds), "median": statistics.median(seconds), "max": max(seconds)},
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Rows a second of the race model, on one core.")
    parser.add_argument("--rows", type=int, default=100 * BATCH)
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    options = parser.parse_args()
    figures = measure(options.rows, options.repetitions)
    print(f"{'':28}{'min':>14}{'median':>14}{'max':>14}")
    for what, found in figures.items():
        shown = (f"{value:14,.2f}" if value < 100 else f"{value:14,.0f}" for value in found.values())
        print(f"{what:28}{''.join(shown)}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))
    slow = [
        what
        for what, found in figures.items()
        if what.startswith("rows/s") and found["median"] < PROMISED_ROWS_PER_SECOND
    ]
    if slow:
        sys.exit(f"slower than the promised {PROMISED_ROWS_PER_SECOND:,.0f} rows a second: {'; '.join(slow)}")


if __name__ == "__main__":
    main()
