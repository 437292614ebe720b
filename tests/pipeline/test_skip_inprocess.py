"""A stopped partition goes on by an operator's word: the windows that it touches are void, all others exact. And a
party that is down stops nothing: windows come late, and none is void.

The oracle is the same stream through a pipeline that nothing happened to.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from estimator import RaceModel
from privacy import parse_measurement
from secure_agg import EpochKeys
from streams import inprocess
from streams.errors import InputError
from streams.governance import View, discrepancies, empty_log
from streams.inprocess import _LIFETIME_MS, InProcessPipeline
from streams.records import frame
from streams.records.batches import SealedBatch
from streams.records.frame import Kind, kind_of
from streams.records.header import Header, encode_header
from streams.records.keys import sign_epoch_key
from streams.records.skip import GivenUp, Skip
from streams.retention import Deletion, InFlight, deletable
from streams.skipping import TOPIC_OF, SkipPlan, SkipPlanner

pytestmark = pytest.mark.slow

START_MS = 1_700_000_040_000  # a whole minute
SECONDS = 86
FAULT = 34
"""The second in which something happens, within the window that ends at 40."""
J = 1
SPEC = """
id: feed
purpose: skipping
source: {topic: ev, member: m, time: ts, time_format: epoch_ms}
cells: {decision: {field: r}}
windows: {base: 10s, rollups: [1m], lateness: 1s, max_future: 1s}
reference: white
privacy: {contribution_cap: 24, rho_member_day: 0.1, cap_rule: first}
test_only: {noise_scale_units: 0.01}
"""
MEMBERS = [f"m{k}" for k in range(300)]
Fault = Callable[["House"], None]
Tables = dict[tuple[str, int], object]
"""By level and window end in seconds: its table, or why it has none."""


class House:
    """A pipeline of two source partitions and two of ours, whose events come every other second."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.renewing: tuple[str, ...] = ()
        """Roles that announce their next epoch key in time, where keys are short-lived."""
        self.pipeline = InProcessPipeline(
            folder / "keys", partitions=2, sources={"ev": 2}, start_ms=START_MS - 3_000, model=_model()
        )
        self.log = self.pipeline.log
        self.pipeline.approve(parse_measurement(SPEC, origin="test").with_effective_from(START_MS))
        for member in MEMBERS:
            value = json.dumps({"family_name": "Garcia", "state": "CA"}).encode()
            self.pipeline.write_attributes(member.encode(), value)
        self.pipeline.run()

    def seconds(
        self,
        first: int,
        past: int,
        after_seal: Fault | None = None,
        after_attach: Fault | None = None,
        *,
        without: str = "",
    ) -> None:
        """Let these seconds pass; a fault acts in the first of them, on what seal or attach has just written.

        Args:
            without: a role that is down meanwhile.
        """
        for second in range(first, past, 2):
            self.log.clock_ms = START_MS + 1000 * second
            for role in self.renewing:
                self.renew(role)
            for k in range(6):
                member = MEMBERS[(second * 6 + k) % len(MEMBERS)]
                event = json.dumps({"m": member, "ts": self.log.clock_ms - 10, "r": k % 3 == 0}).encode()
                self.log.append("ev", k % 2, event)
            self.pipeline.turn("seal")
            if after_seal is not None and second == first:
                after_seal(self)
            if without != "attach":
                self.pipeline.turn("attach")
            if after_attach is not None and second == first:
                after_attach(self)
            self.pipeline.run([party for party in ("a", "b") if party != without])

    def renew(self, role: str) -> None:
        """What a role's process does every second: see that senders have an epoch key with enough life left."""
        now = self.log.clock_ms
        epoch = self.pipeline.epochs[role].ensure_current(now)
        known = self.pipeline.controls[role].epoch_public(role, now)
        if known is None or known.epoch < epoch.number:
            self.pipeline._announce(sign_epoch_key(self.pipeline._keys[role].identity, epoch.public()))

    def newest(self, topic: str, kind: Kind) -> int:
        """The place in partition J of the newest record of a kind."""
        records = self.log.partitions[topic, J]
        return next(k for k in range(len(records) - 1, -1, -1) if kind_of(records[k].value_ or b"") is kind)

    def put(self, topic: str, place: int, value: bytes) -> None:
        """Have the log hold another value there."""
        records = self.log.partitions[topic, J]
        records[place] = replace(records[place], value_=value)

    def remove(self, topic: str, place: int) -> None:
        """What a broker that lost a record would serve."""
        records = self.log.partitions[topic, J]
        del records[place]
        records[place:] = [replace(record, offset_=record.offset_ - 1) for record in records[place:]]

    def stopped(self, role: str) -> dict[int, str]:
        """A role's stopped partitions, with the reason."""
        return {j: why for (_, j), why in self.pipeline.stage(role).stopped().items()}

    def plan(self, role: str, *, j: int = J, whole_epoch: bool = False) -> SkipPlan:
        """What `evenstream skip` would say to a role's stop."""
        stop = int(self.stopped(role)[j].split(":")[0].removeprefix("at offset "))
        topic = TOPIC_OF[role]
        records = ((record.offset_, record.value_ or b"") for record in self.log.read(topic, j))
        first = self.log.starts.get((topic, j), 0)
        return SkipPlanner(role, j, self.pipeline.controls["publish"]).plan(
            records, stop, first, whole_epoch=whole_epoch
        )

    def skip(self, plan: SkipPlan, roles: Sequence[str] | None = None) -> None:
        """Sign what was planned."""
        self.pipeline.skip(plan.topic, plan.partition, plan.streams, plan.windows, offset=plan.offset, roles=roles)

    def skipped(self, role: str) -> float:
        """How many batches a role has left out."""
        labels = {"role": role, "topic": TOPIC_OF[role]}
        return self.pipeline.registries[role].get_sample_value("evenstream_batches_skipped_total", labels) or 0.0

    def tables(self) -> Tables:
        """Each window's table, or why it has none, by level and end in seconds."""
        found: Tables = {}
        for window in self.pipeline.published:
            key = window.level, (window.window.end_ms - START_MS) // 1000
            assert key not in found
            found[key] = window.reason if window.table is None else window.table.values
        return found


