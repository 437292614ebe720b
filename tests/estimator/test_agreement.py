"""The check that corrected and rectified agree: false alarms, power, and how far apart chance takes them."""

from __future__ import annotations

import numpy as np
import pytest
from simulated_windows import Kinds, confounded, race_only

from estimator import CellLayout, NoiseVariance, disparities
from estimator.agreement import SIGNIFICANCE, Difference, differences, judge
from estimator.corrected import corrected_rates, pool
from estimator.intervals import critical_value
from estimator.rates import Reading
from estimator.rectified import rectified_rates, rectifier_of

Z = critical_value(0.95)
ABC = ("a", "b", "c")
SHARES = np.array([0.6, 0.2, 0.2])
OUTCOME = CellLayout((("outcome", 2),))
PARITY = CellLayout((("score", 2), ("outcome", 2)))
QUIET = NoiseVariance(0)
NOISY = NoiseVariance(150, moments=300, rectifier=150)


def flagged(population: Kinds, noise: NoiseVariance, *, seed: int, count: int) -> float:
    """In how many windows the two are found to disagree: a share."""
    found = []
    for window in population.windows(seed, count, rows=20_000, share=0.2, noise=noise):
        agreement = disparities(
            window.table,
            cells=OUTCOME,
            reference="a",
            noise_variance=noise,
            moments=window.moments,
            rectifier=window.rectifier,
            groups=ABC,
        ).agreement
        assert agreement is not None
        found.append(not agreement.agree)
    return float(np.mean(found))


@pytest.mark.parametrize("noise", [QUIET, NOISY], ids=["without noise", "with noise"])
def test_false_alarms_are_rare(noise: NoiseVariance) -> None:
    """Where the proxy is independent of outcomes, one window in a hundred is flagged: no more than 7 of 250."""
    population = race_only(1, weights=SHARES, sharpness=1.5, cells=2)
    assert flagged(population, noise, seed=2, count=250) <= 0.028


@pytest.mark.parametrize(("noise", "least"), [(QUIET, 0.9), (NOISY, 0.4)], ids=["without noise", "with noise"])
def test_confounding_is_found(noise: NoiseVariance, least: float) -> None:
    """Where place matters by itself, nearly all windows are flagged, and many with the noise of a single minute."""
    population = confounded(race_only(1, weights=SHARES, sharpness=1.5, cells=2), 0.3)
    assert flagged(population, noise, seed=3, count=60) >= least


@pytest.mark.parametrize(
    ("noise", "share"),
    [(QUIET, 0.2), (NOISY, 0.2), (NoiseVariance(1500), 0.8)],
    ids=["without noise", "with noise", "noise that both share"],
)
def test_differences_are_in_their_own_deviations(noise: NoiseVariance, share: float) -> None:
    """Over windows, differences by chance have mean 0 and deviation 1: the covariance of the two is accounted for."""
    population = race_only(4, weights=SHARES, sharpness=1.5, cells=4)
    drawn: dict[tuple[str, str], list[float]] = {}
    for window in population.windows(5, 150, rows=20_000, share=share, noise=noise):
        pooled = pool(ABC, window.moments, noise, cells=4, rows_per_member=1)
        rectifier = rectifier_of(window.rectifier, window.moments, noise)
        reading = Reading(window.table, ABC, noise, 1.0, Z)
        assert pooled is not None
        assert rectifier is not None
        for statistic in PARITY.statistics():
            corrected = corrected_rates(reading, statistic, pooled)
            rectified = rectified_rates(reading, statistic, rectifier)
            for found in differences(reading, statistic, pooled, corrected, rectified):
                drawn.setdefault((found.score_bin, found.group), []).append(found.deviations)
    assert len(drawn) == 6
    for deviations in drawn.values():
        assert abs(np.mean(deviations)) < 0.3
    assert 0.91 < np.sqrt(np.mean([np.var(deviations) for deviations in drawn.values()])) < 1.06


def test_the_limit_is_bonferronis() -> None:
    """With m comparisons the limit is that of significance / m, two-sided, and the largest difference decides."""
    found = [Difference("tpr", "all", group, size) for group, size in (("a", 1.0), ("b", -3.2), ("c", 3.0))]
    outcome = judge(found)
    assert outcome is not None
    assert outcome.limit == pytest.approx(critical_value(1 - SIGNIFICANCE / 3)) == pytest.approx(2.9352, abs=1e-3)
    assert (outcome.agree, outcome.largest, outcome.comparisons) == (False, found[1], 3)
    closer = judge([found[0], found[0], Difference("tpr", "all", "b", -2.9)])
    assert closer is not None
    assert closer.agree
    assert judge([]) is None


def test_pooled_groups_are_not_compared() -> None:
    """Only groups that both have by themselves: a pool of the corrected has no counterpart among the rectified."""
    population = race_only(6, weights=np.array([0.5, 0.3, 0.19, 0.01]), sharpness=1.5, cells=4)
    names, noise = ("a", "b", "c", "d"), NoiseVariance(400, moments=400, rectifier=100)
    (window,) = population.windows(7, 1, rows=20_000, share=0.3, noise=noise)
    found = disparities(
        window.table,
        cells=PARITY,
        reference="a",
        noise_variance=noise,
        moments=window.moments,
        rectifier=window.rectifier,
        groups=names,
    )
    corrected = [r.group for r in found.results if r.estimator == "corrected"]
    assert corrected == ["a+d", "b", "c"] * 2
    assert found.agreement is not None
    assert found.agreement.comparisons == 4
    assert found.agreement.largest.group in ("b", "c")
