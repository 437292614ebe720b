"""When `seal` writes: at a window's end at once, and after a measurement's last window hardly."""

from __future__ import annotations

import json
from pathlib import Path
from unittest.mock import Mock

import pytest

from privacy import Measurement, parse_measurement
from streams.inprocess import InProcessPipeline
from streams.records.frame import Kind, kind_of
from streams.roles.run_seal import IdleProbe
from streams.roles.seal import SealStage

START_MS = 20_000 * 86_400_000
SPEC = """
id: feed
purpose: the pace
source: {{topic: ev, member: m, time: ts, time_format: epoch_ms}}
cells: {{decision: {{field: r}}}}
windows: {{base: {base}, lateness: {lateness_ms}ms}}
reference: white
privacy: {{contribution_cap: 24, cap_rule: first, rho_member_day: 0.1}}
test_only: {{noise_scale_units: 0.01}}
"""


def _spec(base: str, ends_ms: int | None = None, lateness_ms: int = 1_000) -> Measurement:
    text = SPEC.format(base=base, lateness_ms=lateness_ms)
    found = parse_measurement(text, origin="test").with_effective_from(START_MS)
    return found if ends_ms is None else found.with_expires(ends_ms)


class Seal:
    """`seal` alone, with two source partitions and two of `sealed`."""

    def __init__(self, folder: Path, measurement: Measurement) -> None:
        self.pipeline = InProcessPipeline(folder / "keys", partitions=2, sources={"ev": 2}, start_ms=START_MS)
        self.pipeline.approve(measurement)
        self.pipeline.turn("seal")

    @property
    def stage(self) -> SealStage:
        stage = self.pipeline.stage("seal")
        assert isinstance(stage, SealStage)
        return stage

    def second(self, events: int) -> None:
        """A second passes, with events; idle partitions follow the clock."""
        self.pipeline.log.clock_ms += 1000
        for k in range(events):
            row = {"m": f"m{k}", "ts": self.pipeline.log.clock_ms - 10, "r": True}
            self.pipeline.log.append("ev", k % 2, json.dumps(row).encode())
        self.pipeline.turn("seal")

    def written(self) -> tuple[int, int]:
        """(batches, punctuation) on `sealed` so far."""
        kinds = [kind_of(record.value() or b"") for j in range(2) for record in self.pipeline.log.read("sealed", j)]
        return kinds.count(Kind.SEALED), len(kinds) - kinds.count(Kind.SEALED)


def test_after_its_last_window_a_measurement_is_told_of_once_a_minute(tmp_path: Path) -> None:
    """An expired measurement closes its windows, then punctuation comes each minute in place of each second."""
    seal = Seal(tmp_path, _spec("1s", START_MS + 10_000))
    for _ in range(12):
        seal.second(events=0)
    before = seal.written()[1]
    assert before >= 10 * 2
    for _ in range(180):
        seal.second(events=0)
    assert seal.written()[1] - before == 3 * 2


def test_idle_partitions_are_asked_about_when_a_window_waits_for_them(tmp_path: Path) -> None:
    """Where none does, once a second; where one does, 50 ms after its end and lateness, at the next turn."""
    seal = Seal(tmp_path, _spec("10s"))
    seal.second(events=0)
    client = Mock()
    client.list_offsets.side_effect = lambda asked, **_: {}
    probe = IdleProbe(client, interval_ms=100, margin_ms=50)
    asked: list[int] = []
    for ms in range(0, 12_000, 10):
        count = client.list_offsets.call_count
        probe(seal.stage, START_MS + 2_000 + ms)
        if client.list_offsets.call_count > count:
            asked.append(2_000 + ms)
    due = 10_000 + 1_000 + 50
    assert len([ms for ms in asked if ms < due]) == 10
    assert due in asked
    assert asked[asked.index(due) + 1] == due + 100  # there was no answer


def _sent_ahead(seal: Seal, closes_ms: int, times: list[int]) -> list[int]:
    """When `seal` writes around a window's closing, in milliseconds from it, where these events come 590 ms before."""
    seal.pipeline.log.clock_ms = closes_ms - 600 - 1_000
    seal.second(events=1)  # is committed, so that the next commit is not due before the window closes
    for k, time_ms in enumerate(times):
        row = {"m": f"m{k}", "ts": time_ms, "r": True}
        seal.pipeline.log.append("ev", k % 2, json.dumps(row).encode())
    wrote: list[int] = []
    for ms in range(-590, 10, 10):
        seal.pipeline.log.clock_ms = closes_ms + ms
        before = seal.written()
        seal.pipeline.turn("seal")
        if seal.written() != before:
            wrote.append(ms)
    return wrote


@pytest.mark.parametrize(("events", "ahead"), [(16, [-150, 0]), (12, [0])])
def test_many_rows_are_sent_ahead_of_a_window_that_closes(
    events: int, ahead: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """150 ms before a window closes, once; not where few rows share a batch; and the window closes as it would."""
    monkeypatch.setattr("streams.roles.seal._AHEAD_ROWS", 4)
    monkeypatch.setattr("streams.roles.seal._AHEAD_ROWS_A_SLOT", 4)
    seal, end_ms = Seal(tmp_path, _spec("10s")), START_MS + 10_000
    seal.second(events=0)
    assert _sent_ahead(seal, end_ms + 1_000, [end_ms - 100] * events) == ahead
    assert seal.written()[0] == 1 + 4


@pytest.mark.parametrize(("later", "ahead"), [(0, [-150, 0]), (12, [0])])
def test_many_batches_are_sent_ahead_where_their_window_is_over(
    later: int, ahead: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few rows each: only where most batches are of the window that closes, so that no row is to follow them."""
    monkeypatch.setattr("streams.roles.seal._AHEAD_SLOTS", 4)
    seal, end_ms = Seal(tmp_path, _spec("10s")), START_MS + 10_000
    seal.second(events=0)
    assert _sent_ahead(seal, end_ms + 1_000, [end_ms - 100] * 12 + [end_ms + 100] * later) == ahead
    assert seal.written()[0] == 1 + 4 + (4 if later else 0)


@pytest.mark.parametrize(("lateness_ms", "ahead"), [(100, [-70, 0]), (20, [0])])
def test_batches_wait_for_their_windows_stragglers(
    lateness_ms: int, ahead: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not before 30 ms after the window's end: an event that is on its way then would need a batch of its own."""
    monkeypatch.setattr("streams.roles.seal._AHEAD_SLOTS", 4)
    seal, end_ms = Seal(tmp_path, _spec("10s", lateness_ms=lateness_ms)), START_MS + 10_000
    seal.second(events=0)
    assert _sent_ahead(seal, end_ms + lateness_ms, [end_ms + lateness_ms - 600] * 12) == ahead
