"""Cells and what the statistics count of them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator.cells import ALL_BINS, CellLayout, rank_exposure

FULL = CellLayout((("score", 5), ("decision", 2), ("outcome", 2), ("rank", 3)))

layouts = st.builds(
    lambda score, decision, outcome, rank: CellLayout(
        tuple(
            axis
            for axis, there in (
                (("score", score), score > 0),
                (("decision", 2), decision),
                (("outcome", 2), outcome),
                (("rank", rank), rank > 0),
            )
            if there
        )
    ),
    st.integers(0, 6),
    st.booleans(),
    st.booleans(),
    st.integers(0, 4),
)


def names(layout: CellLayout) -> list[tuple[str, str]]:
    """(metric, score bin) of each statistic."""
    return [(statistic.metric, statistic.score_bin) for statistic in layout.statistics()]


def test_cells_are_numbered_in_c_order() -> None:
    """A cell's coordinates are those of the cross product, its last axis running fastest."""
    product = itertools.product(range(5), range(2), range(2), range(3))
    axes = [FULL.axis(name) for name in ("score", "decision", "outcome", "rank")]
    assert [tuple(int(axis[cell]) for axis in axes if axis is not None) for cell in range(FULL.count)] == list(product)


def test_all_statistics_of_a_full_layout() -> None:
    """With score, decision and outcome, predictive parity comes by bin and the other four once, in a fixed order."""
    assert names(FULL) == [
        *(("predictive_parity", str(bin_)) for bin_ in range(5)),
        ("precision", ALL_BINS),
        ("tpr", ALL_BINS),
        ("fpr", ALL_BINS),
        ("recommendation_rate", ALL_BINS),
    ]


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        ((("outcome", 2),), ["predictive_parity"]),
        ((("decision", 2),), ["recommendation_rate"]),
        ((("decision", 2), ("rank", 3)), ["recommendation_rate"]),
        ((("decision", 2), ("outcome", 2)), ["predictive_parity", "precision", "tpr", "fpr", "recommendation_rate"]),
    ],
)
def test_only_what_the_axes_allow(axes: tuple[tuple[str, int], ...], expected: list[str]) -> None:
    """A statistic exists exactly where the axes that it needs exist."""
    assert names(CellLayout(axes)) == [(metric, ALL_BINS) for metric in expected]


@given(layouts)
def test_every_rate_lies_between_0_and_1(layout: CellLayout) -> None:
    """What a row is worth lies between 0 and 1, and is 0 outside the denominator, which is never empty."""
    for statistic in layout.statistics():
        assert statistic.worth.shape == statistic.denominator.shape == (layout.count,)
        assert statistic.denominator.any()
        assert ((statistic.worth >= 0) & (statistic.worth <= statistic.denominator)).all()


def test_masks_give_the_conditional_means_of_the_rows() -> None:
    """Summed by cell and read through the masks, rows give the very rates that their definitions give."""
    rng = np.random.default_rng(1)
    score, decision, outcome = rng.integers(0, 5, 4000), rng.integers(0, 2, 4000), rng.integers(0, 2, 4000)
    layout = CellLayout((("score", 5), ("decision", 2), ("outcome", 2)))
    rows = np.bincount(np.ravel_multi_index((score, decision, outcome), (5, 2, 2)), minlength=layout.count)
    expected = {("predictive_parity", str(bin_)): outcome[score == bin_].mean() for bin_ in range(5)} | {
        ("precision", ALL_BINS): outcome[decision == 1].mean(),
        ("tpr", ALL_BINS): decision[outcome == 1].mean(),
        ("fpr", ALL_BINS): decision[outcome == 0].mean(),
        ("recommendation_rate", ALL_BINS): decision.mean(),
    }
    found = {
        (statistic.metric, statistic.score_bin): rows @ statistic.worth / rows[statistic.denominator].sum()
        for statistic in layout.statistics()
    }
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    "axes",
    [
        (("outcome", 2), ("decision", 2)),
        (("decision", 2), ("decision", 2)),
        (("race", 6),),
        (("decision", 3),),
        (("score", 0),),
    ],
)
def test_impossible_axes_are_refused(axes: tuple[tuple[str, int], ...]) -> None:
    """Axes that are unknown, repeated, out of order or of a wrong size say what was expected."""
    with pytest.raises(ValueError, match="expected"):
        CellLayout(axes)


def test_rank_exposure_is_dcgs_discount_averaged_over_a_bin() -> None:
    """Place 1 is worth 1, place 2 1 / log2 3; a bin is worth the mean of its places, the open last one nothing."""
    assert rank_exposure([2, 3]) == pytest.approx((1.0, 1 / math.log2(3), 0.0))
    assert rank_exposure([2, 4, 11]) == pytest.approx(
        (
            1.0,
            (1 / math.log2(3) + 1 / math.log2(4)) / 2,
            sum(1 / math.log2(1 + rank) for rank in range(4, 11)) / 7,
            0.0,
        )
    )
    assert rank_exposure([1, 2], starts_at=0) == rank_exposure([2, 3])
    assert rank_exposure([0.5, 1.5, 2.5]) == pytest.approx((0.0, 1.0, 1 / math.log2(3), 0.0))


def test_position_exposure_is_the_mean_discount() -> None:
    """Summed by cell, rows give the mean of what their ranks are worth; without the discount there is no statistic."""
    rank = np.array([1, 1, 2, 3, 3, 9])
    exposure = rank_exposure([2, 3, 4])
    layout = CellLayout((("decision", 2), ("rank", 4)), exposure)
    rows = np.bincount(np.searchsorted([2, 3, 4], rank, side="right"), minlength=8)
    (statistic,) = (s for s in layout.statistics() if s.metric == "position_exposure")
    expected = (1 + 1 + 1 / math.log2(3) + 2 / math.log2(4) + 0) / 6
    assert rows @ statistic.worth / rows[statistic.denominator].sum() == pytest.approx(expected)
    assert "position_exposure" not in [s.metric for s in CellLayout(layout.axes).statistics()]


@pytest.mark.parametrize("exposure", [(1.0, 0.5), (1.0, 0.5, 1.5, 0.0), (1.0, -0.1, 0.0, 0.0)])
def test_impossible_exposure_is_refused(exposure: tuple[float, ...]) -> None:
    """One number between 0 and 1 for each rank bin."""
    with pytest.raises(ValueError, match="rank bins is worth"):
        CellLayout((("decision", 2), ("rank", 4)), exposure)


def test_a_layouts_statistics_are_worked_out_once_and_stay_as_they_are() -> None:
    """Every window of a measurement reads the same arrays, so nobody may write to them."""
    for one, again in zip(FULL.statistics(), FULL.statistics(), strict=True):
        assert one is again
        for array in (one.worth, one.denominator, one.noise_terms):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 0
