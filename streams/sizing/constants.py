"""What one thing of each kind costs: the constants of the model, as a bench has found them.

They lie in ``constants.json`` beside this file, with machine and date. ``bench.performance.fit`` writes it; nothing in
it is changed by hand.
"""

from __future__ import annotations

from datetime import date
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

FILE = Path(__file__).with_name("constants.json")

QUANTITIES = {
    "seal": ("events", "decodings", "rows", "batches", "punctuations", "transactions", "polls", "lots", "idle"),
    "attach": ("rows", "elements", "batches", "punctuations", "transactions", "idle"),
    "party": ("rows", "elements", "batches", "punctuations", "transactions", "windows", "values", "idle"),
    "publish": ("windows", "values", "idle"),
}
"""By role, what it has to do. A party is `a` or `b`.

events: read from Kafka. decodings: an event for one measurement of its topic. rows: that a measurement takes.
elements: ring elements, rows x columns. batches: of rows. punctuations: records of them. transactions: committed.
windows: closed, of each level. values: numbers of windows, each with its own noise. polls: that found events. lots: of
events, by poll, source partition and measurement. idle: seconds of being there.
"""


class Constants(BaseModel):
    """The file.

    Attributes:
        machine: on which they were measured. date: when. made_by: how.
        cpu: by role (``QUANTITIES``) and quantity: CPU seconds of one core, each; of idle, a second.
        base_bytes: by role, resident size of its process before there is anything to do.
        members_per_second: that one worker of attach loads at its start.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    machine: str = Field(min_length=1)
    date: date
    made_by: str = Field(min_length=1)
    cpu: dict[str, dict[str, float]]
    base_bytes: dict[str, int]
    members_per_second: float = Field(gt=0)

    @model_validator(mode="after")
    def _whole(self) -> Constants:
        if {role: set(costs) for role, costs in self.cpu.items()} != {r: set(names) for r, names in QUANTITIES.items()}:
            raise ValueError("cpu must have every role, and every quantity of it, and no other")
        if any(cost < 0 for costs in self.cpu.values() for cost in costs.values()):
            raise ValueError("no cost is negative")
        if self.base_bytes.keys() != QUANTITIES.keys() or min(self.base_bytes.values()) <= 0:
            raise ValueError("base_bytes must have every role, each above 0")
        return self


@cache
def read_constants() -> Constants:
    """Those of this version."""
    return Constants.model_validate_json(FILE.read_bytes())
