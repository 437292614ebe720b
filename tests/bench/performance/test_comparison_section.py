"""The page's tables and verdicts follow from figures: ratios by repetition, and targets that can be missed."""

from __future__ import annotations

from typing import Any

import pytest

from bench.performance.comparison import ROLE_BY_ROLE, TOGETHER
from bench.performance.comparison_section import (
    Spread,
    Verdict,
    of,
    ratios,
    section,
    table,
    verdict_table,
    verdicts,
    warm,
)
from bench.performance.contenders.entries import BYTEWAX, FLOOR, KAFKA_STREAMS

Figure = dict[str, Any]
_EVENTS = 1_000_000
_COSTS = {"seal": 1.0, "attach": 0.2, "a": 0.15, "b": 0.15, "publish": 0.05}


def _entry(name: str, repetition: int, microseconds: float, rate: float, **more: Any) -> Figure:
    return {
        "name": name,
        "repetition": repetition,
        "events": _EVENTS,
        "value_bytes": 170 * _EVENTS,
        "seconds": _EVENTS / rate,
        "cpu_seconds": microseconds,
        "broker_cpu_seconds": 0.1,
        **more,
    }


def _evenstream(name: str, repetition: int, rate: float, costs: dict[str, float]) -> Figure:
    roles = {role: {"own_cpu_seconds": cost, "own_seconds": cost} for role, cost in costs.items()}
    topics = {"events": {"value_bytes": 9e9, "log_bytes": 9e9}, "sealed": {"value_bytes": 16e6, "log_bytes": 17e6}}
    return _entry(name, repetition, sum(costs.values()), rate, roles=roles, topics=topics, partitions=4)


def figures(
    costs: dict[str, float] = _COSTS, bytewax: float = 150_000, floors: tuple[float, ...] = (0.8,)
) -> list[Figure]:
    """A campaign in which all targets are met, unless told otherwise; a repetition a floor."""
    found = []
    for repetition, floor in enumerate(floors):
        found += [
            _entry(FLOOR.name, repetition, floor, 1e6),
            _evenstream(ROLE_BY_ROLE, repetition, 2e5, costs),
            _entry(BYTEWAX.name, repetition, 6.0, bytewax, written_bytes=1_000_000),
            _entry(
                KAFKA_STREAMS.name,
                repetition,
                5.0,
                2e5,
                warm={"events": _EVENTS // 2, "seconds": 2.0, "cpu_seconds": 1.25, "broker_cpu_seconds": 0.0},
            ),
            _evenstream(TOGETHER, repetition, 2e5, costs),
        ]
    return found


def test_all_targets_met() -> None:
    """Where every figure is as it should be, every verdict says so, and names what it was judged by."""
    judged = verdicts(figures())
    assert [each.met for each in judged] == [True] * 7
    assert "0.80 (1.00 us, the floor 0.80)" in judged[0].found


@pytest.mark.parametrize(
    ("role", "cost", "missed"),
    [("seal", 1.2, {0}), ("attach", 0.21, {1}), ("a", 0.3, {2}), ("publish", 0.6, {4})],
)
def test_each_target_can_be_missed(role: str, cost: float, missed: set[int]) -> None:
    """A role that costs more than it may misses its own target, and no other one."""
    judged = verdicts(figures(_COSTS | {role: cost}))
    assert {place for place, each in enumerate(judged) if not each.met} == missed


def test_the_best_of_the_others_counts() -> None:
    """Throughput is held against the quickest contender in Python."""
    slower = verdicts(figures(bytewax=250_000))[5]
    assert not slower.met
    assert BYTEWAX.name in slower.found


def test_kafka_streams_is_judged_warm() -> None:
    """Of a contender that warms up its second half is what counts, and the whole run is told."""
    assert warm(of(figures(), KAFKA_STREAMS.name))[0]["cpu_seconds"] == 1.25
    judged = verdicts(figures())[6]
    assert "0.62 x (2.50 us; over its whole run 5.00)" in judged.found


def test_ratios_are_within_a_repetition() -> None:
    """A machine that is twice as slow in one repetition changes no ratio: numerator and floor are slow together."""
    found = figures(floors=(0.8, 1.6))
    for figure in found:
        if figure["name"] == BYTEWAX.name and figure["repetition"] == 1:
            figure["cpu_seconds"] *= 2
    assert ratios(found, BYTEWAX.name) == Spread(7.5, 7.5, 7.5)


def test_the_section_has_every_contender() -> None:
    """Each contender that ran has its line and its settings; bytes of the source's own topic are not evenstream's."""
    text = section(figures())
    for name in (FLOOR.name, BYTEWAX.name, KAFKA_STREAMS.name, ROLE_BY_ROLE, TOGETHER):
        assert f"| {name} |" in text
    assert "warm 2.50" in text
    assert "| 17.0 |" in next(line for line in text.splitlines() if line.startswith(f"| {ROLE_BY_ROLE} |"))


def test_nothing_is_judged_without_figures() -> None:
    """A run without evenstream or the floor has no verdict on either."""
    assert verdicts([figure for figure in figures() if figure["name"] != TOGETHER]) == []


def test_tables() -> None:
    """Numbers stand to the right, words to the left; a miss stands out."""
    assert table(("a", "b", "c"), [("x", "1", "y")]).splitlines()[1] == "| --- | ---: | --- |"
    told = verdict_table([Verdict("quick", "slow", False), Verdict("small", "-", None)])
    assert "| quick | slow | **missed** |" in told
    assert "| small | - | not judged |" in told
