"""The corrected estimator: least squares by statsmodels, exact recovery, pooling, noise, and coverage."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from simulated_windows import covered, drawn_rows, race_only, shares_inside

from estimator import GROUPS, CellLayout, Moments, NoiseVariance, disparities
from estimator.corrected import Pooled, _Measured, _pooled, _separate, corrected_rates, pool
from estimator.intervals import critical_value
from estimator.rates import Reading
from estimator.weighted import weighted_rates

Z = critical_value(0.95)
OUTCOME = CellLayout((("outcome", 2),))
PARITY = CellLayout((("score", 2), ("outcome", 2)))
DECIDED = CellLayout((("decision", 2), ("outcome", 2)))
ABC = ("a", "b", "c")
QUIET = NoiseVariance(0)
# What a minute of the demo has: deviations of about 12, 17 and 12 rows.
NOISY = NoiseVariance(150, moments=300, rectifier=150)


def separate(race: np.ndarray, groups: tuple[str, ...] = ABC) -> Pooled:
    """All groups by themselves."""
    return _pooled(groups, np.eye(len(groups)), race.T @ race)


def table_of(race: np.ndarray, cell: np.ndarray, cells: int) -> np.ndarray:
    """Sums of race probabilities by cell."""
    table = np.zeros((cells, race.shape[1]))
    np.add.at(table, cell, race)
    return table


def test_rates_are_quotients_of_statsmodels_coefficients() -> None:
    """Regressing what rows count for on p, without intercept, gives the numerator and the denominator of each rate."""
    race, cell = drawn_rows(1, 4000, rates=np.array([[0.2, 0.3, 0.1, 0.4], [0.1, 0.2, 0.4, 0.3], [0.3, 0.3, 0.2, 0.2]]))
    for statistic in DECIDED.statistics():
        rates = corrected_rates(Reading(table_of(race, cell, 4), ABC, QUIET, 1.0, Z), statistic, separate(race))
        hits = sm.OLS(statistic.worth[cell], race).fit().params
        total = sm.OLS(statistic.denominator[cell].astype(float), race).fit().params
        assert rates.estimate == pytest.approx(hits / total, abs=1e-11)


MODERATE, WIDE = [0.2, 0.3, 0.45], [0.05, 0.9, 0.5]


@pytest.mark.parametrize("sharpness", [0.3, 1.0, 4.0])
@pytest.mark.parametrize(("rates", "most"), [(MODERATE, 1.08), (WIDE, 2.0)], ids=["moderate gaps", "wide gaps"])
def test_the_variance_is_statsmodels_sandwich(rates: list[float], most: float, sharpness: float) -> None:
    """White's (HC0) variance of worth - theta on p: ours is within some per cent; for wide gaps it is larger, not less.

    A row's group is not known: its variance holds the spread between the groups' means, which may be most of it.
    """
    race, cell = drawn_rows(2, 60_000, rates=np.stack([1 - np.array(rates), rates], axis=1), sharpness=sharpness)
    (statistic,) = OUTCOME.statistics()
    found = corrected_rates(Reading(table_of(race, cell, 2), ABC, QUIET, 1.0, Z), statistic, separate(race))
    total = sm.OLS(np.ones(len(cell)), race).fit().params
    assert found.covariance is not None
    influence = np.empty((3, len(cell)))
    for r in range(3):
        fit = sm.OLS(statistic.worth[cell] - found.estimate[r], race).fit(cov_type="HC0")
        ours = found.covariance[r, r] / (fit.cov_params()[r, r] / total[r] ** 2)
        assert 0.94 <= ours <= most, (r, ours)
        # The interval says the same: its half-width is z deviations, but for Agresti and Coull's centre.
        width = (found.upper[r] - found.lower[r]) / (2 * Z)
        assert width**2 == pytest.approx(found.covariance[r, r], rel=0.05)
        influence[r] = (race @ np.linalg.inv(race.T @ race))[:, r] * fit.resid / total[r]
    sandwich = influence @ influence.T
    for r in range(1, 3):
        gap = found.covariance[r, r] + found.covariance[0, 0] - 2 * found.covariance[r, 0]
        ours = gap / (sandwich[r, r] + sandwich[0, 0] - 2 * sandwich[r, 0])
        assert 0.94 <= ours <= most, (r, ours)
        if most < 1.5:
            theirs = sandwich[r, 0] / np.sqrt(sandwich[r, r] * sandwich[0, 0])
            assert found.correlation(0)[r] == pytest.approx(theirs, abs=0.05)


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 5))
def test_rates_of_groups_come_out_exactly(seed: int, sharpness: float) -> None:
    """Where a table holds just what is expected, sum p theta, the groups' own rates come out, however blunt p is."""
    rng = np.random.default_rng(seed)
    race = rng.dirichlet(np.full(3, sharpness), 2000) * 500
    of_group = rng.dirichlet(np.full(4, 2.0), 3)
    table = ((race / 500) @ of_group).T @ race
    moments = Moments(race.T @ race / 500, 1e6, 0.0, np.zeros(3))
    pooled = _pooled(ABC, np.eye(3), moments.products)
    for statistic in DECIDED.statistics():
        truth = of_group @ statistic.worth / of_group[:, statistic.denominator].sum(axis=1)
        rates = corrected_rates(Reading(table / 500, ABC, QUIET, 1.0, Z), statistic, pooled)
        # M holds sums over rows, the table 500 times as many rows as that.
        assert rates.estimate == pytest.approx(truth, abs=1e-8)


