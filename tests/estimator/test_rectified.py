"""The rectified estimator: exact laws, the errors that it states, coverage, and short windows by a correction."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_windows import Kinds, confounded, covered, inside_of, race_only, shares_inside

from estimator import CellLayout, Correction, Disparity, Moments, NoiseVariance, disparities
from estimator.detection import BETS
from estimator.intervals import critical_value
from estimator.rates import Rates, Reading
from estimator.rectified import MIN_SELF_ID_ROWS, Shift, rectified_rates, rectifier_of, shift_of, shifted_rates
from estimator.weighted import weighted_rates

Z = critical_value(0.95)
ABC = ("a", "b", "c")
SHARES = np.array([0.6, 0.2, 0.2])
OUTCOME = CellLayout((("outcome", 2),))
DECIDED = CellLayout((("decision", 2), ("outcome", 2)))
QUIET = NoiseVariance(0)
NOISY = NoiseVariance(150, moments=300, rectifier=150)


def rows(seed: int, count: int, share: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """p, R, cells and who said a group. R is nothing that p would predict; some split their unit between two groups."""
    rng = np.random.default_rng(seed)
    race = rng.dirichlet([1.0, 0.6, 0.4], count)
    self_id = np.eye(3)[rng.integers(0, 3, count)]
    self_id[: count // 10] = [0.5, 0.5, 0.0]
    cell = (4 * rng.random(count) ** (1 + self_id[:, 0])).astype(int)
    return race, self_id, cell, rng.random(count) < share


def sums_of(cell: np.ndarray, weights: np.ndarray, cells: int = 4) -> np.ndarray:
    """Sums of weights by cell."""
    table = np.zeros((cells, weights.shape[1]))
    np.add.at(table, cell, weights)
    return table


def all_of(
    table: np.ndarray, moments: Moments, rectifier: np.ndarray | None, estimator: str, **arguments: Correction | None
) -> tuple[Disparity, ...]:
    """The results of one estimator over decision and outcome, without noise."""
    found = disparities(
        table,
        cells=DECIDED,
        reference="a",
        noise_variance=QUIET,
        moments=moments,
        rectifier=rectifier,
        groups=ABC,
        **arguments,
    ).results
    return tuple(result for result in found if result.estimator == estimator)


def test_when_everyone_said_a_group_rates_are_those_of_self_id() -> None:
    """With f = 1 the proxy cancels, however wrong: what is left is sum R x / sum R, with its plain interval."""
    race, self_id, cell, _ = rows(1, 3000, 1.0)
    moments = Moments.of(race, self_id, np.ones(len(race), bool))
    plain = all_of(sums_of(cell, self_id), moments, None, "weighted")
    rectified = all_of(sums_of(cell, race), moments, sums_of(cell, self_id - race), "rectified")
    for one, other in zip(rectified, plain, strict=True):
        assert one.value is not None
        assert other.value is not None
        assert (one.value.estimate, one.value.lower, one.value.upper) == pytest.approx(
            (other.value.estimate, other.value.lower, other.value.upper), abs=1e-12
        )
        if one.gap is not None and other.gap is not None:
            assert one.gap.lower == pytest.approx(other.gap.lower, abs=1e-12)


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.95))
def test_rates_are_those_of_the_definition(seed: int, share: float) -> None:
    """[sum p x + (1/f) sum_L (R - p) x] over the same of x = 1, row by row, is what comes out of the sums."""
    race, self_id, cell, said = rows(seed, 2000, share)
    moments = Moments.of(race, self_id, said)
    rectifier = rectifier_of(sums_of(cell[said], (self_id - race)[said]), moments, QUIET)
    assert rectifier is not None
    mass = race + (said / said.mean())[:, None] * (self_id - race)
    for statistic in DECIDED.statistics():
        rates = rectified_rates(Reading(sums_of(cell, race), ABC, QUIET, 1.0, Z), statistic, rectifier)
        expected = statistic.worth[cell] @ mass / (statistic.denominator[cell] @ mass)
        assert rates.estimate == pytest.approx(np.clip(expected, 0, 1), abs=1e-12)


def test_a_proxy_that_is_right_needs_no_rectifying() -> None:
    """Where R and p agree in every cell, the rates are the weighted ones."""
    race, self_id, cell, said = rows(2, 3000, 0.3)
    table, moments = sums_of(cell, race), Moments.of(race, self_id, said)
    weighted = all_of(table, moments, None, "weighted")
    rectified = all_of(table, moments, np.zeros((4, 3)), "rectified")
    for one, other in zip(rectified, weighted, strict=True):
        assert one.value is not None
        assert other.value is not None
        assert one.value.estimate == pytest.approx(other.value.estimate, abs=1e-12)
        assert one.value.upper - one.value.lower > 0


def test_the_correction_of_a_window_takes_it_to_its_own_rectified_rates() -> None:
    """Weighted plus the correction learned in the same window is rectified: nothing else is in a correction."""
    race, self_id, cell, said = rows(3, 4000, 0.4)
    table, moments = sums_of(cell, race), Moments.of(race, self_id, said)
    rectifier = sums_of(cell[said], (self_id - race)[said])
    learned = disparities(
        table, cells=DECIDED, reference="a", noise_variance=QUIET, moments=moments, rectifier=rectifier, groups=ABC
    )
    assert learned.correction is not None
    own = [result for result in learned.results if result.estimator == "rectified"]
    shifted = all_of(table, moments, None, "rectified", correction=learned.correction)
    for one, other in zip(shifted, own, strict=True):
        assert (one.metric, one.group, one.suppressed) == (other.metric, other.group, None)
        assert one.value is not None
        assert other.value is not None
        assert one.value.estimate == pytest.approx(other.value.estimate, abs=1e-12)
        if other.gap is not None:
            assert one.gap is not None
            assert one.gap.estimate == pytest.approx(other.gap.estimate, abs=1e-12)


def test_without_a_correction_the_reason_is_named() -> None:
    """Before any long window, and for a statistic that it did not know, there is "no_correction", for every group."""
    race, self_id, cell, said = rows(4, 2000, 0.4)
    found = all_of(sums_of(cell, race), Moments.of(race, self_id, said), None, "rectified", correction=Correction())
    assert [result.group for result in found] == list(ABC) * 5
    assert {(result.value, result.gap, result.ratio, result.suppressed) for result in found} == {
        (None, None, None, "no_correction")
    }


def test_too_few_self_id_rows_are_named() -> None:
    """Fewer than 30 rows, or than five deviations of their noise, rectify nothing, and no correction is learned."""
    race, self_id, cell, said = rows(5, 2000, 0.3)
    table, rectifier = sums_of(cell, race), sums_of(cell[said], (self_id - race)[said])

    def reasons(self_id_rows: float, noise: NoiseVariance) -> set[str | None]:
        moments = Moments(race.T @ race, 2000.0, self_id_rows, np.full(3, 50.0))
        found = disparities(
            table, cells=DECIDED, reference="a", noise_variance=noise, moments=moments, rectifier=rectifier, groups=ABC
        )
        assert found.correction is not None
        few = {result.suppressed for result in found.results if result.estimator == "rectified"}
        assert ("too_few_self_id" in few) == (not found.correction.shifts)
        assert found.agreement is None or "too_few_self_id" not in few
        return few

    assert reasons(MIN_SELF_ID_ROWS - 1, QUIET) == {"too_few_self_id"}
    assert "too_few_self_id" not in reasons(MIN_SELF_ID_ROWS + 1, QUIET)
    assert reasons(99.0, NoiseVariance(0, moments=400.0)) == {"too_few_self_id"}
    assert "too_few_self_id" not in reasons(101.0, NoiseVariance(0, moments=400.0))


def rectify(
    table: np.ndarray, rectifier: np.ndarray, inverse_share: np.ndarray, worth: np.ndarray, inside: np.ndarray
) -> np.ndarray:
    """Rectified rates of many draws at once, by the definition: arrays of shape (draws, cells, k)."""
    mass = table + inverse_share[:, None, None] * rectifier
    return np.einsum("c,ncq->nq", worth, mass) / np.einsum("c,ncq->nq", inside, mass)


@pytest.mark.parametrize("channel", ["table", "rectifier", "moments"])
def test_errors_by_noise_vary_as_stated(channel: str) -> None:
    """Noise of one channel alone, taken through the definition: the covariance of rates and of corrections is ours."""
    rng = np.random.default_rng(6)
    # Where most said a group, the noise of both counts of f matters.
    race, self_id, cell, said = rows(7, 30_000, 0.8 if channel == "moments" else 0.25)
    table, rectifier = sums_of(cell, race), sums_of(cell[said], (self_id - race)[said])
    moments = Moments.of(race, self_id, said)
    draws, deviation = 6000, {"table": 60.0, "rectifier": 30.0, "moments": 250.0}[channel]
    noise = NoiseVariance(**({"table": 0.0} | {channel: deviation**2}))
    tables, sums = np.broadcast_to(table, (draws, 4, 3)), np.broadcast_to(rectifier, (draws, 4, 3))
    rows_said, rows_all = np.full(draws, moments.self_id_rows), np.full(draws, moments.rows)
    if channel == "table":
        tables = tables + rng.normal(0, deviation, tables.shape)
    elif channel == "rectifier":
        sums = sums + rng.normal(0, deviation, sums.shape)
    else:
        rows_said, rows_all = (count + rng.normal(0, deviation, draws) for count in (rows_said, rows_all))
    prepared = rectifier_of(rectifier, moments, noise)
    assert prepared is not None
    for statistic in DECIDED.statistics():
        inside = statistic.denominator.astype(float)
        drawn = rectify(tables, sums, rows_all / rows_said, statistic.worth, inside)
        plain = np.einsum("c,ncq->nq", statistic.worth, tables) / np.einsum("c,ncq->nq", inside, tables)
        stated = rectified_rates(Reading(table, ABC, noise, 1e-12, Z), statistic, prepared)
        weighted = weighted_rates(Reading(table, ABC, noise, 1e-12, Z), statistic)
        shift = shift_of(Reading(table, ABC, noise, 1e-12, Z), statistic, prepared, weighted, stated)
        assert stated.covariance is not None
        for expected, ours, what in (
            (np.cov(drawn.T), stated.covariance, "rates"),
            (np.cov((drawn - plain).T), shift.covariance, "corrections"),
        ):
            deviations = np.sqrt(np.diag(expected))
            assert np.sqrt(np.diag(ours)) == pytest.approx(deviations, rel=0.06), what
            assert ours / np.outer(deviations, deviations) == pytest.approx(
                expected / np.outer(deviations, deviations), abs=0.09
            ), what
        deviations = drawn.std(axis=0)
        assert (stated.upper - stated.lower) / (2 * Z) == pytest.approx(deviations, rel=0.07)
        below_and_above = (shift.below + shift.above) / 2
        assert below_and_above == pytest.approx((drawn - plain).std(axis=0), rel=0.07)


@pytest.mark.parametrize("share", [0.15, 0.6])
def test_errors_by_sampling_vary_as_stated(share: float) -> None:
    """Over windows of one population, rates, gaps and corrections vary by what is stated, never less, hardly more."""
    population = confounded(race_only(8, weights=SHARES, sharpness=2, cells=4), 0.4)
    (statistic,) = (s for s in DECIDED.statistics() if s.metric == "tpr")
    estimates, shifts, covariances, shift_covariances = [], [], [], []
    for window in population.windows(9, 800, rows=10_000, share=share, noise=QUIET):
        rectifier = rectifier_of(window.rectifier, window.moments, QUIET)
        assert rectifier is not None
        rates = rectified_rates(Reading(window.table, ABC, QUIET, 1.0, Z), statistic, rectifier)
        weighted = weighted_rates(Reading(window.table, ABC, QUIET, 1.0, Z), statistic)
        shift = shift_of(Reading(window.table, ABC, QUIET, 1.0, Z), statistic, rectifier, weighted, rates)
        assert rates.covariance is not None
        estimates.append(rates.estimate)
        covariances.append(rates.covariance)
        shifts.append(shift.value)
        shift_covariances.append(shift.covariance)
    # A correction carries the table's sampling as if it were apart from the rectifier's, which only widens.
    for drawn, stated, most in ((estimates, covariances, 1.35), (shifts, shift_covariances, 1.9)):
        expected, ours = np.cov(np.array(drawn).T), np.mean(stated, axis=0)
        ratio = np.diag(ours) / np.diag(expected)
        assert ((ratio > 0.9) & (ratio < most)).all(), ratio
        for r in (1, 2):
            gap = np.array([1.0 if k == r else -1.0 if k == 0 else 0.0 for k in range(3)])
            assert 0.88 < gap @ ours @ gap / (gap @ expected @ gap) < most


@pytest.mark.parametrize("noise", [QUIET, NOISY], ids=["without noise", "with noise"])
@pytest.mark.parametrize("confounding", [0.0, 0.4], ids=["race alone", "place matters"])
def test_coverage(confounding: float, noise: NoiseVariance) -> None:
    """95 % intervals of values and gaps hold the groups' true rates, whatever else outcomes depend on."""
    population = confounded(race_only(12, weights=SHARES, sharpness=1.0, cells=2), confounding)
    inside = covered(population, OUTCOME, "rectified", seed=13, count=200, rows=20_000, noise=noise)
    for what, shares in shares_inside(inside).items():
        assert shares.at_least(0.95), (what, shares)
        assert shares.mean <= 0.985, (what, shares)  # not by being useless


