"""Who reads `fairness-metrics` on a real Kafka: `evenstream tail` and `recompute`, the examples, and Kafka's cleaner.

The log is what the real stages make of a scenario whose measurement is revoked after some of its windows were
published, and a window in alarm behind it; the publisher's own writer has put it there.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import scenario as scenarios
from click.testing import CliRunner, Result
from confluent_kafka import Message
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its API
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)
from estimated import through_all_roles
from metric_records import SPEC, hour, void
from prometheus_client import CollectorRegistry

from secure_agg.keyring import create, load_role
from streams.cli import main
from streams.kafka import topics
from streams.kafka.clients import admin, make_producer, read_to_end
from streams.kafka.dev_jars import cache_folder
from streams.records.metric import FairnessMetric
from streams.roles.metrics_writer import MetricsWriter
from streams.settings import Settings, load_settings
from streams.watch.health import RoleHealth

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]

EXAMPLES = Path(__file__).parents[2] / "examples" / "subscribers"
REVOKED_AT_MS = scenarios.START_MS + 27_000


@dataclass
class Log:
    """What lies on the topic, in its order."""

    settings: Settings
    arguments: list[str]
    records: list[FairnessMetric]

    def evenstream(self, *arguments: str) -> Result:
        """A command with this deployment's settings."""
        return CliRunner().invoke(main, [*self.arguments, *arguments], env={"KAFKA_BOOTSTRAP": None})


def windows_of_the_stages(folder: Path) -> list[FairnessMetric]:
    """All that publish says of a scenario that is revoked when it is over, as of a time in it."""
    scenario = scenarios.build("rec-events", 5, events_a_window=40)
    pipeline = through_all_roles(scenario, folder, partitions=4)
    pipeline.revoke(scenario.measurements[0], REVOKED_AT_MS)
    pipeline.run()
    return pipeline.published


def writer(settings: Settings) -> MetricsWriter:
    """Publish's own."""
    identity = load_role(settings.keys.dir, "publish", settings.deployment).identity
    return MetricsWriter(settings, RoleHealth("publish", CollectorRegistry()), identity)


def written(kafka: str, records: list[FairnessMetric], folder: Path) -> Log:
    """A deployment whose topic holds these records, as publish writes them; its keys are made below a folder."""
    overrides = [
        f"keys.dir={folder / os.urandom(4).hex()}",
        f"deployment=t-{os.urandom(4).hex()}",
        f"kafka.bootstrap={kafka}",
        "topics.replication_factor=1",
        "topics.min_insync_replicas=1",
    ]
    settings = load_settings(None, overrides, environment={})
    topics.create(settings, tuple(p for p in topics.plan(settings) if p.name == settings.topic("fairness-metrics")))
    create(settings.keys.dir, settings.deployment)
    writer(settings).write(records)
    return Log(settings, [part for override in overrides for part in ("--set", override)], records)


