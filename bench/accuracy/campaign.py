"""The parts of the campaign, and how large each is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from bench.accuracy import coverage, noise_cost, peers, pipeline, primaries
from bench.accuracy.tally import Tally
from bench.accuracy.workers import in_order
from bench.accuracy.worlds import WORLDS, Inhabited, Pool
from streams.simulate import Disparity

SEED = 20_261_125


@dataclass(frozen=True)
class Size:
    """How much of everything.

    Attributes:
        people: in the pool. repetitions: windows of each world. peers: of them, read by the peers' rules as well.
        primaries: draws of noise on the real log. pipelines: of each planted world, each of size ``pipeline``.
        chunk: repetitions that a process does at a time; part of the order of sums, so of the last digits.
    """

    people: int
    repetitions: int
    peers: int
    primaries: int
    pipelines: int
    pipeline: pipeline.Size
    chunk: int = 50


FULL = Size(2_000_000, 2000, 500, 500, 10, pipeline.Size(days=40, rows=6_000, members=100_000))
QUICK = Size(200_000, 40, 20, 20, 1, pipeline.Size(days=10, rows=6_000, members=60_000), chunk=20)


def run_coverage(size: Size, processes: int) -> dict[str, object]:
    """Worlds x repetitions."""
    pool = Pool.draw(SEED, size.people)
    inhabited = [Inhabited.of(world, pool) for world in WORLDS]

    def work(world: int, first: int) -> Tally:
        return coverage.repeat(inhabited[world], first, min(size.chunk, size.repetitions - first))

    chunks = [(k, first) for first in range(0, size.repetitions, size.chunk) for k in range(len(WORLDS))]
    return {"repetitions": size.repetitions, **_sum(in_order(work, chunks, processes, "coverage")).to_json()}


def run_peers(size: Size, processes: int) -> dict[str, object]:
    """The peers' rules on the first windows of some worlds."""
    pool = Pool.draw(SEED, size.people)
    inhabited = [Inhabited.of(world, pool) for world in WORLDS if world.name in peers.COMPARED]
    labels = peers.labels_of(pool)

    def work(world: int, first: int) -> Tally:
        return peers.repeat(inhabited[world], labels, first, min(size.chunk, size.peers - first))

    chunks = [(k, first) for k in range(len(inhabited)) for first in range(0, size.peers, size.chunk)]
    return {"repetitions": size.peers, **_sum(in_order(work, chunks, processes, "peers")).to_json()}


def run_primaries(size: Size, processes: int) -> dict[str, object]:
    """The real log."""
    return primaries.run(size.primaries)


def run_noise_cost(size: Size, processes: int) -> dict[str, object]:
    """Half-widths against epsilon and rows."""
    return noise_cost.run(Inhabited.of(WORLDS[0], Pool.draw(SEED, min(size.people, 400_000))))


def run_pipeline(size: Size, processes: int) -> dict[str, object]:
    """Every planted world through the whole pipeline."""

    def work(disparity: Disparity, number: int) -> Tally:
        return pipeline.run(disparity, size.pipeline, SEED + number)

    chunks = [(disparity, number) for number in range(size.pipelines) for disparity in pipeline.GAPS]
    return _sum(in_order(work, chunks, processes, "pipeline")).to_json()


def _sum(tallies: Iterable[Tally]) -> Tally:
    total = Tally()
    for tally in tallies:
        total += tally
    return total


PARTS: dict[str, Callable[[Size, int], dict[str, object]]] = {
    "coverage": run_coverage,
    "peers": run_peers,
    "primaries": run_primaries,
    "noise_cost": run_noise_cost,
    "pipeline": run_pipeline,
}