def test_known_groups_are_corrected_by_nothing() -> None:
    """Where p is 0 or 1 the rates, their intervals and their independence are those of `weighted`, noise and all."""
    rng = np.random.default_rng(3)
    race = np.eye(3)[rng.integers(0, 3, 6000)]
    table = table_of(race, rng.integers(0, 4, 6000), 4)
    noise = NoiseVariance(150)
    for statistic in DECIDED.statistics():
        corrected = corrected_rates(Reading(table, ABC, noise, 2.0, Z), statistic, separate(race))
        weighted = weighted_rates(Reading(table, ABC, noise, 2.0, Z), statistic)
        for name in ("estimate", "lower", "upper"):
            assert getattr(corrected, name) == pytest.approx(getattr(weighted, name), abs=1e-9)
        assert corrected.correlation(0) == pytest.approx([1, 0, 0], abs=1e-9)


@given(st.permutations(range(6)), st.sampled_from(GROUPS))
def test_the_order_of_groups_and_the_reference_do_not_matter(order: list[int], reference: str) -> None:
    """Groups in another order have the same pools, values and gaps; another reference leaves the values as they are."""
    window = next(race_only(4, weights=SHARES, sharpness=2, cells=4).windows(5, 1, rows=60_000, share=0.2, noise=NOISY))
    names = tuple(GROUPS[k] for k in order)

    def found(groups: tuple[str, ...], at: list[int], base: str) -> dict[tuple[str, ...], list[float]]:
        moments = Moments(
            window.moments.products[np.ix_(at, at)], window.moments.rows, window.moments.self_id_rows, np.zeros(6)
        )
        results = disparities(
            window.table[:, at], cells=PARITY, reference=base, noise_variance=NOISY, moments=moments, groups=groups
        ).results
        return {
            (result.estimator, result.score_bin, *sorted(result.group.split("+"))): [
                number
                for interval in ((result.value, result.gap) if base == "white" else (result.value,))
                if interval
                for number in (interval.estimate, interval.lower, interval.upper)
            ]
            for result in results
        }

    one, other = found(GROUPS, list(range(6)), "white"), found(names, order, "white")
    assert one.keys() == other.keys()
    for key, numbers in one.items():
        assert other[key] == pytest.approx(numbers, abs=1e-9)
    for key, numbers in found(GROUPS, list(range(6)), reference).items():
        assert one[key][: len(numbers)] == pytest.approx(numbers, abs=1e-12)


SHARES = np.array([0.6, 0.13, 0.06, 0.18, 0.01, 0.02])


def moments_like_the_census(rows: int, seed: int = 6) -> Moments:
    """M of a sharp proxy over six groups, two of them small."""
    rng = np.random.default_rng(seed)
    race = rng.dirichlet(SHARES * 1.5 + 1e-3, 5000)
    return Moments(race.T @ race * (rows / 5000), float(rows), 0.0, np.zeros(6))


def pools(moments: Moments, noise: NoiseVariance, **arguments: float) -> tuple[str, ...] | None:
    """Names of the pools of six groups."""
    pooled = pool(GROUPS, moments, noise, cells=4, rows_per_member=arguments.get("rows_per_member", 1.0))
    return None if pooled is None else pooled.groups


