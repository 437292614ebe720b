"""Fits the constants of the model of cost (``streams.sizing``) to measurements, and says how well they predict.

A measurement says what a role had to do and the CPU seconds that it used. Costs are linear in quantities and never
negative, so they are found by non-negative least squares. Each row is divided by its CPU seconds first: a relative
error counts the same at one event a second and at a hundred thousand. How good the model is, points say that had no
part in the fit: each fifth one by default.

    .venv/bin/python -m bench.performance.fit POINTS.json [--write]

POINTS.json is a list of objects such as

    {"role": "seal", "cpu_seconds": 1.4, "events": 1000000, "decodings": 1000000, "rows": 1000000, "batches": 640,
     "punctuations": 40, "transactions": 10, "windows": 10, "values": 0, "seconds": 10}

Roles are seal, attach, party and publish; a quantity that is not named is 0, and ``seconds`` is for how long the role
was there, which its idling costs. In the list's place there may be an object that has it as ``points``, and beside it
``base_bytes`` (by role, resident size at rest) and ``members_per_second`` (that a worker of attach loads).
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from streams.sizing.constants import FILE, QUANTITIES, Constants, read_constants

Point = Mapping[str, Any]

_HELD_OUT = 5
_LEAST_POINTS = 3


@dataclass(frozen=True)
class Fit:
    """What was found for one role.

    Attributes:
        constants: CPU seconds by quantity. left_out: quantities that no point has, whose constants stay what they were.
        errors: of each point that was held out, predicted over measured less 1.
    """

    role: str
    constants: dict[str, float]
    left_out: tuple[str, ...]
    errors: tuple[float, ...]

    def __str__(self) -> str:
        told = ", ".join(f"{name} {1e6 * cost:.4g}" for name, cost in self.constants.items())
        worst = max(map(abs, self.errors), default=float("nan"))
        middle = float(np.median(np.abs(self.errors))) if self.errors else float("nan")
        return (
            f"{self.role}: microseconds of CPU each: {told}\n  held out: {len(self.errors)} points, error "
            f"{100 * middle:.1f} % in the median, {100 * worst:.1f} % at most"
            + (f"; in no point: {', '.join(self.left_out)}" if self.left_out else "")
        )


def fit_role(role: str, points: Sequence[Point], held_out: int = _HELD_OUT) -> Fit:
    """Fit one role.

    Args:
        points: of this role and perhaps of others.
        held_out: each point of this number has no part in the fit (the last of each so many).

    Raises:
        ValueError: there are too few points, or one has no CPU seconds.
    """
    own = [point for point in points if point["role"] == role]
    kept = [point for place, point in enumerate(own) if place % held_out != held_out - 1]
    tried = [point for place, point in enumerate(own) if place % held_out == held_out - 1]
    if len(kept) < _LEAST_POINTS:
        raise ValueError(f"expected at least {_LEAST_POINTS} points of {role} to fit, got {len(kept)}: measure more")
    if any(not point["cpu_seconds"] > 0 for point in own):
        raise ValueError(f"a point of {role} has no cpu_seconds: they must be above 0")
    names = [name for name in QUANTITIES[role] if any(_amount(point, name) > 0 for point in kept)]
    amounts = np.array([[_amount(point, name) / point["cpu_seconds"] for name in names] for point in kept])
    # Columns are brought to one size, or the solver would stop at a tolerance that a rare quantity never reaches.
    sizes = amounts.max(axis=0)
    solved, _ = nnls(amounts / sizes, np.ones(len(kept)))
    found = dict(zip(names, (solved / sizes).tolist(), strict=True))
    errors = tuple(
        sum(cost * _amount(point, name) for name, cost in found.items()) / point["cpu_seconds"] - 1 for point in tried
    )
    return Fit(role, found, tuple(name for name in QUANTITIES[role] if name not in names), errors)


def _amount(point: Point, name: str) -> float:
    return float(point.get("seconds" if name == "idle" else name, 0.0))


def fitted(points: Sequence[Point], known: Constants, machine: str, on: date) -> tuple[Constants, list[Fit]]:
    """The constants with what the points say in them; roles without points, and memory, stay as they are.

    Args:
        machine: in words, and ``on``: when the points were measured.
    """
    fits = [fit_role(role, points) for role in QUANTITIES if any(point["role"] == role for point in points)]
    cpu = {role: dict(costs) for role, costs in known.cpu.items()}
    for fit in fits:
        cpu[fit.role] |= fit.constants
    made = known.model_copy(update={"cpu": cpu, "machine": machine, "date": on, "made_by": "bench.performance.fit"})
    return made, fits


def main(arguments: Sequence[str]) -> None:
    """See the module's text."""
    paths = [argument for argument in arguments if not argument.startswith("--")]
    if len(paths) != 1:
        sys.exit("usage: python -m bench.performance.fit POINTS.json [--write]")
    read = json.loads(Path(paths[0]).read_text())
    given: dict[str, Any] = {"points": read} if isinstance(read, list) else read
    known = read_constants()
    beside = {
        "base_bytes": known.base_bytes | given.get("base_bytes", {}),
        "members_per_second": given.get("members_per_second", known.members_per_second),
    }
    made, fits = fitted(given["points"], known.model_copy(update=beside), machine(), date.today())
    for fit in fits:
        print(fit)
    if "--write" in arguments:
        FILE.write_text(made.model_dump_json(indent=2) + "\n")
        print(f"written to {FILE}")


def machine() -> str:
    processor = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor() or "unknown processor",
    )
    return f"{processor}, Python {platform.python_version()}"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


if __name__ == "__main__":
    main(sys.argv[1:])
