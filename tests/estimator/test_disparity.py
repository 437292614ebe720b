"""Disparities from a table: exact values, suppression, plausibility, and coverage end to end."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from simulated_windows import confounded, covered, inside_of, race_only, shares_inside

from estimator import (
    GROUPS,
    CellLayout,
    Correction,
    Disparities,
    Disparity,
    Moments,
    NoiseVariance,
    disparities,
    implausible,
    rank_exposure,
)

TWO = CellLayout((("decision", 2),))
DEMO = CellLayout((("score", 5), ("decision", 2), ("outcome", 2)))


def decisions(not_chosen: list[float], chosen: list[float]) -> NDArray[np.float64]:
    """A table over a decision alone."""
    return np.array([not_chosen, chosen], dtype=np.float64)


def weighted(
    table: NDArray[np.float64],
    layout: CellLayout,
    *,
    sigma_rows: float,
    reference: str,
    confidence: float = 0.95,
    rows_per_member: float = 1,
) -> tuple[Disparity, ...]:
    """What the table alone says."""
    return disparities(
        table,
        cells=layout,
        reference=reference,
        noise_variance=NoiseVariance(sigma_rows**2),
        confidence=confidence,
        rows_per_member=rows_per_member,
    ).results


def by_group(results: tuple[Disparity, ...]) -> dict[str, Disparity]:
    """The results of a layout with one statistic."""
    assert [result.group for result in results] == list(GROUPS)
    return {result.group: result for result in results}


def test_values_gaps_and_ratios_are_those_of_the_table() -> None:
    """Rates are numerator over denominator; gap and ratio compare with the reference, which has neither itself."""
    table = decisions([7000, 8500, 3000, 3000, 500, 500], [3000, 1500, 3000, 1000, 500, 500])
    found = by_group(weighted(table, TWO, sigma_rows=1e-6, reference="white"))
    values = [found[group].value for group in GROUPS]
    assert [value.estimate for value in values if value] == pytest.approx([0.3, 0.15, 0.5, 0.25, 0.5, 0.5])
    black = found["black"]
    assert black.gap is not None
    assert black.gap.estimate == pytest.approx(-0.15)
    assert black.gap.upper < 0
    assert black.ratio is not None
    assert black.ratio.estimate == pytest.approx(0.5)
    assert found["white"].gap is None
    assert found["white"].ratio is None
    assert {(result.metric, result.score_bin, result.estimator) for result in found.values()} == {
        ("recommendation_rate", "all", "weighted")
    }


def test_another_reference_turns_the_gap_round() -> None:
    """The gap of a against b is the negative of that of b against a, ends exchanged."""
    table = decisions([7000, 8500, 3000, 3000, 500, 500], [3000, 1500, 3000, 1000, 500, 500])
    one = by_group(weighted(table, TWO, sigma_rows=10, reference="white"))["black"].gap
    other = by_group(weighted(table, TWO, sigma_rows=10, reference="black"))["white"].gap
    assert one is not None
    assert other is not None
    assert (one.estimate, one.lower, one.upper) == pytest.approx((-other.estimate, -other.upper, -other.lower))


def test_small_groups_are_suppressed_with_their_reason() -> None:
    """Below five deviations of its noise a group has too few rows; above, it may still say too little."""
    deviation = 10 * math.sqrt(2)  # of n over two cells
    few, wide = 4.9 * deviation, 5.1 * deviation
    table = decisions([7000, few / 2, wide / 2, 3000, 0, -40], [3000, few / 2, wide / 2, 1000, 0, 30])
    found = by_group(weighted(table, TWO, sigma_rows=10, reference="white"))
    assert [found[group].suppressed for group in GROUPS] == [
        None,
        "too_few_rows",
        None,
        None,
        "too_few_rows",
        "too_few_rows",
    ]
    assert found["black"].value is found["black"].gap is found["black"].ratio is None
    strict = by_group(weighted(table, TWO, sigma_rows=10, reference="white", confidence=0.9999))
    assert strict["api"].suppressed == "too_wide"
    assert strict["api"].value is None


def test_without_the_reference_there_is_nothing_to_compare() -> None:
    """Where the reference is suppressed, groups keep their values but have no gap and no ratio."""
    table = decisions([10, 8500, 3000, 3000, 500, 500], [10, 1500, 3000, 1000, 500, 500])
    found = by_group(weighted(table, TWO, sigma_rows=10, reference="white"))
    assert found["white"].suppressed == "too_few_rows"
    assert found["black"].value is not None
    assert found["black"].gap is found["black"].ratio is None


def test_the_contribution_cap_widens() -> None:
    """Four rows a member may mean a fourth of the independent rows: without noise, about twice the width."""
    table = decisions([7000, 8500, 3000, 3000, 500, 500], [3000, 1500, 3000, 1000, 500, 500])
    widths = []
    for cap in (1, 4):
        value = by_group(weighted(table, TWO, sigma_rows=0, reference="white", rows_per_member=cap))["black"].value
        assert value is not None
        widths.append(value.upper - value.lower)
    assert widths[1] / widths[0] == pytest.approx(2, rel=0.01)


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.01, 12.6, 80.0]), st.sampled_from([0, 100, 20_000]))
def test_what_is_shown_is_finite_ordered_and_consistent(seed: int, sigma: float, rows: int) -> None:
    """Whatever the noise: no NaN or infinity, each number inside its ends, a gap the difference of its two values."""
    rng = np.random.default_rng(seed)
    table = rng.dirichlet(np.full(DEMO.count * 6, 0.2)).reshape(DEMO.count, 6) * rows
    results = weighted(table + rng.normal(0, 1, table.shape) * sigma, DEMO, sigma_rows=sigma, reference="white")
    assert len(results) == 9 * 6
    values = {(result.metric, result.score_bin, result.group): result.value for result in results}
    for result in results:
        assert (result.value is None) == (result.suppressed is not None)
        reference = values[result.metric, result.score_bin, "white"]
        for number, least, most in ((result.value, 0.0, 1.0), (result.gap, -1.0, 1.0), (result.ratio, 0.0, 100.0)):
            if number is not None:
                assert least <= number.lower <= number.estimate <= number.upper <= most
        if result.gap is not None:
            assert result.value is not None
            assert reference is not None
            assert result.gap.estimate == pytest.approx(result.value.estimate - reference.estimate)


def test_implausible_tables() -> None:
    """Below -8 deviations of noise, and at NaN or infinity, a table says nothing; at -7.9 it may be chance."""
    table = np.zeros((2, 6))
    assert implausible(table, 10.0) is None
    table[1, 3] = -79
    assert implausible(table, 10.0) is None
    table[1, 3] = -81
    assert implausible(table, 10.0) == "implausible_entry"
    for nothing in (math.nan, math.inf, -math.inf):
        table[1, 3] = nothing
        assert implausible(table, 10.0) == "not_finite"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"table": np.zeros((3, 6))}, "shape"),
        ({"table": np.full((2, 6), np.nan)}, "finite"),
        ({"sigma_rows": math.inf}, "noise variance"),
        ({"sigma_rows": math.nan}, "noise variance"),
        ({"reference": "martian"}, "reference"),
        ({"confidence": 95.0}, "confidence"),
        ({"rows_per_member": 0}, "contribution cap"),
    ],
)
def test_wrong_arguments_are_named(change: dict[str, object], message: str) -> None:
    """What cannot be estimated from is refused with what was expected, never answered with a number."""
    arguments: dict[str, object] = {"table": np.ones((2, 6)), "layout": TWO, "sigma_rows": 1.0, "reference": "white"}
    with pytest.raises(ValueError, match=message):
        weighted(**(arguments | change))  # type: ignore[arg-type]


ABC = ("a", "b", "c")
FULL = CellLayout((("score", 2), ("decision", 2), ("outcome", 2), ("rank", 3)), rank_exposure([2, 4]))
RANKED = CellLayout((("outcome", 2), ("rank", 3)), rank_exposure([2, 4]))


def check_shown(found: Disparities, groups: tuple[str, ...], reference: str) -> None:
    """Everything that any reader may rely on, whatever came in."""
    values = {(r.estimator, r.metric, r.score_bin, name): r for r in found.results for name in r.group.split("+")}
    assert {name for *_, name in values} == set(groups)
    for result in found.results:
        assert (result.value is None) == (result.suppressed is not None)
        base = values[result.estimator, result.metric, result.score_bin, reference]
        for number, least, most in ((result.value, 0.0, 1.0), (result.gap, -1.0, 1.0), (result.ratio, 0.0, 100.0)):
            if number is not None:
                assert least <= number.lower <= number.estimate <= number.upper <= most
        assert (result.gap is not None) == (result.value is not None and base.value is not None and result is not base)
        if result.gap is not None:
            assert result.value is not None
            assert base.value is not None
            assert result.gap.estimate == pytest.approx(result.value.estimate - base.value.estimate, abs=1e-12)
        if result.ratio is not None:
            assert result.gap is not None
    if found.agreement is not None:
        assert math.isfinite(found.agreement.largest.deviations)
        assert found.agreement.agree == (abs(found.agreement.largest.deviations) <= found.agreement.limit)


scales = st.sampled_from([0.0, 1e-6, 1.0, 300.0, 1e5, 1e9])


@pytest.mark.filterwarnings("error")
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.sampled_from([0.0, 3.0, 2_000.0, 1e7]),
    noise=st.tuples(scales, scales, scales),
    drawn=st.sampled_from([0.0, 1.0, 30.0]),
    share=st.sampled_from([0.0, 0.01, 0.3, 1.0, 1.4]),
    singular=st.booleans(),
    sharpness=st.sampled_from([0.01, 1.0, 50.0]),
    cap=st.sampled_from([1.0, 24.0]),
)
def test_no_noise_breaks_any_estimator(
    seed: int,
    rows: float,
    noise: tuple[float, float, float],
    drawn: float,
    share: float,
    singular: bool,
    sharpness: float,
    cap: float,
) -> None:
    """Noise larger than rows, negative totals, a singular M, no rows at all: no NaN, no infinity, no warning, no error.

    ``drawn`` scales the noise that is there against the noise that is stated.
    """
    rng = np.random.default_rng(seed)
    race = rng.dirichlet(np.full(3, sharpness), 50)
    if singular:
        race[:, 1:] = race[:, :1] / 2
    cell = rng.dirichlet(np.full(RANKED.count, 0.3), 50)

    def shaken(values: NDArray[np.float64], variance: float) -> NDArray[np.float64]:
        return values + rng.normal(0, 1, values.shape) * drawn * variance**0.5

    def window() -> tuple[NDArray[np.float64], Moments, NDArray[np.float64]]:
        products = shaken(race.T @ race * (rows / 50), noise[1])
        said = rows * share
        counts = shaken(np.array([rows, said]), noise[1])
        moments = Moments((products + products.T) / 2, *counts.tolist(), shaken(np.full(3, said / 5), 4 * noise[1]))
        rectifier = rng.normal(0, 1, (RANKED.count, 3)) * said / 20
        return shaken(cell.T @ race * (rows / 50), noise[0]), moments, shaken(rectifier, noise[2])

    variance = NoiseVariance(noise[0], moments=noise[1], rectifier=noise[2])
    table, moments, rectifier = window()
    arguments = {"cells": RANKED, "noise_variance": variance, "groups": ABC, "rows_per_member": cap}
    learned = disparities(table, reference="b", moments=moments, rectifier=rectifier, **arguments)
    check_shown(learned, ABC, "b")
    table, moments, _ = window()
    check_shown(
        disparities(table, reference="c", moments=moments, correction=learned.correction, **arguments), ABC, "c"
    )
    check_shown(disparities(table, reference="a", correction=learned.correction, **arguments), ABC, "a")


def test_results_come_by_estimator_statistic_and_group() -> None:
    """In this order, each estimator where its data are there, and never twice."""
    (window,) = race_only(1, weights=np.array([0.5, 0.3, 0.2]), sharpness=1, cells=FULL.count).windows(
        2, 1, rows=20_000, share=0.3, noise=NoiseVariance(0)
    )
    arguments = {"cells": FULL, "reference": "a", "noise_variance": NoiseVariance(0), "groups": ABC}
    everything = {"moments": window.moments, "rectifier": window.rectifier}
    for given_, estimators in (
        ({}, ["weighted"]),
        ({"moments": window.moments}, ["weighted", "corrected"]),
        (everything, ["weighted", "corrected", "rectified"]),
        ({"correction": Correction()}, ["weighted", "rectified"]),
        ({"moments": window.moments, "correction": Correction()}, ["weighted", "corrected", "rectified"]),
    ):
        found = disparities(window.table, **arguments, **given_)
        assert [(r.estimator, r.metric, r.score_bin, r.group) for r in found.results] == [
            (estimator, statistic.metric, statistic.score_bin, group)
            for estimator in estimators
            for statistic in FULL.statistics()
            for group in ABC
        ]
        assert (found.agreement is not None) == (found.correction is not None) == (given_ is everything)
    assert found.correction is None


GOOD = Moments(np.eye(6) * 1e4, 6e4, 100.0, np.zeros(6))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"moments": Moments(np.eye(5), 5.0, 1.0, np.zeros(5))}, "moments of 6 groups"),
        ({"moments": Moments(np.eye(6) * np.nan, 5.0, 1.0, np.zeros(6))}, "finite moments"),
        ({"moments": Moments(np.eye(6), math.inf, 1.0, np.zeros(6))}, "finite moments"),
        ({"moments": Moments(np.eye(6), 5.0, 1.0, np.full(6, np.nan))}, "finite moments"),
        ({"moments": Moments(np.eye(6), 5.0, 1.0, np.zeros(5))}, "moments of 6 groups"),
        ({"rectifier": np.zeros((2, 6))}, "needs the moments"),
        ({"rectifier": np.zeros((3, 6)), "moments": GOOD}, "rectifier of shape"),
        ({"rectifier": np.full((2, 6), np.inf), "moments": GOOD}, "finite rectifier"),
        ({"rectifier": np.zeros((2, 6)), "moments": GOOD, "correction": Correction()}, "not both"),
    ],
)
def test_wrong_channels_are_named(change: dict[str, object], message: str) -> None:
    """Moments and rectifiers that do not fit the table, or each other, are refused with what was expected."""
    with pytest.raises(ValueError, match=message):
        disparities(np.ones((2, 6)), cells=TWO, reference="white", noise_variance=NoiseVariance(1), **change)  # type: ignore[arg-type]


def test_position_exposure_is_covered_by_every_estimator() -> None:
    """Values between 0 and 1 that vary less than a yes or no: intervals hold, and are narrower than a rate's."""
    ranks = CellLayout((("rank", 4),), rank_exposure([2, 4, 11]))
    population = race_only(3, weights=np.array([0.6, 0.2, 0.2]), sharpness=1.0, cells=4)
    for estimator, seed in (("corrected", 4), ("rectified", 5)):
        inside = covered(population, ranks, estimator, seed=seed, count=150, rows=10_000, noise=NoiseVariance(100))
        for what, shares in shares_inside(inside).items():
            assert shares.at_least(0.95), (estimator, what, shares)
            assert shares.mean < 0.99
    # The weighted estimate is of the weighted mean: its truth is that of p, which is the group's where p is 0 or 1.
    known = race_only(3, weights=np.array([0.6, 0.2, 0.2]), sharpness=1e-3, cells=4)
    known = type(known)(np.round(known.race), known.cell)
    inside = covered(known, ranks, "weighted", seed=6, count=150, rows=6_000, noise=NoiseVariance(0))
    for what, shares in shares_inside(inside).items():
        assert shares.at_least(0.95), (what, shares)
        assert shares.mean < 0.985
    (window,) = known.windows(7, 1, rows=6_000, share=0.5, noise=NoiseVariance(0))
    found = disparities(
        window.table,
        cells=ranks,
        reference="a",
        noise_variance=NoiseVariance(0),
        moments=window.moments,
        rectifier=window.rectifier,
        groups=ABC,
    ).results
    rows = window.table.sum(axis=0)
    for result in found:
        assert result.value is not None
        rate = result.value.estimate
        as_a_rate = 1.96 * math.sqrt(rate * (1 - rate) / rows[ABC.index(result.group)])
        assert (result.value.upper - result.value.lower) / 2 < 0.8 * as_a_rate, result