@cache
def _model() -> RaceModel:
    return RaceModel.load()


@cache
def _expected(folder: Path) -> Tables:
    house = House(folder)
    house.seconds(0, SECONDS)
    return house.tables()


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """What is published where nothing goes wrong."""
    tables = _expected(tmp_path_factory.mktemp("expected"))
    assert len(tables) == 8 + 1
    return tables


def check(house: House, expected: Tables, touched: set[tuple[str, int]]) -> None:
    """The touched windows are void as skipped, and all others are the oracle's to the last unit."""
    assert house.stopped("attach") == house.stopped("a") == house.stopped("b") == {}
    tables = house.tables()
    assert set(tables) == set(expected)
    assert {key for key, table in tables.items() if table == "skipped"} == touched
    assert {key: table for key, table in tables.items() if key not in touched} == {
        key: table for key, table in expected.items() if key not in touched
    }


# -- faults -----------------------------------------------------------------------------------------------------------


def _unreadable_for_attach(house: House) -> None:
    place = house.newest("sealed", Kind.SEALED)
    batch = SealedBatch.decode(house.log.partitions["sealed", J][place].value_ or b"")
    identity = house.pipeline._keys["seal"].identity
    members = bytes(len(batch.members))
    forged = SealedBatch.signed(identity, batch.header, batch.header_bytes, members, batch.cells_a, batch.cells_b)
    house.put("sealed", place, forged.encode())


def _two_headers(house: House) -> None:
    batch = SealedBatch.decode(house.log.partitions["sealed", J][house.newest("sealed", Kind.SEALED)].value_ or b"")
    header: Header = msgspec.structs.replace(batch.header, rows=batch.header.rows + 1)
    sections = batch.members, batch.cells_a, batch.cells_b
    forged = SealedBatch.signed(house.pipeline._keys["seal"].identity, header, encode_header(header), *sections)
    house.log.append("sealed", J, forged.encode())


def _lost(topic: str) -> Fault:
    kind = Kind.SEALED if topic == "sealed" else Kind.SHARES
    return lambda house: house.remove(topic, house.newest(topic, kind))


def _lost_with_its_punctuation(house: House) -> None:
    house.remove("sealed", house.newest("sealed", Kind.SEALED))
    house.remove("sealed", house.newest("sealed", Kind.PUNCTUATION))


def _unreadable_for(party: str) -> Fault:
    def act(house: House) -> None:
        place = house.newest("shares", Kind.SHARES)
        value = house.log.partitions["shares", J][place].value_ or b""
        sections = frame.decode(value, Kind.SHARES, 9)[:-1]
        sections[6 + "ab".index(party)] = bytes(60)
        digests = tuple(hashlib.sha256(section).digest() for section in sections)
        version = frame.version_of(value)
        signature = frame.sign(house.pipeline._keys["attach"].identity, Kind.SHARES, version, digests)
        house.put("shares", place, frame.encode(Kind.SHARES, [*sections, signature], version))

    return act


