"""A stream with everything in it, and an oracle in plain numpy that says what must come out, to the last unit.

Late, future, malformed, over-cap, opted-out and unknown-member rows, two measurements on one topic (one of them with a
list of candidates to explode), several windows and partitions. Record timestamps are event times (``record_time``), so
the same stream gives the same tables in one process and on a real Kafka.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import NDArray

from estimator import GROUPS, Population, RaceModel, to_fixed_point
from privacy import Measurement, parse_measurement
from streams.kafka.partitioner import partition_of

START_MS = 1_700_000_040_000  # a whole minute
WINDOW_MS = 10_000
WINDOWS = 12
SOURCE_PARTITIONS = 3

FEED = """
id: feed
purpose: exactness
source: {{topic: {topic}, arrival: record_time, member: viewer.id, time: ts, time_format: epoch_ms}}
cells:
  score: {{field: score, bins: [0.25, 0.5, 0.75]}}
  decision: {{field: shown.recommended}}
  outcome: {{field: shown.clicked}}
windows: {{base: 10s, rollups: [1m], lateness: 1s, max_future: 1s}}
reference: white
privacy: {{contribution_cap: 3, cap_rule: first, rho_member_day: 0.1}}
test_only: {{noise_scale_units: 0.01}}
"""

CANDIDATES = """
id: candidates
purpose: exactness of a ranked list
source:
  topic: {topic}
  arrival: record_time
  explode: candidates
  member: candidates[].id
  time: ts
  time_format: epoch_ms
  filter: [{{field: surface, one_of: [search]}}]
cells:
  decision: {{field: "candidates[].picked"}}
  rank: {{field: "candidates[].rank", bins: [2, 4]}}
