"""A stream with everything in it, and an oracle in plain numpy that says what must come out, to the last unit.

Late, future, malformed, over-cap, opted-out and unknown-member rows, Self-IDs of every kind, three measurements on one
topic (one of them with a list of candidates to explode) that have all, some and one of the channels, several windows
and partitions. Record timestamps are event times (``record_time``), so the same stream gives the same tables in one
process and on a real Kafka.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import NDArray

from estimator import GROUPS, Population, RaceModel, to_fixed_point
from privacy import Measurement, parse_measurement
from streams.kafka.partitioner import partition_of
from streams.records.metric import FairnessMetric

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
privacy:
  contribution_cap: 3
  cap_rule: first
  rho_member_day: 0.1
  channel_shares: {{table: 0.5, moments: 0.1, rectifier: 0.4}}
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

PLAIN = """
id: plain
purpose: exactness of a table alone
source: {{topic: {topic}, arrival: record_time, member: viewer.id, time: ts, time_format: epoch_ms}}
cells: {{decision: {{field: shown.recommended}}}}
windows: {{base: 10s, rollups: [1m], lateness: 1s, max_future: 1s}}
reference: white
privacy: {{contribution_cap: 2, cap_rule: first, rho_member_day: 0.1, channel_shares: {{table: 1.0}}}}
test_only: {{noise_scale_units: 0.01}}
"""

SCALE = 1 << 20
Key = tuple[str, str, int]
"""(measurement, level, window end)."""


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
        rectifiers: the same, where one is released. moments: shape (23,), where they are.
        refused: (measurement or None, reason) -> how many.
    """

    measurements: tuple[Measurement, ...]
    members: list[tuple[bytes, bytes | None]] = field(default_factory=list)
    records: list[SourceRecord] = field(default_factory=list)
    tables: dict[Key, NDArray[np.int64]] = field(default_factory=dict)
    rectifiers: dict[Key, NDArray[np.int64]] = field(default_factory=dict)
    moments: dict[Key, NDArray[np.int64]] = field(default_factory=dict)
    refused: Counter[tuple[str | None, str]] = field(default_factory=Counter)

    @property
    def end_ms(self) -> int:
        """A time at which every window is closed."""
        return START_MS + WINDOWS * WINDOW_MS + 2_000


@dataclass
class _Person:
    """What one counted row of a member adds to each channel, in fixed-point units."""

    units: NDArray[np.int64]
    residual: NDArray[np.int64]
    products: NDArray[np.int64]
    squares: NDArray[np.int64]
    said: bool

    @classmethod
    def of(cls, units: NDArray[np.int64], ticked: list[int]) -> _Person:
        pairs = [(r, s) for r in range(len(GROUPS)) for s in range(r, len(GROUPS))]
        products = [round(int(units[r] * units[s]) / SCALE * (1.0 if r == s else math.sqrt(2))) for r, s in pairs]
        residual = np.zeros_like(units)
        if ticked:
            residual -= units
            for place, group in enumerate(ticked):
                residual[group] += SCALE * (place + 1) // len(ticked) - SCALE * place // len(ticked)
        squares = [round(int(d) ** 2 / SCALE / 2) for d in residual]
        return cls(units, residual, np.array(products, np.int64), np.array(squares, np.int64), bool(ticked))


def _draw_self_id(rng: np.random.Generator) -> tuple[object, list[int]]:
    """What a member's `self_id` says, and the groups that it ticks."""
    one, *more = rng.permutation(len(GROUPS)).tolist()
    kind = int(rng.integers(0, 8))
    if kind == 0:
        return GROUPS[one], [one]
    if kind == 1:
        return [GROUPS[one]], [one]
    if kind == 2:
        ticked = sorted([one, *more[: int(rng.integers(1, 4))]])
        return [GROUPS[group] for group in reversed(ticked)], ticked
    if kind == 3:
        return [GROUPS[one], "martian"], []
    return (None, [], {"race": GROUPS[one]}, "")[kind - 4], []


