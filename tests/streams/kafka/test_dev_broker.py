"""The broker on a developer's machine: what it needs, how it starts and stops, and that it is a real Kafka."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Producer

from streams.errors import KafkaUnavailable, PrerequisiteMissing
from streams.kafka import dev_broker
from streams.kafka.clients import producer_config, read_to_end, wait_for_kafka
from streams.kafka.dev_broker import DevBroker
from streams.kafka.dev_jars import KAFKA_VERSION, cache_folder, class_archive, ensure_jars, find_java
from streams.kafka.topics import create, plan
from streams.settings import Settings


def quiet(line: str) -> None:
    """Progress that nobody reads."""


def program(folder: Path, name: str, script: str) -> None:
    """An executable that stands in for a real one."""
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with an empty cache and an empty PATH; returns the folder on the PATH."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("EVENSTREAM_CACHE", str(tmp_path / "cache"))
    return programs


def test_the_cache_folder_can_be_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    """EVENSTREAM_CACHE names the cache folder, and each Kafka version has its own."""
    monkeypatch.setenv("EVENSTREAM_CACHE", "elsewhere")
    assert cache_folder() == Path("elsewhere") / f"kafka-{KAFKA_VERSION}"


def test_a_missing_java_is_named_with_its_command(bare: Path, tmp_path: Path) -> None:
    """Without Java, the message has the exact command, and the way without Java."""
    with pytest.raises(PrerequisiteMissing) as raised:
        DevBroker(tmp_path / "kafka").start()
    assert "apt-get install -y default-jre-headless" in str(raised.value)
    assert "KAFKA_BOOTSTRAP" in str(raised.value)


def test_an_old_java_is_named(bare: Path, tmp_path: Path) -> None:
    """A Java that cannot run this Kafka is told by its version, not by a class file error."""
    program(bare, "java", """echo 'openjdk version "11.0.2" 2019-01-15' >&2""")
    with pytest.raises(PrerequisiteMissing, match="needs Java 17 or newer"):
        DevBroker(tmp_path / "kafka").start()


def test_a_missing_maven_is_named_with_its_command(bare: Path) -> None:
    """Without Maven, the message has the exact command."""
    with pytest.raises(PrerequisiteMissing, match="apt-get install -y default-jre-headless maven"):
        ensure_jars(quiet)


def test_a_maven_that_fails_leaves_nothing_half_done(bare: Path) -> None:
    """What Maven said is shown, and the cache stays as it was."""
    program(bare, "mvn", "echo '[ERROR] no route to the repository'; exit 1")
    with pytest.raises(PrerequisiteMissing, match="no route to the repository"):
        ensure_jars(quiet)
    assert list(cache_folder().parent.iterdir()) == []


def test_jars_are_copied_once_and_whole(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder appears complete, in place of a half one; the second time Maven is not called."""
    jar = 'for word; do case $word in -DoutputDirectory=*) out=${word#*=};; esac; done; mkdir "$out"; : >"$out/a.jar"'
    monkeypatch.setenv("PATH", f"{bare}:/usr/bin:/bin")
    program(bare, "mvn", jar)
    half = cache_folder() / "libs"
    half.mkdir(parents=True)
    (half / "old.jar").touch()
    told: list[str] = []
    folder = ensure_jars(told.append)
    assert [file.name for file in (folder / "libs").iterdir()] == ["a.jar"]
    assert told[-1].strip() == "1 jars are in place"
    program(bare, "mvn", "exit 1")
    assert ensure_jars(quiet) == folder
    assert [file.name for file in folder.parent.iterdir()] == [folder.name]


def test_each_java_has_an_archive_of_its_own(bare: Path, tmp_path: Path) -> None:
    """Classes that one build of Java has kept are not given to another, and where there are none, no file is named."""
    found = []
    for build in ("17.0.1", "21.0.2"):
        folder = tmp_path / build
        folder.mkdir()
        program(folder, "java", f"""echo 'openjdk version "{build}"' >&2""")
        found.append(class_archive(str(folder / "java")))
    first, second = found
    assert first != second
    first.parent.mkdir(parents=True)
    first.touch()
    assert any(str(first) in word for word in dev_broker._java_options(str(tmp_path / "17.0.1" / "java")))
    assert not any("jsa" in word for word in dev_broker._java_options(str(tmp_path / "21.0.2" / "java")))