@pytest.mark.parametrize(("rate", "place"), [(0.3, 0.25), (0.05, 0.0)], ids=["place matters", "seldom"])
def test_excess_is_standard_where_groups_are_treated_alike(rate: float, place: float) -> None:
    """What detectors of a rectified level take in: mean 0 and variance 1, whatever else outcomes depend on.

    Each bet's gain would tell a mean of .2 or a variance of 1.3. Of 1,500 windows each the means lie within .04 and the
    deviations within .96 and 1.05 (docs/decisions/2026-11-26-contrasts.md).
    """
    rng = np.random.default_rng(12)
    race = rng.dirichlet([0.6, 0.3, 0.1], 100)
    pull = rng.normal(size=100)
    of_group = race / race.sum(axis=0)
    pull -= of_group @ np.linalg.lstsq(of_group, pull, rcond=None)[0]  # no group has more of it than another
    hit = rate + place * pull / np.abs(pull).max()
    population = Kinds(race, np.repeat(np.stack([1 - hit, hit], axis=-1)[:, None], 3, axis=1))
    (truth,) = population.truth(OUTCOME).values()
    assert truth == pytest.approx([rate] * 3)
    statistic, noise = next(iter(OUTCOME.statistics())), NoiseVariance(25, moments=25, rectifier=25)
    seen = []
    for window in population.windows(5, 400, rows=20_000, share=0.05, noise=noise):
        rectifier = rectifier_of(window.rectifier, window.moments, noise)
        assert rectifier is not None
        residuals = rectified_rates(Reading(window.table, ABC, noise, 1.0, Z), statistic, rectifier).residuals
        assert residuals is not None
        seen.append([side[1:] for side in residuals.excess(0, 0.0)])
    excess = np.array(seen)
    assert np.abs(excess.mean(axis=0)).max() < 0.15
    assert excess.std(axis=0).max() < 1.12
    for bet in BETS[:2]:
        assert np.exp(bet * excess - bet**2 / 2).mean(axis=0).max() < 1.06


