"""On a real Kafka: topics that are deleted, made again or grown under the roles, a thief's records, a role that hangs.

One deployment for all, in the order of the damage: `attach` hangs; somebody writes to `sealed` and `shares`; `publish`
loses its topic and its folders, and is started twice; `attach` loses the members; a source is made again, and one is
grown; the states of `seal` and `attach` are lost; topics of evenstream's own are grown, and deleted.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import NewPartitions  # type: ignore[attr-defined]  # its API
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from privacy import parse_measurement
from secure_agg import Identity
from streams.errors import Fenced
from streams.feed import Feed
from streams.kafka import topics
from streams.kafka.clients import admin, make_producer, read_to_end
from streams.records import frame
from streams.records.batches import SealedBatch, SharesBatch
from streams.records.frame import Kind
from streams.records.header import encode_header
from streams.roles.supervisor import command_of
from streams.trial import Trial

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]

START_MS = 1_700_000_040_000  # a whole minute
WINDOW_MS = 10_000
PARTITIONS = 2
_SPEC = """
id: {name}
purpose: topics that change
source: {{topic: {topic}, arrival: record_time, member: m, time: ts, time_format: epoch_ms}}
cells: {{decision: {{field: r}}}}
windows: {{base: 10s, rollups: [30s], lateness: 1s, max_future: 1s}}
reference: white
privacy: {{contribution_cap: 24, cap_rule: first, rho_member_day: 0.1}}
review: {{owner: the tests, harm_considered: none, data_used: made up, retention: until the test ends}}
test_only: {{noise_scale_units: 0.01}}
expires: 2027-11-01T00:00:00Z
"""
_AWAIT_SECONDS = 120.0
_HANG_SECONDS = 6.0
_HERE = Path(__file__)


class House:
    """Two measurements, `kept` and `again`, each on a topic of its own, and events that come as the tests say."""

    def __init__(self, kafka: str, folder: Path) -> None:
        self.trial = Trial(
            folder,
            print,
            overrides=[
                f"topics.partitions={PARTITIONS}",
                "test_cluster=true",
                "privacy.rho_30_days_limit=100",
                "privacy.rho_year_limit=1000",
                "attach.model=hanging_model:HangingModel.load",
                f"http.hang_seconds={_HANG_SECONDS}",
            ],
        )
        self.hang_at = folder / "hang"
        self.partitions = {"kept": PARTITIONS, "again": PARTITIONS}
        self.written = {"kept": 0, "again": 0}
        self.trial.start_kafka(kafka)
        settings = self.settings = self.trial.settings
        self.sources = {name: settings.topic(name) for name in ("kept", "again")}
        self.trial.prepare((), self.sources.values())
        for name, topic in self.sources.items():
            spec = parse_measurement(_SPEC.format(name=name, topic=topic), origin="test")
            self.trial.approve(spec.with_effective_from(START_MS), START_MS)
        self.feed = Feed(settings)
        self.write_members()
        self.trial.start_roles()
        self.trial.supervisor.fenced_seconds = 0.5
        self.trial.supervisor.grace_seconds = 1.0

    def write_members(self) -> None:
        """Everyone's attributes."""
        topic = self.settings.topic("member-attributes")
        for k in range(20):
            self.feed.send(topic, b"m%d" % k, b'{"family_name": "Garcia", "state": "CA"}')
        self.feed.flush()

    def window(self, *names: str) -> None:
        """Events of the next window of each, and of the beginning of the one after it, which lets it close."""
        for name in names:
            self.write(name, self.written[name])
            self.written[name] += 1

    def write(self, name: str, number: int) -> None:
        """Events of one window of a source, and of the beginning of the next."""
        for i in range(self.partitions[name]):
            for after_ms in (1_000, WINDOW_MS + 1_100):
                time_ms = START_MS + number * WINDOW_MS + after_ms
                value = json.dumps({"m": f"m{number % 20}", "ts": time_ms, "r": True}).encode()
                self.feed.send(self.sources[name], None, value, timestamp_ms=time_ms, partition=i)
        self.feed.flush()

    def await_windows(self, what: str) -> None:
        """Until all windows of the measurement `kept` are published, with every row once."""
        self.until(lambda: len(self.rows("kept")) == self.written["kept"], what)
        assert self.rows("kept")[1:] == [4.0] * (self.written["kept"] - 1)

    def rows(self, name: str) -> list[float | None]:
        """Rows of a measurement's base windows that were published, in their order."""
        found = {}
        for record in read_to_end(self.settings, self.settings.topic("fairness-metrics")):
            window = json.loads(record.value() or b"")
            if (window["measurement"], window["level"]) == (name, "10s"):
                table = window["table"]
                found[window["window"]["end_ms"]] = None if table is None else round(sum(map(sum, table["values"])), 2)
        return [found[end] for end in sorted(found)]

    def records_by_key(self) -> Counter[bytes]:
        """How many records `fairness-metrics` has of each window."""
        records = read_to_end(self.settings, self.settings.topic("fairness-metrics"))
        return Counter(bytes(record.key() or b"") for record in records)

    def reasons(self, name: str) -> set[str]:
        """Why base windows of a measurement were void."""
        records = read_to_end(self.settings, self.settings.topic("fairness-metrics"))
        windows = [json.loads(record.value() or b"") for record in records]
        return {
            w["reason"] for w in windows if w["measurement"] == name and w["status"] == "void" and w["level"] == "10s"
        }

    def metrics(self) -> list[tuple[Any, ...]]:
        """Every record of `fairness-metrics`: key, value and headers, sorted."""
        records = read_to_end(self.settings, self.settings.topic("fairness-metrics"))
        return sorted((record.key(), record.value(), record.headers()) for record in records)

    def until(self, done: Callable[[], bool], what: str) -> None:
        """Keep the roles up until something is so."""
        deadline = time.monotonic() + _AWAIT_SECONDS
        while not done():
            assert time.monotonic() < deadline, f"{what}; seal says: {self.log('seal')[-1500:]}"
            self.trial.watch()
            time.sleep(0.2)

    def log(self, role: str) -> str:
        """What a role has said."""
        return (self.trial.folder / "logs" / f"{role}.log").read_text()

    def kill(self, role: str) -> None:
        """End a role with -9; the next look at the roles starts it again."""
        os.kill(self.trial.supervisor.pid(role), signal.SIGKILL)

    def readiness(self, role: str) -> str:
        """What a role's /readyz answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.trial.ports[role]}/readyz", timeout=5) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            return error.read().decode()
        except OSError:
            return ""

    def delete(self, *names: str) -> None:
        """Delete topics, by their full names."""
        client = admin(self.settings)
        for deleted in client.delete_topics(list(names)).values():
            deleted.result()
        deadline = time.monotonic() + 30
        while set(names) & set(client.list_topics(timeout=10).topics):
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def make_again(self, topic: str, plans: tuple[topics.TopicPlan, ...]) -> None:
        """Delete a topic, and make it as it was."""
        self.delete(topic)
        self.make(topic, plans)

    def make(self, topic: str, plans: tuple[topics.TopicPlan, ...]) -> None:
        """Make a topic as it was."""
        assert topics.create(self.settings, tuple(plan for plan in plans if plan.name == topic)).created == (topic,)


@pytest.fixture(scope="module")
def house(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """After five windows of both measurements."""
    folder = tmp_path_factory.mktemp("changed")
    there = pytest.MonkeyPatch()
    there.setenv("HANG_AT", str(folder / "hang"))
    there.setenv("PYTHONPATH", str(_HERE.parents[1]))
    house = House(kafka, folder)
    try:
        for _ in range(5):
            house.window("kept", "again")
        house.until(lambda: len(house.rows("kept")) == len(house.rows("again")) == 5, "five windows of each")
        yield house
    finally:
        house.trial.stop()
        there.undo()


def _published_series(text: str) -> list[str]:
    """/metrics without what tells of this process and not of the published windows: health, and delays of live ones.

    Sorted: the series of a family come in the order in which releases were read, and parties release in any order.
    """
    here = re.compile(r"evenstream_(publish_delay|build_info|batches|transaction)")
    return sorted(line for line in text.splitlines() if "evenstream_" in line and not here.search(line))


def _count(house: House, role: str, reason: str) -> float:
    """How many records a role has refused for a reason, as its /metrics says."""
    found = re.search(
        rf'evenstream_records_refused_total{{reason="{reason}",role="{role}"}} (\S+)', house.trial.scrape(role)
    )
    return float(found[1]) if found else 0.0


def test_a_role_that_hangs_is_started_again(house: House) -> None:
    """Attach stands still for ever amid a batch: its /healthz and /readyz say so, it is ended, and no row is lost."""
    house.hang_at.touch()
    house.window("kept")
    house.until(lambda: not house.hang_at.exists(), "attach hangs")
    first = house.trial.supervisor.pid("attach")
    house.until(lambda: "it hangs" in house.readiness("attach"), "/readyz says so")
    house.await_windows("the window is published")
    assert house.trial.supervisor.pid("attach") != first
    assert house.trial.supervisor.hangs == 1


def _last_batch(house: House, topic: str, kind: Kind) -> tuple[int, bytes]:
    """Partition and value of the newest batch on a topic."""
    records = read_to_end(house.settings, house.settings.topic(topic))
    *_, last = (record for record in records if frame.kind_of(record.value() or b"") is kind)
    return int(last.partition() or 0), last.value() or b""


def test_what_a_thief_writes_changes_no_sum(house: House) -> None:
    """With the right to write to both topics and no identity: forged, replayed, cut, moved: counted, no more."""
    j, value = _last_batch(house, "sealed", Kind.SEALED)
    sealed = SealedBatch.decode(value)
    nxt = msgspec.structs.replace(sealed.header, sequence=sealed.header.sequence + 1)
    signers = {
        role: Identity(role, house.trial.deployment, Ed25519PrivateKey.generate()) for role in ("seal", "attach")
    }
    forged = SealedBatch.signed(
        signers["seal"], nxt, encode_header(nxt), sealed.members, sealed.cells_a, sealed.cells_b
    )
    of_shares, passed = _last_batch(house, "shares", Kind.SHARES)
    batch = SharesBatch.decode(passed)
    forged_shares = SharesBatch.signed(signers["attach"], forged, batch.extension, batch.share_a, batch.share_b)
    written = {
        "sealed": ((j, forged.encode()), (j, value), (j, value[:-1]), (1 - j, value)),
        "shares": (
            (of_shares, forged_shares.encode()),
            (of_shares, passed),
            (of_shares, passed[:-1]),
            (1 - of_shares, passed),
        ),
    }
    expected = {"signature": 1, "repeat": 1, "malformed": 2}  # the cut one and the moved one
    before = {(role, reason): _count(house, role, reason) for role in ("attach", "a", "b") for reason in expected}
    producer = make_producer(house.settings, None)
    for topic, records in written.items():
        for partition, record in records:
            producer.produce(house.settings.topic(topic), value=record, partition=partition)
    assert producer.flush(10) == 0
    house.window("kept")
    house.await_windows("the window is published")
    house.until(
        lambda: all(
            _count(house, role, reason) == count + expected[reason] for (role, reason), count in before.items()
        ),
        "each is counted by each of its readers",
    )
    assert {house.readiness(role).strip() for role in ("seal", "attach", "a", "b")} == {"ok"}


def test_publish_is_rebuilt_to_the_same_bytes(house: House) -> None:
    """Its topic deleted under it, its folders gone, `releases` give all records again, headers too, and all series."""
    records, shown = house.metrics(), _published_series(house.trial.scrape())
    assert len(records) >= 12
    for name, windows in house.written.items():
        labels = f'level="10s",measurement="{name}",reason="no_group_says_anything",status="suppressed"'
        assert f"evenstream_windows_total{{{labels}}} {windows}.0" in shown
    topic = house.settings.topic("fairness-metrics")
    house.delete(topic)
    house.until(lambda: f"{topic} was deleted while this role ran" in house.log("publish"), "publish says so")
    shutil.rmtree(house.settings.keys.dir / "publish" / "epochs", ignore_errors=True)
    shutil.rmtree(house.settings.faust_folder(), ignore_errors=True)
    house.make(topic, topics.plan(house.settings))
    house.until(lambda: len(house.metrics()) == len(records), "fairness-metrics is whole again")
    assert house.metrics() == records
    house.until(lambda: house.readiness("publish").strip() == "ok", "publish is ready")
    assert _published_series(house.trial.scrape()) == shown


def test_only_one_publisher_writes(house: House) -> None:
    """One that wakes up after another took over ends with 75 and has written nothing; what was left open is nothing.

    Each of the two is the zombie once. Whatever came: each window has one record, and none is missing.
    """
    supervisor = house.trial.supervisor
    first = supervisor.pid("publish")
    second = subprocess.Popen(["true"])
    os.kill(first, signal.SIGSTOP)
    try:
        arguments = [*house.trial.arguments, "--set", "http.port=0", *command_of("publish")]
        with (house.trial.folder / "logs" / "publish.second.log").open("wb") as out:
            second = subprocess.Popen([sys.executable, "-m", "streams.cli", *arguments], stdout=out, stderr=out)
        house.window("kept")
        house.await_windows("the second publisher takes over")
        os.kill(first, signal.SIGCONT)
        house.until(lambda: supervisor.fenced("publish") == 1, "the first one ends with 75")
        assert "another instance took over" in house.log("publish")
        house.until(lambda: supervisor.pid("publish") != first, "it is started again")
        house.until(lambda: house.readiness("publish").strip() == "ok", "it takes over in its turn")
        house.window("kept")
        house.until(lambda: second.poll() is not None, "the second one ends")
        assert second.wait() == Fenced.exit_status
    finally:
        with suppress(ProcessLookupError):
            os.kill(first, signal.SIGCONT)
        if second.poll() is None:
            second.kill()
            second.wait()
    house.await_windows("the window that it could not write")
    # A third, which dies in the middle of a transaction.
    third = make_producer(house.settings, house.settings.transactional_id("publish", 0))
    third.init_transactions(30)
    third.begin_transaction()
    third.produce(house.settings.topic("fairness-metrics"), key=b"kept/10s/0", value=b"half")
    assert third.flush(10) == 0
    house.window("kept")
    house.until(lambda: supervisor.fenced("publish") == 2, "the first one is fenced by it")
    house.until(lambda: house.readiness("publish").strip() == "ok", "and takes over again")
    house.await_windows("the window that came meanwhile")
    with pytest.raises(KafkaException):
        third.commit_transaction(10)
    found = house.records_by_key()
    assert set(found.values()) == {1}
    assert b"kept/10s/0" not in found


def test_members_that_were_deleted_can_be_written_again(house: House) -> None:
    """Attach ends when their topic goes, and is back when it is there again; what came meanwhile is counted."""
    topic = house.settings.topic("member-attributes")
    house.delete(topic)
    house.until(lambda: f"{topic} was deleted while this role ran" in house.log("attach"), "attach says so")
    house.window("kept")
    house.make(topic, topics.input_plan(house.settings, (), ()))
    house.write_members()
    house.await_windows("the window is published")


def test_a_source_made_again_stops_its_own_measurement(house: House) -> None:
    """Running and started anew: nothing of the new topic is read, though it has grown past the old positions."""
    before = house.rows("again")
    house.make_again(house.sources["again"], topics.input_plan(house.settings, (), tuple(house.sources.values())))
    # What comes within the five seconds between two questions may still be read: docs/operations.md says so.
    house.until(lambda: "source topic" in house.log("seal") and "stopped" in house.log("seal"), "seal says so")
    house.until(lambda: house.sources["again"] in house.readiness("seal"), "/readyz says so")
    for number in range(3, 9):
        house.write("again", number)  # more records than the old topic had
        house.write("again", number)
    for _ in range(2):
        house.window("kept")
    house.await_windows("the other one goes on")
    house.kill("seal")
    house.trial.watch()
    for _ in range(2):
        house.window("kept")
    house.await_windows("the other one goes on after a restart")
    assert "was deleted and made again" in house.log("seal")
    assert house.rows("again") == before


def test_a_source_that_grew_is_read_and_no_window_lacks_its_rows(house: House) -> None:
    """The window that is open then is void, since it may lack rows of the new partition; later ones hold them all."""
    topic = house.sources["kept"]
    client = admin(house.settings)
    client.create_partitions([NewPartitions(topic, PARTITIONS + 1)])[topic].result()
    read = f'partition="{PARTITIONS}",role="seal",topic="{topic}"'
    house.until(lambda: read in house.trial.scrape("seal"), "seal reads the new partition")
    house.partitions["kept"] = PARTITIONS + 1
    house.feed = Feed(house.settings)  # the old one's producer has not heard of it yet
    before = house.rows("kept")
    for _ in range(3):
        house.window("kept")
    house.until(lambda: len(house.rows("kept")) == house.written["kept"], "the windows are published")
    assert house.rows("kept") == [*before, None, 6.0, 6.0]
    assert house.reasons("kept") == {"measurement_applied_late"}


def test_states_that_are_lost_publish_nothing_wrong(house: House) -> None:
    """`seal` and `attach` end, and begin with an empty one: attach counts nobody anew, and stops on seal's numbers."""
    before = house.metrics()
    names = [house.settings.topic(name) for name in ("state-seal", "state-attach")]
    house.delete(*names)
    for role, name in zip(("seal", "attach"), names, strict=True):
        house.until(lambda role=role, name=name: f"{name} was deleted while" in house.log(role), f"{role} says so")  # type: ignore[misc]
    for name in names:
        house.make(name, topics.plan(house.settings))
    house.until(lambda: "Who has counted is not known" in house.log("attach"), "attach says so")
    house.until(lambda: "two different batches are signed as number" in house.log("attach"), "attach stops")
    house.until(lambda: "is stopped: at offset" in house.readiness("attach"), "/readyz says so")
    house.window("kept")
    assert all("is stopped: at offset" in house.readiness("attach") for _ in range(10))
    assert house.metrics() == before


def test_a_topic_that_grew_is_refused(house: House) -> None:
    """Running, and at each start."""
    topic = house.settings.topic("sealed")
    client = admin(house.settings)
    client.create_partitions([NewPartitions(topic, PARTITIONS + 1)])[topic].result()
    for role in ("seal", "attach"):
        house.until(lambda role=role: "was given 3 partitions" in house.log(role), f"{role} says so")  # type: ignore[misc]
        house.until(lambda role=role: "partitions is 3, expected 2" in house.log(role), f"{role} starts no more")  # type: ignore[misc]


def test_a_deleted_topic_ends_those_who_need_it(house: House) -> None:
    """Those that write to it or read it say so; none waits for it in silence."""
    client = admin(house.settings)
    gone = {"state-b": ("b",), "releases-b": ("publish",), "shares": ("a",)}
    for name, roles in gone.items():
        topic = house.settings.topic(name)
        client.delete_topics([topic])[topic].result()
        for role in roles:
            said = f"{topic} was deleted", f"{topic}: does not exist"
            house.until(lambda role=role, said=said: any(t in house.log(role) for t in said), f"{role} says so")  # type: ignore[misc]