@pytest.mark.kafka
def test_the_archive_of_classes_fits() -> None:
    """Java takes Kafka's classes from what `evenstream dev kafka fetch` has made; else it would not start."""
    java = find_java()
    if not class_archive(java).exists():
        pytest.skip("no archive here: `evenstream dev kafka fetch`")
    command = [java, *dev_broker._java_options(java), "-Xshare:on", "-cp", f"{cache_folder()}/libs/*"]
    loaded = subprocess.run(
        [*command, "-Xlog:class+load", "kafka.Kafka", "--version"], capture_output=True, text=True, check=False
    )
    assert loaded.returncode == 0, loaded.stdout[-500:] + loaded.stderr
    assert "org.apache.kafka.common.utils.AppInfoParser source: shared objects file (top)" in loaded.stdout


def test_a_stale_process_id_is_not_ours(tmp_path: Path) -> None:
    """A process that got the number of a broker long gone is neither taken for it nor ended."""
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        (tmp_path / "broker.json").write_text(json.dumps({"pid": bystander.pid, "started_ticks": 1, "port": 9}))
        broker = DevBroker(tmp_path)
        assert broker.running() is None
        assert broker.stop() is False
        assert bystander.poll() is None
        assert not (tmp_path / "broker.json").exists()
    finally:
        bystander.kill()
        bystander.wait()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}', '{"pid": "x", "started_ticks": 1, "port": 1}'])
def test_a_broken_pid_file_is_no_broker(tmp_path: Path, content: str) -> None:
    """Whatever stands in the pid file, asking is safe."""
    (tmp_path / "broker.json").write_text(content)
    assert DevBroker(tmp_path).running() is None


@pytest.mark.kafka
def test_a_taken_port_is_told_before_java_starts(tmp_path: Path) -> None:
    """Another server on the port is not mistaken for the broker that was to be started."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(KafkaUnavailable, match=f"cannot listen on 127.0.0.1:{port}.*KAFKA_BOOTSTRAP"):
            DevBroker(tmp_path / "kafka").start(port, quiet)


@pytest.mark.kafka
@pytest.mark.slow
def test_a_broker_lives_as_told(tmp_path: Path, make_settings: Callable[..., Settings]) -> None:
    """Started, started again (the same one), killed, started on the same data, and stopped: records stay readable."""
    broker = DevBroker(tmp_path / "kafka")
    try:
        first = broker.start(progress=quiet)
        assert broker.start(progress=quiet) == first
        assert DevBroker(tmp_path / "kafka").running() == first
        settings = make_settings(first.bootstrap)
        create(settings, plan(settings))
        producer = Producer(producer_config(settings, settings.transactional_id("test", 0)))
        producer.init_transactions(20)
        producer.begin_transaction()
        producer.produce(settings.topic("ledger-a"), value=b"kept")
        producer.commit_transaction(10)
        # From here on this process's client for questions knows the leader epoch, which the kill makes an old one.
        assert [message.value() for message in read_to_end(settings, settings.topic("ledger-a"))] == [b"kept"]

        os.kill(first.pid, signal.SIGKILL)
        os.waitpid(first.pid, 0)
        assert broker.running() is None
        second = broker.start(progress=quiet)
        assert second.pid != first.pid
        assert second.bootstrap == first.bootstrap
        wait_for_kafka(settings, 20)
        assert [message.value() for message in read_to_end(settings, settings.topic("ledger-a"))] == [b"kept"]

        started = time.monotonic()
        assert broker.stop() is True
        assert time.monotonic() - started < 15
        assert broker.running() is None
        assert broker.stop() is False
    finally:
        broker.stop()


@pytest.mark.kafka
@pytest.mark.slow
def test_a_start_that_was_interrupted_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the storage is formatted does not spoil the folder."""
    broker = DevBroker(tmp_path / "kafka")

    def interrupted(self: DevBroker, java: str, classpath: str, properties: Path) -> None:
        (self.folder / "data").mkdir()
        (self.folder / "data" / "meta.properties").write_text("half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(dev_broker.DevBroker, "_format", interrupted)
        with pytest.raises(KeyboardInterrupt):
            broker.start(progress=quiet)
    try:
        assert broker.start(progress=quiet).is_running()
    finally:
        broker.stop()