def test_where_place_matters_the_others_fail() -> None:
    """What `rectified` is for: the same population makes `corrected` and `weighted` miss most of the time."""
    population = confounded(race_only(12, weights=SHARES, sharpness=1.0, cells=2), 0.4)
    for estimator in ("corrected", "weighted"):
        inside = covered(population, OUTCOME, estimator, seed=14, count=60, rows=20_000, noise=QUIET)
        assert shares_inside(inside)["gap"].mean < 0.6


def test_a_group_that_noise_left_without_rows_takes_nothing_from_the_others() -> None:
    """Where a group's rectified rows are negative, the others keep their values, about as well known as before."""
    race, self_id, cell, said = rows(20, 6000, 0.3)
    table, rectifier = sums_of(cell, race), sums_of(cell[said], (self_id - race)[said])
    moments, noise = Moments.of(race, self_id, said), NoiseVariance(100, rectifier=100)
    widths = []
    for lost in (0.0, 3000.0):
        spoiled = rectifier.copy()
        spoiled[0, 2] -= lost  # one cell of the last group takes all of its rows
        found = disparities(
            table,
            cells=DECIDED,
            reference="a",
            noise_variance=noise,
            moments=moments,
            rectifier=spoiled,
            groups=ABC,
        ).results
        widths.append(
            [
                r.value.upper - r.value.lower
                for r in found
                if r.estimator == "rectified" and r.value and r.group in ("a", "b")
            ]
        )
    assert len(widths[0]) == len(widths[1]) == 10
    assert np.array(widths[1]) == pytest.approx(np.array(widths[0]), rel=0.3)


