"""SIGTERM to `publish` as the first process of its PID namespace, where the kernel drops what no handler is set for.

That is what a container's process is. It ends with 0, soon, wherever it is: waiting for Kafka, at its releases, or amid
Faust's start, which has handlers of its own later.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from secure_agg.keyring import create
from streams.free_ports import free_port
from streams.kafka import topics
from streams.kafka.clients import make_producer, produce
from streams.settings import Settings

MakeSettings = Callable[..., Settings]

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("unshare") is None, reason="makes a PID namespace: needs root and unshare"
    ),
]

_START_SECONDS = 60.0
_PLAIN = "from streams.cli import main; main()"
_SIGNAL_BEFORE_FAUST = """
import os, signal
from streams.cli import main
from streams.roles import publish_app
make_app = publish_app.make_app
def told_just_before(*given):
    os.kill(os.getpid(), signal.SIGTERM)
    return make_app(*given)
publish_app.make_app = told_just_before
main()
"""


class First:
    """`publish` as process 1 of a PID namespace.

    Attributes:
        pid: as it is known outside of the namespace.
    """

    def __init__(self, settings: Settings, log: Path, code: str) -> None:
        self._log = log
        self._port = settings.port("publish")
        given = (
            f"deployment={settings.deployment}",
            f"kafka.bootstrap={settings.kafka.bootstrap}",
            "topics.replication_factor=1",
            "topics.min_insync_replicas=1",
            f"keys.dir={settings.keys.dir}",
            "keys.governance_threshold=1",
            "test_cluster=true",
            f"http.port={settings.http.port}",
        )
        options = [part for each in given for part in ("--set", each)]
        with log.open("wb") as out:
            self._outer = subprocess.Popen(
                ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-c", code, *options, "publish"],
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        children = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children")
        self.until(lambda: bool(children.read_text().split()))
        self.pid = int(children.read_text().split()[0])

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait for something, while the process lives."""
        deadline = time.monotonic() + _START_SECONDS
        while not holds():
            assert self._outer.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.02)

    def hears(self, number: signal.Signals) -> bool:
        """Whether it has set a handler for a signal."""
        (caught,) = (
            int(line.split()[1], 16)
            for line in Path(f"/proc/{self.pid}/status").read_text().splitlines()
            if line.startswith("SigCgt:")
        )
        return bool(caught >> (number - 1) & 1)

    @property
    def readiness(self) -> str:
        """What /readyz says; empty while nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/readyz", timeout=5) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            return error.read().decode()
        except OSError:
            return ""

    @property
    def said(self) -> str:
        """The end of its log."""
        return self._log.read_text()[-3_000:]

    def tell(self) -> None:
        """SIGTERM, as a container's runtime sends it."""
        os.kill(self.pid, signal.SIGTERM)

    def ends_within(self, seconds: float) -> int:
        """Its exit status."""
        try:
            return self._outer.wait(seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"it still runs after {seconds:g} s:\n{self.said}")

    def close(self) -> None:
        """Leave nothing behind: unshare takes process 1 with it."""
        self._outer.kill()
        self._outer.wait()


@contextmanager
def started(settings: Settings, folder: Path, code: str = _PLAIN) -> Iterator[First]:
    """A process that is gone when the test is over."""
    first = First(settings, folder / "publish.log", code)
    try:
        yield first
    finally:
        first.close()


def test_while_it_waits_for_kafka(make_settings: MakeSettings, tmp_path: Path) -> None:
    """It waits for a minute where nobody answers, and ends long before that when it is told to."""
    settings = make_settings("127.0.0.1:1", f"http.port={free_port()}")
    create(tmp_path / "keys", settings.deployment)
    with started(settings, tmp_path) as first:
        first.until(lambda: first.hears(signal.SIGTERM))
        first.tell()
        assert first.ends_within(15) == 0  # a question to Kafka of 2 s, and then 8 s


def test_at_its_releases_and_around_faust(kafka: str, make_settings: MakeSettings, tmp_path: Path) -> None:
    """When Faust runs, just before Faust has set its handlers, and amid many releases: it ends in order each time."""
    settings = make_settings(kafka, f"http.port={free_port()}")
    create(tmp_path / "keys", settings.deployment)
    topics.create(settings, topics.plan(settings))
    with started(settings, tmp_path) as first:
        first.until(
            lambda: first.readiness.startswith("ok") and first.hears(signal.SIGUSR1)
        )  # which Faust sets as well
        first.tell()
        assert first.ends_within(10) == 0
        assert "ends without it" not in first.said
    with started(settings, tmp_path, _SIGNAL_BEFORE_FAUST) as first:
        assert first.ends_within(_START_SECONDS) == 0
        assert "ends without it" not in first.said
        assert "which took more than" not in first.said
    producer = make_producer(settings, None)
    for _ in range(400_000):
        produce(producer, settings.topic("releases-a"), value=b"no release")
    assert producer.flush(60) == 0
    with started(settings, tmp_path) as first:
        first.until(lambda: "replaying releases" in first.readiness)
        first.tell()
        assert first.ends_within(5) == 0
        assert "told to stop before all releases were read" in first.said
        assert "which took more than" not in first.said
