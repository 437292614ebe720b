"""Noise once: a party dies (kill -9) at every step between draw and visibility, and each window has one noising.

On a real broker, with real noise. Afterwards a reader with ``read_uncommitted`` looks at every record of every topic of
the deployment, aborted ones too: whatever the crash, all copies of a release that can be seen are the same bytes, and
the draws that were lost are ciphertext of the party's own.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from in_force import put_in_force

from privacy import parse_measurement
from secure_agg import StateKeys
from secure_agg.keyring import create as create_keys
from secure_agg.keyring import load_role
from streams.errors import RecordMalformed, StateUnreadable
from streams.feed import Feed
from streams.kafka import topics
from streams.kafka.clients import admin, read_to_end
from streams.records.release import SignedRelease
from streams.roles.releasing import _PendingState
from streams.roles.seal import END_OF_LOG
from streams.roles.supervisor import Supervisor
from streams.settings import Settings, load_settings
from streams.state import StateCodec

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

START_MS = 1_700_000_040_000  # a whole minute
WINDOW_MS = 10_000
PARTY = "a"
SPEC = """
id: once
purpose: noise once
source: {{topic: {topic}, arrival: record_time, member: m, time: ts, time_format: epoch_ms}}
cells: {{decision: {{field: r}}}}
windows: {{base: 10s, rollups: [30s], lateness: 1s, max_future: 1s}}
reference: white
privacy: {{contribution_cap: 2, cap_rule: first, rho_member_day: 0.1}}
review: {{owner: the tests, harm_considered: none, data_used: made up, retention: until the test ends}}
expires: 2027-11-01T00:00:00Z
"""
UNCOMMITTED = ("before begin", "after begin", "before commit")
COMMITTED = ("during commit", "after commit", "before committed", "after committed")
MOST_RECORDS = 12
"""More than a transaction has here: the search for its last record must end."""


@dataclass
class House:
    """A deployment whose party a is started by ``killed_party``.

    Attributes:
        windows: how many base windows have their events. killed: where the party died, in order.
    """

    settings: Settings
    overrides: list[str]
    folder: Path
    windows: int = 0
    killed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._feed = Feed(self.settings)
        script = Path(__file__).with_name("killed_party.py")
        with (self.folder / "a.log").open("ab") as log:
            self._starter = subprocess.Popen(
                [sys.executable, str(script), PARTY, *self.overrides],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        self._lines: queue.Queue[dict[str, object]] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._starter.stdout is not None
        for line in self._starter.stdout:
            self._lines.put(json.loads(line))

    def _hear(self, key: str) -> object:
        while True:
            said = self._lines.get(timeout=60)
            if "killed_at" in said:
                self.killed.append(str(said["killed_at"]))
            if key in said:
                return said[key]

    def start(self, transaction: str | None, step: str = "", n: int = 0) -> int:
        """Start the party; its process id."""
        assert self._starter.stdin is not None
        self._starter.stdin.write(json.dumps({"transaction": transaction, "step": step, "n": n}).encode() + b"\n")
        self._starter.stdin.flush()
        pid = self._hear("pid")
        assert isinstance(pid, int)
        return pid

    def kill(self, transaction: str, step: str, n: int = 0) -> str:
        """Start the party and wait until it has killed itself there; returns where it was."""
        self.start(transaction, step, n)
        assert self._hear("status") == -signal.SIGKILL
        return self.killed[-1]

    def window(self) -> None:
        """Write the events of one more window; they close the window before."""
        topic = self.settings.topic("rec-events")
        for k in range(12):
            time_ms = START_MS + self.windows * WINDOW_MS + 1_500 + 500 * k
            value = json.dumps({"m": f"m{k}", "ts": time_ms, "r": k % 2 == 0}).encode()
            self._feed.send(topic, None, value, timestamp_ms=time_ms, partition=0)
        self._feed.flush()
        self.windows += 1

    def end(self) -> None:
        """Say that the log ends, which closes the last window and its roll-up."""
        end_ms = START_MS + self.windows * WINDOW_MS + 2_000
        topic = self.settings.topic("rec-events")
        self._feed.send(topic, None, None, timestamp_ms=end_ms, partition=0, headers=[(END_OF_LOG, b"1")])
        self._feed.flush()

    def stop(self, pid: int) -> None:
        """End the party and its starter."""
        os.kill(pid, signal.SIGTERM)
        assert self._hear("status") == 0
        self.close()

    def close(self) -> None:
        """End the starter, and what it started."""
        if self._starter.poll() is None:
            os.killpg(self._starter.pid, signal.SIGKILL)  # a session of its own
        self._starter.wait(10)


def _house(kafka: str, folder: Path) -> House:
    overrides = [
        f"deployment=t-{os.urandom(4).hex()}",
        f"kafka.bootstrap={kafka}",
        "topics.replication_factor=1",
        "topics.min_insync_replicas=1",
        "topics.partitions=1",
        "keys.governance_threshold=1",
        f"keys.dir={folder / 'keys'}",
        "http.port=0",
        "privacy.rho_30_days_limit=100",
        "privacy.rho_year_limit=1000",
    ]
    settings = load_settings(None, overrides, environment={})
    source = settings.topic("rec-events")
    plan = topics.TopicPlan(source, 1, 1, {"message.timestamp.type": "CreateTime", "retention.ms": "-1"})
    topics.create(settings, (*topics.plan(settings), *topics.input_plan(settings, ()), plan))
    create_keys(settings.keys.dir, settings.deployment)
    measurement = parse_measurement(SPEC.format(topic=source), origin="test").with_effective_from(START_MS)
    put_in_force(settings, measurement, START_MS)
    feed = Feed(settings)
    for k in range(12):
        feed.send(settings.topic("member-attributes"), b"m%d" % k, json.dumps({"family_name": "Garcia"}).encode())
    feed.flush()
    return House(settings, overrides, folder)


def _kill_everywhere(house: House) -> None:
    """Every step of the transaction that draws, then every step of the one that sends."""
    for transaction in ("draw", "send"):
        # What does not commit comes again: the same window is drawn, or sent, in the next life.
        if transaction == "draw":
            house.window()
            house.window()
        for n in range(1, MOST_RECORDS):
            if "before commit" in house.kill(transaction, "after produce", n):
                break
        else:
            raise AssertionError("a transaction holds more records than was thought")
        for step in UNCOMMITTED:
            house.kill(transaction, step)
        for step in COMMITTED:
            house.window()
            house.kill(transaction, step)


def _await_releases(settings: Settings, windows: int) -> None:
    deadline = time.monotonic() + 60
    expected = windows + windows // 3
    for party in ("a", "b"):
        found = -1
        while found < expected:
            assert time.monotonic() < deadline, f"party {party} has released {found} windows of {expected}"
            time.sleep(0.2)
            found = sum(1 for _ in read_to_end(settings, settings.topic(f"releases-{party}")))


@dataclass(frozen=True)
class Seen:
    """What lies on the topics.

    Attributes:
        values: topic -> (key, value) of every record, aborted ones too, in order.
        committed: topic -> how many of them a read_committed reader sees.
    """

    house: House
    values: dict[str, list[tuple[bytes, bytes]]]
    committed: dict[str, int]

    def codec(self, role: str) -> StateCodec:
        """What opens a role's state."""
        settings = self.house.settings
        keys = StateKeys(settings.state_folder(role), settings.state_lifetime_ms)
        return StateCodec(load_role(settings.keys.dir, role, settings.deployment).derive("state"), role, keys)

    def draws(self) -> dict[bytes, list[bytes]]:
        """By window, the releases that were ever drawn and written to the party's state, opened with its key."""
        codec, found = self.codec(PARTY), defaultdict[bytes, list[bytes]](list)
        for key, value in self.values[f"state-{PARTY}"]:
            if key.startswith(b"pending/") and value:
                found[key.removeprefix(b"pending/")].append(codec.decode(key, value, _PendingState).release)
        return found


