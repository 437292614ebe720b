"""The parts of ``make bench``, in the order in which they run and stand on the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.performance import (
    comparison,
    comparison_section,
    latency,
    live_verdicts,
    low_traffic,
    memory,
    scale,
    stages,
    standstill,
)
from bench.performance.comparison_section import Verdict
from bench.performance.contenders.entries import EXACTLY_ONCE
from bench.performance.contenders.preparing import prepare

_QUICK_CAPACITY = 40_000.0


@dataclass(frozen=True)
class Place:
    """Where a part runs.

    Attributes:
        bootstrap: of Kafka. broker_pid, data: its process and its folder of logs; None where it is not ours.
        folder: for whatever a part writes. quick: less of everything. say: shows a line.
        found: figures of the parts that were measured before, by part.
    """

    bootstrap: str
    broker_pid: int | None
    data: Path | None
    folder: Path
    quick: bool
    say: Callable[[str], None]
    found: Mapping[str, Any] = field(default_factory=dict)

    @property
    def capacity(self) -> float | None:
        """Events a second that this machine carries on 4 partitions; None where nobody has looked yet."""
        ramps = (f for f in self.found.get("latency", ()) if f["kind"] == "capacity" and f["partitions"] == 4)
        return next((float(ramp["events_per_second"]) for ramp in ramps), _QUICK_CAPACITY if self.quick else None)


@dataclass(frozen=True)
class Part:
    """One campaign.

    Attributes:
        run: measures; returns plain data for JSON.
        section: Markdown, from all parts' figures by part; so are verdicts on targets, and plots into a folder,
            which the page shows where the text does not.
    """

    run: Callable[[Place], Any]
    section: Callable[[Mapping[str, Any]], str]
    verdicts: Callable[[Mapping[str, Any]], list[Verdict]] | None = None
    draw: Callable[[Mapping[str, Any], Path], list[Path]] | None = None


def _compare(place: Place) -> Any:
    plan = comparison.QUICK if place.quick else comparison.Plan()
    broker = comparison.Broker(place.bootstrap, place.broker_pid, place.data)
    contenders = [c for c in prepare(place.say) if not place.quick or c not in EXACTLY_ONCE]
    return comparison.run(plan, broker, place.folder, contenders, place.say)


def _scale(place: Place) -> Any:
    return scale.run(place.folder, place.bootstrap, data=place.data, quick=place.quick, progress=place.say)


def _draw_scale(found: Mapping[str, Any], folder: Path) -> list[Path]:
    from bench.performance import plots  # matplotlib takes a while, and is an extra

    return plots.scale(found["scale"], found.get("stages"), folder)


def _latency(place: Place) -> Any:
    capacity = _QUICK_CAPACITY if place.quick else None  # else a ramp finds it
    return latency.run(place.bootstrap, place.folder, place.quick, place.say, capacity=capacity)


def _at_capacity(run: Callable[..., Any]) -> Callable[[Place], Any]:
    """A live campaign under a share of what the machine carries."""
    return lambda place: run(place.bootstrap, place.folder, place.quick, place.say, capacity=place.capacity)


def _low_traffic(place: Place) -> Any:
    return low_traffic.run(place.bootstrap, place.folder, place.quick, place.say)


PARTS: dict[str, Part] = {
    "comparison": Part(
        _compare,
        lambda found: comparison_section.section(found["comparison"]),
        lambda found: comparison_section.verdicts(found["comparison"]),
    ),
    "latency": Part(
        _latency,
        lambda found: latency.section(found["latency"]),
        lambda found: live_verdicts.of_latency(found["latency"]),
        lambda found, folder: latency.plot(found["latency"], folder),
    ),
    "standstill": Part(
        _at_capacity(standstill.run),
        lambda found: standstill.section(found["standstill"]),
        lambda found: live_verdicts.of_standstill(found["standstill"]),
        lambda found, folder: standstill.plot(found["standstill"], folder),
    ),
    "low_traffic": Part(
        _low_traffic,
        lambda found: low_traffic.section(found["low_traffic"]),
        lambda found: live_verdicts.of_low_traffic(found["low_traffic"]),
    ),
    "memory": Part(
        _at_capacity(memory.run),
        lambda found: memory.section(found["memory"]),
        lambda found: live_verdicts.of_memory(found["memory"]),
        lambda found, folder: memory.plot(found["memory"], folder),
    ),
    # Its figures are told, and drawn, with those of scale.
    "stages": Part(lambda place: asdict(stages.run(place.quick, place.say)), lambda found: ""),
    "scale": Part(_scale, lambda found: scale.section(found["scale"], found.get("stages")), draw=_draw_scale),
}
"""By name."""
