"""The ramp that finds what a machine carries."""

from __future__ import annotations

from typing import Any

import pytest

from bench.performance.capacity import FIRST_RATE, ramp
from streams.errors import EvenstreamError


def _ramp(limit: float, halvings: int = 2) -> dict[str, Any]:
    def attempt(rate: float) -> dict[str, Any]:
        return {"rate": rate, "written": rate, "slowest_ms": 100, "carried": rate <= limit}

    return ramp(attempt, lambda line: None, halvings=halvings)


@pytest.mark.parametrize("limit", [1_500.0, 5_000.0, 19_999.0, FIRST_RATE, 45_000.0, 119_000.0, 790_000.0])
def test_the_highest_rate_is_found(limit: float) -> None:
    """What is told was carried, and a quarter of an octave more was not; below the first rate as well."""
    found = _ramp(limit)
    told = found["events_per_second"]
    assert told <= limit < 1.5 * told
    assert told == max(step["rate"] for step in found["steps"] if step["carried"])
    assert len({step["rate"] for step in found["steps"]}) == len(found["steps"])


def test_fewer_halvings_are_fewer_steps() -> None:
    """Each halving is one more step, and nearer."""
    rough, fine = _ramp(119_000.0, 0), _ramp(119_000.0, 2)
    assert len(fine["steps"]) == len(rough["steps"]) + 2
    assert rough["events_per_second"] == 80_000.0
    assert fine["events_per_second"] == 100_000.0


def test_a_machine_that_carries_nothing_is_said() -> None:
    """No rate is made up."""
    with pytest.raises(EvenstreamError, match="no rate down to 1,250 events a second was carried"):
        _ramp(1_000.0)