def test_the_more_noise_the_fewer_pools() -> None:
    """A small group goes first, with the smallest other if that is clear; at last there is nothing to compare."""
    moments = moments_like_the_census(20_000)
    assert pools(moments, QUIET) == GROUPS
    found = [pools(moments, NoiseVariance(v, moments=v)) for v in (1, 100, 1_000, 5_000, 1e8)]
    counts = [0 if groups is None else len(groups) for groups in found]
    assert counts[0] == 6
    assert counts == sorted(counts, reverse=True)
    assert found[1] == ("white", "black", "api", "hispanic", "native+multiple")
    assert found[-1] is None
    # Pools are named in the groups' order, and every group is in one.
    for groups in found[:-1]:
        assert groups is not None
        assert sorted("+".join(groups).split("+")) == sorted(GROUPS)
        assert list(groups) == sorted(groups, key=lambda name: GROUPS.index(name.split("+")[0]))


def test_two_unclear_groups_are_pooled_with_one_another_first() -> None:
    """Where the two smallest are equally unclear, they are one pool, and the large groups keep to themselves."""
    race = np.vstack([np.eye(4)[[0] * 5000 + [1] * 2000 + [2] * 300 + [3] * 300], np.full((100, 4), 0.25)])
    pooled = pool(("a", "b", "c", "d"), Moments.of(race), NoiseVariance(800, moments=800), cells=8, rows_per_member=1)
    assert pooled is not None
    assert pooled.groups == ("a", "b", "c+d")


def test_of_many_unclear_groups_the_two_smallest_are_pooled() -> None:
    """Three unclear groups: the two smallest make a clear one; the third is alone then, and goes to the largest."""
    sizes = [5000, 2000, 290, 260, 230]
    moments = Moments.of(np.eye(5)[np.repeat(range(5), sizes)])
    pooled = pool(tuple("abcde"), moments, NoiseVariance(800, moments=200), cells=8, rows_per_member=1)
    assert pooled is not None
    assert pooled.groups == ("a+c", "b", "d+e")


def test_few_rows_are_as_bad_as_noise() -> None:
    """Without noise, groups whose rate would not be known to an eighth are pooled; rows of one member count less."""
    assert pools(moments_like_the_census(100_000), QUIET) == GROUPS
    few = pools(moments_like_the_census(1_500), QUIET)
    fewer = pools(moments_like_the_census(1_500), QUIET, rows_per_member=10.0)
    assert few is not None
    assert fewer is None or len(fewer) < len(few) < 6


def test_the_only_unclear_group_goes_to_the_largest() -> None:
    """With one small group among large ones, the pool is with the largest: there it changes least."""
    race = np.vstack(
        [np.eye(3)[[0] * 600 + [1] * 300], [[0.5, 0.5, 0.0]] * 100, [[0.48, 0.48, 0.04]] * 50, np.eye(3)[[2]]]
    )
    pooled = pool(ABC, Moments.of(race), NoiseVariance(10, moments=10), cells=2, rows_per_member=1)
    assert pooled is not None
    assert pooled.groups == ("a+c", "b")


@pytest.mark.parametrize(("other", "expected"), [(200.0, ("a", "b+c")), (400.0, ("a+c", "b"))])
def test_two_small_groups_are_one_so_that_the_large_keep_their_names(other: float, expected: tuple[str, ...]) -> None:
    """An unclear group goes to a clear one, too, where both are at most a twentieth of the rows."""
    moments = Moments(np.diag([6000.0, other, 30.0]), 6030.0 + other, 0.0, np.zeros(3))
    pooled = pool(ABC, moments, NoiseVariance(0, moments=100.0), cells=2, rows_per_member=1)
    assert pooled is not None
    assert pooled.groups == expected


def test_where_that_is_unclear_too_it_goes_to_the_largest() -> None:
    """The smallest other is just clear alone, and not with a second group's noise: then where it changes least."""
    moments = Moments(np.diag([9000.0, 340.0, 30.0]), 9370.0, 0.0, np.zeros(3))
    pooled = pool(ABC, moments, NoiseVariance(0, moments=40.0**2), cells=2, rows_per_member=1)
    assert pooled is not None
    assert pooled.groups == ("a+c", "b")


