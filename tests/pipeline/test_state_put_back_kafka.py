"""On a real Kafka: a party whose state was put back or emptied does not start, whatever lies behind its releases.

More garbage, and more copies of its own older releases, than any fixed number of last records would hold.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from in_force import put_in_force

from privacy import parse_measurement
from secure_agg.keyring import create as create_keys
from streams.feed import Feed
from streams.kafka import topics
from streams.kafka.clients import read_to_end
from streams.roles.seal import END_OF_LOG
from streams.roles.supervisor import COMMANDS, Supervisor
from streams.settings import Settings, load_settings

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

START_MS = 1_700_000_040_000  # a whole minute, at 22:14 UTC: all windows are of one day
WINDOWS = 6
SPEC = """
id: back
purpose: state that is put back
source: {{topic: {topic}, arrival: record_time, member: m, time: ts, time_format: epoch_ms}}
cells: {{decision: {{field: r}}}}
windows: {{base: 10s, lateness: 1s, max_future: 1s}}
reference: white
privacy: {{contribution_cap: 2, cap_rule: first, rho_member_day: 0.1}}
review: {{owner: the tests, harm_considered: none, data_used: made up, retention: until the test ends}}
expires: 2027-11-01T00:00:00Z
"""


class House:
    """A deployment that has released a few windows, and whose roles have then been stopped."""

    def __init__(self, kafka: str, folder: Path) -> None:
        overrides = [
            f"deployment=t-{os.urandom(4).hex()}",
            f"kafka.bootstrap={kafka}",
            "topics.replication_factor=1",
            "topics.min_insync_replicas=1",
            "topics.partitions=1",
            f"keys.dir={folder / 'keys'}",
            "http.port=0",
            "privacy.rho_30_days_limit=100",
            "privacy.rho_year_limit=1000",
        ]
        self.settings: Settings = load_settings(None, overrides, environment={})
        self.arguments = [part for override in overrides for part in ("--set", override)]
        self.feed = Feed(self.settings)
        source = self.settings.topic("rec-events")
        plan = topics.TopicPlan(source, 1, 1, {"message.timestamp.type": "CreateTime", "retention.ms": "-1"})
        topics.create(self.settings, (*topics.plan(self.settings), *topics.input_plan(self.settings, ()), plan))
        create_keys(self.settings.keys.dir, self.settings.deployment)
        measurement = parse_measurement(SPEC.format(topic=source), origin="test").with_effective_from(START_MS)
        put_in_force(self.settings, measurement, START_MS)
        self.feed.send(self.settings.topic("member-attributes"), b"m", b'{"family_name": "Garcia"}')
        self._run(source, folder / "logs")

    def _run(self, source: str, logs: Path) -> None:
        supervisor = Supervisor(self.arguments, logs)
        supervisor.start(("seal", "attach", "a", "b"))
        try:
            for window in range(WINDOWS):
                time_ms = START_MS + window * 10_000 + 5_000
                value = json.dumps({"m": "m", "ts": time_ms, "r": True}).encode()
                self.feed.send(source, None, value, timestamp_ms=time_ms, partition=0)
                self.feed.flush()
                self._await_releases(window)  # so that the schedule is committed window by window
            end_ms = START_MS + WINDOWS * 10_000 + 2_000
            self.feed.send(source, None, None, timestamp_ms=end_ms, partition=0, headers=[(END_OF_LOG, b"1")])
            self.feed.flush()
            self._await_releases(WINDOWS)
        finally:
            supervisor.stop()

    def _await_releases(self, count: int) -> None:
        deadline = time.monotonic() + 45
        while self.releases() < count:
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def releases(self) -> int:
        """How many committed records lie on the party's topic."""
        return sum(1 for _ in read_to_end(self.settings, self.settings.topic("releases-a")))

    def bury(self) -> None:
        """Write more garbage, and more copies of the party's first release, than the last 2,000 records hold."""
        topic = self.settings.topic("releases-a")
        first = next(iter(read_to_end(self.settings, topic)))
        for value in (b"garbage", first.value()):
            for _ in range(2_500):
                self.feed.send(topic, b"anything", value)
            self.feed.flush()

    def state(self) -> list[tuple[bytes, bytes | None]]:
        """Every record of the party's state topic."""
        records = read_to_end(self.settings, self.settings.topic("state-a"))
        return [(record.key() or b"", record.value()) for record in records]

    def put(self, key: bytes, value: bytes | None) -> None:
        """Write a record of the party's state in its place."""
        self.feed.send(self.settings.topic("state-a"), key, value)
        self.feed.flush()

    def start(self) -> str:
        """Start the party, which must end by itself with 1; what it said."""
        command = [sys.executable, "-m", "streams.cli", *self.arguments, *COMMANDS["a"]]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1, done.stderr[-3000:]
        assert "Traceback" not in done.stdout + done.stderr
        return done.stdout + done.stderr


def test_a_party_whose_state_was_put_back_or_emptied_does_not_start(kafka: str, tmp_path: Path) -> None:
    """One older `schedule/` value, then no state at all: it says which release or debit is ahead, and sends nothing."""
    house = House(kafka, tmp_path)
    schedule = [(key, value) for key, value in house.state() if key.startswith(b"schedule/")]
    assert len(schedule) >= WINDOWS
    house.bury()
    before = house.releases()
    house.put(*schedule[0])
    said = house.start()
    assert "party a's release of back/10s/" in said
    assert "is ahead of its state, which was lost or cut" in said
    for key in {key for key, _ in house.state()}:
        house.put(key, None)
    assert "party a's debit of 2023-11-14 for back is ahead of its state, which was lost or cut" in house.start()
    assert house.releases() == before
