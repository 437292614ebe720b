"""On a real Kafka, with the commands: a party that is down and comes back, a key that is lost, records that are gone.

One deployment lives through all three, while events come; at the end each window is the oracle's, or void as skipped.
"""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from confluent_kafka import TopicPartition

from privacy import parse_measurement
from streams.cli import main
from streams.feed import Feed
from streams.kafka.clients import admin, read_to_end
from streams.records.metric import FairnessMetric
from streams.trial import Trial

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]

WINDOW_MS = 2_000
COMMITTED_SECONDS = 1.1 * WINDOW_MS / 1000
"""Within it a window ends, so that few rows, which wait for that, are on `sealed`: else nothing could be lost."""
PATIENCE_SECONDS = 120.0
SPEC = """
id: feed
purpose: outages
source: {{topic: {topic}, member: m, time: ts, time_format: epoch_ms}}
cells: {{decision: {{field: r}}}}
windows: {{base: 2s, lateness: 3s, max_future: 1s}}
reference: white
privacy: {{contribution_cap: 24, cap_rule: first, rho_member_day: 0.1}}
review: {{owner: the tests, harm_considered: none, data_used: made up, retention: until the test ends}}
test_only: {{noise_scale_units: 0.01}}
"""


class Traffic:
    """Twenty events a second, of three hundred members in turn, and how many rows each window must have by cell."""

    def __init__(self, trial: Trial, topic: str) -> None:
        self.rows: Counter[tuple[int, bool]] = Counter()
        self._feed, self._topic = Feed(trial.settings), topic
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def _run(self) -> None:
        k = 0
        while not self._stop.wait(0.05):
            k += 1
            ts, r = time.time_ns() // 1_000_000, k % 3 == 0
            self._feed.send(self._topic, None, json.dumps({"m": f"m{k % 300}", "ts": ts, "r": r}).encode())
            self.rows[ts - ts % WINDOW_MS + WINDOW_MS, r] += 1

    def stop(self) -> None:
        """End, with everything durable."""
        self._stop.set()
        self._thread.join()
        self._feed.flush()


class House:
    """The deployment, and what is done to it."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        source = trial.settings.topic("rec-events")
        trial.prepare([source])
        begin = (time.time_ns() // 1_000_000 // WINDOW_MS + 1) * WINDOW_MS
        spec = parse_measurement(SPEC.format(topic=source), origin="test").with_effective_from(begin)
        trial.approve(spec, begin - WINDOW_MS)
        feed = Feed(trial.settings)
        for k in range(300):
            feed.send(trial.settings.topic("member-attributes"), b"m%d" % k, b'{"family_name": "Garcia"}')
        feed.flush()
        trial.start_roles()
        self.traffic = Traffic(trial, source)
        self.traffic.start()

    def readiness(self, role: str) -> str:
        """What a role's /readyz says; empty where nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.trial.ports[role]}/readyz", timeout=10) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            return error.read().decode()
        except OSError:
            return ""

    def kill(self, role: str) -> None:
        """End a role's process at once; it stays away until :meth:`revive`."""
        os.kill(self.trial.supervisor.pid(role), signal.SIGKILL)

    def revive(self) -> None:
        """Start what was killed."""
        await_true("the killed role to come back", self._restarted)

    def _restarted(self) -> bool:
        self.trial.supervisor.watch()
        return self._all_answer()

    def _all_answer(self) -> bool:
        return all(self.readiness(role) for role in self.trial.ports)

    def await_pause(self, role: str) -> None:
        """Wait until a role says that it has no valid epoch key of b to seal to."""
        await_true(f"{role} to pause", lambda: "valid epoch key of b" in self.readiness(role))

    def stop_offset(self, role: str) -> int:
        """Where a role has stopped, as its /readyz says."""
        found: list[re.Match[str]] = []

        def is_stopped() -> bool:
            said = re.search(r"is stopped: at offset (\d+)", self.readiness(role))
            found.extend([said] if said else [])
            return bool(found)

        await_true(f"{role} to stop", is_stopped)
        return int(found[0][1])

    def command(self, *arguments: str) -> str:
        """What `evenstream skip` prints."""
        result = CliRunner().invoke(main, [*self.trial.arguments, "skip", *arguments])
        assert result.exception is None, result.output
        return result.output

    def windows(self) -> dict[int, FairnessMetric]:
        """The published windows by their end; each was published once."""
        topic = self.trial.settings.topic("fairness-metrics")
        found = [FairnessMetric.decode(r.value() or b"") for r in read_to_end(self.trial.settings, topic)]
        assert len({window.window.end_ms for window in found}) == len(found)
        return {window.window.end_ms: window for window in found}

    def await_windows(self, until_ms: int) -> dict[int, FairnessMetric]:
        """All windows up to one that ends at or after a time."""
        await_true("windows to be published", lambda: max(self.windows(), default=0) >= until_ms)
        return self.windows()


