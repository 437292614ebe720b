"""Rows of a file: the decoding of `seal`, the caps of `attach`, and every row accounted for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audit_examples import unwatched

from estimator import RaceModel
from privacy import Measurement, parse_measurement
from streams.errors import InputError
from streams.file_rows import FileRows, counted_rows
from streams.members_file import load_members_file
from streams.replay import read_events

SPEC = """
id: log
purpose: test
source:
  topic: events
  member: "items[].id"
  explode: items
  time: at
  time_format: epoch_ms
  filter: [{{field: surface, one_of: [search]}}]
cells: {{score: {{field: "items[].s", bins: [0.5]}}, decision: {{field: "items[].d"}}}}
windows: {{base: 10s}}
reference: white
privacy: {{contribution_cap: {cap}, rho_member_day: 0.1, cap_rule: {rule}}}
"""
DAY = 86_400_000
NOON = 20_000 * DAY + 12 * 3_600_000


def spec(rule: str = "first", cap: int = 2) -> Measurement:
    """A measurement of lists, with a filter and a cap."""
    return parse_measurement(SPEC.format(rule=rule, cap=cap), origin="test")


def event(at: int, *items: tuple[Any, Any, Any], surface: str = "search") -> dict[str, Any]:
    """A record with candidates (id, score, decision)."""
    return {"at": at, "surface": surface, "items": [{"id": i, "s": s, "d": d} for i, s, d in items]}


def rows(path: Path, measurement: Measurement, events: list[dict[str, Any]]) -> FileRows:
    """Count events of members a, b and c, the last of whom opted out."""
    members, log = path / "m.jsonl", path / "e.jsonl"
    people = [{"member_id": "a"}, {"member_id": "b"}, {"member_id": "c", "opt_out": True}]
    members.write_text("".join(json.dumps(one) + "\n" for one in people))
    log.write_text("".join(json.dumps(one) + "\n" for one in events))
    found = load_members_file(members, RaceModel.load())
    return counted_rows(read_events(log, measurement), measurement, found, unwatched)


def test_every_row_is_accounted_for(tmp_path: Path) -> None:
    """Filtered, refused, unknown, opted out, over the cap: each is told, and what counts is in its cell."""
    found = rows(
        tmp_path,
        spec(),
        [
            event(NOON, ("a", 0.2, True), ("b", 0.9, False), ("nobody", 0.1, True)),
            event(NOON + 1, ("a", 0.9, 1), ("c", 0.5, True), ("b", None, True)),
            event(NOON + 2, ("a", 0.9, True)),
            event(NOON + 3, ("a", 0.1, True), surface="home"),
        ],
    )
    tally = found.tally
    assert (tally.events, tally.rows, tally.unknown, tally.opted_out, tally.over_cap) == (4, 6, 1, 1, 1)
    assert tally.refused == {"missing_field": 1}
    assert (tally.counted, tally.members) == (3, 2)
    assert tally.rows_per_member == pytest.approx((4 + 1) / 3)
    # score bin x decision: (0, 1), (1, 0), (1, 1)
    assert sorted(zip(found.member.tolist(), found.cell.tolist(), strict=True)) == [(0, 1), (0, 3), (1, 2)]


def test_the_cap_is_by_utc_day_and_in_time_order(tmp_path: Path) -> None:
    """Each UTC day has a cap of its own, and ``first`` means first in time, whatever the file's order."""
    events = [event(NOON + 9, ("a", 0.9, True)), event(NOON, ("a", 0.1, False)), event(NOON + DAY, ("a", 0.1, True))]
    found = rows(tmp_path, spec(cap=1), events)
    assert found.cell.tolist() == [0, 1]
    assert found.time_ms.tolist() == [NOON, NOON + DAY]


def test_hours_lets_one_row_count_in_each_chosen_hour(tmp_path: Path) -> None:
    """With a row in every minute of a day, exactly c rows count, in c hours, and the same ones in a second run."""
    events = [event(20_000 * DAY + minute * 60_000, ("a", 0.1, True)) for minute in range(24 * 60)]
    first, second = (rows(tmp_path, spec("hours", 3), events) for _ in range(2))
    assert np.unique(first.time_ms % DAY // 3_600_000).size == first.tally.counted == 3
    assert np.array_equal(first.time_ms, second.time_ms)


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([event(NOON, ("a", "high", True))], "1 are refused as wrong_type"),
        ([event(NOON, ("a", 0.1, True), surface="home")], "all are filtered out"),
        (
            [event(NOON, ("x", 0.1, True), ("c", 0.1, True))],
            "1 are of members who are not .* and 1 of members who opted",
        ),
    ],
)
def test_nothing_to_count_is_an_error_that_says_why(tmp_path: Path, events: list[dict[str, Any]], message: str) -> None:
    """Where no row is left, the message says where they went."""
    with pytest.raises(InputError, match=message):
        rows(tmp_path, spec(), events)
