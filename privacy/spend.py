"""Privacy spend as data: what one release costs whom, in words and numbers.

Unit: one member, one UTC day, over all measurements, levels and revisions. `attach` lets at most c rows of a member-day
and measurement count, so a member's day moves any one level's tables together by at most c rows, whatever the number of
windows: within a day nothing composes over windows.

Relations (DESIGN section 5). *Replace*: a member's race probabilities are replaced by any others; the recommender knows
who took part, so this is what is budgeted. *Add or remove*: a member's day is there or not.

A row's race probabilities p lie in the simplex, so |p|_2 <= 1 and |p - p'|_2 <= sqrt 2: the L2 sensitivities of one row
of the table channel. All c rows may fall into one cell, so c of them move a table by c times as much.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Relation = Literal["replace", "add_remove"]

TABLE_L2_ROWS: dict[Relation, float] = {"replace": math.sqrt(2), "add_remove": 1.0}
"""L2 sensitivity of the table channel, in rows, for each counted row of a member-day."""


@dataclass(frozen=True)
class Spend:
    """What one level and channel of a measurement costs one member-day.

    Attributes:
        mechanism: always the discrete Gaussian.
        relation: the neighbouring relation that ``rho`` is for.
        l2_units: L2 sensitivity in fixed-point units.
        scale_units: the noise's scale (its standard deviation but for discretisation), in fixed-point units.
        rho: zCDP, by OpenDP's own map.
    """

    measurement: str
    revision: int
    level: str
    channel: Literal["table"]
    mechanism: Literal["discrete_gaussian"]
    relation: Relation
    l2_units: float
    scale_units: float
    rho: float
