"""Numbers as options: NaN and infinity pass every comparison that is written as a refusal, so they are refused here."""

from __future__ import annotations

import math
import re
from pathlib import Path
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

_WHOLE = re.compile(r"[+-]?[0-9][0-9_,]*(\.[0-9]+)?(e\+?[0-9]+)?", re.IGNORECASE)


class FileOrCount(click.Path):
    """A path, or how many: ``5000000``, ``5_000_000``, ``5,000,000`` or ``5e6``. A file of such a name is ``./5e6``."""

    name = "file or number"

    def __init__(self, most: int) -> None:
        super().__init__(path_type=Path, dir_okay=False)
        self._most = most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """An int, or a Path."""
        if not isinstance(value, str) or not _WHOLE.fullmatch(value):
            return super().convert(value, param, ctx)
        number = float(value.replace("_", "").replace(",", ""))
        if number != number // 1 or not 1 <= number <= self._most:
            self.fail(f"expected a whole number from 1 to {self._most:,}, or a file, got {value}", param, ctx)
        return int(number)