def test_groups_that_the_proxy_cannot_tell_apart_are_pooled() -> None:
    """Two groups whose probabilities stand in one proportion make M singular: they are one pool, noise or not."""
    rng = np.random.default_rng(7)
    race = rng.dirichlet([1.0, 1.0, 1.0], 5000)
    blind = np.column_stack([race[:, 0], race[:, 1] * 0.7, race[:, 1] * 0.3, race[:, 2]])
    moments = Moments.of(blind)
    for noise in (QUIET, NoiseVariance(10, moments=10)):
        pooled = pool(("a", "b", "c", "d"), moments, noise, cells=2, rows_per_member=1)
        assert pooled is not None
        assert pooled.groups == ("a", "b+c", "d")


def unclear_of(products: np.ndarray, sizes: list[int], noise: NoiseVariance) -> np.ndarray:
    """Which of the pools with this M and so many groups each are unclear."""
    members = np.repeat(np.eye(len(sizes)), sizes, axis=1)
    apart = members.T @ (products / np.outer(sizes, sizes)) @ members
    return _Measured(apart, noise, cells=2, rows_per_member=1).unclear(members)


def test_where_moments_say_nothing_no_pools_are_clear() -> None:
    """What is said at once of a window without rows is what trying all pools comes to; of one with rows it is not."""
    rng, noise, soon = np.random.default_rng(6), NoiseVariance(4, moments=64), 0
    for rows in (0, 5, 10, 20, 50, 100) * 50:
        race = rng.dirichlet(np.array([4, 2, 1, 1, 0.5, 0.5]), rows)
        shaken = rng.normal(0, 8, (6, 6))
        products = race.T @ race + (shaken + shaken.T) / 2
        measured = _Measured(products, noise, cells=20, rows_per_member=1)
        if measured.says_nothing:
            soon += rows == 0
            assert _separate(measured, 6) is None
    assert soon > 40
    assert not _Measured(np.diag([600.0, 400.0]), noise, cells=20, rows_per_member=1).says_nothing


def test_a_pools_noise_grows_with_its_size() -> None:
    """M's entries of a pool of d hold d squared entries' noise: the smallest eigenvalue must stand out from that."""
    products, noise = np.diag([9000.0, 1000.0]), NoiseVariance(0, moments=44.0**2)
    # The smallest eigenvalue, 1000, is that of the second pool. Its deviation is 44, or 5 x 44 where five are in there.
    assert not unclear_of(products, [5, 1], noise).any()
    assert unclear_of(products, [1, 5], noise)[1]


@pytest.mark.parametrize("factor", [1.3, 0.77])
def test_the_eigenvalue_must_be_eight_deviations(factor: float) -> None:
    """Nearer to 0 the inverse is mostly noise, however well the groups would be known otherwise."""
    noise = NoiseVariance(0, moments=(1e3 / 8 * factor) ** 2)
    unclear = unclear_of(np.diag([1e3, 9e3, 9e3]), [1, 1, 1], noise)
    assert unclear[0] == (factor > 1)


@given(st.integers(0, 2**32 - 1))
def test_pools_do_not_look_at_outcomes(seed: int) -> None:
    """Whatever the table, the same groups are pooled: no comparison is chosen by its result."""
    table = np.random.default_rng(seed).normal(500, 400, (2, 6))
    noise = NoiseVariance(200, moments=200)
    moments = moments_like_the_census(20_000)
    results = disparities(table, cells=OUTCOME, reference="white", noise_variance=noise, moments=moments).results
    assert tuple(result.group for result in results if result.estimator == "corrected") == pools(moments, noise)


def test_a_reference_inside_a_pool_is_compared_as_that_pool() -> None:
    """Where the reference had to be pooled, its pool is what others are compared with, and has no gap itself."""
    noise, moments = NoiseVariance(100, moments=100), moments_like_the_census(20_000)
    table = np.array([[0.7], [0.3]]) * moments.products.sum(axis=1)
    results = {
        result.group: result
        for result in disparities(
            table, cells=OUTCOME, reference="native", noise_variance=noise, moments=moments
        ).results
        if result.estimator == "corrected"
    }
    base, black = results["native+multiple"], results["black"]
    assert base.value is not None
    assert base.gap is base.ratio is None
    assert black.value is not None
    assert black.gap is not None
    assert black.gap.estimate == pytest.approx(black.value.estimate - base.value.estimate)


