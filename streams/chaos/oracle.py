"""The oracle: what must come out, worked out from what the source topic really holds, in plain numpy.

None of the roles' code is used: events are read with ``json``, the rule of lateness is applied to the broker's own
timestamps, and a member's row is that of the race model. So a row that the producer wrote twice, or late, or not at
all, is judged as what it is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from estimator import GROUPS, RaceModel, to_fixed_point
from privacy import Measurement
from streams.chaos.traffic import Members, index_of

SCALE = 1 << 20
WindowKey = tuple[str, int]
"""(level, window end in epoch milliseconds)."""


@dataclass(frozen=True)
class SourceRecord:
    """One record of the source topic; ``timestamp_ms`` is the broker's."""

    partition: int
    offset: int
    timestamp_ms: int
    value: bytes


@dataclass
class Expected:
    """What must come out.

    Attributes:
        tables: shape (cells, 6), int64, fixed-point units, of every window that is scheduled. moments: shape (29,).
        rows: shape (cells,), int64: rows that count, by cell.
        late, future: (partition, offset) of each record that must be refused.
        events: records of the source topic. silent: rows of members who do not count.
    """

    tables: dict[WindowKey, NDArray[np.int64]] = field(default_factory=dict)
    moments: dict[WindowKey, NDArray[np.int64]] = field(default_factory=dict)
    rows: dict[WindowKey, NDArray[np.int64]] = field(default_factory=dict)
    late: set[tuple[int, int]] = field(default_factory=set)
    future: set[tuple[int, int]] = field(default_factory=set)
    events: int = 0
    silent: int = 0

    def counted(self, level: str) -> int:
        """Rows that count at a level."""
        return sum(int(rows.sum()) for (name, _), rows in self.rows.items() if name == level)


def expect(spec: Measurement, members: Members, records: Iterable[SourceRecord], end_ms: int) -> Expected:
    """Work out every window of a measurement that ends by ``end_ms``.

    Args:
        spec: as approved, with its beginning.
        records: the source topic, in the order of each partition.
        end_ms: a boundary of the longest level; all events are before it.
    """
    begin_ms = spec.effective_from_ms
    assert begin_ms is not None  # an approved measurement says when it takes effect
    expected = Expected()
    member, cell, at_ms = _rows(spec, records, expected, begin_ms, end_ms)
    counts = np.array([members.counts(m) for m in member.tolist()], dtype=bool)
    expected.silent = int((~counts).sum())
    member, cell, at_ms = member[counts], cell[counts], at_ms[counts]
    units, moments = _of_members(members, member)
    for level in spec.levels:
        window = (at_ms - begin_ms) // level.length_ms
        for number in range((end_ms - begin_ms) // level.length_ms):
            inside = window == number
            key = level.name, begin_ms + (number + 1) * level.length_ms
            table = np.zeros((spec.cell_count, len(GROUPS)), dtype=np.int64)
            np.add.at(table, cell[inside], units[inside])
            expected.tables[key] = table
            expected.moments[key] = moments[inside].sum(axis=0)
            expected.rows[key] = np.bincount(cell[inside], minlength=spec.cell_count)
    return expected


def _rows(
    spec: Measurement, records: Iterable[SourceRecord], expected: Expected, begin_ms: int, end_ms: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Member, cell and event time of each row that is in time."""
    arrival: dict[int, int] = {}
    rows: list[tuple[int, int, int]] = []
    for record in records:
        expected.events += 1
        arrival[record.partition] = max(arrival.get(record.partition, 0), record.timestamp_ms)
        event = json.loads(record.value)
        if not begin_ms <= event["at"] < end_ms:
            continue
        delay = arrival[record.partition] - event["at"]
        if delay > spec.lateness_ms:
            expected.late.add((record.partition, record.offset))
        elif -delay > spec.max_future_ms:
            expected.future.add((record.partition, record.offset))
        else:
            rows.append((index_of(event["member"]), 2 * event["place"] + event["shown"], event["at"]))
    table = np.array(rows, dtype=np.int64).reshape(-1, 3)
    return table[:, 0], table[:, 1], table[:, 2]


def _of_members(members: Members, member: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What each row adds: to the table, shape (n, 6), and to the moments, shape (n, 29)."""
    who, place = np.unique(member, return_inverse=True)
    people = members.people
    model = RaceModel.load()
    units = to_fixed_point(model.posterior(people.surname[who].tolist(), zctas=people.zcta[who].tolist()))
    own = units.astype(np.int64)
    upper, right = np.triu_indices(len(GROUPS))
    weight = np.where(upper == right, 1.0, math.sqrt(2))
    products = np.rint(own[:, upper].astype(np.float64) * own[:, right] * (weight / SCALE))
    # No member has said a group: of the two counts one is the rows, and the rest is zero.
    moments = np.zeros((who.size, products.shape[1] + 2 + len(GROUPS)), dtype=np.int64)
    moments[:, : products.shape[1]] = products
    moments[:, products.shape[1]] = SCALE
    return own[place], moments[place]
