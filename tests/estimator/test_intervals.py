"""Intervals: published examples, laws, and simulated coverage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import brentq
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from estimator.intervals import Variance, critical_value, gap_interval, rate_interval, ratio_interval

F = NDArray[np.float64]
Z = critical_value(0.95)


def wilson(hits: float, total: float) -> tuple[F, F, F]:
    """Wilson's score interval in closed form."""
    rate, middle = hits / total, (hits + Z**2 / 2) / (total + Z**2)
    half = Z / (total + Z**2) * (total * rate * (1 - rate) + Z**2 / 4) ** 0.5
    return np.array([rate]), np.array([middle - half]), np.array([middle + half])


def noised(
    hits: F,
    total: F,
    *,
    numerator_cells: int,
    denominator_cells: int,
    sigma_rows: float,
    z: float,
    rows_per_member: int,
) -> tuple[F, F, F]:
    """The interval of a rate with noise on each of its cells and rows that count for c."""
    ones = np.ones_like(total)
    top, bottom = sigma_rows**2 * numerator_cells * ones, sigma_rows**2 * denominator_cells * ones
    return rate_interval(hits, total, Variance(rows_per_member * total, top, top, bottom), z)


def plain(hits: float, total: float) -> tuple[F, F, F]:
    """The interval of a plain proportion: no noise, one row a member."""
    return noised(
        np.array([hits]),
        np.array([total]),
        numerator_cells=1,
        denominator_cells=2,
        sigma_rows=0.0,
        z=Z,
        rows_per_member=1,
    )


