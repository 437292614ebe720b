"""The registry's limits: what all measurements together may spend on one member."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

TOLERANCE = 1e-9
"""By how much a sum of floats may pass a limit: rho that is no one's."""

Period = Literal["member-day", "30-days", "year"]
PERIOD_DAYS: dict[Period, int] = {"member-day": 1, "30-days": 30, "year": 365}
"""Consecutive UTC days of each period that has a limit."""
PERIOD_NAMES: dict[Period, str] = {"member-day": "a UTC day", "30-days": "any 30 days", "year": "any 365 days"}
"""Each of these periods in words."""


@dataclass(frozen=True)
class Limits:
    """zCDP rho on replacement, over all measurements, levels and revisions, for one member.

    Attributes:
        rho_member_day: of one UTC day.
        rho_30_days: of any 30 consecutive UTC days. rho_year: of any 365.

    Raises:
        ValueError: a limit is not positive and finite.
    """

    rho_member_day: float
    rho_30_days: float
    rho_year: float

    def __post_init__(self) -> None:
        if not all(math.isfinite(rho) and rho > 0 for rho in (self.rho_member_day, self.rho_30_days, self.rho_year)):
            raise ValueError(f"expected positive, finite limits of rho, got {self}")

    @classmethod
    def of_day(cls, rho: float) -> Limits:
        """A limit for a day, and for longer periods what so many of such days come to: no limit of their own."""
        return cls(rho, 30 * rho, 365 * rho)

    def of(self, period: Period) -> float:
        """The limit of a period."""
        return {"member-day": self.rho_member_day, "30-days": self.rho_30_days, "year": self.rho_year}[period]
