"""The accountant: epsilon of rho against published bounds and an independent accountant, and how events add up."""

from __future__ import annotations

import dataclasses
import itertools
import math

import dp_accounting
import pytest
from dp_accounting import pld, rdp
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy import (
    Accountant,
    CountingDays,
    Measurement,
    ReleaseSpend,
    epsilon,
    parse_measurement,
    plan_noise,
    rho_of_epsilon,
)
from privacy.spend import ChannelSpend

RHOS = (0.001, 0.01, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0)
DELTAS = (1e-6, 1e-9, 1e-12)
EVERY_DAY = CountingDays()
GRID = [(rho, delta) for rho in RHOS for delta in DELTAS]

SPEC = """
id: feed
purpose: Are all groups recommended equally often?
source: {topic: rec-events, member: m, time: ts}
cells: {decision: {field: r}}
windows: {base: 10s, rollups: [1m]}
reference: white
privacy:
  contribution_cap: 2
  rho_member_day: 0.05
  rotation: {days_in_30: 5, days_in_year: 20}
  channel_shares: {table: 0.5, moments: 0.1, rectifier: 0.4}
"""


def gaussian(rho: float) -> dp_accounting.DpEvent:
    """The Gaussian mechanism that spends rho: noise multiplier 1 / sqrt(2 rho)."""
    return dp_accounting.GaussianDpEvent(1 / math.sqrt(2 * rho))


def tight(event: dp_accounting.DpEvent, delta: float) -> float:
    """Epsilon by privacy loss distributions: what a Gaussian really spends, to the discretisation."""
    accountant = pld.PLDAccountant(value_discretization_interval=1e-3)
    return float(accountant.compose(event).get_epsilon(delta))


def renyi(event: dp_accounting.DpEvent, delta: float) -> float:
    """Epsilon by Renyi accounting of Gaussians, over orders fine enough for the grid."""
    orders = [1 + 1.1**n / 100 for n in range(150)]
    return float(rdp.RdpAccountant(orders).compose(event).get_epsilon(delta))


# -- epsilon of rho ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("wanted", "delta"), [(0.05, 1e-9), (1.0, 1e-6), (5.2, 1e-6), (20.0, 1e-9)])
def test_rho_of_epsilon_inverts_epsilon(wanted: float, delta: float) -> None:
    """The rho found never promises less than was asked, and a hundred-thousandth more of it would."""
    rho = rho_of_epsilon(wanted, delta)
    assert epsilon(rho, delta) <= wanted < epsilon(rho * (1 + 1e-5), delta)


@pytest.mark.parametrize(("wanted", "delta"), [(0.0, 1e-9), (-1.0, 1e-9), (float("inf"), 1e-9), (1.0, 0.0), (1.0, 1.0)])
def test_numbers_out_of_range_are_refused(wanted: float, delta: float) -> None:
    """An epsilon or a delta that promises nothing is an error."""
    with pytest.raises(ValueError, match="expected"):
        rho_of_epsilon(wanted, delta)


@pytest.mark.parametrize(("rho", "delta"), GRID)
def test_epsilon_is_the_published_bound(rho: float, delta: float) -> None:
    """Canonne, Kamath and Steinke 2020, section 2.3, worked out here on a grid of a, and below Bun and Steinke's.

    delta = min over a > 1 of exp((a - 1)(a rho - eps)) / (a - 1) (1 - 1/a)^a; and, Bun and Steinke 2016, proposition
    1.3, eps <= rho + 2 sqrt(rho ln(1 / delta)).
    """

    def log_delta(eps: float) -> float:
        return min(
            (a - 1) * (a * rho - eps) - math.log(a - 1) + a * math.log1p(-1 / a)
            for a in (1 + math.exp(n / 200) for n in range(-1600, 2400))
        )

    low, high = 0.0, rho + 2 * math.sqrt(rho * math.log(1 / delta))
    assert epsilon(rho, delta) <= high
    for _ in range(45):
        middle = (low + high) / 2
        low, high = (middle, high) if log_delta(middle) > math.log(delta) else (low, middle)
    assert epsilon(rho, delta) == pytest.approx(high, rel=1e-4)


@pytest.mark.parametrize(
    ("mu", "published", "delta"),
    [(1, 1.0, 0.12693674), (1, 2.0, 0.02092364), (3, 1.0, 0.78760074), (1 / 0.344, 16.0, 1e-5)],
)
def test_published_gaussians_are_covered(mu: float, published: float, delta: float) -> None:
    """Test vectors of google/differential-privacy (Gaussian privacy loss, sensitivity over sigma mu): exact epsilons.

    rho = mu^2 / 2 converts to no less, and to no more than an eighth more at a delta that anyone would promise.
    """
    converted = epsilon(mu**2 / 2, delta)
    assert converted >= published * (1 - 1e-4)
    assert delta > 1e-3 or converted <= 9 / 8 * published


