"""The model of cost (``streams.sizing``) fitted to a scale campaign, and held against the points that it did not see.

Each point is left out once, with its repetitions; the constants are fitted to the others, and what they say of it is
compared with what was measured. Of live points the whole model is tried as well: how many batches, transactions and
windows there are is then not counted but predicted, from the rate and the partitions alone, as ``evenstream plan``
does it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from statistics import median

from bench.performance.amounts import Figure
from bench.performance.drained import specifications
from bench.performance.fit import Point, fit_role, machine
from streams.settings import load_settings
from streams.sizing import Layout, load_of
from streams.sizing.constants import FILE, QUANTITIES, Constants, read_constants
from streams.sizing.cores import work_of
from streams.sizing.memory import MEMBER_BYTES
from streams.sizing.traffic import traffic_of

_PARTS = {"seal": "seal", "attach": "attach", "a": "party", "b": "party", "publish": "publish"}
_LEAST_KEPT = 3


def points_of(figures: Sequence[Figure]) -> Iterator[tuple[str, str, Point]]:
    """(group, role, point): repetitions of one point are of one group; roles as the model calls them."""
    for figure in figures:
        for role, measured in figure["roles"].items():
            if measured["cpu_seconds"] > 0:
                yield label(figure), role, {"role": _PARTS[role], **measured}


def label(figure: Figure) -> str:
    """What a point is, in words; its repetitions have the same."""
    partitions = f"{figure['partitions']} partitions"
    if figure["kind"] == "paced":
        if not figure["measurements"]:
            return f"at rest, {partitions}"
        return f"{figure['asked_rate']:,.0f} events a second, {partitions}"
    parts = [partitions]
    if figure["measurements"] > 1:
        parts.append(f"{figure['measurements']} measurements")
    if figure["batch_rows"] < 4_096:
        parts.append(f"batches of {figure['batch_rows']}")
    if figure["cells"] != 20:
        parts.append(f"{figure['cells']} cells, windows of {figure['base_ms']} ms")
    return "drained, " + ", ".join(parts)


def fit(figures: Sequence[Figure], *, write: bool = False) -> Figure:
    """See ``scale.fit``.

    Returns:
        ``cpu``, by role and quantity in seconds, of all points; ``held_out``, a list of {point, role, measured,
        predicted, error} in CPU seconds; ``planned``, a list of {point, role, measured, predicted, error} in cores;
        ``median_error`` and ``planned_median_error``, of absolute relative errors, by role.
    """
    points = list(points_of(figures))
    known = read_constants()
    cpu = _fitted(points, known)
    held_out, planned = [], []
    for group in dict.fromkeys(group for group, _, _ in points):
        others = [point for point in points if point[0] != group]
        left = [point for point in points if point[0] == group]
        if not all(sum(p["role"] == part for _, _, p in others) >= _LEAST_KEPT for part in QUANTITIES):
            continue
        costs = _fitted(others, known)
        held_out += [_compared(g, role, point["cpu_seconds"], _cost(point, costs)) for g, role, point in left]
        for figure in figures:
            if label(figure) == group and figure["kind"] == "paced" and figure["measurements"]:
                planned += _planned(figure, known.model_copy(update={"cpu": costs}))
    if write:
        resident = _resident(figures, known)
        made = known.model_copy(
            update={
                "cpu": cpu,
                "base_bytes": resident,
                "machine": machine(),
                "date": date.today(),
                "made_by": f"bench.performance.scale: {len(figures)} points on a real broker",
            }
        )
        FILE.write_text(made.model_dump_json(indent=2) + "\n")
    return {
        "cpu": cpu,
        "held_out": held_out,
        "planned": planned,
        "median_error": _medians(held_out),
        "planned_median_error": _medians(planned),
    }


def _fitted(points: Sequence[tuple[str, str, Point]], known: Constants) -> dict[str, dict[str, float]]:
    """CPU seconds by role and quantity; a quantity that is in no point stays what it was."""
    plain = [point for _, _, point in points]
    found = {}
    for role in QUANTITIES:
        own = [point for point in plain if point["role"] == role]
        found[role] = dict(known.cpu[role])
        if len(own) >= _LEAST_KEPT:
            found[role] |= fit_role(role, own, held_out=len(own) + 1).constants
    return found


def _cost(point: Point, costs: dict[str, dict[str, float]]) -> float:
    return sum(
        cost * float(point.get("seconds" if name == "idle" else name, 0.0))
        for name, cost in costs[point["role"]].items()
    )


def _planned(figure: Figure, constants: Constants) -> Iterator[Figure]:
    """Cores of each role as the model has them for the rate that was there, beside those that were used."""
    specs = specifications("bench", figure["measurements"])
    load = load_of(specs, figure["rate"], 1.0, figure["members"], load_settings(None, ["topics.replication_factor=1"]))
    layout = Layout(figure["partitions"], figure["partitions"], 1, 1)
    work = work_of(load, layout, traffic_of(load, layout), constants)
    for role, measured in figure["roles"].items():
        part = _PARTS[role]
        cores = measured["cpu_seconds"] / measured["seconds"]
        yield _compared(label(figure), role, cores, work[part].all_workers(constants.cpu[part]))


def _compared(point: str, role: str, measured: float, predicted: float) -> Figure:
    return {
        "point": point,
        "role": role,
        "measured": measured,
        "predicted": predicted,
        "error": predicted / measured - 1,
    }


def _medians(compared: Sequence[Figure]) -> dict[str, float]:
    """By role, and of all."""
    found = {
        role: median(errors)
        for role in _PARTS
        if (errors := [abs(one["error"]) for one in compared if one["role"] == role])
    }
    return found | ({"all": median(abs(one["error"]) for one in compared)} if compared else {})


def _resident(figures: Sequence[Figure], known: Constants) -> dict[str, int]:
    """The least that each role was seen to hold at its start."""
    found = dict(known.base_bytes)
    for role, part in _PARTS.items():
        # attach's members are a part of their own.
        store = MEMBER_BYTES if role == "attach" else 0
        seen = [
            figure["resident_bytes"][role] - store * figure["members"]
            for figure in figures
            if figure.get("resident_bytes")
        ]
        if seen and role != "b":
            found[part] = min(seen)
    return found