def test_where_nothing_can_be_separated_the_reason_is_named() -> None:
    """Not even two pools: every group and statistic is there, without a value."""
    noise = NoiseVariance(200, moments=1e8)
    found = disparities(
        np.full((4, 6), 500.0),
        cells=DECIDED,
        reference="white",
        noise_variance=noise,
        moments=moments_like_the_census(20_000),
    ).results
    corrected = [result for result in found if result.estimator == "corrected"]
    assert [result.group for result in corrected] == list(GROUPS) * 5
    assert {(result.value, result.gap, result.suppressed) for result in corrected} == {(None, None, "not_separable")}


SINGLE = np.eye(3)
# Five groups of which the proxy separates three.
TRIPLE = np.array([[1.0, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 1, 1, 1]])


@pytest.mark.parametrize("channel", ["table", "moments"])
@pytest.mark.parametrize("members", [SINGLE, TRIPLE], ids=["single groups", "a pool of three"])
def test_errors_by_noise_vary_as_stated(members: np.ndarray, channel: str) -> None:
    """Noise of one channel alone, drawn by its definition and taken through M^-1 t / M^-1 n: the covariance is ours."""
    rng = np.random.default_rng(10)
    groups = members.shape[1]
    race = rng.dirichlet(np.full(groups, 0.6), 20_000)
    rates = rng.dirichlet(np.full(4, 2.0), groups)
    table, products = (race @ rates).T @ race, race.T @ race
    (*_, statistic) = (s for s in DECIDED.statistics() if s.metric == "tpr")
    draws, deviation = 6000, 25.0
    tables, moments = np.broadcast_to(table, (draws, *table.shape)), np.broadcast_to(products, (draws, *products.shape))
    if channel == "table":
        tables = tables + rng.normal(0, deviation, tables.shape)
    else:
        upper = np.triu(rng.normal(0, deviation / 2**0.5, moments.shape), 1)
        diagonal = rng.normal(0, deviation, (draws, groups, 1)) * np.eye(groups)
        moments = moments + upper + upper.transpose(0, 2, 1) + diagonal
    inverse = np.linalg.inv(members @ moments @ members.T)
    coefficients = tables @ members.T @ inverse
    hits = np.einsum("c,ncq->nq", statistic.worth, coefficients)
    drawn = np.cov((hits / coefficients[:, statistic.denominator].sum(axis=1)).T)

    noise = NoiseVariance(**({"table": 0.0} | {channel: deviation**2}))
    names = tuple("abcde"[:groups])
    pooled = _pooled(names, members, products)
    stated = corrected_rates(Reading(table, ABC, noise, 1e-12, Z), statistic, pooled)
    assert stated.covariance is not None
    deviations = np.sqrt(np.diag(drawn))
    assert np.sqrt(np.diag(stated.covariance)) == pytest.approx(deviations, rel=0.06)
    assert stated.covariance / np.outer(deviations, deviations) == pytest.approx(
        drawn / np.outer(deviations, deviations), abs=0.08
    )
    assert (stated.upper - stated.lower) / (2 * Z) == pytest.approx(deviations, rel=0.06)


def test_the_total_must_stand_out_from_both_noises() -> None:
    """A denominator is enough above five deviations of its own noise, of which M's is a part."""
    race, cell = drawn_rows(11, 5000, rates=np.array([[0.3, 0.3, 0.2, 0.2], [0.4, 0.4, 0.1, 0.1], [0.25] * 4]))
    (statistic,) = (s for s in DECIDED.statistics() if s.metric == "precision")
    table, pooled = table_of(race, cell, 4), separate(race)

    def enough(noise: NoiseVariance) -> list[bool]:
        return [bool(known) for known in corrected_rates(Reading(table, ABC, noise, 1.0, Z), statistic, pooled).enough]

    assert enough(QUIET) == [True] * 3
    total = (table @ pooled.inverse)[statistic.denominator].sum(axis=0)
    inverse, ones = pooled.inverse, np.ones(3)
    of_table = 2 * np.diag(inverse @ inverse)
    for k in range(3):
        limit = (total[k] / 5) ** 2 / of_table[k]
        assert enough(NoiseVariance(limit * 0.99))[k]
        assert not enough(NoiseVariance(limit * 1.01))[k]
        of_moments = (total**2 @ ones * np.diag(inverse @ inverse) + (inverse @ total) ** 2)[k] / 2
        limit = (total[k] / 5) ** 2 / of_moments
        assert enough(NoiseVariance(0, moments=limit * 0.99))[k]
        assert not enough(NoiseVariance(0, moments=limit * 1.01))[k]


