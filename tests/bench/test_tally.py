"""Counting of intervals: what is shown, what is held, and how counts are put together."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bench.accuracy.tally import Coverage, Key, Tally
from estimator import Disparity, Estimate

VALUE = Key("w", "weighted", "tpr", "all", "black", "value")


class Planted:
    """A truth that is .5 for white and .3 for black."""

    def value(self, metric: str, score_bin: str, group: str) -> float:
        """See ``TrueValues``."""
        return {"white": 0.5, "black": 0.3}[group]


def result(group: str, value: Estimate | None, gap: Estimate | None = None, ratio: Estimate | None = None) -> Disparity:
    """One group's result."""
    return Disparity("tpr", "all", group, "weighted", value, gap, ratio, None if value else "too_wide")


def by_kind(tally: Tally) -> dict[tuple[str, str], Coverage]:
    """Coverages by group and kind."""
    return {(c.key.group, c.key.kind): c for c in tally.coverages()}


def test_held_missed_and_hidden() -> None:
    """A miss is counted on its side, a suppressed number as not shown, and the reference has no gap."""
    tally = Tally()
    white = result("white", Estimate(0.5, 0.4, 0.6))
    held, below, above = Estimate(0.3, 0.2, 0.4), Estimate(0.5, 0.4, 0.6), Estimate(0.1, 0.0, 0.2)
    gap, ratio = Estimate(-0.2, -0.3, -0.1), Estimate(0.5, 0.4, 0.59)
    for value in (held, below, above, None):
        tally.score("w", [white, result("black", value, gap, ratio)], Planted())
    found = by_kind(tally)
    assert set(found) == {("white", "value"), ("black", "value"), ("black", "gap"), ("black", "ratio")}
    black = found["black", "value"]
    assert (black.windows, black.shown, black.below, black.above) == (4, 3, 1, 1)
    assert black.share == pytest.approx(1 / 3)
    assert black.bias == pytest.approx(0.0)
    assert black.half_width == pytest.approx(0.1)
    assert found["black", "gap"].share == 1.0
    assert found["black", "ratio"].share == 0.0  # .6 is just above the upper end
    assert found["black", "ratio"].above == 4


def test_a_pool_that_was_formed_once_is_hardly_shown() -> None:
    """What is shown is a share of all windows, not of those in which a group happened to be pooled with another."""
    tally = Tally()
    for group in ("black", "white", "white"):
        results = [result("white", Estimate(0.5, 0.4, 0.6)), result(group, Estimate(0.3, 0.2, 0.4))]
        tally.score("w", results if group == "black" else results[:1], Planted())
    assert by_kind(tally)["black", "value"].shown_share == pytest.approx(1 / 3)


def test_adding_and_keeping_lose_nothing() -> None:
    """Tallies add up to what one tally counts, and come back from JSON the same."""
    parts = [Tally(), Tally()]
    whole = Tally()
    for number, interval in enumerate([(0.1, 0.0, 0.2), None, (0.5, 0.4, 0.6)]):
        for tally in (parts[number % 2], whole):
            tally.add(VALUE, interval, 0.15)
            tally.add(replace(VALUE, group="white"), interval, 0.5)
            tally.events["seen"] += number
    parts[0] += parts[1]
    assert parts[0].to_json() == whole.to_json()
    assert Tally.from_json(json.loads(json.dumps(whole.to_json()))).to_json() == whole.to_json()


def test_a_share_of_one_has_an_error() -> None:
    """That all of a hundred windows hold the truth does not mean that the share is known exactly."""
    assert Coverage(VALUE, 100, 100, 0, 0, 0.1, 0.0, 0.1).error == pytest.approx((0.01 * 0.99 / 100) ** 0.5)
