"""Running what is to be simulated, and which promises the figures must keep.

Every task has a seed of its own, so that neither the number of processes nor the order changes a figure.
"""

from __future__ import annotations

import multiprocessing
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from streams.alert_simulation import tasks
from streams.alert_simulation.runs import RunLengths
from streams.alert_simulation.tables import Spread, spread
from streams.alert_simulation.tasks import AT_TOLERATED, Section, Size, Task, Terms

ERRORS = 2.0
"""Standard errors by which a figure may miss its promise before the promise counts as broken."""

SPREAD_METRIC = "recommendation_rate"

Work = Callable[[Sequence[Task]], Iterator[RunLengths]]


@dataclass(frozen=True, eq=False)
class Found:
    """A task and what it gave."""

    task: Task
    lengths: RunLengths


@dataclass(frozen=True)
class Promise:
    """One promise: what, whether it holds, and the figures that say so."""

    text: str
    holds: bool
    figures: str


@dataclass(frozen=True, eq=False)
class Simulation:
    """Everything that was found. spreads: (a world's text, how the gaps of ``SPREAD_METRIC`` vary in it)."""

    terms: Terms
    size: Size
    seed: int
    found: tuple[Found, ...]
    spreads: tuple[tuple[str, tuple[Spread, ...]], ...]

    def of(self, section: Section) -> list[Found]:
        """One section's figures, in order."""
        return [one for one in self.found if one.task.section == section]

    @property
    def promises(self) -> tuple[Promise, ...]:
        """Of every world in which the promise is made."""
        return tuple(_promise(one) for one in self.found if one.task.promised)


def simulate(
    terms: Terms, size: Size, seed: int, progress: Callable[[int, int], None], processes: int = 1
) -> Simulation:
    """Run everything.

    Args:
        seed: decides all. progress: told how many tasks are done, of how many.
    """
    nulls = tasks.false_alarms(terms, size)
    counted = dict.fromkeys(terms.detectors, 1.0)
    total = len(nulls) + len(_second(terms, size, nulls, counted))
    done = 0

    with _working(processes, seed) as work:

        def run(chosen: Sequence[Task]) -> Iterator[Found]:
            nonlocal done
            for task, lengths in zip(chosen, work(chosen), strict=True):
                done += 1
                progress(done, total)
                yield Found(task, lengths)

        found = list(run(nulls))
        # CUSUMs are set for the run lengths that the e-detector has just shown.
        at = [one for one in found if one.task.row == AT_TOLERATED]
        measured = {one.task.detectors: one.lengths.per_alarm / terms.false_alarm_windows for one in at}
        found += run(_second(terms, size, nulls, measured))
    spreads = []
    for world in tasks.table_worlds()[:3] if terms.real_tables else ():
        rng = np.random.default_rng([seed, zlib.crc32(f"spread/{world.text}".encode())])
        spreads.append((world.text, tuple(spread(world, SPREAD_METRIC, size.table_runs, size.spread, rng))))
    return Simulation(terms, size, seed, tuple(found), tuple(spreads))


def _second(terms: Terms, size: Size, nulls: Sequence[Task], measured: dict[int, float]) -> list[Task]:
    return [
        *tasks.opponents(nulls, measured),
        *tasks.delays(terms, size, measured),
        *tasks.ends(terms, size),
        *tasks.points(terms, size, measured),
    ]


@contextmanager
def _working(processes: int, seed: int) -> Iterator[Work]:
    """Runs tasks, here or on other processes, and gives what they found in their order."""
    if processes == 1:
        yield lambda chosen: (task.run(seed) for task in chosen)
        return
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"))
    try:
        yield lambda chosen: pool.map(Task.run, chosen, [seed] * len(chosen))
    finally:
        pool.shutdown(cancel_futures=True)


def _promise(one: Found) -> Promise:
    """Windows watched for each false alarm are at least A."""
    task, lengths = one.task, one.lengths
    a, error = task.false_alarm_windows, lengths.per_alarm_error
    seen = bool(lengths.ended.any())
    holds = lengths.per_alarm + (ERRORS * error if seen else 0.0) >= a
    detectors = "1 detector" if task.detectors == 1 else f"{task.detectors} detectors"
    if seen:
        figures = f"one in {lengths.per_alarm:,.0f} ± {error:,.0f}"
    else:
        figures = f"none in {lengths.windows.sum():,}, so with 95 % confidence one in {lengths.per_alarm:,.0f} or more"
    figures += f" ({task.runs} runs, {lengths.unfinished} given up after {task.horizon:,} without one)"
    promised = f"{task.row}, {detectors}: the first false alarm comes after {a:,} windows or more, on average"
    return Promise(promised, holds, figures)
