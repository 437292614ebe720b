"""Planning a measurement before anyone asks for approval: what it will be able to say, for which epsilon.

The estimators' side is ``estimator.plan``. Here a measurement's terms become its inputs: how many rows count a second
(rate, cap, rule, rotation), who the members are, and the noise that each level has at each epsilon.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from estimator import Correction, GroupModel, NoiseVariance, Population, RaceModel
from estimator.plan import Expected, Plan
from privacy import PERIOD_DAYS, Measurement, NoisePlan, plan_noise
from streams.audit import require_groups, spending
from streams.cell_layout import layout_of
from streams.errors import InputError

F = NDArray[np.float64]

EPSILONS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""The grid around the spec's own epsilon."""
PLACES = ("zcta", "tract", "county", "state")
"""What may be known of where a drawn population lives."""

CURVE_SECONDS = (10, 30, 60, 300, 900, 3600, 4 * 3600, 86_400)
"""Window lengths of the plot."""

_POPULATION = 100_000
_HOURS = 24


@dataclass(frozen=True)
class Assumptions:
    """What is taken for granted.

    Attributes:
        rate: rows a second that the measurement takes from events, in the mean over a day.
        events_per_member_day: rows of a member who has any on that day, the same for everyone, spread over the day.
        base_rate: of decision and outcome. self_id_share: of rows whose member said a group.
        members: who the members are, in words.
    """

    rate: float
    events_per_member_day: float
    base_rate: float
    self_id_share: float
    members: str


@dataclass(frozen=True)
class PlannedLevel:
    """One level at one epsilon.

    Attributes:
        epsilon: of a member-day, on replacement; None where the noise protects nobody (``test_only``).
        of_spec: whether that is the spec's own. rows: expected rows that count in a window.
        expected: by statistic, group and estimator.
    """

    epsilon: float | None
    of_spec: bool
    level: str
    seconds: float
    rows: float
    expected: tuple[Expected, ...]


@dataclass(frozen=True)
class MeasurementPlan:
    """The result: the levels of the spec at each epsilon, and widths by window length at the spec's own.

    Attributes:
        counted_share: of rows that count, under cap and rotation.
    """

    measurement: Measurement
    confidence: float
    assumptions: Assumptions
    counted_share: float
    levels: tuple[PlannedLevel, ...]
    curve: tuple[PlannedLevel, ...]


def counted_share(rule: str, cap: int, events_per_member_day: float) -> float:
    """The part of rows that the contribution cap lets count.

    ``first``: c of a member's e rows. ``hours``: one in each of c of 24 hours, if there is one:
    c (1 - (23 / 24)^e) of e.
    """
    e = events_per_member_day
    counted = min(cap, e) if rule == "first" else cap * (1 - (1 - 1 / _HOURS) ** e)
    return min(counted / e, 1.0)


def days_share(measurement: Measurement) -> float:
    """The part of days on which a member counts: what rotation and the cap for a year leave."""
    terms = measurement.privacy
    return min(terms.days_in_30 / PERIOD_DAYS["30-days"], terms.days_in_year / PERIOD_DAYS["year"])


def population_products(model: GroupModel, place: str) -> F:
    """The mean of p p' over adults of the United States, drawn with a fixed seed: shape (k, k).

    Args:
        place: what is known of where they live: tract, zcta, county or state.
    """
    drawn = "county" if place == "state" else place
    people = Population(level=drawn).draw(np.random.default_rng(2022), _POPULATION)  # type: ignore[arg-type]
    known = {"family_name": people.surname, "given_name": people.given_name, place: getattr(people, place)}
    columns = {name: known[name].tolist() if name in known else [None] * _POPULATION for name in model.attributes}
    return mean_products(model.posterior_of_codes(model.encode(columns)))


def mean_products(probabilities: F) -> F:
    """The mean of p p': shape (k, k), entries sum to 1."""
    products = probabilities.T @ probabilities / probabilities.shape[0]
    return np.asarray(products / products.sum())


