"""The size of a deployment: the fewest partitions and workers that carry a load, and what they take.

P is the least of 1, 2, 4 ... 64 with which some number of attach's workers, at most P, has room: the busiest below 70 %
of a core, and its members loaded within five minutes of a start. The size is for that many, or for
``topics.partitions`` where those are more. Seal divides by the source's partitions and has as
many workers as keep the busiest below 70 %. The parties and publish are one worker each, whatever the load: from what
rate on one party is too little is part of the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from streams.errors import InputError
from streams.sizing.constants import Constants, read_constants
from streams.sizing.cores import BUSIEST, shares_of, work_of
from streams.sizing.load import MOST_MEMBERS, MOST_RATE, Layout, Load, busiest
from streams.sizing.memory import memory_of
from streams.sizing.topics import TopicSize, topics_of
from streams.sizing.traffic import Traffic, traffic_of

START_SECONDS = 300.0
"""Within which a worker of attach should have loaded its members."""
MOST_PARTITIONS = 64
MOST_WORKERS = 1024
"""What a layout may name (``streams.records.layout``)."""
_POWERS = tuple(1 << power for power in range(MOST_PARTITIONS.bit_length()))
_FAR = 1e12


@dataclass(frozen=True)
class RoleSize:
    """One role.

    Attributes:
        workers: how many. cores: that all of them use. busiest: what the busiest has to do, of what one core can.
        memory: of the busiest, in parts, bytes.
    """

    role: str
    workers: int
    cores: float
    busiest: float
    memory: dict[str, float]

    @property
    def bytes(self) -> float:
        """Of the busiest worker."""
        return sum(self.memory.values())


@dataclass(frozen=True)
class Size:
    """The answer.

    Attributes:
        roles: seal, attach, a, b, publish.
        least_partitions: the fewest that would do; 0 where none of up to 64 does.
        start_seconds: until a worker of attach has loaded its members.
        party_limit: rows a second from which a party needs more than 70 % of a core; infinite where none does.
        fits: whether every role can do its work, with this many partitions.
    """

    load: Load
    layout: Layout
    traffic: Traffic
    roles: tuple[RoleSize, ...]
    topics: tuple[TopicSize, ...]
    least_partitions: int
    start_seconds: float
    party_limit: float
    constants: Constants

    @property
    def fits(self) -> bool:
        return all(role.busiest <= BUSIEST for role in self.roles)

    def role(self, name: str) -> RoleSize:
        """One of ``roles``."""
        return next(role for role in self.roles if role.role == name)

    @property
    def cores(self) -> float:
        """Of all roles."""
        return sum(role.cores for role in self.roles)

    @property
    def memory(self) -> float:
        """Bytes of all workers of all roles."""
        return sum(role.workers * role.bytes for role in self.roles)

    @property
    def written(self) -> float:
        """Bytes a second that the roles write, of one copy."""
        return sum(topic.written for topic in self.topics)

    @property
    def read(self) -> float:
        """Bytes a second that the roles read, source topics apart."""
        return sum(topic.written * topic.readers for topic in self.topics)


def size_of(
    load: Load, partitions: int | None = None, sources: int | None = None, constants: Constants | None = None
) -> Size:
    """Find the size.

    Args:
        partitions: P, where it is fixed already: no other is tried.
        sources: partitions of each source topic, where they are known; else as many as P, or more if seal's workers
            need them.
        constants: those of this version by default.

    Raises:
        InputError: the load is none that there can be.
    """
    if not 0 < load.members <= MOST_MEMBERS:
        raise InputError(f"expected from 1 to {MOST_MEMBERS:,} members, got {load.members:,}")
    if not 0 < load.rows <= MOST_RATE * len(load.demands) or load.events > MOST_RATE * len(load.demands):
        raise InputError(f"expected up to {MOST_RATE:,.0f} rows and events a second of each measurement")
    known = read_constants() if constants is None else constants
    least = _first(load, _POWERS, sources, known)
    usual = load.settings.topics.partitions
    tried = (partitions,) if partitions is not None else (usual, *(count for count in _POWERS if count > usual))
    layout = _first(load, tried, sources, known) or _largest(load, tried[-1], sources, known)
    return _sized(load, layout, 0 if least is None else least.partitions, known)


def _sized(load: Load, layout: Layout, least: int, constants: Constants) -> Size:
    traffic = traffic_of(load, layout)
    work, memory = work_of(load, layout, traffic, constants), memory_of(load, layout, traffic, constants)

    def one(name: str, role: str) -> RoleSize:
        costs, found = constants.cpu[role], work[role]
        return RoleSize(name, found.workers, found.all_workers(costs), found.busiest(costs), memory[role])

    names = ("seal", "seal"), ("attach", "attach"), ("a", "party"), ("b", "party"), ("publish", "publish")
    return Size(
        load=load,
        layout=layout,
        traffic=traffic,
        roles=tuple(one(name, role) for name, role in names),
        topics=tuple(topics_of(load, layout, traffic)),
        least_partitions=least,
        start_seconds=_start_seconds(load, layout, constants),
        party_limit=party_limit(load, layout, constants),
        constants=constants,
    )


def _start_seconds(load: Load, layout: Layout, constants: Constants) -> float:
    return load.members * busiest(layout.partitions, layout.attach) / constants.members_per_second


# -- the search -------------------------------------------------------------------------------------------------------


def _first(load: Load, partitions: Sequence[int], sources: int | None, constants: Constants) -> Layout | None:
    """The layout with the fewest of these partitions, and then the fewest workers, in which attach has room."""
    for count in partitions:
        seal, divided = seal_workers(load, count, sources, constants)
        for attach in _useful(count):
            layout = Layout(count, divided, seal, attach)
            share = _shares(load, layout, constants)["attach"]
            if share <= BUSIEST and _start_seconds(load, layout, constants) <= START_SECONDS:
                return layout
    return None


def _largest(load: Load, partitions: int, sources: int | None, constants: Constants) -> Layout:
    """The layout with a worker of attach for each partition: where nothing is enough, the most that there can be."""
    seal, divided = seal_workers(load, partitions, sources, constants)
    return Layout(partitions, divided, seal, partitions)


def _useful(partitions: int) -> list[int]:
    """Numbers of workers, rising: one more that takes nothing off the busiest is none."""
    counts = range(1, min(partitions, MOST_WORKERS) + 1)
    return [n for n in counts if n == 1 or busiest(partitions, n) < busiest(partitions, n - 1)]


def seal_workers(load: Load, partitions: int, sources: int | None, constants: Constants) -> tuple[int, int]:
    """Workers of seal, and partitions of each source topic: the fewest below 70 %, or else the most there can be."""
    divided = partitions if sources is None else sources
    while True:
        for workers in _useful(divided):
            if _shares(load, Layout(partitions, divided, workers, 1), constants)["seal"] <= BUSIEST:
                return workers, divided
        if sources is not None or divided >= MOST_WORKERS:
            return _useful(divided)[-1], divided
        divided *= 2


def _shares(load: Load, layout: Layout, constants: Constants) -> dict[str, float]:
    return shares_of(work_of(load, layout, traffic_of(load, layout), constants), constants)


def party_limit(load: Load, layout: Layout, constants: Constants) -> float:
    """Rows a second, of all measurements in the same proportion, from which one party has too much to do.

    The layout is the load's own, but for workers of seal: each brings punctuation of its own.
    """

    def share(factor: float) -> float:
        more = load.times(factor)
        workers, sources = seal_workers(more, layout.partitions, layout.sources, constants)
        return _shares(more, Layout(layout.partitions, sources, workers, layout.attach), constants)["party"]

    low, high = 0.0, _FAR / load.rows
    if share(high) <= BUSIEST:
        return float("inf")
    if share(1e-6 / load.rows) > BUSIEST:
        return 0.0
    for _ in range(60):
        middle = (low * high) ** 0.5 if low else high / 1e3
        low, high = (middle, high) if share(middle) <= BUSIEST else (low, middle)
    return low * load.rows
