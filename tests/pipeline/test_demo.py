"""`make demo`, as a person runs it: it ends with a verdict, and whatever ends it, nothing of it is left."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner

from streams.cli import main
from streams.kafka.clients import admin
from streams.settings import load_settings

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


def start(folder: Path, *options: str, **environment: str) -> subprocess.Popen[str]:
    """Start a demo with its runs in ``folder``."""
    clean = {name: value for name, value in os.environ.items() if name != "KAFKA_BOOTSTRAP"}
    command = [sys.executable, "-m", "streams.cli", "demo", "--dir", str(folder), *options]
    return subprocess.Popen(
        command, env=clean | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def left_behind(folder: Path) -> list[str]:
    """Command lines of processes that name the folder, and what of keys and data is still there."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(folder) in line and int(process.name) != os.getpid():
            found.append(line)
    return found + [str(path) for run in folder.glob("*") for path in (run / "keys", run / "kafka") if path.exists()]


def read_until(demo: subprocess.Popen[str], words: str) -> str:
    """What the demo prints, up to the line that holds these words."""
    assert demo.stdout is not None
    seen = ""
    for line in demo.stdout:
        seen += line
        if words in line:
            return seen
    raise AssertionError(f"the demo ended before it said {words!r}:\n{seen}")


class OnTheRunningDemo:
    """The commands of reviewers, parties and members, as a person runs them beside a demo that was kept up."""

    def __init__(self, folder: Path) -> None:
        (config,) = folder.glob("*/evenstream.yaml")
        self._environment = {"KAFKA_BOOTSTRAP": None, "EVENSTREAM_CONFIG": str(config)}
        self._key = config.parent / "keys" / "governance" / "reviewer-3.key"
        self._page = folder / "page"

    def call(self, *arguments: str) -> str:
        """Run one command, which must succeed; what it printed. In this process: a new one takes 2 s to begin."""
        done = CliRunner().invoke(main, arguments, env=self._environment, prog_name="evenstream")
        assert done.exit_code == 0, (arguments, done.output, done.exception)
        return done.output

    def try_all(self, metrics: str) -> None:
        """Each shows what it should; then one reviewer stops the feed, and everybody sees it."""
        status = self.call("measurement", "status")
        assert status.count("active") == 2, status
        assert "simulated-feed" in self.call("measurement", "history")
        self.call("measurement", "verify")
        assert "2.7" in self.call("measurement", "review", "simulated-feed")
        for party in ("a", "b"):
            assert "0.6" in self.call("ledger", "show", "--party", party)
            self.call("ledger", "verify", "--party", party)
        self.call("concern", "raise", "--measurement", "simulated-feed", "--text", "Why this one?")
        assert "Why this one?" in self.call("concern", "list")
        revoke = ("--key", str(self._key), "--reason", "to see it stop", "--yes")
        self.call("measurement", "revoke", "simulated-feed", *revoke)
        assert "revoked" in self.call("measurement", "status", "simulated-feed")
        deadline = time.monotonic() + 20
        while not re.search(r'evenstream_measurement_info\{[^}]*simulated-feed[^}]*state="revoked"', scrape(metrics)):
            assert time.monotonic() < deadline, "publish did not show the revocation"
            time.sleep(0.2)
        assert "evenstream_concerns_open 1.0" in scrape(metrics)
        self.call("transparency", "--out", str(self._page))
        pages = "".join(path.read_text() for path in self._page.iterdir())
        assert "to see it stop" in pages
        assert "simulated-feed" in pages


def scrape(address: str) -> str:
    """What /metrics says."""
    with urllib.request.urlopen(address, timeout=5) as answer:
        return str(answer.read().decode())


@pytest.mark.timeout(500)
def test_the_demo_ends_with_its_verdict_and_leaves_no_topic(kafka: str, tmp_path: Path) -> None:
    """On a cluster that was there before: exit code 0, every condition holds, and its topics are gone afterwards.

    Before it ends, the commands of review, ledgers, concerns and transparency are tried on it.
    """
    demo = start(tmp_path, "--keep", KAFKA_BOOTSTRAP=kafka)
    output = read_until(demo, "kept up:")
    try:
        OnTheRunningDemo(tmp_path).try_all(re.search(r"kept up: (\S+)", output)[1])  # type: ignore[index]
    finally:
        demo.send_signal(signal.SIGINT)
        rest, _ = demo.communicate(timeout=60)
    output += rest
    assert demo.returncode == 0, output
    assert len(re.findall(r"^holds ", output, re.MULTILINE)) == 7
    assert "FAILS" not in output
    assert "events in: 240,000 simulated, 2,676 of the primaries log" in output
    assert re.search(r"simulated-feed: rho 0.1, epsilon 2.7\d at delta 1e-09", output)
    assert demo_topics(kafka) == []
    assert left_behind(tmp_path) == []


def demo_topics(kafka: str) -> list[str]:
    """The topics of demos that a cluster holds."""
    settings = load_settings(None, [f"kafka.bootstrap={kafka}"], environment={})
    return [name for name in admin(settings).list_topics(timeout=10).topics if name.startswith("demo-")]


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("moment", "own"),
    [("starting Kafka", True), ("drawing", False), ("starting seal", False), ("metrics:", True)],
)
def test_ctrl_c_stops_all_that_was_started(kafka: str, tmp_path: Path, moment: str, own: bool) -> None:
    """An interruption at any stage ends with 130, no process, no keys and no data; nor topics, where Kafka stays."""
    demo = start(tmp_path, **({} if own else {"KAFKA_BOOTSTRAP": kafka}))
    assert demo.stdout is not None
    seen = ""
    for line in demo.stdout:
        seen += line
        if moment in line:
            break
    time.sleep(0.5)  # into the middle of what the line announces
    demo.send_signal(signal.SIGINT)
    rest, _ = demo.communicate(timeout=60)
    assert demo.returncode == 130, seen + rest
    assert "Traceback" not in seen + rest
    assert left_behind(tmp_path) == []
    assert demo_topics(kafka) == []


def test_a_failure_before_kafka_touches_no_keys(tmp_path: Path) -> None:
    """Without Java the demo says what to install, and a folder of keys beside it stays as it was."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "precious.key").write_text("mine")
    demo = subprocess.run(
        [sys.executable, "-m", "streams.cli", "demo"],
        cwd=tmp_path,
        env={"PATH": "/nonexistent", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert demo.returncode == 1
    assert "apt-get install" in demo.stderr
    assert (tmp_path / "keys" / "precious.key").read_text() == "mine"