FAULTS: dict[str, tuple[str, Fault, bool]] = {
    "attach cannot open": ("attach", _unreadable_for_attach, True),
    "a gap in sealed": ("attach", _lost("sealed"), True),
    "a gap and no punctuation": ("attach", _lost_with_its_punctuation, True),
    "two headers": ("attach", _two_headers, True),
    "a cannot open": ("a", _unreadable_for("a"), False),
    "b cannot open": ("b", _unreadable_for("b"), False),
    "a gap in shares": ("b", _lost("shares"), False),
}
"""Whose partition stops, why, and whether it happened before attach."""
WINDOW = {("10s", 40), ("1m", 60)}
"""All that the batch at fault can touch."""


def stop(folder: Path, name: str) -> tuple[House, str]:
    """A house in which a partition has stopped, and whose."""
    role, fault, at_seal = FAULTS[name]
    house = House(folder)
    house.seconds(0, FAULT)
    house.seconds(FAULT, FAULT + 20, fault if at_seal else None, None if at_seal else fault)
    assert set(house.stopped(role)) == {J}
    assert ("10s", 40) not in house.tables()
    return house, role


@pytest.mark.parametrize("name", FAULTS)
def test_a_skip_lets_a_partition_go_on(tmp_path: Path, expected: Tables, name: str) -> None:
    """After the skip everything comes, late; the windows that the lost batch may belong to are void at both."""
    house, role = stop(tmp_path, name)
    house.skip(house.plan(role))
    house.seconds(FAULT + 20, SECONDS)
    check(house, expected, WINDOW)
    assert house.skipped(role) == 1


@pytest.mark.parametrize("name", ["a gap in sealed", "b cannot open"])
def test_a_skip_holds_for_roles_that_start_again(tmp_path: Path, expected: Tables, name: str) -> None:
    """A role that was down when the skip came, or dies after it, does what the others do."""
    house, role = stop(tmp_path, name)
    house.skip(house.plan(role))
    for worker in house.pipeline.roles:
        house.pipeline.start(worker)
    house.seconds(FAULT + 20, FAULT + 30)
    for worker in house.pipeline.roles:
        house.pipeline.start(worker)
    house.seconds(FAULT + 30, SECONDS)
    check(house, expected, WINDOW)


def test_parties_read_the_skip_before_they_stop(tmp_path: Path, expected: Tables) -> None:
    """Attach has gone on by a skip that the parties have not read: they read on where they miss the batch."""
    house, role = stop(tmp_path, "attach cannot open")
    house.skip(house.plan(role), roles=("attach",))
    house.seconds(FAULT + 20, SECONDS)
    check(house, expected, WINDOW)
    for party in ("a", "b"):
        labels = {"role": party, "topic": "shares"}
        assert house.pipeline.registries[party].get_sample_value("evenstream_sequence_gaps_total", labels) == 0


def test_a_window_that_one_party_had_released_is_void(tmp_path: Path, expected: Tables) -> None:
    """Party a has folded what b cannot open, and released the window: both releases together are void, as skipped."""
    house, role = stop(tmp_path, "b cannot open")
    labels = {"role": "a", "measurement": "feed", "level": "10s", "status": "released"}
    assert house.pipeline.registries["a"].get_sample_value("evenstream_releases_total", labels) == 5
    house.skip(house.plan(role))
    house.seconds(FAULT + 20, SECONDS)
    check(house, expected, WINDOW)


def test_an_epoch_key_that_is_lost(tmp_path: Path, expected: Tables) -> None:
    """B's folder of epoch keys is gone: what was sealed to it is given up at once, and b goes on under a new epoch."""
    house = House(tmp_path)
    house.seconds(0, FAULT)
    house.log.clock_ms += 1
    folder = house.folder / "keys" / "b" / "epochs"
    for file in folder.iterdir():
        file.unlink()
    pipeline = house.pipeline
    pipeline.epochs["b"] = EpochKeys("b", folder, _LIFETIME_MS)
    pipeline._receiving["b"]._epochs = pipeline.epochs["b"]
    pipeline._receiving["b"]._keys.clear()
    pipeline.start("b")
    house.seconds(FAULT, FAULT + 6)  # seal does not know yet: more is sealed to what is lost
    assert set(house.stopped("b")) == {0, 1}
    house.renew("b")
    house.seconds(FAULT + 6, FAULT + 20)
    for j in (0, 1):
        plan = house.plan("b", j=j, whole_epoch=True)
        assert len(plan.streams) == 2  # one range of numbers for each source partition
        house.skip(plan)
    house.seconds(FAULT + 20, SECONDS)
    check(house, expected, WINDOW)