@pytest.mark.parametrize(("cap", "holds"), [(3.0, True), (1.0, False)])
def test_equal_rows_of_a_member_need_the_cap(cap: float, holds: bool) -> None:
    """With three equal rows a member, intervals hold when widened by the cap of three, and do not without."""
    population = race_only(12, weights=SHARES, sharpness=1.0, cells=2)
    inside = covered(
        population, OUTCOME, "rectified", seed=15, count=200, rows=30_000, noise=QUIET, rows_each=3, rows_per_member=cap
    )
    for what, shares in shares_inside(inside).items():
        assert shares.at_least(0.95) == holds, (what, shares)
        assert holds or shares.mean < 0.82


def test_nothing_is_corrected_by_what_a_long_window_did_not_show() -> None:
    """Where the long window's rate was too wide to be shown, its correction shifts no short window, however large."""
    race, self_id, cell, said = rows(21, 6000, 0.008)
    table, moments = sums_of(cell, race), Moments.of(race, self_id, said)
    long = disparities(
        table,
        cells=DECIDED,
        reference="a",
        noise_variance=QUIET,
        moments=moments,
        rectifier=sums_of(cell[said], (self_id - race)[said]),
        groups=ABC,
    )
    hidden = [result.suppressed is not None for result in long.results if result.estimator == "rectified"]
    assert any(hidden)
    shifted = all_of(100 * table, moments, None, "rectified", correction=long.correction)
    for result, was_hidden in zip(shifted, hidden, strict=True):
        assert result.suppressed is not None or not was_hidden


