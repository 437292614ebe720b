"""Sums over cells, dispersion, and what is enough to be shown."""

from __future__ import annotations

import math

import numpy as np
import pytest

from estimator.cells import CellLayout, rank_exposure
from estimator.intervals import Variance, critical_value
from estimator.rates import NoiseVariance, Rates, Sums, dispersion, rates_of

EXPOSURE = CellLayout((("decision", 2), ("rank", 4)), rank_exposure([2, 4, 11]))
Z = critical_value(0.95)


def drawn_rows(seed: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Cells and race probabilities of rows."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, EXPOSURE.count, rows), rng.dirichlet([0.6, 0.3, 0.1], rows)


def test_sums_are_sums_over_rows() -> None:
    """Read from the table, hits, squares, residuals and cross products are those that the rows give one by one."""
    cell, race = drawn_rows(1, 500)
    table = np.zeros((EXPOSURE.count, 3))
    np.add.at(table, cell, race)
    for statistic in EXPOSURE.statistics():
        worth, inside = statistic.worth[cell], statistic.denominator[cell]
        sums = Sums.of(statistic, table)
        theta = np.array([0.3, 0.6, 0.1])
        about = worth[:, None] - inside[:, None] * theta
        assert sums.residual(theta) == pytest.approx((about * race).sum(axis=0))
        crossed = np.einsum("ir,is,ir->rs", about, about, race)
        assert sums.cross(theta) == pytest.approx(crossed)


def test_dispersion_is_the_variance_over_that_of_a_yes_or_no() -> None:
    """1 for a rate; for exposure the rows' own variance over that of a coin with the same mean, well below 1."""
    cell, race = drawn_rows(2, 500)
    table = np.zeros((EXPOSURE.count, 3))
    np.add.at(table, cell, race)
    rate, exposure = EXPOSURE.statistics()
    assert dispersion(Sums.of(rate, table)) == pytest.approx(1)
    worth = exposure.worth[cell]
    expected = worth.var() / (worth.mean() * (1 - worth.mean()))
    assert dispersion(Sums.of(exposure, table)) == pytest.approx(expected)
    assert expected < 0.7


@pytest.mark.parametrize("table", [np.zeros((8, 3)), np.full((8, 3), -4.0), np.eye(8, 3) - 0.2])
def test_dispersion_of_noise_alone_is_a_bound(table: np.ndarray) -> None:
    """Where a table holds nothing but noise, the dispersion is still between 0 and 1."""
    for statistic in EXPOSURE.statistics():
        assert 0 <= dispersion(Sums.of(statistic, table)) <= 1


def test_noise_terms_are_those_of_independent_cells() -> None:
    """The variance of sum (worth - theta) e over the denominator's cells is the stated quadratic in theta."""
    for statistic in EXPOSURE.statistics():
        for theta in (0.0, 0.3, 1.0):
            expected = float((((statistic.worth - theta) * statistic.denominator) ** 2).sum())
            assert statistic.noise_terms @ [1, -2 * theta, theta**2] == pytest.approx(expected)


def rates(total: float, total_variance: float, binomial: float) -> Rates:
    """One group's rate of a half."""
    zero = np.zeros(1)
    sums = Sums(np.array([total / 2]), np.array([total / 2]), np.array([total]))
    variance = Variance(np.array([binomial]), zero, zero, zero)
    return rates_of(("a",), sums, np.array([total_variance]), variance, Z, None, rows_per_member=1.0)


def test_a_total_needs_five_deviations_of_its_noise() -> None:
    """Just below five deviations there are too few rows to divide by, just above there are enough."""
    assert not rates(49.9, 100.0, 49.9).enough[0]
    assert rates(50.1, 100.0, 50.1).enough[0]
    assert not rates(0.0, 0.0, 0.0).enough[0]


def test_a_half_width_of_a_quarter_is_the_limit() -> None:
    """A rate of one half is shown where its interval is at most .5 wide: from 12 rows, for Agresti and Coull's."""
    half_width = {rows: Z * math.sqrt(0.25 / (rows + Z**2)) for rows in (11, 12)}
    assert half_width[11] > 0.25 > half_width[12]
    assert [bool(rates(rows, 0.0, rows).shown[0]) for rows in (11, 12)] == [False, True]


def test_correlation_is_covariance_over_deviations() -> None:
    """It is 1 with itself, keeps its sign, never passes 1, and is 0 where no covariance is carried."""
    ones, enough = np.ones(3), np.ones(3, bool)
    covariance = np.array([[4.0, -3.0, 50.0], [-3.0, 9.0, 0.0], [50.0, 0.0, 1.0]])
    known = Rates(("a", "b", "c"), ones, ones, ones, enough, ones, covariance)
    assert known.correlation(0) == pytest.approx([1, -0.5, 1])
    exact = Rates(("a", "b"), ones[:2], ones[:2], ones[:2], enough[:2], ones[:2], np.array([[0.0, 1.0], [1.0, 1e300]]))
    assert (exact.correlation(0) == 0).all()
    assert exact.correlation(1) == pytest.approx([0, 1])
    assert (Rates(("a", "b", "c"), ones, ones, ones, enough, ones, None).correlation(0) == 0).all()


@pytest.mark.parametrize("channel", ["table", "moments", "rectifier"])
@pytest.mark.parametrize("value", [-1.0, math.inf, math.nan])
def test_a_variance_that_is_none_is_refused(channel: str, value: float) -> None:
    """By the name of its channel, with what was expected."""
    with pytest.raises(ValueError, match=f"noise variance of 0 or more for {channel}"):
        NoiseVariance(**({"table": 0.0} | {channel: value}))
