"""On a real Kafka: topics that are deleted, made again or grown under the roles, and `publish` without all it had.

One deployment for all, in the order of the damage: `publish` loses its topic and its folders, and is started twice; a
source is made again; a topic of evenstream's own is grown, and one deleted.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import NewPartitions  # type: ignore[attr-defined]  # its API

from privacy import parse_measurement
from streams.errors import Fenced
from streams.feed import Feed
from streams.kafka import topics
from streams.kafka.clients import admin, make_producer, read_to_end
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
            ],
        )
        self.trial.start_kafka(kafka)
        settings = self.settings = self.trial.settings
        self.sources = {name: settings.topic(name) for name in ("kept", "again")}
        self.trial.prepare((), self.sources.values())
        for name, topic in self.sources.items():
            spec = parse_measurement(_SPEC.format(name=name, topic=topic), origin="test")
            self.trial.approve(spec.with_effective_from(START_MS), START_MS)
        self.feed = Feed(settings)
        for k in range(20):
            self.feed.send(settings.topic("member-attributes"), b"m%d" % k, b'{"family_name": "Garcia", "state": "CA"}')
        self.feed.flush()
        self.trial.start_roles()
        self.trial.supervisor.fenced_seconds = 0.5

    def window(self, number: int, *names: str) -> None:
        """Events of one window, and of the beginning of the next, which lets it close."""
        for name in names:
            for i in range(PARTITIONS):
                for after_ms in (1_000, WINDOW_MS + 1_100):
                    time_ms = START_MS + number * WINDOW_MS + after_ms
                    value = json.dumps({"m": f"m{number % 20}", "ts": time_ms, "r": True}).encode()
                    self.feed.send(self.sources[name], None, value, timestamp_ms=time_ms, partition=i)
        self.feed.flush()

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

    def make_again(self, topic: str, plans: tuple[topics.TopicPlan, ...]) -> None:
        """Delete a topic, and make it as it was."""
        client = admin(self.settings)
        client.delete_topics([topic])[topic].result()
        deadline = time.monotonic() + 30
        while topic in client.list_topics(timeout=10).topics:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert topics.create(self.settings, tuple(plan for plan in plans if plan.name == topic)).created == (topic,)


@pytest.fixture(scope="module")
def house(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """After five windows of both measurements."""
    house = House(kafka, tmp_path_factory.mktemp("changed"))
    try:
        for number in range(5):
            house.window(number, "kept", "again")
        house.until(lambda: len(house.rows("kept")) == len(house.rows("again")) == 5, "five windows of each")
        yield house
    finally:
        house.trial.stop()


def _published_series(text: str) -> list[str]:
    """/metrics without what tells of this process and not of the published windows: health, and delays of live ones.

    Sorted: the series of a family come in the order in which releases were read, and parties release in any order.
    """
    here = re.compile(r"evenstream_(publish_delay|build_info|batches|transaction)")
    return sorted(line for line in text.splitlines() if "evenstream_" in line and not here.search(line))


def test_publish_is_rebuilt_to_the_same_bytes(house: House) -> None:
    """Its folders and topic gone, `releases` give every record again, headers too, and /metrics the same series."""
    records, shown = house.metrics(), _published_series(house.trial.scrape())
    assert len(records) >= 12
    for name in ("kept", "again"):
        labels = f'level="10s",measurement="{name}",reason="no_group_says_anything",status="suppressed"'
        assert f"evenstream_windows_total{{{labels}}} 5.0" in shown
    house.kill("publish")
    shutil.rmtree(house.settings.keys.dir / "publish" / "epochs", ignore_errors=True)
    folder = Path(tempfile.gettempdir()) / f"evenstream-{house.settings.group('publish')}"
    shutil.rmtree(folder, ignore_errors=True)
    house.make_again(house.settings.topic("fairness-metrics"), topics.plan(house.settings))
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
        house.window(5, "kept")
        house.until(lambda: len(house.rows("kept")) == 6, "the second publisher takes over")
        os.kill(first, signal.SIGCONT)
        house.until(lambda: supervisor.fenced("publish") == 1, "the first one ends with 75")
        assert "another instance took over" in house.log("publish")
        house.until(lambda: supervisor.pid("publish") != first, "it is started again")
        house.until(lambda: house.readiness("publish").strip() == "ok", "it takes over in its turn")
        house.window(6, "kept")
        house.until(lambda: second.poll() is not None, "the second one ends")
        assert second.wait() == Fenced.exit_status
    finally:
        with suppress(ProcessLookupError):
            os.kill(first, signal.SIGCONT)
        if second.poll() is None:
            second.kill()
            second.wait()
    house.until(lambda: len(house.rows("kept")) == 7, "the window that it could not write")
    # A third, which dies in the middle of a transaction.
    third = make_producer(house.settings, house.settings.transactional_id("publish", 0))
    third.init_transactions(30)
    third.begin_transaction()
    third.produce(house.settings.topic("fairness-metrics"), key=b"kept/10s/0", value=b"half")
    assert third.flush(10) == 0
    house.window(7, "kept")
    house.until(lambda: supervisor.fenced("publish") == 2, "the first one is fenced by it")
    house.until(lambda: house.readiness("publish").strip() == "ok", "and takes over again")
    house.until(lambda: len(house.rows("kept")) == 8, "the window that came meanwhile")
    with pytest.raises(KafkaException):
        third.commit_transaction(10)
    found = house.records_by_key()
    assert set(found.values()) == {1}
    assert b"kept/10s/0" not in found


def test_a_source_made_again_stops_its_own_measurement(house: House) -> None:
    """Running and started anew: nothing of the new topic is read, though it has grown past the old positions."""
    before = house.rows("again")
    house.make_again(house.sources["again"], topics.input_plan(house.settings, (), tuple(house.sources.values())))
    # What comes within the five seconds between two questions may still be read: docs/operations.md says so.
    house.until(lambda: "source topic" in house.log("seal") and "stopped" in house.log("seal"), "seal says so")
    house.until(lambda: house.sources["again"] in house.readiness("seal"), "/readyz says so")
    for number in range(3, 9):
        house.window(number, "again")  # more records than the old topic had
        house.window(number, "again")
    for number in range(8, 10):
        house.window(number, "kept")
    house.until(lambda: len(house.rows("kept")) == 10, "the other one goes on")
    house.kill("seal")
    house.trial.watch()
    for number in range(10, 12):
        house.window(number, "kept")
    house.until(lambda: len(house.rows("kept")) == 12, "the other one goes on after a restart")
    assert "was deleted and made again" in house.log("seal")
    assert house.rows("again") == before
    assert house.rows("kept")[1:] == [4.0] * 11


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
    gone = {"releases-b": ("b", "publish"), "shares": ("a",)}
    for name, roles in gone.items():
        topic = house.settings.topic(name)
        client.delete_topics([topic])[topic].result()
        for role in roles:
            said = f"{topic} was deleted", f"{topic}: does not exist"
            house.until(lambda role=role, said=said: any(t in house.log(role) for t in said), f"{role} says so")  # type: ignore[misc]
