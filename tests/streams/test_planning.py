"""Plans of measurements: terms become rows and noise, and those become widths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from audit_examples import ROOT, primaries

from estimator import RaceModel
from privacy import ContributionCap, Measurement, parse_measurement, plan_noise
from streams.errors import InputError
from streams.planning import (
    Assumptions,
    F,
    MeasurementPlan,
    counted_share,
    mean_products,
    plan_measurement,
    products_for,
)
from streams.report import plan as report

EXAMPLE: Path = ROOT / "examples" / "simulated-feed" / "measurement.yaml"
TAKEN = Assumptions(rate=2000.0, events_per_member_day=1.0, base_rate=0.5, self_id_share=0.0, members="drawn")


@pytest.fixture(scope="module")
def spec() -> Measurement:
    """Two levels, score bins."""
    return parse_measurement(EXAMPLE.read_text(), origin="feed")


@pytest.fixture(scope="module")
def products(spec: Measurement) -> F:
    """Of a drawn population."""
    return products_for(spec, RaceModel.load(), "zcta")


@pytest.fixture(scope="module")
def plan(spec: Measurement, products: F) -> MeasurementPlan:
    """A plan at the spec's epsilon and two others."""
    return plan_measurement(spec, products, TAKEN, epsilons=(1.0, 8.0))


def test_each_level_is_planned_at_each_epsilon(plan: MeasurementPlan, spec: Measurement) -> None:
    """The spec's own epsilon is among them, marked; rows are rate times length; epsilons rise."""
    own = plan_noise(spec).statement().epsilon
    assert [(level.epsilon, level.of_spec) for level in plan.levels if level.level == "10s"] == [
        (1.0, False),
        (own, True),
        (8.0, False),
    ]
    assert {level.level: level.rows for level in plan.levels} == {"10s": 20_000.0, "1m": 120_000.0}


@pytest.mark.parametrize(
    ("rotation", "share"),
    [
        ({"days_in_30": 30}, 1.0),
        ({"days_in_30": 6}, 6 / 30),
        ({"days_in_30": 6, "days_in_year": 36}, 36 / 365),
        ({"days_in_30": 30, "days_in_year": 73}, 73 / 365),
    ],
)
def test_rotation_leaves_its_share_of_rows(
    spec: Measurement, products: F, rotation: dict[str, int], share: float
) -> None:
    """A member counts on k of 30 days, and on Y of 365: so many rows count, and the plan says why."""
    terms = spec.privacy.model_dump() | {"rotation": rotation}
    rotating = Measurement.model_validate(spec.model_dump() | {"privacy": terms})
    plan = plan_measurement(rotating, products, TAKEN, epsilons=())
    assert plan.counted_share == pytest.approx(share, rel=0.02)  # 6 in 30 are 77 of 365, not 73
    assert {level.level: level.rows for level in plan.levels}["1m"] == pytest.approx(120_000 * plan.counted_share)
    said = f"on {rotating.privacy.days_in_30} days in 30 and {rotating.privacy.days_in_year} in a year"
    assert (said in report.assumptions(plan)) == (share < 1)


def test_a_smaller_epsilon_and_a_shorter_window_say_less(plan: MeasurementPlan) -> None:
    """Widths of black members' gap fall with epsilon and with length."""
    widths = {
        (level.epsilon, level.level): next(
            e.gap_half_width for e in level.expected if (e.metric, e.group) == ("recommendation_rate", "black")
        )
        for level in plan.levels
    }
    assert all(width is not None for width in widths.values())
    for name in ("10s", "1m"):
        by_epsilon = [widths[e, n] for e, n in widths if n == name]
        assert by_epsilon == sorted(by_epsilon, reverse=True)  # type: ignore[type-var]
    assert widths[8.0, "1m"] < widths[8.0, "10s"]  # type: ignore[operator]


def test_short_levels_are_rectified_by_the_long_one(spec: Measurement, products: F) -> None:
    """The rectifier lies at the longest level only; shorter ones carry its correction."""
    shares = {"channel_shares": {"table": 0.5, "moments": 0.2, "rectifier": 0.3}}
    asking = Measurement.model_validate(spec.model_dump() | {"privacy": spec.privacy.model_dump() | shares})
    taken = Assumptions(rate=20_000.0, events_per_member_day=1.0, base_rate=0.5, self_id_share=0.2, members="drawn")
    found = {level.level: level.expected for level in plan_measurement(asking, products, taken, epsilons=()).levels}

    def width(level: str) -> float:
        one = next(
            e for e in found[level]
            if (e.metric, e.group, e.estimator) == ("recommendation_rate", "hispanic", "rectified")
        )  # fmt: skip
        assert one.half_width is not None
        return one.half_width

    assert 0 < width("1m") < width("10s")


def test_the_curve_passes_through_the_levels(plan: MeasurementPlan) -> None:
    """At a level's own length the curve has what the level has."""
    own = {level.seconds: level.expected for level in plan.levels if level.of_spec}
    assert {point.seconds: point.expected for point in plan.curve if point.seconds in own} == own


@pytest.mark.parametrize(
    ("rule", "cap", "each"), [("first", 2, 5), ("first", 3, 2), ("hours", 4, 10), ("hours", 24, 3)]
)
def test_the_counted_share_is_what_the_cap_lets_count(rule: str, cap: int, each: int) -> None:
    """Against the cap itself, over 20,000 members with ``each`` rows at random hours."""
    rng = np.random.default_rng(4)
    member = np.tile(np.arange(20_000), each)
    hours = rng.integers(24, size=member.size).astype(np.uint8)
    tags = rng.integers(1 << 63, size=20_000, dtype=np.uint64)[member]
    counts = ContributionCap(rule, cap, b"key").select(member, tags, hours)  # type: ignore[arg-type]
    assert counted_share(rule, cap, each) == pytest.approx(counts.mean(), rel=0.02)


def test_products_are_a_mean_over_members() -> None:
    """Entries sum to 1, and a row of the matrix to the group's share."""
    _, model, members, _ = primaries()
    p = members.probabilities(model)
    made = mean_products(p)
    assert made.sum() == pytest.approx(1)
    assert made.sum(axis=1) == pytest.approx(p.mean(axis=0))


def test_a_drawn_population_is_the_same_every_time(spec: Measurement, products: F) -> None:
    """The seed is fixed, and a finer place says more: M is further from what the nation's shares alone give."""
    model = RaceModel.load()
    assert np.array_equal(products_for(spec, model, "zcta"), products)
    assert np.trace(products_for(spec, model, "tract")) > np.trace(products_for(spec, model, "state"))


def test_an_impossible_epsilon_is_an_error(spec: Measurement, products: F) -> None:
    """What no spec may spend cannot be planned either."""
    with pytest.raises(InputError, match="at most rho 10"):
        plan_measurement(spec, products, TAKEN, epsilons=(1000.0,))