windows: {{base: 10s, rollups: [1m], lateness: 1s, max_future: 1s}}
reference: white
privacy: {{contribution_cap: 2, cap_rule: first, rho_member_day: 0.1}}
test_only: {{noise_scale_units: 0.01}}
"""


@dataclass
class SourceRecord:
    """One record of the source topic."""

    partition: int
    timestamp_ms: int
    key: bytes
    value: bytes


@dataclass
class Scenario:
    """The stream and what must come of it.

    Attributes:
        members: key and value of each attribute record (None: a tombstone).
        records: the source topic, in the order of writing.
        tables: (measurement, level, window end) -> shape (cells, 6), int64, fixed-point units.
        refused: (measurement or None, reason) -> how many.
    """

    measurements: tuple[Measurement, ...]
    members: list[tuple[bytes, bytes | None]] = field(default_factory=list)
    records: list[SourceRecord] = field(default_factory=list)
    tables: dict[tuple[str, str, int], NDArray[np.int64]] = field(default_factory=dict)
    refused: Counter[tuple[str | None, str]] = field(default_factory=Counter)

    @property
    def end_ms(self) -> int:
        """A time at which every window is closed."""
        return START_MS + WINDOWS * WINDOW_MS + 2_000


def build(topic: str, seed: int, *, members: int = 120, events_a_window: int = 90) -> Scenario:
    """Draw a scenario."""
    rng = np.random.default_rng(seed)
    specs = tuple(
        parse_measurement(text.format(topic=topic), origin="scenario").with_effective_from(START_MS)
        for text in (FEED, CANDIDATES)
    )
    scenario = Scenario(specs)
    people = Population().draw(rng, members)
    opted_out = set(rng.choice(members, members // 10, replace=False).tolist())
    removed = set(rng.choice(members, members // 12, replace=False).tolist()) - opted_out
    unknown = range(members, members + 6)
    for k in range(members):
        attributes = {"family_name": str(people.surname[k]), "zcta": str(people.zcta[k]), "opt_out": k in opted_out}
        scenario.members.append((_id(k), json.dumps(attributes).encode()))
    scenario.members += [(_id(k), None) for k in sorted(removed)]
    units = to_fixed_point(RaceModel.load().posterior(people.surname.tolist(), zctas=people.zcta.tolist())).astype(
        np.int64
    )
    silent = opted_out | removed | set(unknown)
    for measurement in specs:
        for level in measurement.levels:
            for end in range(START_MS + level.length_ms, START_MS + WINDOWS * WINDOW_MS + 1, level.length_ms):
                shape = (measurement.cell_count, len(GROUPS))
                scenario.tables[measurement.id, level.name, end] = np.zeros(shape, dtype=np.int64)
    counted: Counter[tuple[str, int]] = Counter()

    def count(measurement: str, cap: int, member: int, cell: int, time_ms: int) -> None:
        if member in silent or counted[measurement, member] >= cap:
            return
        counted[measurement, member] += 1
        for level, length in (("10s", WINDOW_MS), ("1m", 60_000)):
            end = START_MS + ((time_ms - START_MS) // length + 1) * length
            scenario.tables[measurement, level, end][cell] += units[member]

    for window in range(WINDOWS):
        base = START_MS + window * WINDOW_MS
        for time_ms in np.sort(rng.integers(base, base + WINDOW_MS, events_a_window)).tolist():
            _draw_event(scenario, rng, members, time_ms, count)
    return scenario


def _draw_event(scenario: Scenario, rng: np.random.Generator, members: int, time_ms: int, count) -> None:
    # Rows of a batch are shuffled, so which of a member's rows count under the cap is left to chance; a member's cells
    # never change here, so that chance cannot be seen, and events are keyed by viewer, so that time order holds.
    viewer = int(rng.integers(0, members + 6))
    score, recommended, clicked = (viewer % 7) / 7, viewer % 2 == 0, viewer % 3 == 0
    search = bool(rng.random() < 0.5)
    candidates = []
    if search:
        # A candidate's rows must come through one source partition as well: those of the viewer's own partition.
        pool = [k for k in range(members) if _partition(k) == _partition(viewer)]
        candidates = [
            {"id": _id(k).decode(), "picked": k % 2 == 1, "rank": k % 6}
            for k in rng.choice(pool, 4, replace=False).tolist()
        ]
    event = {
        "viewer": {"id": _id(viewer).decode(), "device": "phone"},
        "ts": time_ms,
        "score": score,
        "shown": {"recommended": recommended, "clicked": clicked},
        "surface": "search" if search else "feed",
        "candidates": candidates,
    }
    kind = int(rng.integers(0, 40))
    arrival = time_ms
    if kind == 0:
        event["ts"] = time_ms - 60_000
        _refuse(scenario, search, "late", inside=event["ts"] >= START_MS)
    elif kind == 1:
        event["ts"] = time_ms + 120_000
        _refuse(scenario, search, "future", inside=True)
    elif kind == 2:
        event["shown"] = {"recommended": "yes", "clicked": True}
        scenario.refused["feed", "wrong_type"] += 1
    elif kind == 3:
        del event["ts"]
        _refuse(scenario, search, "missing_field", inside=True)
    elif kind == 4:
        event["ts"] = 1e30
        _refuse(scenario, search, "time_out_of_range", inside=True)
    elif kind == 5:
        value = json.dumps(event).encode()[:-5]
        scenario.refused["feed", "not_json"] += 1
        scenario.refused["candidates", "not_json"] += 1
        _append(scenario, viewer, arrival, value)
        return
    elif kind == 6:
        event["viewer"] = {"id": "x" * 50}
        scenario.refused["feed", "bad_member_id"] += 1
    elif kind == 7:
        event["viewer"] = {"id": viewer}  # a number: taken as its decimal text, which nobody here is called
    if kind not in (0, 1, 2, 3, 4, 6, 7):
        bins = int(np.searchsorted([0.25, 0.5, 0.75], score, side="right"))
        count("feed", 3, viewer, (bins * 2 + recommended) * 2 + clicked, time_ms)
    if search and kind not in (0, 1, 3, 4):
        for candidate in candidates:
            rank_bin = int(np.searchsorted([2, 4], candidate["rank"], side="right"))
            count("candidates", 2, int(candidate["id"][1:]), candidate["picked"] * 3 + rank_bin, time_ms)
    _append(scenario, viewer, arrival, json.dumps(event).encode())


def _refuse(scenario: Scenario, search: bool, reason: str, *, inside: bool) -> None:
    if inside:
        scenario.refused["feed", reason] += 1
        if search:
            scenario.refused["candidates", reason] += 1


def _append(scenario: Scenario, viewer: int, timestamp_ms: int, value: bytes) -> None:
    scenario.records.append(SourceRecord(_partition(viewer), timestamp_ms, _id(viewer), value))


def _id(member: int) -> bytes:
    return b"m%05d" % member


@cache
def _partition(member: int) -> int:
    return int(partition_of(np.array([_id(member)]), SOURCE_PARTITIONS)[0])