@pytest.fixture(scope="module")
def log(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Log:
    """The topic, written once."""
    alarmed = [hour(0), hour(1, decided=0.4)]
    assert any(result.alarm for result in alarmed[1].results)
    folder = tmp_path_factory.mktemp("stages")
    return written(kafka, [*windows_of_the_stages(folder / "stages"), *alarmed], folder)


def folded(records: list[FairnessMetric]) -> dict[bytes, FairnessMetric]:
    """The last record under each key, as compaction leaves it."""
    return {record.topic_key(): record for record in records}


# -- statuses -----------------------------------------------------------------------------------------------------


def test_a_superseded_record_is_a_full_one_that_a_later_one_names(log: Log) -> None:
    """Numbers lie under the same key before their withdrawal, whose `supersedes` is their id; nothing else differs."""
    by_key: dict[bytes, list[FairnessMetric]] = {}
    for record in log.records:
        by_key.setdefault(record.topic_key(), []).append(record)
    superseded = [found for found in by_key.values() if len(found) > 1]
    assert superseded
    for first, last in superseded:
        assert first.status in ("published", "suppressed")
        assert first.table is not None
        assert last.status == "withdrawn"
        assert last.supersedes == first.event_id()
        assert first.window.end_ms > REVOKED_AT_MS
    assert all(record.supersedes is None for found in by_key.values() for record in found if record.version == 1)
    # The highest version stands, whatever order a reader takes them in.
    assert folded(log.records) == folded(sorted(log.records, key=lambda record: record.version))


def test_what_compaction_leaves_is_what_a_replay_gives(log: Log, kafka: str, tmp_path: Path) -> None:
    """Kafka's own cleaner leaves, of the whole log, precisely the records that a reader of all of it ends with."""
    settings = written(kafka, log.records, tmp_path).settings
    client, topic = admin(settings), settings.topic("fairness-metrics")

    def configure(kind: ResourceType, name: str, entries: dict[str, str | None]) -> None:
        how = {True: AlterConfigOpType.DELETE, False: AlterConfigOpType.SET}
        changes = [ConfigEntry(key, value, incremental_operation=how[value is None]) for key, value in entries.items()]
        resource = ConfigResource(kind, name, incremental_configs=changes)
        client.incremental_alter_configs([resource])[resource].result(10)

    at_once = {"segment.ms": "1", "min.cleanable.dirty.ratio": "0.0", "max.compaction.lag.ms": "1"}
    configure(ResourceType.TOPIC, topic, at_once)
    (broker, *_) = map(str, client.list_topics(timeout=10).brokers)
    configure(ResourceType.BROKER, broker, {"log.cleaner.backoff.ms": "100"})
    try:
        expected = {record.topic_key(): record.encode() for record in folded(log.records).values()}
        assert len(expected) < len(log.records)
        left: list[Message] = []
        deadline = time.monotonic() + 60
        while len(left) != len(expected):
            assert time.monotonic() < deadline, "the cleaner has not come within a minute"
            producer = make_producer(settings, None)
            producer.produce(topic, key=b"roll", value=b"ends the segment before it", partition=0)
            producer.flush(10)
            left = [message for message in read_to_end(settings, topic) if message.key() != b"roll"]
        assert {message.key(): message.value() for message in left} == expected
    finally:
        configure(ResourceType.BROKER, broker, {"log.cleaner.backoff.ms": None})


# -- the commands -------------------------------------------------------------------------------------------------


def test_tail_shows_every_window_and_all_are_in_order(log: Log, tmp_path: Path) -> None:
    """Value, headers, key, partition and order hold of all that publish wrote; the lines are the records, bit for bit.

    What it writes is a file of which `recompute` reproduces every number, and so it does from the topic; and with the
    specs nothing is open of a level's windows but why some are void or withdrawn.
    """
    done = log.evenstream("tail", "--from", "beginning", "--no-follow", "--validate", "--json")
    assert done.exit_code == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["value"] for line in lines] == [json.loads(record.encode()) for record in log.records]
    assert [line["headers"]["ce_id"] for line in lines] == [record.event_id() for record in log.records]
    assert f"{len(lines):,} records checked, 0 wrong" in done.stderr
    file = tmp_path / "records.jsonl"
    file.write_text(done.stdout)
    from_file, from_topic = log.evenstream("recompute", "--file", str(file)), log.evenstream("recompute")
    assert from_file.exit_code == 0, from_file.stderr
    assert from_topic.stdout == from_file.stdout
    assert "all equal" in from_file.stdout
    assert all("not checked: terms" in line for line in from_file.stdout.splitlines()[:-1])
    specs = [*scenarios.build("rec-events", 5, events_a_window=40).measurements, SPEC]
    paths = [tmp_path / f"{number}.json" for number in range(len(specs))]
    for path, spec in zip(paths, specs, strict=True):
        path.write_bytes(spec.canonical_bytes())
    given = [part for path in paths for part in ("--spec", str(path))]
    held = log.evenstream("recompute", *given, "--json")
    assert held.exit_code == 0, held.stderr
    unchecked = {text for line in held.stdout.splitlines() for text in json.loads(line)["unchecked"]}
    assert {text.partition(":")[0] for text in unchecked} == {"status"}


