"""The audit: its statistic against known Gaussians, its oracle against the claims, and a small run that can fail."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.privacy_audit.audit import ALL, FULL, Audit, Size, audit_build, audit_plants, findings
from bench.privacy_audit.neighbours import CHANNELS, PAIRS, Run, spend, truth
from bench.privacy_audit.plants import PLANTS
from bench.privacy_audit.report import verdict, write
from bench.privacy_audit.statistic import epsilon_of, rate_upper, tell_apart
from privacy import epsilon

PAGE = Path(__file__).parents[2] / "docs" / "privacy-audit.md"


@pytest.mark.parametrize("mu", [0.3, 1.0, 2.0])
def test_the_bound_is_below_the_truth_and_near_it(mu: float) -> None:
    """Of Gaussians at a distance of mu, the lower bound never passes mu, and the estimate is mu."""
    rng = np.random.default_rng(5)
    for _ in range(20):
        told = tell_apart(rng.normal(0, 1, 10_000), rng.normal(mu, 1, 10_000), mu / 2)
        assert mu - 0.3 < told.lower <= mu
        assert told.estimate == pytest.approx(mu, abs=6 * told.error)


def test_clopper_pearson() -> None:
    """Against the closed form at no event, and by what the bound means: so few events are that rare at it."""
    assert rate_upper(0, 100, 0.05) == pytest.approx(1 - 0.05 ** (1 / 100))
    assert rate_upper(100, 100) == 1
    bound = rate_upper(3, 50, 0.01)
    assert sum(math.comb(50, k) * bound**k * (1 - bound) ** (50 - k) for k in range(4)) == pytest.approx(0.01)


def test_epsilon_of_a_gaussian() -> None:
    """It gives back its delta, and the conversion from rho that evenstream states is never below it."""
    for mu in (0.3, 1.0, 3.0):
        found = epsilon_of(mu, 1e-6)
        tail = [0.5 * math.erfc(x / math.sqrt(2)) for x in (found / mu - mu / 2, found / mu + mu / 2)]
        assert tail[0] - math.exp(found) * tail[1] == pytest.approx(1e-6, rel=1e-6)
        assert found < epsilon(mu * mu / 2, 1e-6)


def test_the_pairs_are_the_worst() -> None:
    """Each channel is moved as far as its sensitivity says, on both relations, by a pair that is said to do so."""
    met = set()
    for pair in PAIRS:
        for channel in CHANNELS:
            moved = np.linalg.norm(truth(pair.after, CHANNELS)[channel] - truth(pair.before, CHANNELS)[channel])
            claimed = spend(CHANNELS, channel).l2_units[pair.relation]
            assert moved <= claimed
            if channel in pair.worst_for:
                assert moved > claimed - 7
                met.add((pair.relation, channel))
    assert len(met) == 2 * len(CHANNELS)


def test_sums_before_noise_are_the_oracles() -> None:
    """Two events a target, of which the cap of 1 lets one count: over a UTC midnight, to the last unit."""
    run = Run("contrary", CHANNELS, 8_630, 20, draw=False)
    for channel, sums in run.before_noise().items():
        assert np.array_equal(sums, np.tile(truth("contrary", CHANNELS)[channel], (20, 1)))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_small_audit(tmp_path: Path) -> None:
    """The build as it is holds and each planted bug is caught, with fewer windows than `make audit-privacy` has.

    By the exact distribution of the two Clopper-Pearson bounds, a bug is missed with probability 8e-4 (drawn twice),
    1e-5 (the table's noise), below 1e-16 (half the noise), of 1,500 windows a side; a cap of 2 needs 1,000: 7e-11.
    """
    size = Size(windows=150, planted=1_500, repetitions=1, chunk=150)
    exact, good = audit_build(size, processes=1)
    easy = [plant for plant in PLANTS if plant.name == "a cap of 2 for 1"]
    assert len(easy) == 1
    planted = [
        *audit_plants(size, processes=1, plants=[plant for plant in PLANTS if plant not in easy]),
        *audit_plants(replace(size, planted=1_000), processes=1, plants=easy),
    ]
    found = Audit(size, exact, tuple(good), tuple(planted))
    assert found.problems == []
    assert len(found.good) == 2 * len(PAIRS) * (len(CHANNELS) + 1)
    assert [caught.times for caught in found.planted] == [1] * len(PLANTS)
    write(found, tmp_path / "page.md")
    assert verdict(found) in (tmp_path / "page.md").read_text().replace("\n", " ")
    # And what is not as it must be is said.
    wrong = replace(good[0], told=replace(good[0].told, lower=good[0].promised + 0.01))
    assert len(replace(found, good=(wrong, *good[1:])).problems) == 1
    missed = replace(found.planted[0], strongest=(good[0],))
    assert "caught 0 times of 1" in replace(found, planted=(missed,)).problems[0]


@pytest.mark.slow
def test_too_much_noise_is_said_as_well() -> None:
    """A release with more noise than was paid for breaks no promise, and is told."""
    run = Run("contrary", ("table",), 0, 400, draw=False)
    after = run.release("a")
    rng = np.random.default_rng(1)
    wide = {c: v + rng.normal(0, 3 * v.std(), v.shape) for c, v in after.values.items()}
    before = {c: v - truth("contrary", ("table",))[c] + truth("other way", ("table",))[c] for c, v in wide.items()}
    found = findings(PAIRS[0], "a", type(after)(before), type(after)(wide))
    assert all(finding.wastes and not finding.breaks for finding in found)


def test_the_committed_page_is_of_a_whole_audit() -> None:
    """At least 10,000 windows a side, every channel on both relations, and every planted bug each time."""
    page = PAGE.read_text()
    assert "**It holds:" in page.replace("\n", " ")
    windows = re.search(r"^([\d,]+) windows a side\.", page, re.MULTILINE)
    assert windows is not None
    assert int(windows[1].replace(",", "")) >= 10_000
    for plant in PLANTS:
        assert re.search(rf"^\| {plant.name} \|.*\| {FULL.repetitions} of {FULL.repetitions} \|$", page, re.MULTILINE)
    for channel in (*CHANNELS, ALL):
        assert len(re.findall(rf"^\| .* \| {channel} \|.*\| holds \|$", page, re.MULTILINE)) == len(PAIRS)