def test_a_shifted_rate_has_both_errors() -> None:
    """Each end is as far off as the two errors to its side together; the covariance is the correction's and its own."""
    weighted = Rates(
        ABC,
        np.array([0.3, 0.5, 0.99]),
        np.array([0.27, 0.4, 0.95]),
        np.array([0.34, 0.6, 1.01]),
        np.ones(3, bool),
        np.array([900.0, 80.0, 60.0]),
        None,
    )
    shift = Shift(
        value=np.array([0.1, -0.2, 0.2]),
        below=np.array([0.04, 0.0, 0.1]) / Z,
        above=np.array([0.03, 0.0, 0.1]) / Z,
        covariance=np.array([[4.0, -1, 0], [-1, 9, 0], [0, 0, 1]]) * 1e-4,
        known=np.array([True, True, False]),
    )
    found = shifted_rates(weighted, shift, Z)
    assert found.estimate == pytest.approx([0.4, 0.3, 1.0])
    assert found.lower[:2] == pytest.approx([0.4 - 0.05, 0.3 - 0.1])
    assert found.upper[:2] == pytest.approx([0.4 + 0.05, 0.3 + 0.1])
    assert found.shown.tolist() == [True, True, False]
    assert found.enough.all()
    assert found.uncorrected is not None
    assert found.uncorrected.tolist() == [False, False, True]
    assert (found.total == weighted.total).all()
    assert found.covariance is not None
    own = (np.array([0.07, 0.2, 0.06]) / (2 * Z)) ** 2
    assert found.covariance == pytest.approx(shift.covariance + np.diag(own))


@pytest.mark.parametrize("noise", [QUIET, NOISY], ids=["without noise", "with noise"])
def test_short_windows_are_covered_by_an_earlier_correction(noise: NoiseVariance) -> None:
    """Short windows, each rectified by the long window before it, hold the true rates 95 % of the time."""
    population = confounded(race_only(16, weights=SHARES, sharpness=1.0, cells=2), 0.4)
    truth, inside = population.truth(OUTCOME), {"value": [], "gap": []}
    long_windows = population.windows(17, 200, rows=20_000, share=0.15, noise=noise)
    short_windows = population.windows(18, 200, rows=6_000, share=0.2, noise=noise)
    for long, short in zip(long_windows, short_windows, strict=True):
        learned = disparities(
            long.table,
            cells=OUTCOME,
            reference="a",
            noise_variance=noise,
            moments=long.moments,
            rectifier=long.rectifier,
            groups=ABC,
        ).correction
        results = disparities(
            short.table,
            cells=OUTCOME,
            reference="a",
            noise_variance=noise,
            moments=short.moments,
            correction=learned,
            groups=ABC,
        ).results
        for what, held in inside_of(tuple(r for r in results if r.estimator == "rectified"), truth, ABC).items():
            inside[what].append(held)
    for what, shares in shares_inside(inside).items():
        assert shares.at_least(0.95), (what, shares)
        assert shares.mean <= 0.99, (what, shares)
