"""Noise and its price: scale, standard deviation, zero input, costs, and the promise in words."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np
import pytest
from example_counts import examples
from hypothesis import given
from hypothesis import strategies as st

import privacy.noise as noise
from privacy import Measurement, epsilon, parse_measurement, plan_noise
from privacy.spend import UNITS_PER_ROW, row_sensitivity

SPEC = """
id: feed
purpose: Are all groups recommended equally often?
source: {topic: rec-events, member: m, time: ts}
cells: {decision: {field: r}, outcome: {field: o}}
windows: WINDOWS
reference: white
privacy: PRIVACY
"""


def spec(privacy: str, windows: str = "{base: 10s, rollups: [1m]}", more: str = "") -> Measurement:
    """A measurement with these windows and privacy terms."""
    return parse_measurement(SPEC.replace("WINDOWS", windows).replace("PRIVACY", privacy) + more, origin="spec.yaml")


TABLE = "channel_shares: {table: 1.0}"
DEMO = spec(f"{{contribution_cap: 2, rho_member_day: 0.1, level_shares: {{10s: 0.5, 1m: 0.5}}, {TABLE}}}")


def test_the_demo_has_the_noise_that_was_simulated() -> None:
    """c 2, rho .1 in two halves: 12.6 rows on a published entry, epsilon 2.7 at 1e-9 (replacement)."""
    plan = plan_noise(DEMO)
    for level in ("10s", "1m"):
        assert plan.level(level).table.published_sigma_rows == pytest.approx(12.649, abs=0.001)
    statement = plan.statement()
    assert statement.epsilon == pytest.approx(2.715, abs=0.001)
    assert (statement.relation, statement.period, statement.delta) == ("replace", "member-day", 1e-9)
    assert statement.unit == "one member's rows of one UTC day"


def test_the_first_real_log_costs_what_it_says() -> None:
    """c 1, rho .5 on one level: epsilon 5.2 at 1e-6 (replacement), 2 rows of noise an entry."""
    plan = plan_noise(spec(f"{{contribution_cap: 1, rho_member_day: 0.5, delta: 1.0e-6, {TABLE}}}", "{base: 1m}"))
    assert plan.statement().epsilon == pytest.approx(5.22, abs=0.01)
    assert plan.level("1m").table.published_sigma_rows == pytest.approx(2.0, abs=0.001)


def test_a_year_of_small_days_is_not_small() -> None:
    """Days compose: rho .01 a day is epsilon 20 over a year, as the design warns."""
    assert epsilon(365 * 0.01, 1e-9) == pytest.approx(20.2, abs=0.1)


@given(cap=st.integers(1, 24), rho=st.floats(1e-4, 5.0), share=st.floats(0.05, 0.95))
@examples(40)
def test_scales_follow_the_closed_form_and_never_overspend(cap: int, rho: float, share: float) -> None:
    """Per level sigma = c sqrt 2 / sqrt(2 rho_level), the cost is just below the grant, and so is the sum."""
    plan = plan_noise(
        spec(
            f"{{contribution_cap: {cap}, rho_member_day: {rho!r}, {TABLE}, "
            f"level_shares: {{10s: {share!r}, 1m: {1 - share!r}}}}}"
        )
    )
    for name, part in (("10s", share), ("1m", 1 - share)):
        table = plan.level(name).table
        assert table.sigma_rows == pytest.approx(cap / math.sqrt(rho * part), rel=1e-6)
        assert rho * part * (1 - 1e-6) <= table.rho <= rho * part * (1 + 1e-12)
        assert table.published_sigma_rows == pytest.approx(math.sqrt(2) * table.sigma_rows)
    assert plan.rho_member_day == rho
    assert plan.rho("replace") <= rho * (1 + 1e-12)


def test_adding_or_removing_costs_half_of_replacing() -> None:
    """At the same noise a row weighs 1 instead of sqrt 2, so rho halves; both epsilons are told."""
    plan = plan_noise(DEMO)
    statement = plan.statement()
    assert statement.rho == pytest.approx(0.1, rel=1e-6)
    assert statement.rho_add_remove == pytest.approx(0.05, rel=1e-6)
    assert statement.epsilon is not None and statement.epsilon_add_remove is not None
    assert statement.epsilon_add_remove < statement.epsilon
    for level in ("10s", "1m"):
        (spend,) = plan.spend(level, 0, 10_000).channels
        assert set(spend.rho) == set(spend.l2_units) == {"replace", "add_remove"}


@given(c=st.integers(1, 24), data=st.data())
@examples(60)
def test_no_member_moves_a_level_by_more_than_its_sensitivity(c: int, data: st.DataObject) -> None:
    """Exact fixed-point rows of one member, anywhere in a level's tables, stay within both L2 bounds."""
    scale, table = UNITS_PER_ROW, row_sensitivity("table", 6, self_id=False)
    cuts = st.lists(st.integers(0, scale), min_size=5, max_size=5).map(sorted)
    row = cuts.map(lambda edges: np.diff(np.array([0, *edges, scale], dtype=np.int64)))
    cells = data.draw(st.lists(st.integers(0, 3), min_size=c, max_size=c))
    before, after = np.zeros((4, 6), np.int64), np.zeros((4, 6), np.int64)
    for cell in cells:
        before[cell] += data.draw(row)
        after[cell] += data.draw(row)
    assert np.linalg.norm((before - after).astype(float)) <= table.units("replace", c)
    assert np.linalg.norm(before.astype(float)) <= table.units("add_remove", c)