def build(topic: str, seed: int, *, members: int = 120, events_a_window: int = 90) -> Scenario:
    """Draw a scenario."""
    rng = np.random.default_rng(seed)
    specs = tuple(
        parse_measurement(text.format(topic=topic), origin="scenario").with_effective_from(START_MS)
        for text in (FEED, CANDIDATES, PLAIN)
    )
    scenario = Scenario(specs)
    people = Population().draw(rng, members)
    opted_out = set(rng.choice(members, members // 10, replace=False).tolist())
    removed = set(rng.choice(members, members // 12, replace=False).tolist()) - opted_out
    unknown = range(members, members + 6)
    all_units = to_fixed_point(RaceModel.load().posterior(people.surname.tolist(), zctas=people.zcta.tolist()))
    persons: list[_Person] = []
    for k in range(members):
        self_id, ticked = _draw_self_id(rng)
        attributes = {"family_name": str(people.surname[k]), "zcta": str(people.zcta[k]), "opt_out": k in opted_out}
        scenario.members.append((_id(k), json.dumps(attributes | {"self_id": self_id}).encode()))
        persons.append(_Person.of(all_units[k].astype(np.int64), ticked))
    scenario.members += [(_id(k), None) for k in sorted(removed)]
    silent = opted_out | removed | set(unknown)
    for measurement in specs:
        _open_windows(scenario, measurement)
    counted: Counter[tuple[str, int]] = Counter()

    def count(measurement: str, cap: int, member: int, cell: int, time_ms: int) -> None:
        if member in silent or counted[measurement, member] >= cap:
            return
        counted[measurement, member] += 1
        for level, length in (("10s", WINDOW_MS), ("1m", 60_000)):
            key = measurement, level, START_MS + ((time_ms - START_MS) // length + 1) * length
            _add(scenario, key, cell, persons[member])

    for window in range(WINDOWS):
        base = START_MS + window * WINDOW_MS
        for time_ms in np.sort(rng.integers(base, base + WINDOW_MS, events_a_window)).tolist():
            _draw_event(scenario, rng, members, time_ms, count)
    return scenario


def _open_windows(scenario: Scenario, measurement: Measurement) -> None:
    for level in measurement.levels:
        for end in range(START_MS + level.length_ms, START_MS + WINDOWS * WINDOW_MS + 1, level.length_ms):
            key, shape = (measurement.id, level.name, end), (measurement.cell_count, len(GROUPS))
            scenario.tables[key] = np.zeros(shape, dtype=np.int64)
            if measurement.id != "plain":
                scenario.moments[key] = np.zeros(29, dtype=np.int64)
            if measurement.id == "feed" and level.name == "1m":
                scenario.rectifiers[key] = np.zeros(shape, dtype=np.int64)


def _add(scenario: Scenario, key: Key, cell: int, person: _Person) -> None:
    scenario.tables[key][cell] += person.units
    if key in scenario.rectifiers:
        scenario.rectifiers[key][cell] += person.residual
    if key in scenario.moments:
        said = person.said and key[0] == "feed"  # nobody's Self-ID is counted without the channel that uses it
        scenario.moments[key] += np.array([*person.products, SCALE, SCALE * said, *(person.squares * said)])


def check(scenario: Scenario, windows: Mapping[Key, FairnessMetric]) -> None:
    """Every window was published, and every channel of it equals the oracle's to the last fixed-point unit."""
    assert set(windows) == set(scenario.tables)
    for key, expected in scenario.tables.items():
        window = windows[key]
        assert window.table is not None, (key, window.reason)
        assert np.array_equal(np.array(window.table.values) * SCALE, expected), key
        assert (window.rectifier is not None) == (key in scenario.rectifiers), key
        if window.rectifier is not None:
            assert np.array_equal(np.array(window.rectifier.values) * SCALE, scenario.rectifiers[key]), key
        assert (window.moments is not None) == (key in scenario.moments), key
        if window.moments is not None:
            products, upper = np.array(window.moments.products), np.triu_indices(len(GROUPS))
            assert np.array_equal(products, products.T)
            weights = np.where(upper[0] == upper[1], 1.0, math.sqrt(2))
            found = [*(products[upper] * weights), window.moments.rows, window.moments.self_id_rows]
            found += [square / 2 for square in window.moments.residual_squares]
            assert np.abs(np.array(found) * SCALE - scenario.moments[key]).max() < 1e-3, key
    assert sum(int(table.sum()) for table in scenario.tables.values()) > 0
    assert any(rectifier.any() for rectifier in scenario.rectifiers.values())
    assert all(
        min(vector[-7:]) > 0 for (name, level, _), vector in scenario.moments.items() if (name, level) == ("feed", "1m")
    )


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
        scenario.refused["plain", "wrong_type"] += 1
    elif kind == 3:
        del event["ts"]
        _refuse(scenario, search, "missing_field", inside=True)
    elif kind == 4:
        event["ts"] = 1e30
        _refuse(scenario, search, "time_out_of_range", inside=True)
    elif kind == 5:
        value = json.dumps(event).encode()[:-5]
        scenario.refused["feed", "not_json"] += 1
        scenario.refused["plain", "not_json"] += 1
        scenario.refused["candidates", "not_json"] += 1
        _append(scenario, viewer, arrival, value)
        return
    elif kind == 6:
        event["viewer"] = {"id": "x" * 50}
        scenario.refused["feed", "bad_member_id"] += 1
        scenario.refused["plain", "bad_member_id"] += 1
    elif kind == 7:
        event["viewer"] = {"id": viewer}  # a number: taken as its decimal text, which nobody here is called
    if kind not in (0, 1, 2, 3, 4, 6, 7):
        bins = int(np.searchsorted([0.25, 0.5, 0.75], score, side="right"))
        count("feed", 3, viewer, (bins * 2 + recommended) * 2 + clicked, time_ms)
        count("plain", 2, viewer, int(recommended), time_ms)
    if search and kind not in (0, 1, 3, 4):
        for candidate in candidates:
            rank_bin = int(np.searchsorted([2, 4], candidate["rank"], side="right"))
            count("candidates", 2, int(candidate["id"][1:]), candidate["picked"] * 3 + rank_bin, time_ms)
    _append(scenario, viewer, arrival, json.dumps(event).encode())


def _refuse(scenario: Scenario, search: bool, reason: str, *, inside: bool) -> None:
    if inside:
        scenario.refused["feed", reason] += 1
        scenario.refused["plain", reason] += 1
        if search:
            scenario.refused["candidates", reason] += 1


def _append(scenario: Scenario, viewer: int, timestamp_ms: int, value: bytes) -> None:
    scenario.records.append(SourceRecord(_partition(viewer), timestamp_ms, _id(viewer), value))


def _id(member: int) -> bytes:
    return b"m%05d" % member


@cache
def _partition(member: int) -> int:
    return int(partition_of(np.array([_id(member)]), SOURCE_PARTITIONS)[0])
