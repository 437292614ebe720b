"""Disparities from a table: exact values, suppression, plausibility, and coverage end to end."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from estimator import GROUPS, CellLayout, Disparity, NoiseVariance, disparities, implausible

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
