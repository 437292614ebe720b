"""State keys rotate while a pipeline runs: nothing is lost by it, whoever dies when, and old values do not open."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from privacy import Measurement, parse_measurement
from secure_agg import StateKeys, state_keys
from secure_agg.keyring import load_role
from streams.errors import StateUnreadable
from streams.inprocess import InProcessPipeline
from streams.roles.attach import AttachStage
from streams.roles.seal import SealStage
from streams.state import StateCodec, number_of

pytestmark = pytest.mark.slow

START_MS = 20_000 * 86_400_000
MEMBERS = [f"m{k}" for k in range(40)]
PARTITIONS = 2
LIFETIME_MS = 6_000
STATEFUL = ("seal", "attach", "a", "b")

SPEC = """
id: feed
purpose: state keys
source: {topic: ev, member: m, time: ts, time_format: epoch_ms}
cells: {decision: {field: r}}
windows: {base: 10s, lateness: 1s}
reference: white
privacy: {contribution_cap: 24, rho_member_day: 0.1, cap_rule: first}
test_only: {noise_scale_units: 0.01}
"""


def spec() -> Measurement:
    """One measurement, from the start on."""
    return parse_measurement(SPEC, origin="test").with_effective_from(START_MS)


class House:
    """A pipeline with an event of each of ten members a second, and state keys that live for six seconds."""

    def __init__(self, folder: Path, attach_shards: int = 1, seal_shards: int = 1) -> None:
        self.folder = folder / "keys"
        self.pipeline = InProcessPipeline(
            self.folder,
            partitions=PARTITIONS,
            sources={"ev": 2},
            start_ms=START_MS,
            state_lifetime_ms=LIFETIME_MS,
        )
        for role, shards in (("attach", attach_shards), ("seal", seal_shards)):
            if shards > 1:
                self.pipeline.scale(role, shards)
        self.pipeline.approve(spec())
        for member in MEMBERS:
            self.pipeline.write_attributes(member.encode(), b'{"family_name": "Smith"}')

    def events(self) -> None:
        """Let a second pass, and write its events."""
        log = self.pipeline.log
        log.clock_ms += 1000
        second = log.clock_ms // 1000
        for k in range(10):
            member = MEMBERS[(second * 10 + k) % len(MEMBERS)]
            log.append("ev", k % 2, json.dumps({"m": member, "ts": log.clock_ms - 10, "r": True}).encode())

    def seconds(self, count: int) -> None:
        """Let seconds pass with every role at work."""
        for _ in range(count):
            self.events()
            self.pipeline.run()

    def restart(self, role: str) -> None:
        """A new process: nothing is left but the folder and the log."""
        name = role.partition("/")[0]
        self.pipeline.state_keys[name] = StateKeys(self.folder / name / "state", LIFETIME_MS)
        self.pipeline.start(role)

    def numbers(self, role: str) -> tuple[int, ...]:
        """The state keys that a role has on its disk."""
        return StateKeys(self.folder / role / "state", LIFETIME_MS).numbers()

    def live(self, role: str) -> dict[bytes, bytes]:
        """What compaction would leave of a role's state."""
        latest = {r.key_ or b"": r.value_ for r in self.pipeline.log.read(f"state-{role}", 0)}
        return {key: value for key, value in latest.items() if value is not None}

    def codec(self, role: str) -> StateCodec:
        """All that opens a role's state now."""
        keys = StateKeys(self.folder / role / "state", LIFETIME_MS)
        return StateCodec(load_role(self.folder, role, "inprocess").derive("state"), role, keys)

    def check_rows(self) -> None:
        """No row is lost or counted twice, and nothing stands still."""
        windows = {w.window.end_ms: w for w in self.pipeline.published}
        assert len(windows) == len(self.pipeline.published) >= 4
        for role in self.pipeline.roles:
            assert not self.pipeline.stage(role).stopped()
        for end_ms, window in windows.items():
            assert window.table is not None, window.reason
            # An event is written 10 ms before the second, so the first window lacks none and each has a hundred.
            assert round(float(np.sum(window.table.values)), 3) == 100.0, end_ms

    def check_shredded(self) -> None:
        """Live records open; of what else the log holds, exactly what lies under a destroyed key does not."""
        for role in STATEFUL:
            codec, kept = self.codec(role), set(self.numbers(role))
            assert len(kept) <= 2
            live = self.live(role)
            assert {number_of(value) for value in live.values()} <= kept
            opened, shut = 0, 0
            for record in self.pipeline.log.read(f"state-{role}", 0):
                if record.value_ is None:
                    continue
                try:
                    codec.decode(record.key_ or b"", record.value_, object)
                    opened += 1
                    assert number_of(record.value_) in kept
                except StateUnreadable:
                    shut += 1
                    assert number_of(record.value_) not in kept
            assert opened >= len(live) > 0
            assert shut > 0


def test_old_checkpoints_do_not_open_and_rows_are_exact(tmp_path: Path) -> None:
    """Keys change every six seconds in all four roles; every table is right, and a restart reads all it needs."""
    house = House(tmp_path)
    house.seconds(32)
    for role in STATEFUL:
        house.restart(role)
    house.seconds(20)
    house.check_rows()
    house.check_shredded()


class Killed(BaseException):
    """The process ends here."""


