"""What the demo knows and the pipeline does not: exact answers to hold the published numbers against.

Three things are kept apart: the published estimate (noised), the same estimate without noise (what the proxy sees), and
the truth (what really happened). The weighted estimate understates gaps by design, so the second and third differ.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from estimator import GROUPS, RaceModel
from streams.simulate import SimulatedMembers, SimulatedRecommender

_DAY_MS = 86_400_000


@dataclass(frozen=True)
class ExactRates:
    """Rates by group without noise: by the proxy and by truth; NaN where a group is empty."""

    weighted: dict[str, float]
    truth: dict[str, float]
    rows: int


def _rates(weights: NDArray[np.float64], chosen: NDArray[np.bool_]) -> dict[str, float]:
    total = weights.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = weights[chosen].sum(axis=0) / total
    return dict(zip(GROUPS, rate.tolist(), strict=True))


def counted(member: NDArray[np.int64], cap: int) -> NDArray[np.bool_]:
    """Which rows count under the rule ``first``: the first ``cap`` of each member, in the order given."""
    order = np.argsort(member, kind="stable")
    ordered = member[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    rank = np.arange(ordered.size) - np.repeat(starts, np.diff(np.concatenate((starts, [ordered.size]))))
    result = np.empty(member.size, dtype=bool)
    result[order] = rank < cap
    return result


class SimulatedTruth:
    """Exact answers about the simulated feed."""

    def __init__(self, members: SimulatedMembers, recommender: SimulatedRecommender, cap: int, from_ms: int) -> None:
        history = recommender.history()
        self._time_ms = history.time_ms
        self._member = history.member
        self._recommended = history.recommended
        self._race = members.people.race
        inside = history.time_ms >= from_ms
        self._counted = np.zeros(history.member.size, dtype=bool)
        # The cap is a member-day's: a demo that runs over midnight has two days.
        day = history.time_ms[inside] // _DAY_MS
        member_day = history.member[inside] + day * members.count
        self._counted[inside] = counted(member_day, cap)
        people = members.people
        self._p = RaceModel.load().posterior(people.surname.tolist(), zctas=people.zcta.tolist())

    def recommendation(self, start_ms: int, end_ms: int) -> ExactRates:
        """Recommendation rates of the rows that count in [start, end)."""
        inside = self._counted & (self._time_ms >= start_ms) & (self._time_ms < end_ms)
        member, chosen = self._member[inside], self._recommended[inside]
        truth = np.eye(len(GROUPS))[self._race[member]]
        return ExactRates(_rates(self._p[member], chosen), _rates(truth, chosen), int(inside.sum()))


def primaries(folder: Path) -> dict[str, ExactRates]:
    """Exact answers about the primaries log: "recommendation_rate" and "precision" (won, given endorsed).

    One row a candidate, as the cap of 1 counts it: the first of those who ran twice.
    """
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    members = {m["member_id"]: m for m in map(json.loads, (folder / "members.jsonl").read_text().splitlines())}
    with (folder / "truth.csv").open() as file:
        race = {row["member_id"]: row["race"] for row in csv.DictReader(file)}
    first: dict[str, dict[str, object]] = {}
    for event in sorted(events, key=lambda event: str(event["ts"])):
        first.setdefault(event["candidate_id"], event)
    ids = [name for name in first if name in members]
    p = RaceModel.load().posterior(
        [members[name].get("family_name") for name in ids],
        given_names=[members[name].get("given_name") for name in ids],
        states=[members[name].get("state") for name in ids],
    )
    endorsed = np.array([bool(first[name]["endorsed"]) for name in ids])
    won = np.array([bool(first[name]["won"]) for name in ids])
    single = np.array([race.get(name, "") in GROUPS for name in ids])
    truth = np.zeros((len(ids), len(GROUPS)))
    for k in np.flatnonzero(single):
        truth[k, GROUPS.index(race[ids[k]])] = 1.0
    return {
        "recommendation_rate": ExactRates(_rates(p, endorsed), _rates(truth, endorsed), len(ids)),
        "precision": ExactRates(
            _rates(p[endorsed], won[endorsed]), _rates(truth[endorsed], won[endorsed]), int(endorsed.sum())
        ),
    }