def test_tail_in_words(log: Log) -> None:
    """A line a window, of those that were asked for: the alarm with its group, and the number of windows wanted."""
    words = log.evenstream("tail", "--from", "beginning", "--no-follow", "--level", "1h", "--metric", "tpr")
    assert words.exit_code == 0, words.stderr
    header, *lines = words.stdout.splitlines()
    assert header.startswith("window ends")
    assert len(lines) == 2
    assert "two recommendation_rate" in lines[1]
    few = log.evenstream("tail", "--from", "beginning", "--measurement", "feed", "--count", "3", "--json")
    assert [json.loads(line)["value"]["measurement"] for line in few.stdout.splitlines()] == ["feed"] * 3
    later = log.evenstream("tail", "--from", "2100-01-01T00:00:00Z", "--no-follow", "--json")
    assert (later.exit_code, later.stdout) == (0, "")


def test_tail_says_what_there_is_instead_of_what_is_not(log: Log) -> None:
    """A slip of the pen is no quiet topic."""
    begin = ("tail", "--from", "beginning", "--no-follow")
    told = log.evenstream(*begin, "--level", "5m").stderr
    assert told.startswith("there is no such window; there are windows of ")
    assert "feed (10s, 1m, 1h)" in told
    assert "no window has tpp; there are " in log.evenstream(*begin, "--metric", "tpp").stderr
    assert "there " not in log.evenstream(*begin, "--metric", "tpr").stderr


def test_tail_names_what_is_wrong_and_ends_with_1(log: Log, kafka: str, tmp_path: Path) -> None:
    """A stranger's records beside publish's own: each is named by its place, and the others still shown."""
    other = written(kafka, [hour(0)], tmp_path)
    topic, producer = other.settings.topic("fairness-metrics"), make_producer(other.settings, None)
    producer.produce(topic, key=b"feed/1h/1", value=b"{}", partition=0)
    producer.produce(topic, key=void().topic_key(), value=void().encode(), partition=0)  # and no headers
    forged = hour(0).model_copy(update={"confidence": 0.9})
    (*_, genuine) = [record.headers() for record in read_to_end(other.settings, topic) if record.headers()]
    producer.produce(topic, key=forged.topic_key(), value=forged.encode(), headers=genuine, partition=0)
    producer.flush(10)
    done = other.evenstream("tail", "--from", "beginning", "--no-follow", "--validate")
    assert done.exit_code == 1
    assert "partition 0 offset 2: value: $: expected measurement, revision" in done.stderr
    assert "offset 3: header ce_id: not there, expected 'feed/10s/1764000010000/1'" in done.stderr
    assert "offset 3: header ce_signature: publish has not signed it: it has no signature" in done.stderr
    (told,) = [line for line in done.stderr.splitlines() if "offset 4: " in line]
    assert told.endswith(
        "header ce_signature: publish has not signed it: its signature does not verify under the pinned key"
    )
    assert "3 of 4 records" in done.stderr
    assert "published" in done.stdout
    stranger = other.evenstream(
        "--set", f"keys.dir={tmp_path}", "tail", "--from", "beginning", "--no-follow", "--validate"
    )
    assert "signatures are not verified, for there is no" in stranger.stderr
    assert "wrong; signatures were not verified" in stranger.stderr
    trusted = ("--trusted", str(other.settings.keys.dir / "publish" / "trusted.json"))
    named = other.evenstream(
        "--set", f"keys.dir={tmp_path}", "tail", "--from", "beginning", "--no-follow", "--validate", *trusted
    )
    assert named.stderr == done.stderr
    broken = other.evenstream("recompute")
    assert broken.exit_code == 1
    assert "partition 0 offset 2: fairness-metrics: measurement: Field required" in broken.stderr