def _turn_and_die(house: House, role: str, at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = house.pipeline
    pipeline.turn(role, commit=False)
    stage, now = pipeline.stage(role), pipeline.log.clock_ms
    if stage.due(now):
        outputs = stage.checkpoint(now)  # a new key may have been written
        if at != "before the commit":
            pipeline._write(outputs)
        if at == "within destruction":

            def killed(path: Path) -> None:
                raise Killed

            with monkeypatch.context() as patch:
                patch.setattr(state_keys, "destroy_private", killed)
                with suppress(Killed):
                    stage.committed()
    house.restart(role)


@pytest.mark.parametrize("at", ["before the commit", "before destruction", "within destruction"])
def test_a_role_may_die_at_any_moment_of_a_rotation(tmp_path: Path, at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each role is killed every fourth second, whatever it is about, and finds its state readable."""
    house = House(tmp_path)
    house.pipeline.run()
    for second in range(50):
        house.events()
        for k, role in enumerate(STATEFUL):
            if second % 4 == k:
                _turn_and_die(house, role, at, monkeypatch)
            house.pipeline.turn(role)
        house.pipeline.publish()
    house.seconds(3)
    house.check_rows()
    house.check_shredded()


def test_a_key_waits_for_the_last_of_several_workers(tmp_path: Path) -> None:
    """With two workers of attach a key goes only when both have written all of theirs anew; then one takes over."""
    house = House(tmp_path, attach_shards=2)
    house.seconds(5)
    (first,) = house.numbers("attach")
    for _ in range(9):
        house.events()
        house.pipeline.run(("seal", "attach", "a", "b"))
    assert first in house.numbers("attach")
    house.pipeline.run()
    house.seconds(1)
    assert first not in house.numbers("attach")
    house.seconds(6)
    house.pipeline.scale("attach", 1)
    house.restart("attach")
    house.seconds(25)
    house.check_rows()
    house.check_shredded()


def test_a_worker_without_a_part_of_the_state_holds_no_key(tmp_path: Path) -> None:
    """Of three workers of seal one has none of the two source partitions: it says so, and old keys are destroyed."""
    house = House(tmp_path, seal_shards=3)
    house.seconds(50)
    house.check_rows()
    house.check_shredded()
    assert {path.stem for path in (house.folder / "seal" / "state").glob("*.rewritten")} == {
        f"{shard}-of-3" for shard in range(3)
    }
    stage = house.pipeline.stage("seal.2")
    assert isinstance(stage, SealStage)
    assert not stage.due(house.pipeline.log.clock_ms)
    assert stage._last_commit_ms == 0  # what it wrote tells no broker's time


def test_state_of_a_version_without_numbers_is_taken_over(tmp_path: Path) -> None:
    """What was sealed under the key derived from state.key opens, and is written anew at once."""
    house = House(tmp_path)
    rotating = dict(house.pipeline.state_keys)
    house.pipeline.state_keys.update(dict.fromkeys(rotating))  # type: ignore[arg-type]  # as that version sealed
    house.seconds(13)
    for role in STATEFUL:  # a nonce may look like a number, but never like one of a key that is there
        assert not {number_of(value) for value in house.live(role).values()} & set(house.numbers(role))
    house.pipeline.state_keys.update(rotating)
    for role in STATEFUL:
        house.restart(role)
    house.seconds(1)
    for role in STATEFUL:
        assert {number_of(value) for value in house.live(role).values()} == set(house.numbers(role))
    house.seconds(30)
    house.check_rows()


@pytest.mark.parametrize("role", STATEFUL)
def test_a_role_whose_state_keys_are_gone_does_not_start(tmp_path: Path, role: str) -> None:
    """It says which key it misses and where it looked, instead of beginning anew."""
    house = House(tmp_path)
    house.seconds(12)
    (number, *_) = house.numbers(role)
    shutil.rmtree(house.folder / role / "state")
    with pytest.raises(StateUnreadable, match=f"number {number}, is not in .*{role}/state") as caught:
        house.restart(role)
    assert "keys.state_dir" in str(caught.value)


def test_attach_goes_on_without_its_keys_once_its_state_is_taken_away(tmp_path: Path) -> None:
    """As after any other loss of its state: nothing counts twice, and nothing of the rest of the day counts."""
    house = House(tmp_path)
    house.seconds(12)
    shutil.rmtree(house.folder / "attach" / "state")
    house.pipeline.log.partitions["state-attach", 0].clear()
    house.restart("attach")
    house.seconds(25)
    assert isinstance(house.pipeline.stage("attach"), AttachStage)
    assert not house.pipeline.stage("a").stopped()
    rows = [round(float(np.sum(w.table.values)), 3) for w in house.pipeline.published if w.table is not None]
    assert rows[0] == 100.0
    assert rows[-1] == 0.0


def test_a_record_that_a_stage_forgets_keeps_its_key(tmp_path: Path) -> None:
    """What decides is what the log holds, and not what a stage believes to have written."""
    house = House(tmp_path)
    house.seconds(5)
    forgotten = house.codec("a").encode(b"schedule/" + b"ab" * 32, [START_MS])
    house.pipeline.log.append("state-a", 0, forgotten, key=b"schedule/" + b"ab" * 32)
    house.restart("a")
    stage = house.pipeline.stage("a")
    stage._windows._next_start.pop(bytes.fromhex("ab" * 32))  # type: ignore[attr-defined]  # a mistake of ours
    (first,) = house.numbers("a")
    house.seconds(20)
    assert first in house.numbers("a")
    house.restart("a")
    house.seconds(2)
    assert first not in house.numbers("a")
