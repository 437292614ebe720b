"""Noise and cost of the channels: each at its own sensitivity, all together exactly what was approved."""

from __future__ import annotations

import math

import pytest
from example_counts import examples
from hypothesis import given
from hypothesis import strategies as st

from privacy import Measurement, parse_measurement, plan_noise
from privacy.spend import UNITS_PER_ROW, Channel, Relation, row_sensitivity

SPEC = """
id: feed
purpose: Are all groups recommended equally often?
source: {topic: rec-events, member: m, time: ts}
cells: {decision: {field: r}}
windows: {base: 10s, rollups: [1m]}
reference: white
privacy: {contribution_cap: CAP, rho_member_day: RHO, channel_shares: SHARES}
"""
ALL = "{table: 0.5, moments: 0.1, rectifier: 0.4}"


def spec(shares: str, *, cap: int = 2, rho: float = 0.1, more: str = "") -> Measurement:
    """A measurement with these channels."""
    text = SPEC.replace("CAP", str(cap)).replace("RHO", repr(rho)).replace("SHARES", shares)
    return parse_measurement(text + more, origin="spec.yaml")


@given(cap=st.integers(1, 24), rho=st.floats(1e-3, 5.0), table=st.floats(0.05, 0.8), part=st.floats(0.05, 0.95))
@examples(15)
def test_levels_and_channels_spend_what_was_approved(cap: int, rho: float, table: float, part: float) -> None:
    """Whatever the shares, the sum over levels and channels is the approved rho, from just below."""
    moments = (1 - table) * part
    shares = f"{{table: {table!r}, moments: {moments!r}, rectifier: {1 - table - moments!r}}}"
    plan = plan_noise(spec(shares, cap=cap, rho=rho))
    assert rho * (1 - 1e-6) <= plan.rho("replace") <= rho * (1 + 1e-12)
    assert plan.rho_member_day == rho


def test_a_channel_has_the_noise_of_its_sensitivity_and_share() -> None:
    """Sigma = c l2 / sqrt(2 rho) rows for each channel, with the rectifier at the longest level only."""
    plan = plan_noise(spec(ALL))
    assert list(plan.level("10s").channels) == ["table", "moments"]
    assert list(plan.level("1m").channels) == ["table", "rectifier", "moments"]
    short, long = plan.level("10s").channels, plan.level("1m").channels
    expected = {
        ("10s", "table"): (math.sqrt(2), 0.05 * 5 / 6),
        ("10s", "moments"): (math.sqrt(3.5), 0.05 / 6),
        ("1m", "table"): (math.sqrt(2), 0.05 * 0.5),
        ("1m", "rectifier"): (2 * math.sqrt(2), 0.05 * 0.4),
        ("1m", "moments"): (math.sqrt(3.5), 0.05 * 0.1),
    }
    for (level, name), (l2_rows, rho) in expected.items():
        noise = (short if level == "10s" else long)[name]
        assert noise.sigma_rows == pytest.approx(2 * l2_rows / math.sqrt(2 * rho), rel=1e-5)
        assert noise.rho == pytest.approx(rho, rel=1e-6)


def test_both_relations_are_told_for_every_channel() -> None:
    """Adding or removing costs half of replacing for a table, a quarter for a rectifier, as much for moments."""
    plan = plan_noise(spec(ALL))
    assert [spend.channel for spend in plan.spend("10s", 0, 10_000).channels] == ["table", "moments"]
    spends = {spend.channel: spend for spend in plan.spend("1m", 0, 60_000).channels}
    assert len(spends) == 3
    for channel, ratio in (("table", 0.5), ("rectifier", 0.25), ("moments", 1.0)):
        rho = spends[channel].rho  # type: ignore[index]  # as they are named
        assert rho["add_remove"] / rho["replace"] == pytest.approx(ratio, rel=1e-5)


CLAIMS: list[tuple[Channel, bool, Relation, float]] = [
    ("table", False, "replace", math.sqrt(2)),
    ("table", False, "add_remove", 1.0),
    ("rectifier", True, "replace", 2 * math.sqrt(2)),
    ("rectifier", True, "add_remove", math.sqrt(2)),
    ("moments", False, "replace", math.sqrt(2)),
    ("moments", False, "add_remove", math.sqrt(2)),
    ("moments", True, "replace", math.sqrt(3.5)),
    ("moments", True, "add_remove", math.sqrt(3.5)),
]


@pytest.mark.parametrize(("channel", "self_id", "relation", "rows"), CLAIMS)
@pytest.mark.parametrize("cap", [1, 24])
def test_the_sensitivities_are_those_of_the_design(
    channel: Channel, self_id: bool, relation: Relation, rows: float, cap: int
) -> None:
    """DESIGN section 5, in whole units and times c, and half a row squared more in the moments for the proxy's misses.

    Only moments, which are rounded, have some units more.
    """
    units = row_sensitivity(channel, 6, self_id=self_id).units(relation, cap)
    slack = cap * math.sqrt(21 + 6 + 1) if channel == "moments" else 0.0
    assert units == math.ceil(cap * rows * UNITS_PER_ROW + slack)
    assert units == pytest.approx(cap * rows * UNITS_PER_ROW, rel=1e-5)


def test_test_noise_is_the_noise_of_all_channels() -> None:
    """A test_only measurement has its scale in every channel, and promises nothing."""
    plan = plan_noise(spec(ALL, more="test_only: {noise_scale_units: 0.01}"))
    assert {noise.scale_units for level in plan.levels.values() for noise in level.channels.values()} == {0.01}
    assert plan.statement().epsilon is None
