"""CPU: what each role has to do a second, and what share of a core that takes.

    share = sum over quantities (amount a second x CPU seconds each) + idle

(``streams.sizing.constants`` lists the quantities). Work on partitions is divided among a role's workers; what a worker
does for itself, its transactions and its idling, each of them does.

Seal has costs that give way. It takes what there is, a hundred times a second, so with few events it reads lots of a
few, and each poll and each lot costs something. With more to do it polls more rarely and reads larger lots: so both are
part of the cores that a worker uses, and no part of what it can do at most.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from streams.roles.channel_layout import ChannelLayout
from streams.sizing.constants import Constants
from streams.sizing.load import Layout, Load, busiest
from streams.sizing.record_bytes import released_values
from streams.sizing.traffic import Traffic

BUSIEST = 0.7
"""The share of a core that a worker may need: what is left lets it catch up after a stop, and bear a busy hour."""

_POLL_SECONDS = 0.05
"""The shard loop waits so long for records (``streams.kafka.shard``)."""
_LEAST_POLLS = 0.1  # of a worker that cannot keep up
_ROUNDS = 30


@dataclass(frozen=True)
class Work:
    """What one role has to do, a second, by quantity.

    Attributes:
        divided: among the workers, by their partitions. each: that every worker does.
        share: the part of ``divided`` that the busiest worker has.
        gives_way: that every worker does with what is left of its core, a second, by quantity.
    """

    divided: dict[str, float]
    each: dict[str, float]
    workers: int
    share: float
    gives_way: dict[str, float] = field(default_factory=dict)

    def busiest(self, costs: dict[str, float]) -> float:
        """What the busiest worker has to do, of what one core can, by the costs of its role."""
        return self.share * _cost(self.divided, costs) + _cost(self.each, costs)

    def all_workers(self, costs: dict[str, float]) -> float:
        """Cores that all workers together use."""
        each = _cost(self.each, costs) + _cost(self.gives_way, costs)
        return _cost(self.divided, costs) + self.workers * each


def _cost(amounts: dict[str, float], costs: dict[str, float]) -> float:
    return sum(amount * costs[name] for name, amount in amounts.items())


def reading(load: Load, layout: Layout, busy: float, costs: dict[str, float]) -> dict[str, float]:
    """Polls that find events, and the lots that they find, a second, of one worker of seal.

    Args:
        busy: the share of its core that it needs for all else.
    """
    partitions = layout.sources * len(load.topics)
    owned = partitions / layout.seal
    each = load.events / partitions
    polls, lots_a_poll = 1 / _POLL_SECONDS, owned * len(load.demands) / len(load.topics)
    found = lots = 0.0
    for _ in range(_ROUNDS):
        # What is left of a core goes into waiting for records, and into reading those that came meanwhile.
        found, lots = -math.expm1(-owned * each / polls), lots_a_poll * -math.expm1(-each / polls)
        polls = max(_LEAST_POLLS, (1 - busy) / (_POLL_SECONDS + found * costs["polls"] + lots * costs["lots"]))
    return {"polls": polls * found, "lots": polls * lots}


def work_of(load: Load, layout: Layout, traffic: Traffic, constants: Constants) -> dict[str, Work]:
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
    seal = Work(
        rows | {"events": load.events, "decodings": load.decodings},
        {"punctuations": traffic.seal * layout.partitions, "transactions": traffic.seal, "idle": 1.0},
        layout.seal,
        busiest(layout.sources, layout.seal),
    )
    costs = constants.cpu["seal"]
    lots = reading(load, layout, seal.all_workers(costs) / layout.seal, costs)
    return {
        "seal": replace(seal, gives_way=lots),
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
    """What each role's busiest worker has to do, of what one core can."""
    return {role: one.busiest(constants.cpu[role]) for role, one in work.items()}
