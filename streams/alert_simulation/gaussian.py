"""Gaussian gaps: the world in which the promise is made, and worlds that bend one assumption by a known amount."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from estimator.detection import Gaps
from estimator.intervals import critical_value

F = NDArray[np.float64]
B = NDArray[np.bool_]

SIGMA = 0.01
"""Standard deviation of a window's gap: everything is in units of it, so any small number does."""

CONFIDENCE = 0.95


@dataclass(frozen=True)
class GaussianWorld:
    """Gaps that are Gaussian about a true gap, the same in every window.

    Attributes:
        text: what it is. promised: whether it is a world in which the promise is made.
        tolerated: tau, ratio: one, or one for each detector. detectors: how many gaps there are.
        beyond: by how many sigma every true gap lies beyond tau; None for a true gap of 0.
        pool: standard deviation, in sigma, of what a pool of members deviates by: drawn for each run and detector, the
            same in all its windows.
        correlation: of the gaps of a window: of a half where groups of one size share a reference of that size.
        degrees: each window's variance is estimated, as from so many degrees of freedom; None where it is known.
        width: of intervals, of what it should be.
    """

    text: str
    promised: bool = True
    tolerated: float | tuple[float, ...] = SIGMA
    detectors: int = 1
    beyond: float | None = 0.0
    pool: float = 0.0
    correlation: float = 0.0
    degrees: int | None = None
    width: float = 1.0

    def begin(self, rng: np.random.Generator, runs: int) -> _Stream:
        """Begin that many runs."""
        true = 0.0 if self.beyond is None else np.asarray(self.tolerated) + self.beyond * SIGMA
        pool = self.pool * SIGMA * rng.standard_normal((runs, self.detectors)) if self.pool else 0.0
        return _Stream(self, rng, np.zeros((runs, self.detectors)) + true + pool)


@dataclass(eq=False)
class _Stream:
    world: GaussianWorld
    rng: np.random.Generator
    means: F
    z: float = field(default=critical_value(CONFIDENCE))

    def windows(self) -> Gaps:
        world, shape = self.world, self.means.shape
        errors = self.rng.standard_normal(shape)
        if world.correlation:
            shared = self.rng.standard_normal((shape[0], 1))
            errors = np.sqrt(1 - world.correlation) * errors + np.sqrt(world.correlation) * shared
        estimate = self.means + SIGMA * errors
        half: F | float = self.z * SIGMA * world.width
        if world.degrees is not None:
            half = half * np.sqrt(self.rng.chisquare(world.degrees, shape) / world.degrees)
        return Gaps(estimate, estimate - half, estimate + half, CONFIDENCE)

    def keep(self, going: B) -> None:
        self.means = self.means[going]
