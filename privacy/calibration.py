"""From a measurement's terms to its noise: rho split over levels and channels, sigma solved, costs stated."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from privacy.accountant import PrivacyStatement, member_day_statement
from privacy.measurement import Measurement
from privacy.noise import rho_of, sample, scale_for
from privacy.spend import RELATIONS, UNITS_PER_ROW, Channel, Spend, row_sensitivity


@dataclass(frozen=True)
class ChannelNoise:
    """One party's noise on one channel of one level.

    Attributes:
        scale_units: scale of the discrete Gaussian, fixed-point units.
        rho: what one member-day pays for it (zCDP, on replacement), by OpenDP's map at this scale.
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
    """The channels of one level; None where the level does not release one."""

    table: ChannelNoise
    rectifier: ChannelNoise | None = None
    moments: ChannelNoise | None = None

    @property
    def channels(self) -> dict[str, ChannelNoise]:
        """What the level releases, in the order of the wire."""
        named = {"table": self.table, "rectifier": self.rectifier, "moments": self.moments}
        return {name: noise for name, noise in named.items() if noise is not None}


@dataclass(frozen=True)
class NoisePlan:
    """The noise of one measurement: what one party adds, and what a member-day pays for it.

    Attributes:
        levels: noise by the level's name.
        rho_member_day: what is debited, the approved sum over levels (zCDP, on replacement).
        spends: what each channel of each level costs, on each relation.
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
    """Solve the noise of every channel of every level.

    Each level gets its share of ``rho_member_day``, and each of its channels its share of that; a channel's scale is
    the smallest at which OpenDP grants its rho for c rows (replacement). Both parties draw the full noise, so one
    honest party is enough.
    """
    terms = measurement.privacy
    levels: dict[str, LevelNoise] = {}
    spends: list[Spend] = []
    for level in measurement.levels:
        rho = terms.rho_member_day * measurement.level_shares[level.name]
        noises: dict[str, ChannelNoise] = {}
        for channel, share in measurement.channel_shares(level.name).items():
            costs = _spends(measurement, level.name, cast(Channel, channel), rho * share)
            noises[channel] = ChannelNoise(costs[0].scale_units, costs[0].rho)
            spends += costs
        levels[level.name] = LevelNoise(**noises)
    # What is debited is what was approved; OpenDP's scales are solved so that the levels together cost no more.
    return NoisePlan(levels, terms.rho_member_day, tuple(spends), terms.delta)


def _spends(measurement: Measurement, level: str, channel: Channel, rho: float) -> list[Spend]:
    """What a channel costs on each relation, replacement first, under noise that costs ``rho`` on replacement."""
    row = row_sensitivity(channel, len(measurement.group_names), self_id="rectifier" in measurement.channels)
    l2_units = {relation: row.units(relation, measurement.privacy.contribution_cap) for relation in RELATIONS}
    if measurement.test_only is not None:
        scale = measurement.test_only.noise_scale_units
    else:
        scale = scale_for(l2_units["replace"], rho)
    return [
        Spend(
            measurement=measurement.id,
            revision=measurement.revision,
            level=level,
            channel=channel,
            mechanism="discrete_gaussian",
            relation=relation,
            l2_units=units,
            scale_units=scale,
            rho=rho_of(units, scale),
        )
        for relation, units in l2_units.items()
    ]