def test_the_noise_has_its_scale_and_no_bias() -> None:
    """100,000 draws: mean 0 and standard deviation as planned, within 5 standard errors, and four sigmas are rare."""
    table = plan_noise(DEMO).level("10s").table
    drawn = table.sample(100_000)
    assert drawn.dtype == np.int64
    assert drawn.shape == (100_000,)
    sd = table.scale_units
    assert abs(drawn.mean()) < 5 * sd / math.sqrt(drawn.size)
    assert abs(drawn.std() / sd - 1) < 5 / math.sqrt(2 * drawn.size)
    assert (np.abs(drawn) > 4 * sd).mean() < 3e-4
    assert np.abs(drawn).max() < 9 * sd


def test_small_scales_are_discrete_gaussian() -> None:
    """At a scale of 2 units the frequencies match the discrete Gaussian's own probabilities (chi-square, 1e-6)."""
    drawn = noise.sample(50_000, 2.0)
    support = np.arange(-7, 8)
    weights = np.exp(-(support**2) / 8.0)
    expected = weights / np.exp(-(np.arange(-60, 61) ** 2) / 8.0).sum() * drawn.size
    observed = np.array([(drawn == value).sum() for value in support])
    assert ((observed - expected) ** 2 / expected).sum() < 55


def test_noise_is_never_the_same_twice() -> None:
    """Two draws differ: nothing is seeded or cached."""
    table = plan_noise(DEMO).level("10s").table
    assert (table.sample(20) != table.sample(20)).any()


def test_a_tiny_scale_gives_zeros_and_no_promise() -> None:
    """The test-only scale leaves sums exact, and its statement claims no epsilon."""
    plan = plan_noise(spec("{contribution_cap: 2, rho_member_day: 0.1}", more="test_only: {noise_scale_units: 0.01}"))
    table = plan.level("10s").table
    assert table.scale_units == 0.01
    assert not table.sample(10_000).any()
    statement = plan.statement()
    assert statement.epsilon is None and statement.epsilon_add_remove is None
    assert statement.rho > 1e6
    assert plan.rho_member_day == 0.1


def test_noise_is_only_drawn_on_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenDP is handed zeros and nothing else, and the function that draws has no argument for a value."""
    seen: list[Any] = []

    def mechanism(size: int, scale_units: float) -> Any:
        def draw(values: list[int]) -> list[int]:
            seen.append(values)
            return values

        return draw

    monkeypatch.setattr(noise, "_mechanism", mechanism)
    table = noise.sample(120, 9.0)
    assert seen == [[0] * 120]
    assert not table.any()
    assert list(inspect.signature(noise.sample).parameters) == ["size", "scale_units"]


def test_noise_is_added_in_the_ring() -> None:
    """A share near the ring's end takes noise by wrapping, and taking it off again gives the share back."""
    drawn = plan_noise(DEMO).level("10s").table.sample(6)
    share = np.array([0, 1, 2**63, 2**64 - 1, 2**63 - 1, 12345], dtype=np.uint64)
    noised = share + drawn.view(np.uint64)
    assert (noised - drawn.view(np.uint64) == share).all()


@pytest.mark.parametrize(("rho", "delta"), [(-1.0, 1e-9), (math.nan, 1e-9), (math.inf, 1e-9), (0.1, 0.0), (0.1, 1.0)])
def test_epsilon_refuses_what_promises_nothing(rho: float, delta: float) -> None:
    """A rho or delta outside its range raises; it never becomes a number on a page."""
    with pytest.raises(ValueError, match="expected a finite rho"):
        epsilon(rho, delta)


@given(rho=st.floats(1e-4, 20.0), delta=st.sampled_from([1e-6, 1e-9, 1e-12]))
@examples(30)
def test_epsilon_is_within_the_textbook_bound(rho: float, delta: float) -> None:
    """OpenDP's conversion is never worse than rho + 2 sqrt(rho ln 1/delta) (Bun and Steinke, proposition 1.3)."""
    assert 0 < epsilon(rho, delta) <= rho + 2 * math.sqrt(rho * math.log(1 / delta)) + 1e-9


def test_an_unknown_level_is_named() -> None:
    """Asking for a level that is not there says which there are."""
    with pytest.raises(ValueError, match="no level '1h', only 10s, 1m"):
        plan_noise(DEMO).level("1h")
