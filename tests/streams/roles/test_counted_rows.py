"""Which rows count, where several batches are asked about at once: as if each had been asked about by itself."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
from example_counts import examples
from hypothesis import given
from hypothesis import strategies as st
from known_records import DEPLOYMENT, TRUSTED
from prometheus_client import CollectorRegistry

from estimator import RaceModel
from privacy import Limits, parse_measurement
from secure_agg import Trusted
from streams.control import ControlPlane
from streams.inprocess import MemoryRecord
from streams.roles.counted_rows import DAY_MS, BatchMembers, CountedRows
from streams.roles.member_directory import MemberDirectory
from streams.stage import TIMESTAMP_LOG_APPEND
from streams.watch.health import RoleHealth

DAY = 20_000
HOUR_MS = 3_600_000
KNOWN = [b"m%02d" % k for k in range(8)]
IDS = [*KNOWN, b"stranger"]
SPEC = """
id: feed
purpose: rows that count
source: {{topic: ev, member: m, time: ts, time_format: epoch_ms}}
cells: {{decision: {{field: r}}}}
windows: {{base: 1h, lateness: 1s}}
reference: white
privacy: {{contribution_cap: 2, cap_rule: {rule}, rho_member_day: 0.1}}
test_only: {{noise_scale_units: 0.01}}
"""


@cache
def _directory() -> MemberDirectory:
    directory = MemberDirectory(RaceModel.load(), bytes(32), 1)
    value, stamp = json.dumps({"family_name": "Smith"}).encode(), (TIMESTAMP_LOG_APPEND, 0)
    directory.load([MemoryRecord("attributes", 0, k, member, value, stamp) for k, member in enumerate(KNOWN)])
    return directory


def _rows(rule: str, zero: set[int]) -> tuple[CountedRows, ControlPlane]:
    limits = Limits(rho_member_day=1.0, rho_30_days=10.0, rho_year=100.0)
    control = ControlPlane(Trusted(DEPLOYMENT, TRUSTED, ()), test_cluster=True, limits=limits)
    spec = parse_measurement(SPEC.format(rule=rule), origin="test").with_effective_from(DAY * DAY_MS)
    control.admit(spec, spec.digest(), 0)
    rows = CountedRows(control, _directory(), range(3), b"cap", b"rotation", RoleHealth("attach", CollectorRegistry()))
    for j in zero:
        rows.lose(j, DAY, "a test says so")
    return rows, control


batches = st.lists(
    st.tuples(st.integers(0, 23), st.integers(0, 2), st.lists(st.integers(0, len(IDS) - 1), min_size=1, max_size=9)),
    min_size=1,
    max_size=8,
)


@given(rule=st.sampled_from(["first", "hours"]), drawn=batches, zero=st.sets(st.integers(0, 2), max_size=2))
@examples(150)
def test_batches_together_count_as_they_would_one_by_one(
    rule: str, drawn: list[tuple[int, int, list[int]]], zero: set[int]
) -> None:
    """Whatever hours, partitions and members: the same rows, and in state the same chunks of as many rows."""
    asked = [
        BatchMembers(DAY * DAY_MS + hour * HOUR_MS, j, np.array([IDS[k] for k in members]))
        for hour, j, members in drawn
    ]
    (together, control), (single, _) = _rows(rule, zero), _rows(rule, zero)
    [approved] = control.approved()
    expected = [single.select(approved, DAY, [one]) for one in asked]
    assert together.select(approved, DAY, asked).tolist() == np.concatenate(expected).tolist()
    for one, rows in zip(asked, expected, strict=True):
        assert one.j not in zero or (rows == -1).all()
    again = [BatchMembers(DAY * DAY_MS, 0, np.array(KNOWN))]
    assert together.select(approved, DAY, again).tolist() == single.select(approved, DAY, again).tolist()
