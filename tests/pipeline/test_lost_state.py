"""Attach's state is lost, put back or tampered with: nobody counts twice, and a new day counts again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from privacy import Measurement, parse_measurement
from streams.errors import StateUnreadable
from streams.inprocess import InProcessPipeline, MemoryLog, MemoryRecord
from streams.kafka.partitioner import partition_of
from streams.roles.attach import AttachStage, SelectionKeys
from streams.roles.counted_chunks import RUNS_A_LEVEL
from streams.roles.sent_shares import DAY_MS

pytestmark = pytest.mark.slow

START_MS = 20_000 * DAY_MS + 6 * 3_600_000
NEXT_DAY_MS = 20_001 * DAY_MS
PARTITIONS = 2
MEMBERS = [f"m{k}" for k in range(40)]
CAP = 2
METRIC = "evenstream_state_lost_until_timestamp_seconds"

SPEC = """
id: {id}
purpose: lost state
source: {{topic: ev, member: m, time: ts, time_format: epoch_ms}}
cells: {{decision: {{field: r}}}}
windows: {{base: 1h, lateness: 1s}}
reference: white
privacy: {{contribution_cap: {cap}, rho_member_day: 0.1, cap_rule: first}}
test_only: {{noise_scale_units: 0.01}}
"""


def spec(name: str = "feed", cap: int = CAP) -> Measurement:
    """A measurement that began the day before."""
    text = SPEC.format(id=name, cap=cap)
    return parse_measurement(text, origin="test").with_effective_from(START_MS // DAY_MS * DAY_MS - DAY_MS)


class House:
    """A pipeline in which every member has an event every second: the cap is full after two."""

    def __init__(self, folder: Path, *specs: Measurement) -> None:
        self.pipeline = InProcessPipeline(folder / "keys", partitions=PARTITIONS, sources={"ev": 1}, start_ms=START_MS)
        for measurement in specs or (spec(),):
            self.pipeline.approve(measurement)
        for member in MEMBERS:
            self.pipeline.write_attributes(member.encode(), b'{"family_name": "Smith", "state": "MA"}')
        self.pipeline.run()

    @property
    def log(self) -> MemoryLog:
        return self.pipeline.log

    @property
    def state(self) -> list[MemoryRecord]:
        """The state topic, as it is kept."""
        return self.log.partitions["state-attach", 0]

    def seconds(self, count: int) -> None:
        """Let seconds pass, with an event of everyone in each."""
        for _ in range(count):
            self.log.clock_ms += 1000
            for member in MEMBERS:
                event = json.dumps({"m": member, "ts": self.log.clock_ms - 10, "r": True}).encode()
                self.log.append("ev", 0, event)
            self.pipeline.run()

    def go_to(self, time_ms: int) -> None:
        """Let time pass in which nothing happens, and close what it closes."""
        self.log.clock_ms = time_ms
        for _ in range(3):
            self.log.clock_ms += 1000
            self.pipeline.run()

    def rows(self, day: int = START_MS // DAY_MS, name: str = "feed") -> float:
        """How many rows of a day counted, over its windows; all of them must have been released."""
        windows = [
            w for w in self.pipeline.published if w.measurement == name and (w.window.end_ms - 1) // DAY_MS == day
        ]
        assert windows
        assert all(w.table is not None for w in windows), [w.reason for w in windows]
        return round(sum(float(np.sum(w.table.values)) for w in windows if w.table is not None), 6)

    def restart(self) -> None:
        """Start attach again from what its state topic holds."""
        self.pipeline.start("attach")

    def zero_until(self) -> float | None:
        """What the metric says."""
        return self.pipeline.registries["attach"].get_sample_value(METRIC, {"role": "attach"})

    def stopped(self) -> dict[object, str]:
        """Stopped partitions of all roles."""
        return {key: why for role in self.pipeline.roles for key, why in self.pipeline.stage(role).stopped().items()}


def home(member: str) -> int:
    """The partition of a member."""
    return int(partition_of(np.array([member.encode()]), PARTITIONS)[0])


def _nothing(house: House, saved: list[MemoryRecord]) -> None:
    house.state.clear()


def _as_it_was(house: House, saved: list[MemoryRecord]) -> None:
    house.state[:] = saved


def _positions_as_they_were(house: House, saved: list[MemoryRecord]) -> None:
    house.state.extend(record for record in saved if (record.key_ or b"").startswith(b"position/"))


def _positions_gone(house: House, saved: list[MemoryRecord]) -> None:
    for j in range(PARTITIONS):
        house.log.append("state-attach", 0, None, key=b"position/%d" % j)


def _counted(house: House) -> list[MemoryRecord]:
    latest = {record.key_: record for record in house.state}
    return [r for key, r in latest.items() if (key or b"").startswith(b"counted/") and r.value_ is not None]


def _tombstones(house: House, saved: list[MemoryRecord]) -> None:
    for record in _counted(house):
        house.log.append("state-attach", 0, None, key=record.key_)


def _altered(house: House, saved: list[MemoryRecord]) -> None:
    for record in _counted(house):
        house.log.append("state-attach", 0, (record.value_ or b"")[:-1] + b"?", key=record.key_)


LOSSES = [_nothing, _as_it_was, _positions_as_they_were, _positions_gone, _tombstones, _altered]


@pytest.mark.parametrize("lose", LOSSES, ids=lambda lose: lose.__name__)
def test_nobody_counts_twice_and_the_next_day_counts_again(
    tmp_path: Path, lose: Callable[[House, list[MemoryRecord]], None], caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is taken of attach's state, the cap holds over the day, the log goes on, and a new day counts."""
    house = House(tmp_path)
    house.seconds(1)
    saved = list(house.state)
    house.seconds(14)
    lose(house, saved)
    house.restart()
    assert "not known" in caplog.text
    assert not any(member in caplog.text.split() for member in MEMBERS)
    assert house.zero_until() == NEXT_DAY_MS // 1000
    house.seconds(15)
    house.restart()  # what was lost stays lost: the finding itself is in state
    assert house.zero_until() == NEXT_DAY_MS // 1000
    house.seconds(15)
    house.go_to(NEXT_DAY_MS + 5_000)
    house.seconds(5)
    house.restart()
    house.seconds(15)
    house.go_to(NEXT_DAY_MS + 2 * 3_600_000)
    assert house.stopped() == {}
    assert house.rows() == CAP * len(MEMBERS)
    assert house.rows(NEXT_DAY_MS // DAY_MS) == CAP * len(MEMBERS)


@pytest.mark.parametrize("lose", LOSSES, ids=lambda lose: lose.__name__)
def test_without_the_check_members_would_count_twice(
    tmp_path: Path, lose: Callable[[House, list[MemoryRecord]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above can fail: let a day that was lost count, and a member's rows pass the cap, or the log breaks."""
    house = House(tmp_path)
    house.seconds(1)
    saved = list(house.state)
    house.seconds(14)
    lose(house, saved)
    monkeypatch.setattr("streams.roles.counted_rows.CountedRows._is_zero", lambda self, j, day: False)
    house.restart()
    house.seconds(20)
    house.go_to(NEXT_DAY_MS + 5_000)
    assert house.rows() > CAP * len(MEMBERS)


def test_rows_that_were_in_no_batch_yet_are_lost_with_their_day_only(tmp_path: Path) -> None:
    """The newest day is that of the newest batch which the state does not know: at midnight it is the new one."""
    house = House(tmp_path)
    house.go_to(NEXT_DAY_MS - 5_000)
    house.seconds(15)
    house.state.clear()
    house.restart()
    assert house.zero_until() == (NEXT_DAY_MS + DAY_MS) // 1000
    house.seconds(15)
    house.go_to(NEXT_DAY_MS + DAY_MS)
    house.seconds(15)
    house.go_to(NEXT_DAY_MS + DAY_MS + 2 * 3_600_000)
    assert house.stopped() == {}
    assert house.rows(NEXT_DAY_MS // DAY_MS) == CAP * len(MEMBERS)
    assert house.rows(NEXT_DAY_MS // DAY_MS + 1) == CAP * len(MEMBERS)


def test_headers_that_are_gone_cost_the_days_that_they_could_have_named(tmp_path: Path) -> None:
    """Where `shares` has lost its beginning, the day is bounded by the clock: two days ahead, and no gap stops it."""
    house = House(tmp_path)
    house.seconds(15)
    house.state.clear()
    for j in range(PARTITIONS):
        house.log.partitions["shares", j] = house.log.partitions["shares", j][-3:]
    house.restart()
    assert house.zero_until() == (house.log.clock_ms + 2 * DAY_MS) // DAY_MS * DAY_MS // 1000 + DAY_MS // 1000
    # The parties have read what is gone; here their log has to keep its offsets, so only attach reads on.
    for _ in range(3):
        house.log.clock_ms += 1000
        house.pipeline.turn("attach")
    assert house.pipeline.stage("attach").stopped() == {}


def test_all_is_well_without_a_loss(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Restarts, rewinds and other people's records on `shares` are no loss."""
    house = House(tmp_path)
    for number in range(12):
        house.seconds(2)
        house.log.clock_ms += 1000
        house.pipeline.turn("seal")
        house.pipeline.turn("attach", commit=number % 2 == 0)
        house.restart()
    own = house.log.read("shares", 0)[0].value_ or b""
    for junk in (b"", b"junk", own[:-1] + bytes([own[-1] ^ 1])):
        house.log.append("shares", 0, junk)
    house.restart()
    house.seconds(15)
    house.go_to(NEXT_DAY_MS + 5_000)
    assert house.zero_until() == 0
    assert "not known" not in caplog.text
    assert house.stopped() == {}
    assert house.rows() == CAP * len(MEMBERS)


@pytest.mark.parametrize("restart_at", ["never", "before", "after"])
def test_a_merge_waits_until_nothing_else_is_to_be_done(
    tmp_path: Path, restart_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks of many rows are merged a moment after the last record, a partition at a time, and that is no loss."""
    monkeypatch.setattr("streams.roles.counted_chunks._FEW_ROWS", 0)
    house = House(tmp_path, spec(cap=24))
    house.seconds(RUNS_A_LEVEL)
    if restart_at == "before":
        house.restart()
        house.seconds(1)
    assert len(_counted(house)) >= PARTITIONS * RUNS_A_LEVEL
    house.log.clock_ms += 100
    for left in range(PARTITIONS - 1, -1, -1):
        house.pipeline.turn("attach")
        assert left * RUNS_A_LEVEL + PARTITIONS - left <= len(_counted(house)) < (left + 1) * RUNS_A_LEVEL
        house.log.clock_ms += 100
    before = len(house.state)
    house.pipeline.turn("attach")
    assert len(house.state) == before
    if restart_at == "after":
        house.restart()
    house.seconds(30)
    house.go_to(NEXT_DAY_MS + 5_000)
    assert house.zero_until() == 0
    assert house.stopped() == {}
    assert house.rows() == 24 * len(MEMBERS)


def test_one_day_of_one_partition_is_lost_by_itself(tmp_path: Path) -> None:
    """Where a chunk is missing, only its partition pays: the members of the other one count on."""
    house = House(tmp_path, spec(cap=24))
    house.seconds(3)
    victim = next(record for record in _counted(house) if (record.key_ or b"").split(b"/")[3] == b"0")
    house.log.append("state-attach", 0, None, key=victim.key_)
    house.restart()
    house.seconds(27)
    house.go_to(NEXT_DAY_MS + 5_000)
    others = sum(home(member) == 1 for member in MEMBERS)
    assert house.stopped() == {}
    assert house.rows() == others * 24 + (len(MEMBERS) - others) * 3


def test_a_chunk_of_before_does_not_pass_for_the_last_one(tmp_path: Path) -> None:
    """State numbers begin anew after a loss; a chunk that had the same key before is not taken for the new one."""
    house = House(tmp_path)
    house.seconds(3)
    before = {record.key_: record for record in _counted(house)}
    house.state.clear()
    house.restart()
    house.go_to(NEXT_DAY_MS + 5_000)
    house.seconds(3)
    fresh = _counted(house)
    assert fresh
    stale = next(iter(before.values()))
    moved = MemoryRecord("state-attach", 0, len(house.state), fresh[0].key_, stale.value_, (1, 0))
    house.state.append(moved)
    house.restart()
    assert house.zero_until() == (NEXT_DAY_MS + DAY_MS) // 1000


def test_another_rotation_key_is_refused(tmp_path: Path) -> None:
    """A key under which members would get other days within the same 30 does not start."""
    house = House(tmp_path)
    house.seconds(3)
    (kept,) = {record.value_ for record in house.state if record.key_ == b"rotation-key"}
    stage = house.pipeline.stage("attach")
    assert isinstance(stage, AttachStage)
    stage.restore("state-attach", b"rotation-key", kept)
    other = AttachStage(
        stage._options,
        stage._topics,
        stage._identity,
        stage._control,
        stage._sending,
        stage._receiving,
        stage._codec,
        stage._health,
        stage._directory,
        SelectionKeys(bytes(32), bytes(32)),
        stage._clocks,
    )
    with pytest.raises(StateUnreadable, match="another rotation key"):
        other.restore("state-attach", b"rotation-key", kept)
