"""The parts of ``make bench``, in the order in which they run and stand on the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.performance import comparison, comparison_section, scale, stages
from bench.performance.comparison_section import Verdict
from bench.performance.contenders.preparing import prepare


@dataclass(frozen=True)
class Place:
    """Where a part runs.

    Attributes:
        bootstrap: of Kafka. broker_pid, data: its process and its folder of logs; None where it is not ours.
        folder: for whatever a part writes. quick: less of everything. say: shows a line.
    """

    bootstrap: str
    broker_pid: int | None
    data: Path | None
    folder: Path
    quick: bool
    say: Callable[[str], None]


@dataclass(frozen=True)
class Part:
    """One campaign.

    Attributes:
        run: measures; returns plain data for JSON.
        section: Markdown, from all parts' figures by part; so are verdicts on targets, and plots into a folder.
    """

    run: Callable[[Place], Any]
    section: Callable[[Mapping[str, Any]], str]
    verdicts: Callable[[Mapping[str, Any]], list[Verdict]] | None = None
    draw: Callable[[Mapping[str, Any], Path], object] | None = None


def _compare(place: Place) -> Any:
    plan = comparison.QUICK if place.quick else comparison.Plan()
    broker = comparison.Broker(place.bootstrap, place.broker_pid, place.data)
    return comparison.run(plan, broker, place.folder, prepare(place.say), place.say)


def _scale(place: Place) -> Any:
    return scale.run(place.folder, place.bootstrap, data=place.data, quick=place.quick, progress=place.say)


def _draw_scale(found: Mapping[str, Any], folder: Path) -> None:
    from bench.performance import plots  # matplotlib takes a while, and is an extra

    plots.scale(found["scale"], found.get("stages"), folder)


PARTS: dict[str, Part] = {
    "comparison": Part(
        _compare,
        lambda found: comparison_section.section(found["comparison"]),
        lambda found: comparison_section.verdicts(found["comparison"]),
    ),
    # Its figures are told, and drawn, with those of scale.
    "stages": Part(lambda place: asdict(stages.run(place.quick, place.say)), lambda found: ""),
    "scale": Part(_scale, lambda found: scale.section(found["scale"], found.get("stages")), draw=_draw_scale),
}
"""By name."""