@pytest.mark.parametrize("noise", [QUIET, NOISY], ids=["without noise", "with noise"])
@pytest.mark.parametrize("sharpness", [1.0, 5.0], ids=["sharp", "blunt"])
def test_coverage(sharpness: float, noise: NoiseVariance) -> None:
    """95 % intervals of values and gaps hold the true rate of the group, where the proxy is independent of outcomes."""
    population = race_only(12, weights=np.array([0.6, 0.2, 0.2]), sharpness=sharpness, cells=2)
    inside = covered(population, OUTCOME, "corrected", seed=13, count=250, rows=20_000, noise=noise)
    for what, shares in shares_inside(inside).items():
        assert shares.at_least(0.95), (what, shares)
        assert shares.mean <= 0.98, (what, shares)  # not by being useless


def test_coverage_where_gaps_are_wide() -> None:
    """Rates of .1 and .9 are covered as well: what a row's unknown group adds to its variance is in the interval."""
    population = race_only(12, weights=np.array([0.6, 0.2, 0.2]), sharpness=2.0, cells=2)
    rates = np.array([[0.9, 0.1], [0.1, 0.9], [0.5, 0.5]])
    population = type(population)(population.race, np.broadcast_to(rates, population.cell.shape))
    inside = covered(population, OUTCOME, "corrected", seed=14, count=250, rows=10_000, noise=QUIET)
    for what, shares in shares_inside(inside).items():
        assert shares.at_least(0.95), (what, shares)


@pytest.mark.parametrize(("cap", "holds"), [(3.0, True), (1.0, False)])
def test_equal_rows_of_a_member_need_the_cap(cap: float, holds: bool) -> None:
    """With three equal rows a member, intervals hold when widened by the cap of three, and do not without."""
    population = race_only(12, weights=np.array([0.6, 0.2, 0.2]), sharpness=1.0, cells=2)
    inside = covered(
        population, OUTCOME, "corrected", seed=15, count=200, rows=30_000, noise=QUIET, rows_each=3, rows_per_member=cap
    )
    for what, shares in shares_inside(inside).items():
        assert shares.at_least(0.95) == holds, (what, shares)
        assert holds or shares.mean < 0.8


def test_pools_are_kept_while_they_are_separate() -> None:
    """An earlier pool is not split by a hair, is split by a margin, and is not kept once it is unclear itself."""
    names = ("a", "b", "c", "d")
    sizes = np.array([5000, 2000, 300, 300])

    def pools(noise: float, earlier: tuple[str, ...] | None) -> tuple[str, ...]:
        moments = Moments.of(np.eye(4)[np.repeat(range(4), sizes)])
        found = pool(names, moments, NoiseVariance(noise), cells=8, rows_per_member=1, earlier=earlier)
        assert found is not None
        return found.groups

    # A rate of one half of 300 rows has a deviation of an eighth where 8 noises are 300^2 / 16 - 300 rows squared.
    hair, margin, far = 640.0, 400.0, 9000.0
    kept = ("a", "b", "c+d")
    assert pools(hair, None) == names
    assert pools(hair, kept) == kept
    assert pools(margin, kept) == names
    assert pools(hair, names) == names
    assert pools(far, kept) != kept
    assert pools(hair, ("a+b", "c", "d")) == ("a+b", "c", "d")


def test_a_published_pooling_is_repeated_by_its_names() -> None:
    """Given its own names, a pooling comes out again, whatever it came from: a record can be repeated."""
    rng = np.random.default_rng(11)
    for _ in range(60):
        moments = Moments.of(rng.dirichlet(np.full(4, 0.2), 1500))
        noise = NoiseVariance(float(rng.uniform(50, 4000)), moments=float(rng.uniform(10, 4000)))
        first = pool(("a", "b", "c", "d"), moments, noise, cells=8, rows_per_member=1, earlier=("a", "b", "c+d"))
        if first is not None:
            again = pool(("a", "b", "c", "d"), moments, noise, cells=8, rows_per_member=1, earlier=first.groups)
            assert again is not None
            assert again.groups == first.groups