def follower(*command: str) -> subprocess.Popen[str]:
    """A process that follows the topic."""
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def heard(process: subprocess.Popen[str], enough: Callable[[list[str]], bool]) -> list[str]:
    """Lines of a process until there are enough; it is ended then, whatever comes."""
    lines: list[str] = []
    try:
        assert process.stdout is not None
        while not enough(lines):
            line = process.stdout.readline()
            assert line, process.communicate()[1]
            lines.append(line.rstrip())
    finally:
        process.terminate()
        process.communicate(timeout=20)
    return lines


def test_tail_ends_when_it_is_told_to(log: Log) -> None:
    """Ctrl-C is how it ends, and a reader that has had enough is no error; neither leaves a traceback."""
    command = (sys.executable, "-m", "streams.cli", *log.arguments, "tail", "--from", "beginning", "--json")
    process = follower(*command)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=20)
    assert (process.returncode, "Traceback" in told) == (0, False)
    process = follower(*command)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    writer(log.settings).write([log.records[-1]] * 40)  # more than a pipe holds
    told = process.stderr.read()
    assert (process.wait(timeout=20), "Traceback" in told) == (0, False), told


def test_a_topic_that_is_not_there(log: Log) -> None:
    """Both commands name it, and end with 1."""
    for command in ("tail", "recompute"):
        done = log.evenstream("--set", "deployment=t-none", command)
        assert done.exit_code == 1
        assert "topic 't-none.fairness-metrics' does not exist" in done.stderr


# -- the examples -------------------------------------------------------------------------------------------------


def check_alarms(log: Log, lines: list[str]) -> None:
    """Each alarm is there once, with the window in which it begins, and so is each silent window."""
    alarms = [line for line in lines if " ALARM " in line]
    assert len(alarms) == sum(map(began, log.records)) > 0
    assert sum(len([r for r in w.results if r.alarm]) for w in log.records) > len(alarms)
    assert sum(line.startswith("feed/1h 2025-11-24T17:00:00.000Z ALARM two ") for line in alarms) == 1
    silent = [line for line in lines if " ALARM " not in line]
    assert len(silent) == sum(record.status != "published" for record in log.records)
    assert any(" withdrawn revoked" in line for line in silent)


def expected_lines(log: Log) -> int:
    """How many lines a subscriber prints of the log."""
    return sum((w.status != "published") + began(w) for w in log.records)


def began(window: FairnessMetric) -> int:
    """How many alarms begin with a window."""
    return sum(bool(r.alarm) and r.alarm_since_ms == window.window.end_ms for r in window.results)


@pytest.fixture(scope="module")
def repeated(log: Log, kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Log:
    """The same, with a record in alarm twice: as a reader sees it who was told to read again."""
    *before, alarm, last = log.records
    other = written(kafka, [*before, alarm, alarm, last], tmp_path_factory.mktemp("repeated"))
    return Log(other.settings, [], log.records)


def test_the_python_subscriber(repeated: Log) -> None:
    """Some thirty lines and confluent-kafka: it prints what the log says, and what comes twice once."""
    file = EXAMPLES / "alarms.py"
    assert len(file.read_text().splitlines()) <= 40
    assert "evenstream" not in file.read_text().partition('"""')[2].partition('"""')[2]
    arguments = (repeated.settings.kafka.bootstrap, repeated.settings.deployment)
    lines = heard(follower(sys.executable, str(file), *arguments), lambda found: len(found) == expected_lines(repeated))
    check_alarms(repeated, lines)


@pytest.mark.skipif(shutil.which("javac") is None, reason="a Java source file is run by a JDK")
def test_the_java_subscriber(repeated: Log) -> None:
    """The same lines from Java, with the jars that `evenstream dev kafka fetch` brings."""
    libraries = cache_folder() / "libs"
    if not libraries.is_dir():
        pytest.skip("no jars here: `evenstream dev kafka fetch`")
    quick = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")  # it lives for seconds
    command = ("java", *quick, "-cp", f"{libraries}/*", str(EXAMPLES / "Alarms.java"))
    arguments = (repeated.settings.kafka.bootstrap, repeated.settings.deployment)
    lines = heard(follower(*command, *arguments), lambda found: len(found) == expected_lines(repeated))
    check_alarms(repeated, lines)