@pytest.fixture(scope="module")
def seen(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """Everything that a reader of uncommitted records finds after all the kills and a clean end."""
    house = _house(kafka, tmp_path_factory.mktemp("once"))
    supervisor = Supervisor([part for o in house.overrides for part in ("--set", o)], house.folder / "logs")
    supervisor.start(("seal", "attach", "b"))
    try:
        _kill_everywhere(house)
        while house.windows % 3:
            house.window()
        pid = house.start(None)
        house.end()
        _await_releases(house.settings, house.windows)
        house.stop(pid)
        supervisor.stop()
        values, committed = {}, {}
        prefix = house.settings.topic("")
        for name in admin(house.settings).list_topics(timeout=10).topics:
            if name.startswith(prefix):
                records = read_to_end(house.settings, name, isolation="read_uncommitted")
                short = name.removeprefix(prefix)
                values[short] = [(record.key() or b"", record.value() or b"") for record in records]
                committed[short] = sum(1 for _ in read_to_end(house.settings, name))
        yield Seen(house, values, committed)
    finally:
        supervisor.stop()
        house.close()


def test_it_died_at_every_step(seen: Seen) -> None:
    """Both transactions were cut at each of their steps, and after each of their records."""
    for transaction in ("draw", "send"):
        steps = [where.removeprefix(f"{transaction}: ") for where in seen.house.killed if where.startswith(transaction)]
        names = {step.rpartition(" ")[0] for step in steps}
        assert names >= {*UNCOMMITTED, *COMMITTED, "after produce"}
        after = [int(step.rpartition(" ")[2]) for step in steps if step.startswith("after produce")]
        assert after == list(range(1, len(after) + 1))
        assert len(after) >= 2


def test_each_window_has_one_noising_wherever_it_can_be_read(seen: Seen) -> None:
    """All copies of a release that lie on any topic in clear, aborted or not, are the same bytes."""
    found = defaultdict[tuple[str, bytes], set[bytes]](set)
    for records in seen.values.values():
        for _, value in records:
            try:
                release = SignedRelease.decode(value).release
            except RecordMalformed:
                continue
            found[release.party, release.topic_key()].add(value)
    windows = seen.house.windows + seen.house.windows // 3
    assert len(found) == 2 * windows
    assert {key: len(copies) for key, copies in found.items() if len(copies) != 1} == {}
    # And there were copies: transactions that sent, and were aborted.
    assert len(seen.values["releases-a"]) > seen.committed["releases-a"] == windows


def test_what_was_drawn_and_lost_is_not_to_be_had_without_the_partys_key(
    seen: Seen, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """Aborted draws lie on the party's state topic, several of one window; nothing of them is in clear anywhere."""
    draws = seen.draws()
    sent = {key: value for key, value in seen.values["releases-a"] if value}
    lost = {key: [draw for draw in drawn if draw != sent[key]] for key, drawn in draws.items()}
    assert set(draws) == set(sent)
    assert all(sent[key] in drawn for key, drawn in draws.items())
    count = sum(map(len, lost.values()))
    record_testsuite_property("noise_once", f"{len(seen.house.killed)} kills left {count} aborted draws")
    assert max(map(len, lost.values())) > 1
    assert len({draw for drawn in lost.values() for draw in drawn}) == count, "each draw was fresh"
    noise = [SignedRelease.decode(draw).values for drawn in lost.values() for draw in drawn]
    everything = [value for records in seen.values.values() for _, value in records]
    assert not any(values in value for values in noise for value in everything)
    # The scanner's eyes: what was sent, it finds.
    assert all(any(SignedRelease.decode(value).values in one for one in everything) for value in sent.values())


def test_no_other_key_opens_them(seen: Seen) -> None:
    """No other role's state key opens a pending release, and not even the party's own under another record's key."""
    pending = [(k, v) for k, v in seen.values[f"state-{PARTY}"] if k.startswith(b"pending/") and v]
    for role in ("seal", "attach", "b", "publish"):
        for key, value in pending:
            with pytest.raises(StateUnreadable):
                seen.codec(role).decode(key, value, _PendingState)
    key, value = pending[0]
    with pytest.raises(StateUnreadable):
        seen.codec(PARTY).decode(key + b"0", value, _PendingState)