@pytest.mark.parametrize(("rho", "delta"), GRID)
def test_epsilon_is_never_below_what_the_gaussian_really_spends(rho: float, delta: float) -> None:
    """Google's PLD accountant on the Gaussian of this rho: ours is above it, by at most a third or .02."""
    exact = tight(gaussian(rho), delta)
    assert exact <= epsilon(rho, delta) * (1 + 1e-6)
    assert epsilon(rho, delta) <= max(4 / 3 * exact, exact + 0.02)


@pytest.mark.parametrize(("rho", "delta"), GRID)
def test_epsilon_agrees_with_renyi_accounting(rho: float, delta: float) -> None:
    """Google's RDP accountant on the same Gaussian: within a hundredth, by orders on a grid."""
    assert renyi(gaussian(rho), delta) == pytest.approx(epsilon(rho, delta), rel=0.01)


@pytest.mark.parametrize(("days", "rho"), [(30, 0.01), (30, 0.1), (365, 0.001), (365, 0.01)])
def test_days_compose_as_an_independent_accountant_composes_them(days: int, rho: float) -> None:
    """So many Gaussians of one day each, composed by Google's accountants, are epsilon of the sum of rho."""
    event = dp_accounting.SelfComposedDpEvent(gaussian(rho), days)
    ours = Accountant(1e-9, [release(day, table=rho) for day in range(days)]).statement("year")
    assert ours.rho == pytest.approx(days * rho)
    assert ours.epsilon == epsilon(ours.rho, 1e-9)
    assert tight(event, 1e-9) <= ours.epsilon
    assert renyi(event, 1e-9) == pytest.approx(ours.epsilon, rel=0.01)


# -- events -----------------------------------------------------------------------------------------------------------


def release(
    day: int,
    *,
    measurement: str = "feed",
    revision: int = 1,
    level: str = "1m",
    window: int = 0,
    counting: CountingDays = EVERY_DAY,
    **rho: float,
) -> ReleaseSpend:
    """An event with these channels, whose adding or removing costs half."""
    start = day * 86_400_000 + window * 60_000
    channels = tuple(
        ChannelSpend(
            channel,  # type: ignore[arg-type]  # as the test names it
            "discrete_gaussian",
            {"replace": math.sqrt(2 * spent), "add_remove": math.sqrt(spent)},
            1.0,
            {"replace": spent, "add_remove": spent / 2},
        )
        for channel, spent in rho.items()
    )
    return ReleaseSpend(day, measurement, revision, level, start, start + 60_000, counting, channels)


def test_windows_of_a_day_compose_in_parallel() -> None:
    """However many windows a level has, the day costs the dearest of them, on both relations."""
    accountant = Accountant(1e-9, [release(3, window=n, table=0.1 if n != 7 else 0.3) for n in range(60)])
    assert accountant.rho("replace", "member-day") == pytest.approx(0.3)
    assert accountant.rho("add_remove", "member-day") == pytest.approx(0.15)


@given(
    moved=st.lists(st.floats(0, 1), min_size=1, max_size=8),
    scales=st.lists(st.floats(0.1, 10), min_size=8, max_size=8),
)
@settings(deadline=None)
def test_the_dearest_window_is_never_too_little(moved: list[float], scales: list[float]) -> None:
    """However a member's rows are spread over windows of different noise, they cost no more than all in the dearest."""
    total = sum(moved)
    cost = sum(d**2 / (2 * s**2) for d, s in zip(moved, scales, strict=False))
    dearest = max(total**2 / (2 * s**2) for s in scales[: len(moved)])
    assert cost <= dearest * (1 + 1e-9)
    events = [release(0, window=n, table=total**2 / (2 * s**2)) for n, s in enumerate(scales[: len(moved)])]
    assert Accountant(1e-9, events).rho("replace", "member-day") == pytest.approx(dearest)


def test_everything_else_adds_up() -> None:
    """Channels, levels, revisions and measurements of one day are added; days are their own."""
    events = [
        release(0, table=0.1, moments=0.01),
        release(0, level="10s", table=0.2),
        release(0, revision=2, table=0.04),
        release(0, measurement="jobs", table=0.05),
        release(1, table=0.3),
    ]
    for order in itertools.permutations(events):
        accountant = Accountant(1e-9, order)
        assert accountant.rho("replace", "member-day") == pytest.approx(0.4)
        assert accountant.rho("replace", "30-days") == pytest.approx(0.7)
        assert sorted((day.day, day.measurement, day.revision) for day in accountant.member_days("replace")) == [
            (0, "feed", 1),
            (0, "feed", 2),
            (0, "jobs", 1),
            (1, "feed", 1),
        ]