@pytest.mark.parametrize("role", ["attach", "b"])
def test_records_that_were_deleted_before_they_were_read(tmp_path: Path, expected: Tables, role: str) -> None:
    """A position that is no longer in the log stops its partition; the skip says where to go on."""
    topic = TOPIC_OF[role]
    house = House(tmp_path)
    house.seconds(0, FAULT)
    for second in range(FAULT, FAULT + 6, 2):  # the role is down meanwhile
        house.seconds(second, second + 2, without=role)
    end = len(house.log.read(topic, J))
    house.log.delete(topic, J, end - 2)
    house.seconds(FAULT + 6, FAULT + 20)
    assert "deleted" in house.stopped(role)[J]
    assert set(house.stopped(role)) == {J}
    house.skip(house.plan(role))
    house.seconds(FAULT + 20, SECONDS)
    check(house, expected, WINDOW)
    house.pipeline.start(role)
    assert house.stopped(role) == {}


@pytest.mark.parametrize("name", ["attach cannot open", "b cannot open"])
def test_a_skip_where_all_that_was_read_is_deleted_but_for_what_is_kept(
    tmp_path: Path, expected: Tables, name: str
) -> None:
    """Deletion goes on behind a reader that has stopped; what it leaves shows how far each stream had come.

    Else every window that is open, of every measurement of the source, would be given up.
    """
    house, role = stop(tmp_path, name)
    topic, whole = TOPIC_OF[role], house.plan(role)
    committed = int(house.stopped(role)[J].split(":")[0].removeprefix("at offset "))
    bounds = {J: (0, len(house.log.read(topic, J)))}
    (verdict,) = deletable(InFlight(topic, (role,), kept=10), bounds, {role: {J: committed}})
    assert isinstance(verdict, Deletion)
    house.log.delete(topic, J, verdict.before)
    assert house.plan(role) == whole
    house.skip(whole)
    house.seconds(FAULT + 20, SECONDS)
    check(house, expected, WINDOW)


# -- what a skip cannot do --------------------------------------------------------------------------------------------


def _of_another_key(house: House, record: Skip) -> Skip:
    terms = {name: getattr(record, name) for name in record.__struct_fields__}
    for name in ("kind", "key_id", "signature"):
        del terms[name]
    return Skip.signed(Ed25519PrivateKey.generate(), **terms)


