"""The weighted estimator against Fairlearn and statsmodels, which nobody here wrote."""

from __future__ import annotations

import numpy as np
import pytest
from fairlearn.metrics import MetricFrame, false_positive_rate, mean_prediction, selection_rate, true_positive_rate
from sklearn.metrics import precision_score
from statsmodels.stats.proportion import proportion_confint

from estimator import GROUPS, CellLayout, Moments, NoiseVariance, disparities
from estimator.intervals import Variance, critical_value
from estimator.rates import Rates, Reading, Sums, dispersion, rates_of
from estimator.weighted import all_weighted_rates, purity_of, weighted_rates

DEMO = CellLayout((("score", 5), ("decision", 2), ("outcome", 2)))
Z = critical_value(0.95)


def test_rates_are_fairlearns() -> None:
    """With every row once a group, weighing its race probability, Fairlearn finds every metric to 12 digits."""
    rng = np.random.default_rng(1)
    rows, k = 3000, len(GROUPS)
    race = rng.dirichlet(np.array([0.4, 0.2, 0.1, 0.1, 0.1, 0.1]), rows)
    score, decision, outcome = rng.integers(0, 5, rows), rng.integers(0, 2, rows), rng.integers(0, 2, rows)
    table = np.zeros((DEMO.count, k))
    np.add.at(table, np.ravel_multi_index((score, decision, outcome), (5, 2, 2)), race)

    weight, group = race.ravel(), np.tile(np.array(GROUPS), rows)
    shown, clicked = np.repeat(decision, k), np.repeat(outcome, k)
    metrics = {
        "recommendation_rate": selection_rate,
        "tpr": true_positive_rate,
        "fpr": false_positive_rate,
        "precision": precision_score,
    }
    params = {name: {"sample_weight": weight} for name in metrics}
    frame = MetricFrame(
        metrics=metrics, y_true=clicked, y_pred=shown, sensitive_features=group, sample_params=params
    ).by_group
    by_bin = MetricFrame(
        metrics=mean_prediction,
        y_true=clicked,
        y_pred=clicked,
        sensitive_features=group,
        control_features=np.repeat(score, k),
        sample_params={"sample_weight": weight},
    ).by_group

    results = disparities(table, cells=DEMO, reference="white", noise_variance=NoiseVariance(0)).results
    assert len(results) == 9 * k
    for result in results:
        if result.metric == "predictive_parity":
            expected = by_bin[int(result.score_bin), result.group]
            base = by_bin[int(result.score_bin), "white"]
        else:
            expected, base = frame.loc[result.group, result.metric], frame.loc["white", result.metric]
        assert result.value is not None
        assert abs(result.value.estimate - expected) <= 1e-12, result
        if result.gap is not None and result.ratio is not None:
            assert abs(result.gap.estimate - (expected - base)) <= 1e-12, result
            assert result.ratio.estimate == pytest.approx(expected / base, rel=1e-12)


def weighted(table: np.ndarray, noise: NoiseVariance, cap: float = 1.0, purity: np.ndarray | float = 1.0) -> Rates:
    """The rates of a table over an outcome."""
    (statistic,) = CellLayout((("outcome", 2),)).statistics()
    names = tuple(GROUPS[: table.shape[1]])
    return weighted_rates(Reading(table, names, noise, cap, Z), statistic, purity)


@pytest.mark.parametrize(("hits", "rows"), [(0, 20), (1, 29), (15, 148), (81, 263), (263, 263)])
def test_known_groups_have_agresti_and_coulls_interval(hits: int, rows: int) -> None:
    """Where p is 0 or 1 and nothing is noised, the interval is statsmodels' Agresti-Coull, and holds its Wilson."""
    rates = weighted(np.array([[rows - hits, 7.0], [hits, 5.0]]), NoiseVariance(0))
    low, high = proportion_confint(hits, rows, alpha=0.05, method="agresti_coull")
    ours = np.clip([rates.lower[0], rates.upper[0]], 0, 1)  # statsmodels cuts its ends to [0, 1]
    assert ours == pytest.approx([low, high], abs=1e-9)
    low, high = proportion_confint(hits, rows, alpha=0.05, method="wilson")
    assert rates.lower[0] <= low + 1e-12
    assert rates.upper[0] >= high - 1e-12


def test_noise_enters_by_its_cells() -> None:
    """With one million rows sampling is nothing: the variance is that of (1 - theta) e_1 - theta e_0, over n^2."""
    rates = weighted(np.array([[750_000.0], [250_000.0]]), NoiseVariance(4e6), cap=1e-9)
    deviation = 2e3 * np.hypot(0.75, 0.25) / 1e6
    assert (rates.upper - rates.lower)[0] / (2 * Z) == pytest.approx(deviation, rel=1e-3)


def test_purity_is_one_for_known_groups_and_narrows_the_others() -> None:
    """Sum p^2 / sum p is 1 where p is 0 or 1; where p is one half, the sampling variance is half of its bound."""
    race = np.array([[1.0, 0.0, 0.0]] * 100 + [[0.0, 0.5, 0.5]] * 400)
    purity = purity_of(Moments.of(race), NoiseVariance(0))
    assert purity == pytest.approx([1, 0.5, 0.5])
    shaken = purity_of(Moments.of(race), NoiseVariance(0, moments=100.0))
    assert shaken == pytest.approx([1, 0.55, 0.55])  # a deviation of M's noise is 10 of 200 rows
    table = np.array([[70.0, 160.0, 150.0], [30.0, 40.0, 50.0]])
    bound, known = weighted(table, NoiseVariance(0)), weighted(table, NoiseVariance(0), purity=purity)
    width = (known.upper - known.lower) / (bound.upper - bound.lower)
    assert width == pytest.approx([1, 0.5**0.5, 0.5**0.5], rel=0.01)


def test_purity_survives_noise() -> None:
    """Whatever noise makes of M, purity lies between 0 and 1."""
    for products in (np.zeros((3, 3)), -np.eye(3), np.eye(3) * 1e6 - 1e5):
        purity = purity_of(Moments(products, 0.0, 0.0, np.zeros(3)), NoiseVariance(0, moments=1e4))
        assert ((purity >= 0) & (purity <= 1)).all()


def test_many_statistics_at_once_are_the_same_to_the_last_bit() -> None:
    """A record on the topic is held against numbers that are worked out anew, so a quicker way may not round anew."""
    layout = CellLayout((("score", 3), ("decision", 2), ("outcome", 2)))
    table = np.random.default_rng(4).normal(20, 15, (layout.count, 3))
    reading = Reading(table, ("a", "b", "c"), NoiseVariance(9), 3.0, Z)
    for purity in (1.0, np.array([0.9, 0.5, 0.7])):
        at_once = all_weighted_rates(reading, tuple(layout.statistics()), purity)
        for statistic, found in zip(layout.statistics(), at_once, strict=True):
            sums, ones = Sums.of(statistic, table), np.ones(3)
            constant, linear, square = (term * ones for term in 9 * statistic.noise_terms)
            binomial = 3.0 * purity * dispersion(sums) * np.maximum(sums.total, 0.0)
            variance = Variance(binomial, constant, linear, square)
            alone = rates_of(reading.groups, sums, square, variance, Z, None, 3.0)
            for name in ("estimate", "lower", "upper", "enough", "total"):
                np.testing.assert_array_equal(getattr(found, name), getattr(alone, name), strict=True)
