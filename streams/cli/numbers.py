"""Numbers as options: NaN and infinity pass every comparison that is written as a refusal, so they are refused here."""

from __future__ import annotations

import math
from typing import Any

import click

MOST_EPSILON = 100.0
"""Beyond it an epsilon is a number that would only look like a promise."""


class Finite(click.FloatRange):
    """A range of real numbers; ``nan`` and ``inf`` are in none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """As click's, and finite."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"expected a finite number, got {value}", param, ctx)
        return number


EPSILON = Finite(0, MOST_EPSILON, min_open=True)