@pytest.mark.parametrize(
    ("hits", "total", "lower", "upper"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_without_noise_it_is_agresti_and_coulls(hits: float, total: float, lower: float, upper: float) -> None:
    """It is Agresti and Coull's formula; it holds Wilson's interval (Newcombe's 1998 examples) and is little wider."""
    _, score_low, score_high = wilson(hits, total)
    assert (score_low[0], score_high[0]) == pytest.approx((lower, upper), abs=5e-5)
    _, low, high = plain(hits, total)
    middle = (hits + Z**2 / 2) / (total + Z**2)
    half = Z * (middle * (1 - middle) / (total + Z**2)) ** 0.5
    assert (low[0], high[0]) == pytest.approx((middle - half, middle + half))
    assert low[0] <= score_low[0] <= score_high[0] <= high[0]
    assert high[0] - low[0] < 1.4 * (upper - lower)


@pytest.mark.parametrize(
    ("group", "reference", "lower", "upper"),
    [((56, 70), (48, 80), 0.0524, 0.3339), ((9, 10), (3, 10), 0.1705, 0.8090)],
)
def test_gap_is_newcombes_interval(
    group: tuple[float, float], reference: tuple[float, float], lower: float, upper: float
) -> None:
    """Newcombe's (1998) published examples of the hybrid score interval (his method 10) come out."""
    gap, low, high = gap_interval(wilson(*group), wilson(*reference))
    assert gap[0] == pytest.approx(group[0] / group[1] - reference[0] / reference[1])
    assert (low[0], high[0]) == pytest.approx((lower, upper), abs=5e-5)


counts = st.tuples(st.integers(0, 300), st.integers(1, 300)).map(lambda pair: (min(pair), max(pair)))


@given(counts, counts)
def test_gap_is_statsmodels_newcomb(group: tuple[int, int], reference: tuple[int, int]) -> None:
    """From Wilson's ends, which are statsmodels' as well, the gap's ends are those of its "newcomb" difference."""
    ends = []
    for hits, total in (group, reference):
        low, high = proportion_confint(hits, total, alpha=0.05, method="wilson")
        ours = wilson(hits, total)
        assert (ours[1][0], ours[2][0]) == pytest.approx((low, high), abs=1e-9)
        ends.append(ours)
    expected = confint_proportions_2indep(*group, *reference, method="newcomb", compare="diff", alpha=0.05)
    _, low, high = gap_interval(*ends)
    assert (low[0], high[0]) == pytest.approx(expected, abs=1e-7)


@given(
    rate=st.floats(0.02, 0.98),
    base=st.floats(0.05, 0.98),
    widths=st.tuples(*[st.floats(0.001, 0.25)] * 4),
    correlation=st.floats(-0.9, 0.9),
)
def test_ratio_holds_what_the_gap_allows(
    rate: float, base: float, widths: tuple[float, ...], correlation: float
) -> None:
    """At the ratio's ends R the difference rate - R x reference may just be 0: found as roots of its interval."""
    below, above, base_below, base_above = widths
    group = rate, max(rate - below, 0.0), min(rate + above, 1.0)
    reference = base, max(base - base_below, 0.0), min(base + base_above, 1.0)
    found, low, high = ratio_interval(
        *(tuple(np.array([number]) for number in numbers) for numbers in (group, reference)), correlation
    )
    if not np.isfinite(found[0]):
        return

    def reach(ratio: float, one: float, other: float) -> float:
        """MOVER's distance of the difference from the end that must be 0."""
        squared = one**2 + (ratio * other) ** 2 - 2 * correlation * one * ratio * other
        return (rate - ratio * base) ** 2 - squared

    assert found[0] == pytest.approx(rate / base)
    for end, one, other in (
        (low[0], rate - group[1], reference[2] - base),
        (high[0], group[2] - rate, base - reference[1]),
    ):
        # At the estimate the difference is 0, nearer to 0 than its error; beyond the end it is further.
        outside = 0.0 if end <= found[0] else 200.0
        if reach(outside, one, other) > 1e-9 and reach(found[0], one, other) < -1e-12:
            assert end == pytest.approx(brentq(reach, found[0], outside, args=(one, other), xtol=1e-12), abs=1e-6)


@given(
    rate=st.floats(0.0, 1.0), deviations=st.floats(8.0, 60.0), cells=st.tuples(st.integers(1, 10), st.integers(1, 10))
)
def test_without_sampling_it_holds_fiellers(rate: float, deviations: float, cells: tuple[int, int]) -> None:
    """Noise alone: Fieller's ends, found as roots of (t - theta n)^2 = z^2 V(theta), are inside and near ours."""
    numerator, rest = cells
    sigma = 10.0
    total = deviations * sigma * (numerator + rest) ** 0.5
    hits = rate * total

    def score(theta: float) -> float:
        variance = sigma**2 * (numerator * (1 - theta) ** 2 + rest * theta**2)
        return (hits - theta * total) ** 2 - Z**2 * variance

    fieller = brentq(score, -3.0, rate), brentq(score, rate, 4.0)
    _, low, high = noised(
        np.array([hits]),
        np.array([total]),
        numerator_cells=numerator,
        denominator_cells=numerator + rest,
        sigma_rows=sigma,
        z=Z,
        rows_per_member=0,
    )
    assert low[0] + high[0] == pytest.approx(sum(fieller), abs=1e-6)
    assert low[0] <= fieller[0] + 1e-9
    assert high[0] >= fieller[1] - 1e-9
    assert high[0] - low[0] <= 1.05 * (fieller[1] - fieller[0])


@given(st.floats(0, 0.4), st.floats(0, 0.4), st.floats(-1, 1))
def test_a_gap_of_errors_that_move_together_is_narrower(one: float, other: float, correlation: float) -> None:
    """The half-width is the length of the errors' difference: |one - other| at a correlation of 1, their sum at -1."""
    rate, reference = (tuple(np.array([number]) for number in (0.5, 0.5 - half, 0.5 + half)) for half in (one, other))
    _, low, high = gap_interval(rate, reference, correlation)
    expected = min((one**2 + other**2 - 2 * correlation * one * other) ** 0.5, 1.0)
    assert (high[0], low[0]) == pytest.approx((expected, -expected), abs=1e-7)


def test_critical_value() -> None:
    """The normal quantile is the textbook's, and a confidence that is none is refused."""
    assert critical_value(0.95) == pytest.approx(1.959964, abs=1e-6)
    assert critical_value(0.9999) == pytest.approx(3.890592, abs=1e-6)
    for confidence in (0.0, 1.0, 95.0, float("nan")):
        with pytest.raises(ValueError, match="between 0 and 1"):
            critical_value(confidence)


@given(
    hits=st.floats(-500, 5000),
    total=st.floats(1, 5000),
    cells=st.tuples(st.integers(1, 10), st.integers(0, 10)),
    sigma=st.floats(0, 50),
    cap=st.integers(1, 24),
)
def test_ends_lie_outside_the_stated_inequality(
    hits: float, total: float, cells: tuple[int, int], sigma: float, cap: int
) -> None:
    """At finite ends (t - theta n)^2 >= z^2 V(theta): no theta that the data allow is left out, nor the estimate."""
    numerator, rest = cells
    estimate, lower, upper = noised(
        np.array([hits]),
        np.array([total]),
        numerator_cells=numerator,
        denominator_cells=numerator + rest,
        sigma_rows=sigma,
        z=Z,
        rows_per_member=cap,
    )
    assert 0 <= estimate[0] <= 1
    assert lower[0] <= estimate[0] <= upper[0]
    inside = min(max(hits, 0.0), total)
    for theta in (lower[0], upper[0]):
        if not np.isfinite(theta) or abs(theta) > 100:
            continue  # far out, what is compared is the difference of two huge numbers
        variance = cap * total * theta * (1 - theta) + sigma**2 * (numerator * (1 - theta) ** 2 + rest * theta**2)
        scale = total**2 * (1 + theta**2) + Z**2 * (cap * total + sigma**2 * (numerator + rest)) * (1 + theta**2)
        assert (inside - theta * total) ** 2 - Z**2 * variance >= -1e-6 * scale


@given(st.integers(1, 400), st.integers(1, 400), st.floats(0.02, 0.98), st.floats(0.02, 0.98))
def test_gap_and_ratio_agree_on_equality(n: int, m: int, rate: float, base: float) -> None:
    """Where the interval of the ratio leaves out 1, that of the gap leaves out 0, and the other way round."""
    group, reference = (
        (value, np.maximum(low, 0), np.minimum(high, 1))
        for value, low, high in (plain(rate * n, n), plain(base * m, m))
    )
    (gap, low, high), (ratio, ratio_low, ratio_high) = (
        gap_interval(group, reference),
        ratio_interval(group, reference),
    )
    assert -1 <= low[0] <= gap[0] <= high[0] <= 1
    if np.isfinite(ratio[0]):
        assert 0 <= ratio_low[0] <= ratio[0] <= ratio_high[0]
        if min(abs(low[0]), abs(high[0])) > 1e-9:
            assert (low[0] > 0, high[0] < 0) == (ratio_low[0] > 1, ratio_high[0] < 1)


def test_nothing_is_divided_by_a_rate_near_0() -> None:
    """Where the reference's rate may be 0 there is no ratio; where the group's own is 0 there is one, with an end."""
    value, low, high = plain(0, 200)
    zero, some = (value, np.maximum(low, 0), high), plain(60, 200)
    assert np.isnan(ratio_interval(some, zero)).all()
    assert np.isnan(ratio_interval(some, wilson(0, 200))).all()  # whose lower end rounding puts above 0
    estimate, lower, upper = ratio_interval(zero, some)
    assert (estimate[0], lower[0]) == (0, 0)
    assert 0 < upper[0] < 0.2


def test_unbounded_where_the_denominator_may_be_0() -> None:
    """A denominator within z deviations of 0 gives infinite ends (Fieller), which the caller suppresses."""
    _, lower, upper = noised(
        np.array([5.0]),
        np.array([10.0]),
        numerator_cells=10,
        denominator_cells=20,
        sigma_rows=12.6,
        z=Z,
        rows_per_member=1,
    )
    assert (lower[0], upper[0]) == (-np.inf, np.inf)


@dataclass(frozen=True)
class Scenario:
    """A population to sample windows from.

    Attributes:
        rows: a window's. low, high: range of the kinds' true rates. sharpness: how near race probabilities are to 0 and
        1 (the smaller the sharper). sigma: noise of one entry, rows. cap: equal rows of each member.
    """

    rows: int
    low: float
    high: float
    sharpness: float
    sigma: float
    cells: tuple[int, int] = (10, 20)
    cap: int = 1


TOLERANCE = 0.013
"""Two and a half standard errors of 2,000 repetitions at .95."""


SCENARIOS = {
    "ten seconds of the demo": Scenario(20_000, 0.1, 0.5, 4.0, 12.6),
    "a minute of the demo": Scenario(120_000, 0.1, 0.5, 4.0, 12.6),
    "little noise": Scenario(4_000, 0.1, 0.5, 0.5, 0.01),
    "known groups": Scenario(4_000, 0.2, 0.6, 0.01, 0.01),
    "small denominators": Scenario(3_000, 0.1, 0.9, 1.0, 12.6, cells=(2, 4)),
    "always": Scenario(8_000, 1.0, 1.0, 1.0, 12.6, cells=(1, 2)),
    "never": Scenario(8_000, 0.0, 0.0, 1.0, 12.6, cells=(1, 2)),
    "members with two equal rows": Scenario(4_000, 0.1, 0.5, 0.05, 1.0, cap=2),
    # A hit or two a group, groups nearly known: here the delta method covered .82, the score interval .86.
    "rare events, known groups": Scenario(2_000, 0.001, 0.002, 0.05, 0.01),
}


@pytest.mark.parametrize("population", range(3))
@pytest.mark.parametrize("name", SCENARIOS)
def test_coverage(name: str, population: int) -> None:
    """95 % intervals of rate, gap and ratio hold the weighted estimand over infinitely many rows 95 % of the time."""
    scenario, repetitions, kinds = SCENARIOS[name], 2000, 150
    rng = np.random.default_rng(population)
    race = rng.dirichlet(np.array([0.6, 0.13, 0.06, 0.18, 0.01, 0.02]) * scenario.sharpness + 1e-3, kinds)
    rate = rng.uniform(scenario.low, scenario.high, kinds)
    truth = np.clip(rate @ race / race.sum(axis=0), 0, 1)  # rounding may put a rate of 1 above 1

    members = rng.multinomial(scenario.rows // scenario.cap, np.full(kinds, 1 / kinds), repetitions)
    hit = rng.binomial(members, rate) * scenario.cap
    k_t, k_n = scenario.cells
    noise_t = rng.normal(0, scenario.sigma * k_t**0.5, (repetitions, 6))
    noise_rest = rng.normal(0, scenario.sigma * (k_n - k_t) ** 0.5, (repetitions, 6))
    t = hit @ race + noise_t
    n = members * scenario.cap @ race + noise_t + noise_rest

    # The estimator's own rule for what is shown: n beyond five deviations of its noise, half-width at most .25.
    enough = n > max(5 * scenario.sigma * k_n**0.5, 1e-6)
    value, low, high = noised(
        np.where(enough, t, 0.0),
        np.where(enough, n, 1.0),
        numerator_cells=k_t,
        denominator_cells=k_n,
        sigma_rows=scenario.sigma,
        z=Z,
        rows_per_member=scenario.cap,
    )
    shown = enough & (high - low <= 0.5)
    ends = value, np.maximum(low, 0), np.minimum(high, 1)
    base = value[:, :1], ends[1][:, :1], ends[2][:, :1]
    _, gap_low, gap_high = gap_interval(ends, base)
    ratio, ratio_low, ratio_high = ratio_interval(ends, base)

    covered = {
        "value": ((ends[1] <= truth) & (truth <= ends[2]), shown),
        "gap": ((gap_low <= truth - truth[0]) & (truth - truth[0] <= gap_high), shown & shown[:, :1]),
    }
    if truth[0] > 0:
        true_ratio = truth / truth[0]
        covered["ratio"] = (
            (ratio_low <= true_ratio) & (true_ratio <= ratio_high),
            shown & shown[:, :1] & np.isfinite(ratio),
        )
    assert shown[:, 0].mean() > 0.9  # else the scenario proves nothing
    for what, (inside, where) in covered.items():
        for group in range(1 if what != "value" else 0, 6):
            if where[:, group].mean() > 0.5:  # fewer: chance decides what is shown, and the estimate is of that choice
                coverage = inside[where[:, group], group].mean()
                assert coverage >= 0.95 - TOLERANCE, (what, group, coverage)