def test_rotation_counts_the_days_that_count() -> None:
    """A measurement that releases every day costs a member only the days on which it can count."""
    terms = CountingDays(5, 20)
    accountant = Accountant(1e-9, [release(day, counting=terms, table=0.1) for day in range(400)])
    assert accountant.rho("replace", "30-days") == pytest.approx(0.5)
    assert accountant.rho("replace", "year") == pytest.approx(2.0)
    assert accountant.rho("add_remove", "year") == pytest.approx(1.0)


def test_both_parties_release_the_same_window_once() -> None:
    """A window that stands there twice, as party a's and party b's, was noised once by each: one event."""
    assert Accountant(1e-9, [release(0, table=0.1)] * 2).rho("replace", "member-day") == pytest.approx(0.1)


def test_no_events_cost_nothing() -> None:
    """A promise of zero, not an error."""
    statement = Accountant(1e-9).statement("year")
    assert (statement.rho, statement.epsilon, statement.rho_add_remove) == (0, 0, 0)


def test_a_statement_carries_all_that_belongs_to_it() -> None:
    """Unit, period, relation, rho, epsilon and delta together, for each period."""
    accountant = Accountant(1e-6, [release(day, table=0.1) for day in range(40)])
    for period, days, unit in (
        ("member-day", 1, "one member's rows of one UTC day"),
        ("30-days", 30, "one member's rows of any 30 consecutive UTC days"),
        ("year", 40, "one member's rows of any 365 consecutive UTC days"),
    ):
        found = accountant.statement(period)  # type: ignore[arg-type]  # the three literals above
        assert (found.unit, found.period, found.relation, found.delta) == (unit, period, "replace", 1e-6)
        assert found.rho == pytest.approx(0.1 * days)
        assert found.epsilon == epsilon(found.rho, 1e-6)
        assert found.epsilon_add_remove == epsilon(found.rho_add_remove, 1e-6)


# -- a measurement's own events -----------------------------------------------------------------------------------


MEASUREMENT = parse_measurement(SPEC, origin="spec.yaml")


def releases(measurement: Measurement, days: range) -> list[ReleaseSpend]:
    """Every window of an hour of each of these days."""
    plan = plan_noise(measurement)
    hour = [
        (level.name, day * 86_400_000 + start, level.length_ms)
        for day in days
        for level in measurement.levels
        for start in range(0, 3_600_000, level.length_ms)
    ]
    return [plan.spend(name, start, start + length) for name, start, length in hour]


def test_an_event_says_what_was_released() -> None:
    """Day, window, channels with mechanism, sensitivity, scale and rho on both relations."""
    event = plan_noise(MEASUREMENT).spend("1m", 86_400_000 * 3 + 60_000, 86_400_000 * 3 + 120_000)
    assert (event.day, event.measurement, event.revision, event.level) == (3, "feed", 1, "1m")
    assert event.counting == CountingDays(5, 20)
    assert [spend.channel for spend in event.channels] == ["table", "rectifier", "moments"]
    for spend in event.channels:
        assert spend.mechanism == "discrete_gaussian"
        for relation in ("replace", "add_remove"):
            closed_form = spend.l2_units[relation] ** 2 / (2 * spend.scale_units**2)  # type: ignore[index]
            assert spend.rho[relation] == pytest.approx(closed_form, rel=1e-9)  # type: ignore[index]
    with pytest.raises(ValueError, match="no level '1h'"):
        plan_noise(MEASUREMENT).spend("1h", 0, 1)


def test_a_measurement_promises_what_its_releases_come_to() -> None:
    """The plan's statement for a day, 30 days and a year is that of the events of all its windows."""
    plan = plan_noise(MEASUREMENT)
    of_a_day = Accountant(1e-9, releases(MEASUREMENT, range(1)))
    assert of_a_day.statement("member-day") == plan.statement()
    assert 0.05 * (1 - 1e-6) <= plan.rho("replace") <= 0.05
    year = Accountant(1e-9, [event for day in range(365) for event in plan.day(day)])
    for period, days in (("30-days", 5), ("year", 20)):
        found, planned = year.statement(period), plan.statement(period)  # type: ignore[arg-type]  # literals
        assert found.rho == pytest.approx(planned.rho) == pytest.approx(0.05 * days, rel=1e-6)
        assert found.epsilon == pytest.approx(planned.epsilon)
        assert found.epsilon_add_remove == pytest.approx(planned.epsilon_add_remove)


def test_half_the_noise_costs_four_times_as_much() -> None:
    """An event of another scale is accounted at what it says, so that a release can be held against its debit."""
    (table, *others) = plan_noise(MEASUREMENT).spend("10s", 0, 10_000).channels
    bad = dataclasses.replace(table, scale_units=table.scale_units / 2, rho={r: 4 * v for r, v in table.rho.items()})
    events = releases(MEASUREMENT, range(1))
    planned = Accountant(1e-9, events).rho("replace", "member-day")
    events.append(dataclasses.replace(events[0], channels=(bad, *others)))
    assert Accountant(1e-9, events).rho("replace", "member-day") == pytest.approx(planned + 3 * table.rho["replace"])
