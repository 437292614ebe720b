"""Plans: what is expected before a row is counted is what simulated windows then have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from estimator import GROUPS, CellLayout, Disparity, Moments, NoiseVariance, Population, RaceModel, disparities
from estimator.plan import Plan, cell_distribution

F = NDArray[np.float64]
CELLS = CellLayout((("decision", 2), ("outcome", 2)))
ROWS = 40_000
SHARE = 0.05
NOISE = NoiseVariance(table=9.0, moments=16.0, rectifier=25.0)
WINDOWS = 30


@dataclass(frozen=True)
class World:
    """Members with probabilities and a race that is drawn from them, so that the proxy is calibrated."""

    probabilities: F
    products: F


@pytest.fixture(scope="module")
def world() -> World:
    """A population as `evenstream plan` draws it."""
    people = Population(level="county").draw(np.random.default_rng(1), 200_000)
    model = RaceModel.load()
    p = model.posterior(
        people.surname.tolist(), given_names=people.given_name.tolist(), counties=people.county.tolist()
    )
    products = p.T @ p / len(p)
    return World(p, products / products.sum())


def window(world: World, rng: np.random.Generator) -> tuple[Disparity, ...]:
    """One simulated window without any gap, with noise, by all estimators."""
    p = world.probabilities[rng.integers(len(world.probabilities), size=ROWS)]
    cell = rng.integers(4, size=ROWS)
    race = np.minimum((p.cumsum(axis=1) < rng.random(ROWS)[:, None]).sum(axis=1), 5)
    said, truth = rng.random(ROWS) < SHARE, np.eye(6)[race]
    table, rectifier = np.zeros((4, 6)), np.zeros((4, 6))
    np.add.at(table, cell, p)
    np.add.at(rectifier, cell[said], (truth - p)[said])
    exact = Moments.of(p, truth, said)
    shaken = rng.normal(0, NOISE.moments**0.5, (6, 6)) / np.sqrt(2)
    moments = Moments(
        exact.products + (shaken + shaken.T) / np.sqrt(2),
        exact.rows + rng.normal(0, 4.0),
        exact.self_id_rows + rng.normal(0, 4.0),
        exact.residual_squares + rng.normal(0, 8.0, 6),
    )
    return disparities(
        table + rng.normal(0, 3.0, table.shape),
        cells=CELLS,
        reference="white",
        noise_variance=NOISE,
        moments=moments,
        rectifier=rectifier + rng.normal(0, 5.0, table.shape),
    ).results


def plan(world: World, **options: float) -> Plan:
    """The plan of such windows."""
    return Plan(CELLS, world.products, GROUPS, "white", self_id_share=SHARE, **options)  # type: ignore[arg-type]


def test_predicted_half_widths_are_those_of_simulated_windows(world: World) -> None:
    """Of every shown value and gap of every estimator, within 12 % of the mean over windows."""
    rng = np.random.default_rng(2)
    realised: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for _ in range(WINDOWS):
        for one in window(world, rng):
            if one.value is not None:
                gap = np.nan if one.gap is None else (one.gap.upper - one.gap.lower) / 2
                widths = (one.value.upper - one.value.lower) / 2, gap
                realised.setdefault((one.metric, one.group, one.estimator), []).append(widths)
    made = plan(world)
    compared = set()
    for one in made.expected(made.window(ROWS, NOISE, rectifier=True)):
        found = realised.get((one.metric, one.group, one.estimator), [])
        if one.half_width is None or one.half_width > 0.2 or len(found) < WINDOWS:
            continue  # near the border of suppression only the narrower windows are shown
        assert np.mean([width for width, _ in found]) == pytest.approx(one.half_width, rel=0.12), one
        if one.gap_half_width is not None:
            assert np.mean([gap for _, gap in found]) == pytest.approx(one.gap_half_width, rel=0.12), one
        compared.add((one.group, one.estimator))
    for estimator in ("weighted", "corrected", "rectified"):
        assert {("black", estimator), ("hispanic", estimator)} <= compared


def test_the_smallest_detectable_gap_is_found_four_times_in_five(world: World) -> None:
    """A true gap of the planned size, planted in black members, is found by `corrected` in about 80 % of windows."""
    rng, made = np.random.default_rng(4), plan(world)
    of = {(e.metric, e.group, e.estimator): e for e in made.expected(made.window(ROWS, NoiseVariance(9.0)))}
    one = of["recommendation_rate", "black", "corrected"]
    assert one.detectable_gap is not None
    found = 0
    for _ in range(100):
        p = world.probabilities[rng.integers(len(world.probabilities), size=ROWS)]
        race = np.minimum((p.cumsum(axis=1) < rng.random(ROWS)[:, None]).sum(axis=1), 5)
        decision = rng.random(ROWS) < np.where(race == 1, 0.5 - one.detectable_gap, 0.5)
        table = np.zeros((4, 6))
        np.add.at(table, decision * 2 + rng.integers(2, size=ROWS), p)
        results = disparities(
            table + rng.normal(0, 3.0, table.shape),
            cells=CELLS,
            reference="white",
            noise_variance=NoiseVariance(9.0),
            moments=Moments.of(p),
        ).results
        gap = next(r.gap for r in results if (r.metric, r.group, r.estimator) == (one.metric, "black", "corrected"))
        found += gap is not None and gap.upper < 0
    assert 0.7 <= found / 100 <= 0.92


def test_the_weighted_estimator_shows_the_planned_part_of_a_gap(world: World) -> None:
    """Without noise, a gap of black members appears times M_rr / n_r - M_sr / n_s."""
    made, p, black = plan(world), world.probabilities, GROUPS.index("black")
    one = next(e for e in made.expected(made.window(ROWS, NOISE)) if (e.group, e.estimator) == ("black", "weighted"))
    theta = 0.5 - 0.3 * p[:, black]  # the mean outcome given p, where black members' is .3 lower
    weighted = (p * theta[:, None]).sum(axis=0) / p.sum(axis=0)
    assert weighted[black] - weighted[0] == pytest.approx(-0.3 * one.shown, rel=1e-6)
    assert 0 < one.shown < 1


def test_more_rows_and_less_noise_are_narrower(world: World) -> None:
    """Half-widths fall with rows, and rise with noise."""
    made = plan(world)

    def width(rows: float, noise: float) -> float:
        expected = made.expected(made.window(rows, NoiseVariance(noise, noise)))
        found = next(e for e in expected if (e.metric, e.group) == ("recommendation_rate", "black"))
        assert found.gap_half_width is not None
        return found.gap_half_width

    assert width(160_000, 0.0) < width(40_000, 0.0) < width(40_000, 400.0)
    assert width(160_000, 0.0) == pytest.approx(width(40_000, 0.0) / 2, rel=0.05)


def test_too_little_is_suppressed_with_its_reason(world: World) -> None:
    """A window that will say nothing of a group is planned as such."""
    made = plan(world)
    expected = made.expected(made.window(200, NoiseVariance(100.0, 100.0)))
    native = next(e for e in expected if (e.group, e.estimator) == ("native", "weighted"))
    assert (native.half_width, native.detectable_gap, native.suppressed) == (None, None, "too_few_rows")


def test_cells_share_out_all_rows() -> None:
    """Score bins are equally full, decision and outcome independent with the base rate."""
    cells = CellLayout((("score", 3), ("decision", 2), ("outcome", 2)))
    part = cell_distribution(cells, 0.2).reshape(3, 2, 2)
    assert part.sum() == pytest.approx(1)
    assert part.sum(axis=(1, 2)) == pytest.approx([1 / 3] * 3)
    assert part[0, 1, 1] * 3 == pytest.approx(0.04)


@pytest.mark.parametrize("options", [{"base_rate": 0.0}, {"base_rate": 1.0}, {"self_id_share": -0.1}])
def test_absurd_assumptions_are_refused(options: dict[str, float]) -> None:
    """A base rate or a share that cannot be is an error."""
    with pytest.raises(ValueError, match="expected"):
        Plan(CELLS, np.eye(6) / 6, GROUPS, "white", **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="sum to 1"):
        Plan(CELLS, np.eye(6), GROUPS, "white")