@pytest.mark.parametrize("how", ["another key", "another deployment", "changed", "no operator is pinned"])
def test_a_skip_that_is_not_in_order_is_inert(tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is counted and has no effect: the partition stays stopped."""
    house, role = stop(tmp_path, "a gap in sealed")
    plan, pipeline = house.plan(role), house.pipeline
    house.skip(plan, roles=())
    record = Skip.decode(pipeline._measurements.pop())
    if how == "another key":
        record = _of_another_key(house, record)
    elif how == "another deployment":
        record = msgspec.structs.replace(record, deployment="other")
    elif how == "changed":
        record = msgspec.structs.replace(record, windows=())
    else:
        for control in pipeline.controls.values():
            control.trusted = replace(control.trusted, operators=())
    refused = [control.refused for control in pipeline.controls.values()]
    pipeline.submit(record.encode(), roles=tuple(pipeline.controls))
    assert [control.refused for control in pipeline.controls.values()] == [count + 1 for count in refused]
    assert "has no effect" in caplog.text
    house.seconds(FAULT + 20, FAULT + 30)
    assert set(house.stopped(role)) == {J}
    assert house.skipped(role) == 0


@pytest.mark.parametrize("name", ["attach cannot open", "a gap in sealed", "b cannot open"])
def test_a_skip_that_names_other_batches_stops_again(tmp_path: Path, name: str) -> None:
    """Batches of another number, or of another source partition, are not those at fault."""
    house, role = stop(tmp_path, name)
    plan = house.plan(role)
    (entry,) = plan.streams
    later = msgspec.structs.replace(entry, from_sequence=entry.from_sequence + 1, until_sequence=1 << 40)
    other = msgspec.structs.replace(entry, i=1 - entry.i, until_sequence=1 << 40)
    house.skip(replace(plan, streams=(later, other)))
    house.seconds(FAULT + 20, FAULT + 30)
    assert set(house.stopped(role)) == {J}
    assert house.skipped(role) == 0


@pytest.mark.parametrize("name", ["attach cannot open", "two headers", "b cannot open"])
def test_a_skip_that_leaves_a_window_out_stops_again(tmp_path: Path, name: str) -> None:
    """A batch is not dropped unless its window is void: it would be released without the batch's rows."""
    house, role = stop(tmp_path, name)
    plan = house.plan(role)
    (windows,) = plan.windows
    elsewhere = msgspec.structs.replace(windows, from_ms=windows.until_ms, until_ms=windows.until_ms + 10_000)
    house.skip(replace(plan, windows=(elsewhere,)))
    house.seconds(FAULT + 20, FAULT + 30)
    assert "not the window that it belongs to" in house.stopped(role)[J]


def test_a_skip_of_a_healthy_partition_drops_nothing(tmp_path: Path, expected: Tables) -> None:
    """All batches are folded all the same; the windows that it names are void, and no others."""
    house, _ = stop(tmp_path / "stopped", "attach cannot open")
    plan = house.plan("attach")
    healthy = House(tmp_path / "healthy")
    healthy.seconds(0, FAULT)
    everything = tuple(
        msgspec.structs.replace(entry, i=i, until_sequence=1 << 40) for entry in plan.streams for i in (0, 1)
    )
    healthy.skip(replace(plan, streams=everything, offset=1 << 40))
    healthy.seconds(FAULT, SECONDS)
    check(healthy, expected, WINDOW)
    assert [healthy.skipped(role) for role in ("attach", "a", "b")] == [0, 0, 0]


def test_the_planner_refuses_where_nothing_is_wrong(tmp_path: Path) -> None:
    """An offset that holds no signed record, and punctuation that nothing is missing before, are no place to skip."""
    house = House(tmp_path)
    house.seconds(0, 10)
    records = [(record.offset_, record.value_ or b"") for record in house.log.read("sealed", J)]
    planner = SkipPlanner("attach", J, house.pipeline.controls["publish"])
    with pytest.raises(InputError, match="nothing is missing before"):
        planner.plan(records, house.newest("sealed", Kind.PUNCTUATION), 0, whole_epoch=False)
    with pytest.raises(InputError, match="no signed record of sealed"):
        planner.plan(records, 10_000, 0, whole_epoch=False)


def test_the_reviewers_check_knows_an_operators_word(tmp_path: Path) -> None:
    """`evenstream measurement verify` finds nothing wrong with a skip record, unless no operator signed it."""
    house = House(tmp_path)
    house.pipeline.skip("sealed", J, (GivenUp(bytes(32).hex(), 0, 5, 6),), ())
    good = house.pipeline._measurements[-1]
    forged = _of_another_key(house, Skip.decode(good)).encode()
    control = house.pipeline.controls["publish"]
    view = View(empty_log(control.trusted, 1), control, ((1, good), (2, forged)))
    ((offset, what),) = discrepancies(view, control.trusted)
    assert offset == 2
    assert "by a key that is not trusted here" in what


# -- a party that is down ---------------------------------------------------------------------------------------------


def _releases(house: House, party: str) -> int:
    return len(house.log.values(f"releases-{party}"))


@pytest.mark.parametrize("party", ["a", "b"])
def test_a_party_that_is_down_makes_nothing_void(tmp_path: Path, expected: Tables, party: str) -> None:
    """The other party and attach go on; publish waits; when the party is back every window comes, late and exact."""
    other = "ab".replace(party, "")
    house = House(tmp_path)
    house.seconds(0, FAULT)
    before, published = {p: _releases(house, p) for p in "ab"}, house.tables()
    house.seconds(FAULT, FAULT + 32, without=party)
    assert _releases(house, party) == before[party]
    assert _releases(house, other) >= before[other] + 3
    assert house.tables() == published
    house.pipeline.start(party)
    house.seconds(FAULT + 32, SECONDS)
    check(house, expected, set())


def test_an_epoch_that_expires_meanwhile_pauses_the_senders(
    tmp_path: Path, expected: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seal and attach wait for b's next key and drop nothing; by its broker's time no backlog is late."""
    monkeypatch.setattr(inprocess, "_LIFETIME_MS", 20_000)
    house = House(tmp_path)
    house.renewing = ("attach", "a", "b")
    house.seconds(0, FAULT)
    house.renewing = ("attach", "a")
    house.seconds(FAULT, FAULT + 32, without="b")
    sealed = {j: len(house.log.read("sealed", j)) for j in (0, 1)}
    for role in ("seal", "attach"):
        assert "valid epoch key of b" in (house.pipeline.stage(role).blocked(house.log.clock_ms) or "")
    house.seconds(FAULT + 32, FAULT + 40, without="b")
    assert {j: len(house.log.read("sealed", j)) for j in (0, 1)} == sealed
    house.renewing = ("attach", "a", "b")
    house.pipeline.start("b")
    house.seconds(FAULT + 40, SECONDS + 2)
    check(house, expected, set())
    assert house.log.values("refused") == []
    assert all(len(epochs.numbers()) <= 4 for epochs in house.pipeline.epochs.values())
