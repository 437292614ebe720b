"""The peers' practice on the same draws: assign everyone the likeliest race, or only the clear ones, or weight by p.

Thresholded BISG (assign the group whose probability is largest, or is above .5 or .8, and count) is what most audits
do; weighting by the probabilities is the better practice of some. Both are compared with the corrected and the
rectified estimator, on the windows of :mod:`bench.accuracy.coverage`, without noise, for the black-white gap.
Of a rule's counts the usual interval is taken, Newcombe's; it knows of sampling alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.accuracy.coverage import generator, read
from bench.accuracy.tally import Key, Tally
from bench.accuracy.worlds import BLACK, LAYOUT, NO_NOISE, F, Inhabited, Pool, Truth
from estimator import GROUPS
from estimator.intervals import Variance, critical_value, gap_interval, rate_interval

RULES = ("likeliest group", "above .5", "above .8")
PLAIN = {"weighted": "weighting by p", "corrected": "corrected", "rectified": "rectified"}
COMPARED = ("direct", "place", "none")
_NOBODY = len(GROUPS)
_WHITE = GROUPS.index("white")


def labels_of(pool: Pool) -> NDArray[np.int8]:
    """The group that each rule assigns to each person: shape (n, rules), int8; 6 where it assigns none."""
    likeliest = pool.probabilities.argmax(axis=1)
    largest = pool.probabilities.max(axis=1)
    columns = [likeliest, *(np.where(largest > limit, likeliest, _NOBODY) for limit in (0.5, 0.8))]
    return np.stack(columns, axis=1).astype(np.int8)


def repeat(inhabited: Inhabited, labels: NDArray[np.int8], first: int, count: int) -> Tally:
    """The same repetitions as :func:`bench.accuracy.coverage.repeat`, by every rule and every estimator."""
    world, truth, tally = inhabited.world, inhabited.truth(), Tally()
    for repetition in range(first, first + count):
        window = inhabited.draw(generator(world, repetition), world.rows, labels)
        assert window.labelled is not None
        for rule, counts in zip(RULES, window.labelled, strict=True):
            _count(tally, world.name, rule, counts, truth)
        for result in read(window, world, NO_NOISE).results:
            if result.group == "black":
                key = Key(world.name, PLAIN[result.estimator], result.metric, result.score_bin, "black", "gap")
                gap = result.gap
                interval = None if gap is None else (gap.estimate, gap.lower, gap.upper)
                tally.add(key, interval, _gap(truth, result.metric, result.score_bin))
    return tally


def _gap(truth: Truth, metric: str, score_bin: str) -> float:
    return truth.value(metric, score_bin, "black") - truth.value(metric, score_bin, "white")


def _count(tally: Tally, setting: str, rule: str, counts: F, truth: Truth) -> None:
    """``counts``: shape (20, 7), rows by cell and assigned group."""
    z = critical_value(0.95)
    for statistic in LAYOUT.statistics():
        hits = (statistic.worth @ counts)[[BLACK, _WHITE]]
        total = counts[statistic.denominator].sum(axis=0)[[BLACK, _WHITE]]
        nothing = np.zeros(2)
        rates = rate_interval(hits, total, Variance(total, nothing, nothing, nothing), z)
        black, white = (tuple(end[side] for end in rates) for side in (0, 1))
        estimate, lower, upper = gap_interval(black, white)
        key = Key(setting, rule, statistic.metric, statistic.score_bin, "black", "gap")
        truth_gap = _gap(truth, statistic.metric, statistic.score_bin)
        tally.add(key, (float(estimate), float(lower), float(upper)), truth_gap)
