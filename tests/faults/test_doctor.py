"""`evenstream doctor` on a secured Kafka, as `operator`: roles hung and killed, a bad record, a held-back topic.

One deployment lives through all of it. Each stall must be told with role, partition and window within two minutes.
``pytest -s`` prints what it says.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from privacy import parse_measurement
from secure_agg.keyring import load_role
from streams.cli import main
from streams.doctor.examination import Doctor, examine
from streams.doctor.findings import Finding, exit_status
from streams.doctor.look import Look
from streams.doctor.report import line
from streams.feed import Feed
from streams.kafka.clients import make_producer, read_tails
from streams.kafka.dev_broker import DevBroker
from streams.public_topics import trusted_keys
from streams.records import frame
from streams.records.batches import SealedBatch
from streams.records.frame import Kind
from streams.records.header import encode_header
from streams.trial import Trial

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]

PARTITIONS = 2
MOST_SECONDS = 60.0
"""Half of what was promised: two minutes."""

SPEC = """
id: feed
purpose: stalls
source: {{topic: {topic}, member: m, time: ts, time_format: epoch_ms}}
cells: {{decision: {{field: r}}}}
windows: {{base: 1s, lateness: 1s, max_future: 1s}}
reference: white
privacy: {{contribution_cap: 24, cap_rule: first, rho_member_day: 0.1}}
review: {{owner: the tests, harm_considered: none, data_used: made up, retention: until the test ends}}
test_only: {{noise_scale_units: 0.01}}
"""


class House:
    """The deployment, its traffic, and its doctor."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self.source = trial.settings.topic("rec-events")
        trial.prepare([self.source])
        now_ms = time.time_ns() // 1_000_000
        spec = parse_measurement(SPEC.format(topic=self.source), origin="test")
        trial.approve(spec.with_effective_from((now_ms // 1000 + 1) * 1000), now_ms)
        self.feed = Feed(trial.settings)
        for k in range(50):
            self.feed.send(trial.settings.topic("member-attributes"), b"m%d" % k, b'{"family_name": "Garcia"}')
        self.feed.flush()
        trial.start_roles()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()
        settings = trial.settings_of("operator")
        self.named = [f"{role}=127.0.0.1:{port}" for role, port in trial.ports.items()]
        self.doctor = Doctor(settings, trusted_keys(settings, None), tuple(self.named))

    def _send(self) -> None:
        k = 0
        while not self._stop.wait(0.05):
            k += 1
            event = {"m": f"m{k % 50}", "ts": time.time_ns() // 1_000_000, "r": k % 3 == 0}
            self.feed.send(self.source, None, json.dumps(event).encode(), partition=k % PARTITIONS)

    def close(self) -> None:
        """End the traffic."""
        self._stop.set()
        self._thread.join()
        self.feed.flush()

    def findings_until(self, before: Look, told: Callable[[Finding], bool]) -> list[Finding]:
        """Look again until one finding is what is waited for; what is wrong then."""
        deadline = time.monotonic() + MOST_SECONDS
        while True:
            time.sleep(1.0)
            found = examine(before, self.doctor.look())
            if any(map(told, found)):
                print(*map(line, found), sep="\n")
                return [finding for finding in found if finding.verdict == "wrong"]
            assert time.monotonic() < deadline, "\n".join(map(line, found))

    def await_health(self) -> None:
        """Until all goes on; roles that were killed are started again."""
        deadline = time.monotonic() + MOST_SECONDS
        while not all(map(self.trial.is_ready, self.trial.ports)):
            assert time.monotonic() < deadline
            self.trial.watch()
            time.sleep(0.2)
        before = self.doctor.look()
        while True:
            time.sleep(0.5)
            now = self.doctor.look()
            found = examine(before, now)
            if exit_status(found) == 0:
                return
            assert time.monotonic() < deadline, "\n".join(map(line, found))
            before = now


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A secured deployment in which all is well."""
    broker = DevBroker(tmp_path_factory.mktemp("doctor-kafka") / "kafka", secure=True)
    overrides = [
        f"topics.partitions={PARTITIONS}",
        "test_cluster=true",
        "keys.governance_threshold=1",
        "privacy.rho_member_day_limit=1",
        "privacy.rho_30_days_limit=100",
        "privacy.rho_year_limit=1000",
    ]
    trial = Trial(tmp_path_factory.mktemp("doctor"), print, name="t", overrides=overrides, secure=True)
    made: list[House] = []
    try:
        process = broker.start(progress=print)
        trial.start_kafka(process.bootstrap, broker.security)
        made.append(House(trial))
        made[0].await_health()
        yield made[0]
    finally:
        for each in made:
            each.close()
        trial.stop()
        broker.stop()


def test_all_is_well(house: House) -> None:
    """The command, as `operator`: status 0, a row a role, and no payload; JSON says the same."""
    config = ["--config", str(house.trial.config_of("operator"))]
    named = [part for name in house.named for part in ("--role", name)]
    result = CliRunner().invoke(main, [*config, "doctor", *named, "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.output)
    assert {finding["verdict"] for finding in told["findings"]} == {"ok"}
    assert [row["worker"] for row in told["roles"]] == ["seal", "attach", "a", "b", "publish"]
    assert all(row["answers"] and row["ready"] for row in told["roles"])
    assert all(row["watermark_age_seconds"] < 30 for row in told["roles"][:4])


@pytest.mark.parametrize("role", ["seal", "attach", "a", "b", "publish", "retention"])
def test_beside_a_role_that_runs(house: House, role: str) -> None:
    """`doctor --as ROLE --wait-for-progress`: all is well, and its worker has moved on within seconds."""
    command = ["--config", str(house.trial.config_of(role)), "doctor", "--as", role, "--wait-for-progress", "60"]
    named = [part for name in house.named for part in ("--role", name) if name.startswith(f"{role}=")]
    result = CliRunner().invoke(main, [*command, *named])
    assert result.exit_code == 0, result.output
    last = result.stdout.splitlines()[-1]
    waits = "has no worker that can be asked" if role == "retention" else "healthy, ready, and it has moved"
    assert waits in last, result.output
    clocks = [text for text in result.stdout.splitlines() if text.startswith("ok clock")]
    # Seal and attach have measured it; a, b and retention see records come; publish sees none that a broker stamps.
    assert [("not compared" if role == "publish" else "it is the brokers'") in text for text in clocks] == [True]


def test_a_role_that_does_not_move(house: House) -> None:
    """Publish is stopped by a signal: the time-out names it and what keeps it, and status 1 ends the command."""
    pid = house.trial.supervisor.pid("publish")
    command = ["--config", str(house.trial.config_of("publish")), "doctor", "--as", "publish"]
    os.kill(pid, signal.SIGSTOP)
    try:
        named = next(name for name in house.named if name.startswith("publish="))
        result = CliRunner().invoke(main, [*command, "--wait-for-progress", "12", "--role", named])
    finally:
        os.kill(pid, signal.SIGCONT)
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("waiting, "), result.stderr
    last = result.stdout.splitlines()[-1]
    assert last.startswith("WRONG progress: publish: within 12 s it did not get so far")
    assert "does not answer" in last
    house.await_health()


def test_roles_that_hang_or_are_gone(house: House) -> None:
    """Three are stopped by a signal and one is killed; each in turn, in the data's direction, holds a window back.

    Its name, where it stands and the window that waits; once it goes on, the next one is told. That b hangs is as that
    a does.
    """
    pids = {role: house.trial.supervisor.pid(role) for role in ("seal", "attach", "b", "publish")}
    hung = ("seal", "attach", "b")
    os.kill(pids["seal"], signal.SIGSTOP)
    try:
        # What seal had let go by then is published before the others are stopped: no older window waits for them.
        _is_told(house, "seal", "does not answer")
        for role in hung[1:]:
            os.kill(pids[role], signal.SIGSTOP)
        os.kill(pids["publish"], signal.SIGKILL)
        for role in (*hung, "publish"):
            sign = "does not answer" if role in hung else "nobody listens"
            _is_told(house, role, sign)
            if role in hung:
                os.kill(pids[role], signal.SIGCONT)
    finally:
        for role in hung:
            os.kill(pids[role], signal.SIGCONT)
    house.await_health()


def _is_told(house: House, role: str, sign: str) -> None:
    wrong = house.findings_until(
        house.doctor.look(),
        lambda f: f.check == "windows" and f.verdict == "wrong" and f.role == role and sign in f.says,
    )
    assert role in {f.role for f in wrong if f.check == "roles" and sign in f.says}
    overdue = [f for f in wrong if f.check == "windows"]
    assert [(f.role, f.topic, f.partitions) for f in overdue] == [(role, *_place(house, role))]
    assert overdue[0].window is not None
    assert (overdue[0].window.measurement, overdue[0].window.level) == ("feed", "1s")
    if role != "publish":
        stalls = [(f.topic, f.partitions) for f in wrong if f.check == "partitions" and f.role == role]
        assert stalls == [_place(house, role)]


def _place(house: House, role: str) -> tuple[str, tuple[int, ...]]:
    settings = house.trial.settings
    topic = {"seal": house.source, "attach": settings.topic("sealed")}.get(role, settings.topic("shares"))
    if role == "publish":
        return f"{settings.topic('releases-a')}, {settings.topic('releases-b')}", (0,)
    return topic, tuple(range(PARTITIONS))


def test_a_transaction_that_stands_open(house: House) -> None:
    """On a control topic: it is named with the offset behind which nothing is seen."""
    settings, topic = house.trial.settings_of("governance"), house.trial.settings.topic("measurements")
    producer = make_producer(settings, settings.group("governance"), **{"transaction.timeout.ms": 60_000})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, value=b"{}", partition=0)
    producer.flush(30)
    wrong = house.findings_until(house.doctor.look(), lambda f: f.check == "transactions" and f.verdict == "wrong")
    assert {(f.topic, f.partitions) for f in wrong if f.check == "transactions"} == {(topic, (0,))}
    producer.abort_transaction(30)
    house.await_health()


def test_a_partition_that_a_record_has_stopped(house: House) -> None:
    """A signed batch out of sequence: the partition, the role and the window; the other partition is not named."""
    settings = house.trial.settings_of("admin")
    topic, keys = settings.topic("sealed"), load_role(settings.keys.dir, "seal", settings.deployment)
    values = [message.value() or b"" for message in read_tails(settings, topic, [1], 400)]
    last = SealedBatch.decode([value for value in values if frame.kind_of(value) is Kind.SEALED][-1])
    header = msgspec.structs.replace(last.header, sequence=last.header.sequence + 1000)
    batch = SealedBatch.signed(keys.identity, header, encode_header(header), last.members, last.cells_a, last.cells_b)
    producer = make_producer(settings, None)
    producer.produce(topic, value=batch.encode(), partition=1)
    assert producer.flush(30) == 0
    time.sleep(1.0)
    wrong = house.findings_until(house.doctor.look(), lambda f: f.check == "windows" and f.verdict == "wrong")
    places = {(f.check, f.role, f.topic, f.partitions) for f in wrong}
    assert places == {(check, "attach", topic, (1,)) for check in ("roles", "partitions", "windows")}
    assert all("is stopped: " in f.says and "--role attach --partition 1 --offset" in f.do for f in wrong)
    assert {f.window.measurement for f in wrong if f.window is not None} == {"feed"}
    shown = "\n".join(map(line, wrong))
    assert "m1" not in shown
    assert "Garcia" not in shown


def test_nobody_to_ask(house: House, tmp_path: Path) -> None:
    """Without keys, and with no Kafka to reach: what could not be looked at is said, and it is no success."""
    blind = replace(house.doctor, trusted=None, named=())
    look = blind.look()
    assert any("trusted.json" in reason for reason in look.unseen)
    assert exit_status([f for f in examine(look, look) if f.check == "deployment"]) == 2
