"""The real log, replayed with its own times, by the commands that a user types: one window for each of its days."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml

from streams.kafka.clients import read_to_end
from streams.records.metric import FairnessMetric
from streams.settings import Settings, load_settings

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

EXAMPLE = Path(__file__).parents[2] / "examples" / "primaries-2022"
DAYS = 197
"""From 1 March to 13 September 2022, the last primary of the log."""


@dataclass
class Shell:
    """A user's shell: commands with one settings file."""

    config: Path
    settings: Settings

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "streams.cli", "--config", str(self.config), *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, *arguments: str) -> tuple[int, str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=60)
        return process.returncode, out + err

    def windows(self) -> list[FairnessMetric]:
        topic = self.settings.topic("fairness-metrics")
        return [FairnessMetric.decode(record.value() or b"") for record in read_to_end(self.settings, topic)]


def _approval(spec: Path, name: str, keys: Path) -> list[tuple[str, ...]]:
    """The three commands that put a measurement in force: two of three reviewers."""
    first, second = (str(keys / "governance" / f"reviewer-{number}.key") for number in (1, 2))
    return [
        ("measurement", "propose", str(spec), "--key", first),
        ("measurement", "approve", name, "--key", first, "--yes"),
        ("measurement", "approve", name, "--key", second, "--yes"),
    ]


@pytest.fixture(scope="module")
def shell(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """Everything up to the roles: topics, keys, and an approved measurement."""
    folder = tmp_path_factory.mktemp("as-logged")
    config = folder / "evenstream.yaml"
    content = {
        "deployment": f"t-{os.urandom(4).hex()}",
        "kafka": {"bootstrap": kafka},
        "topics": {"replication_factor": 1, "min_insync_replicas": 1},
        "keys": {"dir": str(folder / "keys")},
        "http": {"port": 0},
        "privacy": {"rho_30_days_limit": 20, "rho_year_limit": 140},  # as the example's page says: seven months
    }
    config.write_text(yaml.safe_dump(content))
    shell = Shell(config, load_settings(config, environment={}))
    # Source topics belong to the company, so their names bear no deployment: this test takes one of its own.
    source = f"{content['deployment']}-log"
    spec = folder / "measurement.yaml"
    spec.write_text((EXAMPLE / "as-logged.yaml").read_text().replace("primaries-logged", source, 1))
    for arguments in (
        ("topics", "create", "--with-logged", source),
        ("topics", "create", "--check", "--with-logged", source),
        ("keys", "init"),
        ("measurement", "check", str(spec)),
        *_approval(spec, "primaries-2022-as-logged", folder / "keys"),
    ):
        status, output = shell.run(*arguments)
        assert status == 0, output
    return shell


@pytest.fixture(scope="module")
def replayed(shell: Shell) -> Iterator[Shell]:
    """The roles on one machine, and the log played to them."""
    roles = shell.start("up")
    try:
        events, members = str(EXAMPLE / "events.jsonl"), str(EXAMPLE / "members.jsonl")
        status, output = shell.run("replay", events, "--members", members, "--as-logged")
        assert status == 0, output
        assert "2,676 of 2,676 (100 %)" in output
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and len(shell.windows()) < DAYS:
            time.sleep(0.5)
        yield shell
    finally:
        roles.send_signal(signal.SIGINT)
        roles.communicate(timeout=30)
    assert roles.returncode == 0


def test_each_day_has_its_window_and_its_rows(replayed: Shell) -> None:
    """Every day of the log's seven months is released, empty ones too, with that day's rows up to the noise."""
    windows = {window.window.start_ms // 86_400_000: window for window in replayed.windows()}
    assert len(windows) == DAYS
    events = Counter(
        int(np.datetime64(json.loads(line)["ts"][:10], "D").astype(int))
        for line in (EXAMPLE / "events.jsonl").read_text().splitlines()
    )
    assert set(events) <= set(windows)
    total = 0.0
    for day, window in windows.items():
        assert window.status in ("published", "suppressed")
        assert window.table is not None
        rows = sum(map(sum, window.table.values))
        spread = window.privacy.noise_sigma_rows * np.sqrt(24)
        assert abs(rows - events[day]) < 5.5 * spread, (day, rows, events[day])
        total += rows
    assert abs(total - 2676) < 5.5 * spread * np.sqrt(DAYS)
    assert any(window.status == "published" for window in windows.values())


def test_a_live_topic_is_refused(shell: Shell) -> None:
    """A log cannot be replayed with its own times to a topic on which the broker overwrites them."""
    spec = shell.config.with_name("live.yaml")
    source = f"{shell.settings.deployment}-live"
    text = (EXAMPLE / "as-logged.yaml").read_text().replace("primaries-logged", source, 1)
    text = text.replace("primaries-2022-as-logged", "live-log").replace("rho_member_day: 0.5", "rho_member_day: 0.1")
    spec.write_text(text)
    for arguments in (
        ("topics", "create", "--with-inputs", source),
        *_approval(spec, "live-log", shell.settings.keys.dir),
    ):
        status, output = shell.run(*arguments)
        assert status == 0, output
    status, output = shell.run("replay", str(EXAMPLE / "events.jsonl"), "--measurement", "live-log", "--as-logged")
    assert status == 1
    assert "LogAppendTime" in output
    assert "kafka-configs.sh" in output
    assert "Traceback" not in output


def test_roles_end_with_a_supervisor_that_is_killed(shell: Shell) -> None:
    """A kill -9 of `evenstream up` leaves no role behind."""
    roles = shell.start("up")
    try:
        children: list[int] = []
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and len(children) < 5:
            time.sleep(0.1)
            text = Path(f"/proc/{roles.pid}/task/{roles.pid}/children").read_text()
            children = [int(pid) for pid in text.split()]
        time.sleep(1.5)  # a role asks the kernel for its signal in its first second
    finally:
        roles.kill()
        roles.communicate()
    assert len(children) == 5
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and any(_runs(pid) for pid in children):
        time.sleep(0.1)
    assert not [pid for pid in children if _runs(pid)]


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
