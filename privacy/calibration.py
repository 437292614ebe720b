"""From a measurement's terms to its noise: rho split over levels and channels, sigma solved, costs stated.

And backwards: from what a member may pay over a day, any 30 days or any year, in (epsilon, delta), to rho_member_day.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import cast

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from privacy.accountant import Accountant, PrivacyStatement, rho_of_epsilon
from privacy.budget import counting_days
from privacy.errors import MeasurementError
from privacy.limits import Period
from privacy.measurement import Measurement
from privacy.noise import rho_of, sample, scale_for
from privacy.spend import (
    RELATIONS,
    UNITS_PER_ROW,
    Channel,
    ChannelSpend,
    CountingDays,
    Relation,
    ReleaseSpend,
    row_sensitivity,
)

_DAY_MS = 86_400_000


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
        measurement, revision: whose plan it is.
        counting: on how many days a member can count.
        levels: noise by the level's name.
        spends: by the level's name, what each of its channels costs.
        rho_member_day: what is debited, the approved sum over levels (zCDP, on replacement).
        delta: for the statement.
    """

    measurement: str
    revision: int
    counting: CountingDays
    levels: dict[str, LevelNoise]
    spends: dict[str, tuple[ChannelSpend, ...]]
    rho_member_day: float
    delta: float

    def level(self, name: str) -> LevelNoise:
        """The noise of a level, by its name; ValueError where the measurement has no such level."""
        try:
            return self.levels[name]
        except KeyError:
            raise ValueError(f"there is no level {name!r}, only {', '.join(self.levels)}") from None

    def spend(self, level: str, start_ms: int, end_ms: int) -> ReleaseSpend:
        """The event of one window's release.

        Args:
            level: its name; ValueError where the measurement has no such level.
            start_ms, end_ms: the window, epoch milliseconds.
        """
        self.level(level)
        return ReleaseSpend(
            day=start_ms // _DAY_MS,
            measurement=self.measurement,
            revision=self.revision,
            level=level,
            start_ms=start_ms,
            end_ms=end_ms,
            counting=self.counting,
            channels=self.spends[level],
        )

    def day(self, number: int = 0) -> list[ReleaseSpend]:
        """One event a level, for the UTC day of this number since 1970-01-01.

        What the day costs, since its windows have one noise and compose in parallel.
        """
        start_ms = number * _DAY_MS
        return [self.spend(level, start_ms, start_ms + _DAY_MS) for level in self.levels]

    def rho(self, relation: Relation) -> float:
        """What a member-day pays, by OpenDP's map at the scales found: no more than what is debited (zCDP)."""
        return Accountant(self.delta, self.day()).rho(relation, "member-day")

    def statement(self, period: Period = "member-day") -> PrivacyStatement:
        """What the measurement promises to each member over a period in which it is live all the time."""
        days = days_that_count(self.counting, period)
        return PrivacyStatement.of(
            period,
            rho=self.rho("replace") * days,
            rho_add_remove=self.rho("add_remove") * days,
            delta=self.delta,
        )


def days_that_count(counting: CountingDays, period: Period) -> int:
    """On at most so many days of a period a member counts."""
    return {"member-day": 1, "30-days": counting.in_30, "year": counting.in_year}[period]


def plan_noise(measurement: Measurement) -> NoisePlan:
    """Solve the noise of every channel of every level.

    Each level gets its share of ``rho_member_day``, and each of its channels its share of that; a channel's scale is
    the smallest at which OpenDP grants its rho for c rows (replacement). Both parties draw the full noise, so one
    honest party is enough.
    """
    terms = measurement.privacy
    levels: dict[str, LevelNoise] = {}
    spends: dict[str, tuple[ChannelSpend, ...]] = {}
    for level in measurement.levels:
        rho = terms.rho_member_day * measurement.level_shares[level.name]
        spends[level.name] = tuple(
            _spend(measurement, cast(Channel, channel), rho * share)
            for channel, share in measurement.channel_shares(level.name).items()
        )
        noises = {spend.channel: ChannelNoise(spend.scale_units, spend.rho["replace"]) for spend in spends[level.name]}
        levels[level.name] = LevelNoise(**noises)
    # What is debited is what was approved; OpenDP's scales are solved so that the levels together cost no more.
    return NoisePlan(
        measurement=measurement.id,
        revision=measurement.revision,
        counting=counting_days(measurement),
        levels=levels,
        spends=spends,
        rho_member_day=terms.rho_member_day,
        delta=terms.delta,
    )


def _spend(measurement: Measurement, channel: Channel, rho: float) -> ChannelSpend:
    """What a channel costs under noise that costs ``rho`` on replacement."""
    row = row_sensitivity(channel, len(measurement.group_names), self_id="rectifier" in measurement.channels)
    l2_units = {relation: row.units(relation, measurement.privacy.contribution_cap) for relation in RELATIONS}
    if measurement.test_only is not None:
        scale = measurement.test_only.noise_scale_units
    else:
        scale = scale_for(l2_units["replace"], rho)
    return ChannelSpend(
        channel=channel,
        mechanism="discrete_gaussian",
        l2_units=MappingProxyType(l2_units),
        scale_units=scale,
        rho=MappingProxyType({relation: rho_of(units, scale) for relation, units in l2_units.items()}),
    )


def solve(measurement: Measurement, epsilon: float, delta: float, per: Period = "member-day") -> Measurement:
    """The same measurement with the largest rho_member_day that meets a target.

    A member that counts on as many days of the period as its rotation allows then spends at most ``epsilon``.

    Args:
        epsilon: on replacement, above 0 and finite.
        delta: of the target, and of the result's own statements.
        per: the period of the target.

    Raises:
        MeasurementError: no measurement may spend so much or so little on a member-day, or delta is out of range.
        ValueError: epsilon or delta is no such number.
    """
    rho = rho_of_epsilon(epsilon, delta) / days_that_count(counting_days(measurement), per)
    content = measurement.model_dump()
    content["privacy"] |= {"rho_member_day": rho, "delta": delta}
    try:
        return Measurement.model_validate(content)
    except ValidationError as error:
        raise MeasurementError(
            f"epsilon {epsilon:g} at delta {delta:g} per {per} is rho {rho:.3g} a member-day for {measurement.id!r}: "
            f"{error.errors()[0]['msg']}"
        ) from None
