"""From a measurement's terms to its noise: rho split over levels and channels, sigma solved, costs stated."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from privacy.accountant import PrivacyStatement, member_day_statement
from privacy.measurement import Measurement
from privacy.noise import UNITS_PER_ROW, rho_of, sample, scale_for, sensitivity_units
from privacy.spend import TABLE_L2_ROWS, Relation, Spend


@dataclass(frozen=True)
class ChannelNoise:
    """One party's noise on one level's table.

    Attributes:
        scale_units: scale of the discrete Gaussian, fixed-point units.
        rho: what one member-day pays for this level (zCDP, on replacement), by OpenDP's map at this scale.
    """

    scale_units: float
    rho: float

    @property
    def sigma_rows(self) -> float:
        """Standard deviation of one party's noise on one entry, rows."""
        return self.scale_units / UNITS_PER_ROW

    @property
    def published_sigma_rows(self) -> float:
        """Standard deviation of both parties' noise together, rows; each adds the full noise."""
        return math.sqrt(2) * self.sigma_rows

    def sample(self, size: int) -> NDArray[np.int64]:
        """One party's noise: shape (size,), int64, fixed-point units."""
        return sample(size, self.scale_units)


@dataclass(frozen=True)
class LevelNoise:
    """The channels of one level."""

    table: ChannelNoise


@dataclass(frozen=True)
class NoisePlan:
    """The noise of one measurement: what one party adds, and what a member-day pays for it.

    Attributes:
        levels: noise by the level's name.
        rho_member_day: what is debited, the approved sum over levels (zCDP, on replacement).
        spends: what each level costs, on each relation.
        delta: for the statement.
    """

    levels: dict[str, LevelNoise]
    rho_member_day: float
    spends: tuple[Spend, ...]
    delta: float

    def level(self, name: str) -> LevelNoise:
        """The noise of a level, by its name; ValueError where the measurement has no such level."""
        try:
            return self.levels[name]
        except KeyError:
            raise ValueError(f"there is no level {name!r}, only {', '.join(self.levels)}") from None

    def statement(self) -> PrivacyStatement:
        """What the measurement promises to each member for a day."""
        return member_day_statement(self.spends, self.delta)


def plan_noise(measurement: Measurement) -> NoisePlan:
    """Solve the noise of every level.

    Each level gets its share of ``rho_member_day``; its scale is the smallest at which OpenDP grants that rho for c
    rows of sqrt 2 each (replacement). Both parties draw the full noise, so one honest party is enough.
    """
    terms = measurement.privacy
    levels: dict[str, LevelNoise] = {}
    spends: list[Spend] = []
    for level in measurement.levels:
        l2_rows: dict[Relation, float] = {
            relation: terms.contribution_cap * row for relation, row in TABLE_L2_ROWS.items()
        }
        if measurement.test_only is not None:
            scale = measurement.test_only.noise_scale_units
        else:
            scale = scale_for(l2_rows["replace"], terms.rho_member_day * measurement.level_shares[level.name])
        spends += [
            Spend(
                measurement=measurement.id,
                revision=measurement.revision,
                level=level.name,
                channel="table",
                mechanism="discrete_gaussian",
                relation=relation,
                l2_units=sensitivity_units(rows),
                scale_units=scale,
                rho=rho_of(rows, scale),
            )
            for relation, rows in l2_rows.items()
        ]
        levels[level.name] = LevelNoise(ChannelNoise(scale, rho_of(l2_rows["replace"], scale)))
    # What is debited is what was approved; OpenDP's scales are solved so that the levels together cost no more.
    return NoisePlan(levels, terms.rho_member_day, tuple(spends), terms.delta)
