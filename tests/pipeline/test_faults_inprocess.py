"""What may go wrong around the rows: late approvals, topics that change, state that is lost, epochs that end.

Each of these once led to a wrong number, a stopped partition or a forgotten promise.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from privacy import LedgerBroken, Measurement, parse_measurement
from streams import inprocess
from streams.control import Approved
from streams.inprocess import InProcessPipeline
from streams.kafka.partitioner import partition_of
from streams.records.debit import NO_DEBIT, SignedDebit
from streams.records.keys import sign_epoch_key
from streams.records.layout import Layout
from streams.records.release import SignedRelease
from streams.roles.attach import AttachStage
from streams.roles.seal import SealStage
from streams.stage import TIMESTAMP_LOG_APPEND

pytestmark = pytest.mark.slow

DAY_MS = 86_400_000
START_MS = 20_000 * DAY_MS
MEMBERS = [f"m{k}" for k in range(400)]
EVENTS_A_SECOND = 20
"""Members take turns, so that the cap of 24 rows a day is far."""
PARTITIONS = 2

SPEC = """
id: {id}
revision: {revision}
purpose: faults
source: {{topic: {topic}, member: m, time: ts, time_format: epoch_ms}}
cells: {{decision: {{field: r}}}}
windows: {{base: {base}, lateness: {lateness}}}
reference: white
privacy: {{contribution_cap: {cap}, rho_member_day: 0.1, cap_rule: first}}
test_only: {{noise_scale_units: 0.01}}
"""


def spec(*, starts_ms: int = START_MS, **changes: object) -> Measurement:
    """A measurement, changed where the test needs it."""
    terms = {"id": "feed", "revision": 1, "topic": "ev", "base": "10s", "lateness": "1s", "cap": 24} | changes
    return parse_measurement(SPEC.format(**terms), origin="test").with_effective_from(starts_ms)


class House:
    """A pipeline whose events come once a second."""

    def __init__(self, folder: Path, *specs: Measurement, sources: dict[str, int] | None = None) -> None:
        self.pipeline = InProcessPipeline(
            folder / "keys", partitions=PARTITIONS, sources=sources or {"ev": 1}, start_ms=START_MS
        )
        for measurement in specs:
            self.pipeline.approve(measurement)
        for member in MEMBERS:
            self.attributes(member)
        self.pipeline.run()

    @property
    def log(self) -> inprocess.MemoryLog:
        return self.pipeline.log

    def attributes(self, member: str, *, opt_out: bool = False) -> None:
        """Write a member's attributes."""
        value = json.dumps({"family_name": "Smith", "state": "MA", "opt_out": opt_out}).encode()
        self.pipeline.write_attributes(member.encode(), value)

    def event(self, member: str, time_ms: int, *, topic: str = "ev", i: int = 0) -> None:
        """Write an event; it arrives now."""
        self.log.append(topic, i, json.dumps({"m": member, "ts": time_ms, "r": True}).encode())

    def second(self, *, sources: int = 1, events: bool = True) -> None:
        """Let a second pass, with twenty events in it."""
        self.log.clock_ms += 1000
        first = self.log.clock_ms // 1000 * EVENTS_A_SECOND
        for k in range(first, first + EVENTS_A_SECOND if events else first):
            self.event(MEMBERS[k % len(MEMBERS)], self.log.clock_ms - 10, i=k % sources)
        self.pipeline.run()

    def rows(self, measurement: str = "feed") -> dict[int, float | str | None]:
        """By window end (seconds from the start), a window's rows, or why it has none."""
        windows = [w for w in self.pipeline.published if w.measurement == measurement]
        sums = [w.reason if w.table is None else round(sum(map(sum, w.table.values)), 3) for w in windows]
        return {(w.window.end_ms - START_MS) // 1000: rows for w, rows in zip(windows, sums, strict=True)}

    def stopped(self) -> list[str]:
        """Reasons of stopped partitions."""
        roles = ("seal", "attach", "a", "b")
        return [reason for role in roles for reason in self.pipeline.stage(role).stopped().values()]


def test_the_cap_outlives_its_day_by_the_lateness(tmp_path: Path) -> None:
    """Late rows of a day that has ended are still held against the cap, until none can come any more."""
    house = House(tmp_path, spec(base="1h", lateness="1d", cap=3))
    house.log.clock_ms = START_MS + 5_000
    for _ in range(10):
        house.event("m1", START_MS + 1_000)
    house.second(events=False)
    house.log.clock_ms = START_MS + DAY_MS + 900  # a day later: the window is still open, and these rows are in time
    for _ in range(10):
        house.event("m1", START_MS + 1_000)
    house.second(events=False)
    house.log.clock_ms += 3_600_000
    for _ in range(3):
        house.second(events=False)
    assert house.rows()[3600] == 3.0
    counted = house.pipeline.stage("attach")._counted  # type: ignore[attr-defined]
    house.log.clock_ms = START_MS + 2 * DAY_MS + 30_000
    house.event("m2", house.log.clock_ms)
    for _ in range(3):
        house.second(events=False)
    assert {day for _, day in counted._days} == {START_MS // DAY_MS + 2}  # and then it is let go


def test_a_revision_that_comes_late_stops_nothing(tmp_path: Path) -> None:
    """Rows that seal wrote before it knew of a take-over are left out, and its windows are void; all else goes on."""
    begin = START_MS + DAY_MS - 60_000
    house = House(tmp_path, spec(starts_ms=begin), spec(id="other", starts_ms=begin))
    house.log.clock_ms = START_MS + DAY_MS - 3_000
    for _ in range(8):
        house.second()
    house.pipeline.approve(spec(revision=2, starts_ms=START_MS + DAY_MS))
    for _ in range(40):
        house.second()
    assert house.stopped() == []
    day = DAY_MS // 1000
    assert house.rows()[day + 10] == "measurement_applied_late"
    assert house.rows()[day + 20] == 200.0
    assert house.rows("other")[day + 20] == 200.0


def test_a_topic_that_grows_is_read_and_its_open_windows_are_void(tmp_path: Path) -> None:
    """A new partition is noticed within seconds; what was missed makes windows void, and no partition stops."""
    house = House(tmp_path, spec())
    for _ in range(15):
        house.second()
    house.pipeline.sources["ev"] = 2
    for _ in range(40):
        house.second(sources=2)
    house.pipeline.start("seal")
    for _ in range(10):
        house.second(sources=2)
    assert house.stopped() == []
    rows = house.rows()
    assert rows[10] == 200.0
    assert "measurement_applied_late" in (rows[20], rows[30])
    assert rows[40] == rows[50] == 200.0


@pytest.mark.parametrize("seconds", range(15, 20))
def test_a_topic_that_grows_for_a_worker_that_had_none_of_it(tmp_path: Path, seconds: int) -> None:
    """It knows how far the others are only from its start: what comes for windows closed since is late, and no stop."""
    house = House(tmp_path, spec())
    house.log.clock_ms += 2_000  # topics are asked for in the middle of windows
    house.pipeline.scale("seal", 2)
    for _ in range(seconds):
        house.second()
    house.pipeline.sources["ev"] = 2
    for _ in range(40):
        house.second(sources=2)
    assert house.stopped() == []
    rows = house.rows()
    assert rows[40] == rows[50] == 200.0
    refused = len(house.log.read("refused", 0))
    assert rows[20] == "measurement_applied_late" or float(rows[20] or 0) >= 200.0 - refused
    assert "measurement_applied_late" in (rows[20], rows[30])


def test_a_broker_clock_that_is_set_back_holds_nothing_up(tmp_path: Path) -> None:
    """A leader's clock was an hour ahead for a while: what comes is judged and written within the commit interval."""
    house = House(tmp_path, spec())
    for _ in range(15):
        house.second()
    house.log.clock_ms += 3_600_000
    house.second()
    house.log.clock_ms -= 3_600_000
    before = len(house.log.read("refused", 0))
    for _ in range(5):
        house.second()
    assert len(house.log.read("refused", 0)) >= before + 4 * EVENTS_A_SECOND  # late, by the time that was reached
    stage = house.pipeline.stage("seal")
    assert isinstance(stage, SealStage)
    assert stage._last_commit_ms <= house.log.clock_ms


def test_the_second_measurement_of_a_topic_misses_nothing(tmp_path: Path) -> None:
    """When one measurement begins tomorrow and another began already, reading begins early enough for both."""
    house = House(tmp_path)
    house.log.clock_ms = START_MS + 30_000
    for second in range(30):
        stamp = (TIMESTAMP_LOG_APPEND, START_MS + second * 1000 + 5)
        for k in range(EVENTS_A_SECOND):
            member = MEMBERS[(second * EVENTS_A_SECOND + k) % len(MEMBERS)]
            event = json.dumps({"m": member, "ts": START_MS + second * 1000, "r": True}).encode()
            house.log.append("ev", 0, event, timestamp=stamp)
    house.pipeline.start("seal")
    stage = house.pipeline.stage("seal")
    assert isinstance(stage, SealStage)

    def start(topic: str, i: int, approved: Approved) -> tuple[int, int]:
        """As run_seal asks the broker."""
        wanted = approved.from_ms - approved.measurement.max_future_ms
        records = house.log.read(topic, i)
        if wanted > house.log.clock_ms:
            return len(records), house.log.clock_ms + 500
        return next(r.offset_ for r in records if r.timestamp_[1] >= wanted), wanted

    stage._sources._start_offset = start
    house.pipeline.approve(spec(id="tomorrow", starts_ms=START_MS + DAY_MS))
    house.pipeline.approve(spec())
    for _ in range(20):
        house.second(events=False)
    assert [house.rows()[end] for end in (10, 20, 30)] == [200.0] * 3


def _remembering(folder: Path) -> tuple[House, list[inprocess.MemoryRecord]]:
    """A house whose party a has released some windows, and its state as it was when it had released one."""
    house = House(folder, spec())
    for _ in range(15):
        house.second()
    early = list(house.log.read("state-a", 0))
    for _ in range(30):
        house.second()
    assert len(house.log.read("releases-a", 0)) > 2
    return house, early


def _bury(house: House) -> None:
    """Put more on the party's topic than anyone would read back: garbage, forgeries, and its own oldest release."""
    own = house.log.read("releases-a", 0)
    ahead = SignedRelease.decode(own[-1].value_ or b"")
    forged = replace(ahead, signature=bytes(64)).encode()
    for value in (b"", b"garbage", forged, own[0].value_):
        for _ in range(1_000):
            house.log.append("releases-a", 0, value)


def test_a_party_that_remembers_starts_whatever_others_wrote(tmp_path: Path) -> None:
    """Garbage, a forged release that would be ahead, and copies of its own keep no party from starting."""
    house, _ = _remembering(tmp_path)
    _bury(house)
    own = SignedRelease.decode(house.log.read("releases-a", 0)[0].value_ or b"").release
    later = msgspec.structs.replace(
        own, end_ms=own.end_ms + DAY_MS, status="void", reason="incomplete_rollup", debit=NO_DEBIT
    )
    foreign = SignedRelease.signed(house.pipeline._keys["b"].identity, later, None)
    house.log.append("releases-a", 0, foreign.encode())
    house.pipeline.start("a")
    for _ in range(15):
        house.second()
    assert house.stopped() == []
    assert house.rows()[40] == 200.0


@pytest.mark.parametrize("buried", [False, True])
@pytest.mark.parametrize("lost", [("state-a",), ("ledger-a",), ("state-a", "ledger-a")])
def test_a_party_that_lost_its_memory_does_not_start(tmp_path: Path, lost: tuple[str, ...], buried: bool) -> None:
    """A party whose own releases are ahead of its state or its ledger refuses to begin: it would noise them again."""
    house, _ = _remembering(tmp_path)
    house.pipeline.start("a")  # what it remembers, it accepts
    if buried:
        _bury(house)
    for topic in lost:
        house.log.partitions[topic, 0] = []
    with pytest.raises(LedgerBroken, match=r"ahead of its (state|ledger)"):
        house.pipeline.start("a")


@pytest.mark.parametrize("buried", [False, True])
def test_a_schedule_that_was_put_back_is_noticed(tmp_path: Path, buried: bool) -> None:
    """One older value of `schedule/...`, under its own key, within the day: the releases since then are ahead of it."""
    house, early = _remembering(tmp_path)
    (older,) = [r for r in early if (r.key_ or b"").startswith(b"schedule/")]
    if buried:
        _bury(house)
    house.log.append("state-a", 0, older.value_, key=older.key_)
    with pytest.raises(LedgerBroken, match=r"release of feed/10s/\d+ is ahead of its state"):
        house.pipeline.start("a")


def test_a_debit_alone_tells_that_state_was_lost(tmp_path: Path) -> None:
    """Also where no release is to be had: the debit was committed together with the closing of a window."""
    house, _ = _remembering(tmp_path)
    house.log.partitions["state-a", 0] = []
    house.log.partitions["releases-a", 0] = []
    with pytest.raises(LedgerBroken, match="debit of 2024-10-04 for feed is ahead of its state"):
        house.pipeline.start("a")


def test_a_party_does_not_start_on_a_debit_that_it_did_not_sign(tmp_path: Path) -> None:
    """A debit that chains correctly, but was signed by the other party or by nobody, stops the start."""
    house = House(tmp_path, spec())
    for _ in range(15):
        house.second()
    house.pipeline.start("a")
    (own,) = house.log.values("ledger-a")
    debit = SignedDebit.decode(own)
    foreign = SignedDebit.signed(house.pipeline._keys["b"].identity, debit.debit)
    for forged in (foreign.encode(), SignedDebit(debit.debit, bytes(64)).encode(), debit.debit):
        house.log.partitions["ledger-a", 0] = []
        house.log.append("ledger-a", 0, forged)
        with pytest.raises(LedgerBroken, match="is not a debit that this party signed"):
            house.pipeline.start("a")


def test_a_published_number_can_be_followed_to_what_pays_for_it(tmp_path: Path) -> None:
    """Each window names a debit of each party's ledger: of its own day, measurement and revision."""
    house = House(tmp_path, spec())
    for _ in range(25):
        house.second()
    assert house.rows()
    for party in ("a", "b"):
        debits = [SignedDebit.decode(value) for value in house.log.values(f"ledger-{party}")]
        (debit,) = debits  # one day, one measurement
        assert {getattr(w.checks, f"debit_{party}") for w in house.pipeline.published} == {debit.digest.hex()}
        assert json.loads(debit.debit) | {"day": "2024-10-04", "measurement": "feed"} == json.loads(debit.debit)


def test_an_opt_out_survives_a_rewind(tmp_path: Path) -> None:
    """What attach has read of attributes is not read again after an abort, so no opt-out is undone for a while."""
    house = House(tmp_path, spec())
    house.attributes("m1")
    house.attributes("m1", opt_out=True)
    house.second(events=False)
    partition = int(partition_of(np.array([b"m1"]), PARTITIONS)[0])
    read = len(house.log.read("member-attributes", partition))
    stage = house.pipeline._build("attach", Layout())  # what the shard loop does after an abort
    assert isinstance(stage, AttachStage)
    assert stage.positions()["member-attributes", partition] == read
    for _ in range(15):
        house.event("m1", house.log.clock_ms)
        house.second(events=False)
    assert house.rows()[10] == 0.0


def test_a_topic_that_vanishes_harms_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When one source is deleted, the others are measured on, and key epochs go on ending in time."""
    monkeypatch.setattr(inprocess, "_LIFETIME_MS", 20_000)
    house = House(tmp_path, spec(), spec(id="old", topic="old"), sources={"ev": 1, "old": 1})

    def second() -> None:
        for role, epochs in house.pipeline.epochs.items():
            epoch = epochs.ensure_current(house.log.clock_ms)
            known = house.pipeline.controls[role].epoch_public(role, house.log.clock_ms)
            if known is None or known.epoch < epoch.number:
                identity = house.pipeline._keys[role].identity
                house.pipeline._announce(sign_epoch_key(identity, epoch.public()))
        house.second()

    for _ in range(30):
        second()
    del house.pipeline.sources["old"]
    house.pipeline.start("seal")
    house.pipeline.approve(spec(id="third"))  # a refresh while the topic is gone
    for _ in range(60):
        second()
    assert house.stopped() == []
    assert house.rows()[80] == 200.0
    assert all(len(epochs.numbers()) <= 4 for epochs in house.pipeline.epochs.values())


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
def test_a_topic_made_again_stops_its_own_measurement(tmp_path: Path, running: bool) -> None:
    """Though it has grown past the old position, nothing of it is read; the other measurement stays exact."""
    house = House(tmp_path, spec(), spec(id="old", topic="old"), sources={"ev": 1, "old": 1})

    def second() -> None:
        house.event(MEMBERS[0], house.log.clock_ms + 990, topic="old")
        house.second()

    for _ in range(30):
        second()
    before = house.rows("old")
    assert before[20] == 10.0
    house.pipeline.topic_ids["old"] = "another"
    for _ in range(100):  # in the log in memory a topic that was made again is one that goes on
        house.event(MEMBERS[1], house.log.clock_ms, topic="old")
    if not running:
        house.pipeline.start("seal")
    house.pipeline.approve(spec(id="third"))  # which has seal look after its topics at once
    for _ in range(30):
        second()
    assert house.rows("old") == before
    assert house.rows()[50] == 200.0
    stage = house.pipeline.stage("seal")
    assert ("old", 0) not in stage.positions()
    assert ["deleted and made again" in reason for reason in stage.stopped().values()] == [True]
    house.pipeline.start("seal")  # which does not help
    for _ in range(10):
        second()
    assert house.rows("old") == before
    assert house.pipeline.stage("seal").stopped()


def test_a_topic_with_fewer_partitions_was_made_again(tmp_path: Path) -> None:
    """Kafka takes no partition away; this is seen on a cluster that has no topic ids as well."""
    house = House(tmp_path, spec(), spec(id="old", topic="old"), sources={"ev": 1, "old": 2})
    house.pipeline.topic_ids["old"] = ""
    for _ in range(5):
        house.second()
    house.pipeline.sources["old"] = 1
    for _ in range(10):
        house.second()
    stage = house.pipeline.stage("seal")
    assert set(stage.stopped()) == {("old", 0), ("old", 1)}
    assert set(stage.positions()) == {("ev", 0)}


def test_a_lost_position_stops_its_own_measurement(tmp_path: Path) -> None:
    """Records that were deleted before they were read: that topic is read no more, the others are."""
    house = House(tmp_path, spec(), spec(id="old", topic="old"), sources={"ev": 1, "old": 1})
    for _ in range(12):
        house.second()
    stage = house.pipeline.stage("seal")
    assert stage.lose_position("old", 0, "it is gone")
    before = stage._sources["old", 0].state.offset
    stage.step([inprocess.MemoryRecord("old", 0, 7_000, None, b"{}", (1, 0))], house.log.clock_ms)
    stage.at_end("old", 0, 7_001)
    assert stage._sources["old", 0].state.offset == before
    assert stage.refresh(house.log.clock_ms)
    assert set(stage.positions()) == {("ev", 0)}
    for _ in range(20):
        house.second()
    assert house.rows()[20] == house.rows()[30] == 200.0
    assert 20 not in house.rows("old")
    assert stage.stopped() == {("old", 0): "it is gone"}


def test_an_epoch_that_ends_soon_makes_senders_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender asks for an epoch that outlives what it begins, so none ends in the middle of a batch."""
    monkeypatch.setattr(inprocess, "_LIFETIME_MS", 100_000)
    house = House(tmp_path, spec())
    for role in ("seal", "attach"):
        stage = house.pipeline.stage(role)
        assert stage.blocked(START_MS + 94_000) is None
        assert "epoch key" in (stage.blocked(START_MS + 96_000) or "")
        house.event("m1", START_MS)
    house.log.clock_ms = START_MS + 94_900
    house.pipeline.turn("seal", commit=False)
    assert house.pipeline.stage("seal").checkpoint(START_MS + 99_000)  # what was begun can be finished