def plan_measurement(
    measurement: Measurement,
    products: F,
    assumptions: Assumptions,
    *,
    epsilons: Sequence[float] = EPSILONS,
    confidence: float = 0.95,
) -> MeasurementPlan:
    """Plan a measurement.

    Args:
        products: the mean of p p' over rows, shape (k, k).
        epsilons: beside the spec's own; those that no measurement may spend raise InputError.
    """
    terms = measurement.privacy
    share = counted_share(terms.cap_rule, terms.contribution_cap, assumptions.events_per_member_day)
    share *= days_share(measurement)
    plan = Plan(
        cells=layout_of(measurement),
        products=products,
        groups=measurement.group_names,
        reference=measurement.reference,
        base_rate=assumptions.base_rate,
        self_id_share=assumptions.self_id_share,
        confidence=confidence,
    )
    own = plan_noise(measurement)
    planner = _Planner(measurement, plan, share * assumptions.rate)
    variants = [(own.statement().epsilon, True, own)]
    variants += [(epsilon, False, plan_noise(spending(measurement, epsilon))) for epsilon in epsilons]
    variants.sort(key=lambda variant: (variant[0] is None, variant[0] or 0.0))
    levels = [level for variant in variants for level in planner.levels(*variant)]
    return MeasurementPlan(measurement, confidence, assumptions, share, tuple(levels), tuple(planner.curve(own)))


@dataclass(frozen=True)
class _Planner:
    measurement: Measurement
    plan: Plan
    rows_a_second: float

    def levels(self, epsilon: float | None, of_spec: bool, noises: NoisePlan) -> list[PlannedLevel]:
        """The levels of the spec, the base first; the longest one is worked out first, for its correction."""
        planned: list[PlannedLevel] = []
        correction: Correction | None = None
        for level in reversed(self.measurement.levels):
            seconds = level.length_ms / 1000
            expected, learned = self._window(noises, level.name, seconds, correction)
            correction = correction or learned
            rows = seconds * self.rows_a_second
            planned.append(PlannedLevel(epsilon, of_spec, level.name, seconds, rows, expected))
        return planned[::-1]

    def curve(self, noises: NoisePlan) -> list[PlannedLevel]:
        """Other lengths, each with the noise of the level of the spec that is next in length."""
        lengths = sorted({*map(float, CURVE_SECONDS), *(level.length_ms / 1000 for level in self.measurement.levels)})
        epsilon = noises.statement().epsilon
        longest = self.measurement.levels[-1]
        _, correction = self._window(noises, longest.name, longest.length_ms / 1000, None)
        planned = []
        for seconds in lengths:
            nearest = min(self.measurement.levels, key=lambda lv: abs(np.log(lv.length_ms / 1000 / seconds)))
            expected, _ = self._window(noises, nearest.name, seconds, None if nearest == longest else correction)
            rows = seconds * self.rows_a_second
            planned.append(PlannedLevel(epsilon, True, nearest.name, seconds, rows, expected))
        return planned

    def _window(
        self, noises: NoisePlan, level: str, seconds: float, correction: Correction | None
    ) -> tuple[tuple[Expected, ...], Correction | None]:
        channels = noises.level(level).channels
        noise = NoiseVariance(**{name: channel.published_sigma_rows**2 for name, channel in channels.items()})
        found = self.plan.window(
            seconds * self.rows_a_second,
            noise,
            moments="moments" in channels,
            rectifier="rectifier" in channels,
            correction=correction,
            rows_per_member=self.measurement.rows_per_member(level),  # as `publish` takes it
        )
        return tuple(self.plan.expected(found)), found.correction


def products_for(measurement: Measurement, model: GroupModel, place: str) -> F:
    """M / n of a drawn population; refuses a model that is not about the Census's groups."""
    require_groups(measurement, model)
    if not isinstance(model, RaceModel):
        raise InputError("a population can be drawn for the race model only; name the company's own with --members")
    return population_products(model, place)
