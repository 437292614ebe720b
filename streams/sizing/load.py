"""What a deployment is to carry: the question that a size answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from privacy import Measurement
from streams.settings import Settings

MOST_MEMBERS = 100_000_000_000
"""More people than have ever lived cannot be meant."""
MOST_RATE = 1e9


@dataclass(frozen=True)
class Demand:
    """One measurement and how much comes for it.

    Attributes:
        rows: that it takes, a second. events: of its source topic, a second.
    """

    measurement: Measurement
    rows: float
    events: float


@dataclass(frozen=True)
class Load:
    """What is asked.

    Attributes:
        demands: one a measurement.
        members: how many records of members attach holds.
        settings: of the deployment: how often roles commit, how long topics keep, how many copies.
    """

    demands: tuple[Demand, ...]
    members: int
    settings: Settings

    @property
    def rows(self) -> float:
        """Rows a second of all measurements."""
        return sum(demand.rows for demand in self.demands)

    @property
    def decodings(self) -> float:
        """Events that are decoded, a second: an event once for each measurement of its topic."""
        return sum(demand.events for demand in self.demands)

    @property
    def topics(self) -> dict[str, float]:
        """Events a second by source topic: those of one topic are read once, whoever takes rows of them."""
        found: dict[str, float] = {}
        for demand in self.demands:
            topic = demand.measurement.source.topic
            found[topic] = max(found.get(topic, 0.0), demand.events)
        return found

    @property
    def events(self) -> float:
        """Events a second of all topics."""
        return sum(self.topics.values())

    def committing_each(self, seconds: float) -> Load:
        """The same with another ``seal.commit_interval_seconds``."""
        seal = self.settings.seal.model_copy(update={"commit_interval_seconds": seconds})
        return Load(self.demands, self.members, self.settings.model_copy(update={"seal": seal}))

    def times(self, factor: float) -> Load:
        """The same with more or less traffic, and as many members."""
        scaled = tuple(Demand(d.measurement, factor * d.rows, factor * d.events) for d in self.demands)
        return Load(scaled, self.members, self.settings)


@dataclass(frozen=True)
class Layout:
    """How work is divided.

    Attributes:
        partitions: P, of `sealed`, `shares` and `member-attributes`. sources: partitions of each source topic.
        seal, attach: workers.
    """

    partitions: int
    sources: int
    seal: int
    attach: int


def busiest(partitions: int, workers: int) -> float:
    """The part of the work of the worker that owns the most partitions."""
    return -(-partitions // workers) / partitions


def load_of(
    measurements: Sequence[Measurement], rate: float, rows_per_event: float, members: int, settings: Settings
) -> Load:
    """The same rate for each measurement.

    Args:
        rate: rows a second that each takes.
        rows_per_event: 25 for a list of 25 candidates; below 1 where most events are of other things.
    """
    return Load(tuple(Demand(m, rate, rate / rows_per_event) for m in measurements), members, settings)
