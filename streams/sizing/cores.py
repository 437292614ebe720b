"""CPU: what each role has to do a second, and what share of a core that takes.

    share = sum over quantities (amount a second x CPU seconds each) + idle

(``streams.sizing.constants`` lists the quantities). Work on partitions is divided among a role's workers; what a worker
does for itself, its transactions and its idling, each of them does.
"""

from __future__ import annotations

from dataclasses import dataclass

from streams.roles.channel_layout import ChannelLayout
from streams.sizing.constants import Constants
from streams.sizing.load import Layout, Load, busiest
from streams.sizing.record_bytes import released_values
from streams.sizing.traffic import Traffic

BUSIEST = 0.7
"""The share of a core that a worker may need: what is left lets it catch up after a stop, and bear a busy hour."""


@dataclass(frozen=True)
class Work:
    """What one role has to do, a second, by quantity.

    Attributes:
        divided: among the workers, by their partitions. each: that every worker does.
        share: the part of ``divided`` that the busiest worker has.
    """

    divided: dict[str, float]
    each: dict[str, float]
    workers: int
    share: float

    def busiest(self, costs: dict[str, float]) -> float:
        """Share of a core of the busiest worker, by the costs of its role."""
        return self.share * _cost(self.divided, costs) + _cost(self.each, costs)

    def all_workers(self, costs: dict[str, float]) -> float:
        """Cores of all workers together."""
        return _cost(self.divided, costs) + self.workers * _cost(self.each, costs)


def _cost(amounts: dict[str, float], costs: dict[str, float]) -> float:
    return sum(amount * costs[name] for name, amount in amounts.items())


def work_of(load: Load, layout: Layout, traffic: Traffic) -> dict[str, Work]:
    """By role: seal, attach, party (each of the two) and publish."""
    sealed = sum(traffic.batches)
    elements = sum(
        demand.rows * shape.columns + batches * shape.tail
        for demand, batches in zip(load.demands, traffic.batches, strict=True)
        for shape in (ChannelLayout.of(demand.measurement),)
    )
    values = sum(
        1000 / level.length_ms * released_values(demand.measurement, level.name)
        for demand in load.demands
        for level in demand.measurement.levels
    )
    rows = {"rows": load.rows, "batches": sealed}
    shares = rows | {"elements": elements, "punctuations": traffic.punctuations}
    windows = {"windows": traffic.windows, "values": values}
    return {
        "seal": Work(
            rows | {"events": load.events, "decodings": load.decodings},
            {"punctuations": traffic.seal * layout.partitions, "transactions": traffic.seal, "idle": 1.0},
            layout.seal,
            busiest(layout.sources, layout.seal),
        ),
        "attach": Work(
            shares,
            {"transactions": traffic.attach, "idle": 1.0},
            layout.attach,
            busiest(layout.partitions, layout.attach),
        ),
        "party": Work(shares | windows, {"transactions": traffic.party, "idle": 1.0}, 1, 1.0),
        "publish": Work(windows, {"idle": 1.0}, 1, 1.0),
    }


def shares_of(work: dict[str, Work], constants: Constants) -> dict[str, float]:
    """Share of a core of each role's busiest worker."""
    return {role: one.busiest(constants.cpu[role]) for role, one in work.items()}