def await_true(what: str, holds: Callable[[], object]) -> None:
    """Wait for something that must come about."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.25)


def now_ms() -> int:
    """The clock."""
    return time.time_ns() // 1_000_000


def lost_key(stop: int) -> tuple[str, ...]:
    """What `evenstream skip` is asked for where b has stopped, since a key of its own is lost."""
    return "--role", "b", "--partition", "0", "--offset", str(stop), "--whole-epoch", "--reason", "keys lost"


def goes_on(house: House, stop: int) -> bool:
    """Whether b does. Where it has stopped again, it is told again, as the command says.

    That is so where `attach` sealed its part of a later batch to the lost key, and `seal` knew of the next one already.
    """
    said = house.readiness("b").strip()
    again = re.search(r"is stopped: at offset (\d+)", said)
    if again and int(again[1]) > stop:
        assert "Signed and written" in house.command(*lost_key(int(again[1])), "--yes")
    return said == "ok"


@pytest.fixture
def house(kafka: str, tmp_path: Path) -> Iterator[House]:
    """A deployment whose epoch keys live for sixteen seconds."""
    overrides = [
        "topics.partitions=1",
        "test_cluster=true",
        "keys.governance_threshold=1",
        f"keys.epoch_lifetime_hours={16 / 3600}",
        "privacy.rho_member_day_limit=1",
        "privacy.rho_30_days_limit=100",
        "privacy.rho_year_limit=1000",
    ]
    trial = Trial(tmp_path, print, name="t", overrides=overrides)
    trial.start_kafka(kafka)
    made: list[House] = []
    try:
        made.append(House(trial))
        yield made[0]
    finally:
        for house in made:
            house.traffic.stop()
        trial.stop()


def test_outages_and_skips(house: House) -> None:
    """A party that comes back costs nothing; a lost key and lost records cost the windows that they touch."""
    began = now_ms()
    # Party b is down until its epoch key expires: seal and attach pause, and nothing is lost.
    house.kill("b")
    for role in ("seal", "attach"):
        house.await_pause(role)
    paused = now_ms()
    time.sleep(2 * WINDOW_MS / 1000)
    house.revive()
    back = now_ms()
    assert back - began > 3 * WINDOW_MS
    caught_up = house.await_windows(back)
    assert {window.status for window in caught_up.values()} <= {"published", "suppressed"}
    assert any(paused < end < back for end in caught_up)

    # Party b loses its epoch keys: it stops on the first batch that it cannot open, until an operator gives them up.
    house.kill("b")
    time.sleep(COMMITTED_SECONDS)
    for file in (house.trial.settings.epoch_folder("b")).glob("*.epoch"):
        file.unlink()
    house.revive()
    stop = house.stop_offset("b")
    shown = house.command(*lost_key(stop))
    assert "Nothing was written" in shown
    assert "given up" in shown
    assert house.stop_offset("b") == stop
    assert "Signed and written" in house.command(*lost_key(stop), "--yes")
    await_true("b to go on", lambda: goes_on(house, stop))
    house.await_windows(now_ms())
    first = {end for end, window in house.windows().items() if window.reason == "skipped"}
    assert first

    # Records of `sealed` are deleted while attach is down: it stops, and goes on where the skip says.
    house.kill("attach")
    time.sleep(COMMITTED_SECONDS)
    sealed = TopicPartition(house.trial.settings.topic("sealed"), 0, -1)
    client = admin(house.trial.settings)  # kept: what it was asked ends with it
    (deleted,) = client.delete_records([sealed]).values()
    deleted.result(10)
    house.revive()
    stop = house.stop_offset("attach")
    await_true("the reason", lambda: "no longer holds the position" in house.readiness("attach"))
    where = "--role", "attach", "--partition", "0", "--offset", str(stop), "--reason", "records lost", "--yes"
    assert "Signed and written" in house.command(*where)
    await_true("attach to go on", lambda: house.readiness("attach").strip() == "ok")

    house.traffic.stop()
    windows = house.await_windows(now_ms() + WINDOW_MS)
    skipped = {end for end, window in windows.items() if window.reason == "skipped"}
    assert skipped > first
    assert len(skipped) < len(windows) / 2
    assert {window.status for end, window in windows.items() if end not in skipped} <= {"published", "suppressed"}
    for end, window in windows.items():
        if end not in skipped:
            assert window.table is not None
            counted = [round(sum(row), 4) for row in window.table.values]
            assert counted == [house.traffic.rows[end, False], house.traffic.rows[end, True]], end
    assert sorted(windows) == list(range(min(windows), max(windows) + 1, WINDOW_MS))
    assert 'evenstream_batches_skipped_total{role="b"' in house.trial.scrape("b")
    assert 'evenstream_retention_used_ratio{partition="0",role="a"' in house.trial.scrape("a")
