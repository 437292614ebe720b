"""Sigma solved for a target: what a member then pays over the period is the target, from just below."""

from __future__ import annotations

import math

import pytest
from example_counts import examples
from hypothesis import given
from hypothesis import strategies as st

from privacy import Measurement, MeasurementError, Period, epsilon, parse_measurement, plan_noise, solve

SPEC = """
id: feed
purpose: Are all groups recommended equally often?
source: {topic: rec-events, member: m, time: ts}
cells: {decision: {field: r}}
windows: {base: 10s, rollups: [1m]}
reference: white
privacy: {contribution_cap: 2, rho_member_day: 0.1ROTATION}
"""


def spec(k: int | None = None, y: int | None = None, more: str = "") -> Measurement:
    """A measurement with this rotation."""
    year = "" if y is None else f", days_in_year: {y}"
    rotation = "" if k is None else f", rotation: {{days_in_30: {k}{year}}}"
    return parse_measurement(SPEC.replace("ROTATION", rotation) + more, origin="spec.yaml")


@given(
    wanted=st.floats(0.05, 15),
    delta=st.sampled_from([1e-6, 1e-9, 1e-12]),
    per=st.sampled_from(["member-day", "30-days", "year"]),
    rotation=st.sampled_from([(None, None), (5, None), (5, 20), (30, 40)]),
)
@examples(20)
def test_the_target_is_met_from_just_below(
    wanted: float, delta: float, per: Period, rotation: tuple[int | None, int | None]
) -> None:
    """The statement over the period has at most the epsilon asked for, and a hair more rho would have more."""
    try:
        solved = solve(spec(*rotation), wanted, delta, per)
    except MeasurementError:
        assert per == "member-day" and wanted > 10  # rho past 10
        return
    statement = plan_noise(solved).statement(per)
    assert statement.delta == delta
    assert statement.epsilon is not None
    assert wanted * (1 - 2e-5) <= statement.epsilon <= wanted
    assert epsilon(statement.rho * (1 + 1e-4), delta) > wanted
    assert solved.privacy.rho_member_day == float(f"{solved.privacy.rho_member_day:.6g}")


def test_everything_else_stays_as_it_is() -> None:
    """Only rho and delta change."""
    before = spec(5, 20)
    after = solve(before, 1.0, 1e-8, "year")
    changed = before.model_dump() | {"privacy": before.privacy.model_dump() | {"delta": 1e-8}}
    changed["privacy"] |= {"rho_member_day": after.privacy.rho_member_day}
    assert after.model_dump() == changed


def test_fewer_days_buy_less_noise() -> None:
    """The same epsilon a year on a twelfth of the days: noise of a day falls by the root of the days."""
    every, some = (solve(one, 4.0, 1e-9, "year") for one in (spec(), spec(5, 30)))
    noise = [plan_noise(one).level("1m").table.sigma_rows for one in (every, some)]
    assert noise[0] / noise[1] == pytest.approx(math.sqrt(365 / 30), rel=1e-4)


@pytest.mark.parametrize(("wanted", "delta"), [(60.0, 1e-9), (1e-6, 1e-9), (1.0, 0.5)])
def test_what_no_spec_may_have_is_refused(wanted: float, delta: float) -> None:
    """Too much, too little, or a delta that promises nothing."""
    with pytest.raises(MeasurementError, match="which no spec may have"):
        solve(spec(), wanted, delta)


def test_test_noise_is_not_solved() -> None:
    """Its scale is fixed: a rho would say nothing."""
    with pytest.raises(MeasurementError, match="is test_only"):
        solve(spec(more="test_only: {noise_scale_units: 0.01}"), 1.0, 1e-9)