def test_a_correction_without_moments_is_wider() -> None:
    """A short window's own purity narrows its interval; without moments the bound of 1 is taken."""
    population = confounded(race_only(8, weights=np.array([0.6, 0.2, 0.2]), sharpness=4, cells=2), 0.3)
    noise, layout = NoiseVariance(0), CellLayout((("outcome", 2),))
    (long,), (short,) = (population.windows(9, 1, rows=n, share=0.5, noise=noise) for n in (200_000, 5_000))
    arguments = {"cells": layout, "reference": "a", "noise_variance": noise, "groups": ABC}
    learned = disparities(long.table, moments=long.moments, rectifier=long.rectifier, **arguments).correction
    widths = []
    for moments in (short.moments, None):
        found = disparities(short.table, moments=moments, correction=learned, **arguments).results
        widths.append([r.value.upper - r.value.lower for r in found if r.estimator == "rectified" and r.value])
        assert (
            inside_of(tuple(r for r in found if r.estimator == "rectified"), population.truth(layout), ABC)["value"]
            == [True] * 3
        )
    assert (np.array(widths[1]) > 1.1 * np.array(widths[0])).all()


def test_coverage_through_the_table() -> None:
    """From rows to a noised table of 20 cells to the intervals: at least 95 % hold their estimand, for each metric."""
    rng = np.random.default_rng(7)
    kinds, rows, sigma, repetitions = 120, 20_000, 12.6, 250
    race = rng.dirichlet(np.array([0.6, 0.13, 0.06, 0.18, 0.01, 0.02]) * 0.5 + 1e-3, kinds)
    # How likely each cell is for each kind: the outcome, the decision and the score all depend on who it is.
    cell = rng.dirichlet(np.full(DEMO.count, 2.0), kinds)
    expected = cell.T @ race
    tables = np.einsum("rkc,kg->rcg", rng.multinomial(rows // kinds, cell, (repetitions, kinds)), race)
    tables = tables + rng.normal(0, sigma, tables.shape)

    hits: dict[str, list[bool]] = {}
    for table in tables:
        results = weighted(table, DEMO, sigma_rows=sigma, reference="white")
        for statistic, offset in zip(DEMO.statistics(), range(0, len(results), 6), strict=True):
            truth = statistic.worth @ expected / expected[statistic.denominator].sum(axis=0)
            for group, result in enumerate(results[offset : offset + 6]):
                for what, interval, true in (
                    ("value", result.value, truth[group]),
                    ("gap", result.gap, truth[group] - truth[0]),
                    ("ratio", result.ratio, truth[group] / truth[0]),
                ):
                    if interval is not None:
                        name = f"{result.metric} {what}"
                        hits.setdefault(name, []).append(interval.lower <= true <= interval.upper)
    assert len(hits) == 5 * 3
    coverage = {name: float(np.mean(inside)) for name, inside in hits.items()}
    assert min(coverage.values()) >= 0.94, coverage
    # Not by being useless: a group's recommendation rate is known to a few hundredths.
    white = weighted(tables[0], DEMO, sigma_rows=sigma, reference="white")[-6].value
    assert white is not None
    assert white.upper - white.lower < 0.05


def test_each_statistics_excess_is_beyond_its_own_tolerated_gap() -> None:
    """What a detector takes in does not depend on which other metrics are watched, to the last bit."""
    table = np.random.default_rng(12).normal(200, 60, (DEMO.count, len(GROUPS)))
    tolerated = {"predictive_parity": 0.05, "precision": 0.03, "fpr": 0.01}

    def excess(gaps: dict[str, float], metric: str) -> list[object]:
        found = disparities(table, cells=DEMO, reference="white", noise_variance=NoiseVariance(9), tolerated=gaps)
        return [result.excess for result in found.results if result.metric == metric]

    for metric, gap in tolerated.items():
        assert excess(tolerated, metric) == excess({metric: gap}, metric)
        assert any(found is not None for found in excess(tolerated, metric))
    assert set(excess(tolerated, "tpr")) == {None}
