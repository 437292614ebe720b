"""A real log: candidates of the 2022 primaries, the estimates beside what they say of themselves.

Race probabilities come from family name and state; Self-ID from the random tenth that members.jsonl holds, and nothing
else. The truth (truth.csv) is used to score: candidates who say one race. The estimates are of all candidates, also of
those who say several races or of whom nothing is known, so a small difference is in the comparison itself.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

from bench.accuracy.tally import Key, Tally
from bench.accuracy.worlds import F, Window, add_noise, noise_of
from estimator import GROUPS, CellLayout, Disparity, Moments, NoiseVariance, RaceModel, disparities
from estimator.rates import Sums

FOLDER = Path(__file__).parents[2] / "examples" / "primaries-2022"
LAYOUT = CellLayout((("decision", 2), ("outcome", 2)))
METRICS = {"precision": "P(won given endorsed)", "recommendation_rate": "P(endorsed)"}
RHO = 0.5
"""The example's measurement: epsilon 5.2 at delta 1e-6 on replacement."""


def _lines(name: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in (FOLDER / name).read_text().splitlines()]


def load() -> tuple[Window, F]:
    """The log's window, without noise, and the truth's table of single-race candidates: shape (4, 6), rows."""
    events = _lines("events.jsonl")
    members = {str(m["member_id"]): m for m in _lines("members.jsonl")}
    ids = [str(e["candidate_id"]) for e in events]
    cell = np.array([2 * bool(e["endorsed"]) + bool(e["won"]) for e in events])
    surnames, states = ([str(members[m].get(field) or "") for m in ids] for field in ("family_name", "state"))
    p = RaceModel.load().posterior(surnames, states=states)
    said = np.array([bool(members[m].get("self_id")) for m in ids])
    self_id = np.array([_mass(members[m].get("self_id")) for m in ids])
    rows = np.eye(LAYOUT.count)[cell]
    window = Window(rows.T @ p, rows[said].T @ (self_id - p)[said], Moments.of(p, self_id, said))
    with (FOLDER / "truth.csv").open() as file:
        truth = {row["member_id"]: row["race"] for row in csv.DictReader(file)}
    single = np.array([[float(truth[m] == group) for group in GROUPS] for m in ids])
    return window, rows.T @ single


def _mass(said: object) -> F:
    """Several answers share one person."""
    groups = said if isinstance(said, list) else []
    mass = np.array([float(group in groups) for group in GROUPS])
    return np.asarray(mass / max(mass.sum(), 1.0))


def run(repetitions: int) -> dict[str, object]:
    """Estimates without noise, and how they do over ``repetitions`` draws of the measurement's noise."""
    window, truth = load()
    true = {}
    for statistic in LAYOUT.statistics():
        if statistic.metric in METRICS:
            sums = Sums.of(statistic, truth)
            for g, group in enumerate(GROUPS):
                if sums.total[g] > 0:
                    true[statistic.metric, group] = sums.hits[g] / sums.total[g], sums.total[g]
    exact = [
        [r.estimator, r.metric, r.group, [r.value.estimate, r.value.lower, r.value.upper]]
        for r in _read(window, NoiseVariance(0.0))
        if r.metric in METRICS and r.value is not None
    ]
    # A measurement without Self-ID has all of its budget for the table; one with it splits it over three channels.
    noises = {"table only": NoiseVariance(4 / RHO), "all channels": noise_of(RHO, 1)}
    rng, tally = np.random.default_rng(2022), Tally()
    for name, noise in noises.items():
        for _ in range(repetitions):
            for r in _read(add_noise(window, noise, rng), noise):
                if r.metric not in METRICS or (r.metric, r.group) not in true or _unfit(name, r.estimator):
                    continue
                interval = None if r.value is None else (r.value.estimate, r.value.lower, r.value.upper)
                tally.add(
                    Key(name, r.estimator, r.metric, "all", r.group, "value"), interval, true[r.metric, r.group][0]
                )
    return {
        "truth": [[metric, group, value, n] for (metric, group), (value, n) in true.items()],
        "exact": exact,
        "noised": tally.to_json(),
        "rows": window.moments.rows,
        "self_id_rows": window.moments.self_id_rows,
        "repetitions": repetitions,
    }


def _unfit(setting: str, estimator: str) -> bool:
    """With the table only there is just the weighted estimator."""
    return (setting == "table only") != (estimator == "weighted")


def _read(window: Window, noise: NoiseVariance) -> list[Disparity]:
    return list(
        disparities(
            window.table,
            cells=LAYOUT,
            reference="white",
            noise_variance=noise,
            moments=window.moments,
            rectifier=window.rectifier,
        ).results
    )
