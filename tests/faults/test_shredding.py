"""Nothing left behind, on a real Kafka: what is destroyed opens nowhere, what is read is deleted, and both show.

Real roles run with epochs and state keys of seconds, attach as two workers that share them. Then the whole of Kafka's
data folder is taken, byte by byte, and everything that is left in the roles' folders, and each is tried on each.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from log_segments import read_topic

from privacy import parse_measurement
from secure_agg import Channel, DataKey, EnvelopeUnreadable, EpochKeys, KemPrivateKey, StateKeys
from secure_agg.keyring import load_role
from streams.cli import main
from streams.control import ControlPlane
from streams.feed import Feed
from streams.kafka.clients import first_offset, read_to_end
from streams.kafka.deletion import Deleter
from streams.records import frame
from streams.records.batches import SealedBatch, SharesBatch
from streams.records.frame import Kind
from streams.records.keys import WrappedKey, decode_key_record
from streams.records.metric import FairnessMetric
from streams.retention import IN_FLIGHT
from streams.roles.supervisor import workers_of
from streams.scaling import scale
from streams.state import number_of
from streams.trial import Trial

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]

RECIPIENTS = ("attach", "a", "b")
STATEFUL = ("seal", *RECIPIENTS)
PARTITIONS = 2
WORKERS = workers_of(1, 2)
MEMBERS = 1_000
EPOCH_SECONDS = 14.0
STATE_SECONDS = 8.0
SPEC = """
id: shredding
purpose: nothing left behind
source: {{topic: {topic}, member: m, time: ts, time_format: epoch_ms}}
cells: {{decision: {{field: r}}}}
windows: {{base: 2s, lateness: 4s}}
reference: white
privacy: {{contribution_cap: 24, cap_rule: first, rho_member_day: 0.1}}
test_only: {{noise_scale_units: 0.01}}
"""

Envelope = tuple[str, str, int, bytes, bytes]
"""Purpose, recipient, the recipient's epoch, ciphertext, what it is bound to."""


class Traffic:
    """Events of now, from a thread of its own."""

    def __init__(self, trial: Trial, topic: str) -> None:
        self._feed = Feed(trial.settings)
        self._topic = topic
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.sent = 0

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            self.send()

    def send(self) -> None:
        """Five events."""
        for k in range(5):
            now_ms = time.time_ns() // 1_000_000
            event = {"m": f"m{(self.sent + k) % MEMBERS}", "ts": now_ms, "r": k % 2 == 0}
            self._feed.send(self._topic, None, json.dumps(event).encode())
        self._feed.flush()
        self.sent += 5

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(30)


@dataclass
class Left:
    """All that there is when the roles have stopped.

    Attributes:
        destroyed: what roles have said, or could not say any more when they were stopped: (role, kind, number).
        while_running: what `retention check` said then.
        excess: rows that were published or refused, less those that were sent.
        starts: by topic and partition, its first offset after deletion.
    """

    trial: Trial
    data: Path
    destroyed: set[tuple[str, str, int]] = field(default_factory=set)
    while_running: Result | None = None
    starts: dict[tuple[str, int], int] = field(default_factory=dict)
    excess: float = 0.0

    def topic(self, name: str) -> list[tuple[bytes, bytes]]:
        """Every record of a topic that lies in Kafka's files; tombstones hold nothing."""
        found = read_topic(self.data, self.trial.settings.topic(name))
        return [(key, value) for key, value in found if value is not None]

    def envelopes(self) -> Iterator[Envelope]:
        """Everything that was ever sealed to someone."""
        for name in ("sealed", "shares"):
            for _, value in self.topic(name):
                if frame.kind_of(value) is Kind.SEALED:
                    sealed = SealedBatch.decode(value)
                    header, bound = sealed.header, sealed.header_bytes
                    yield "members", "attach", header.attach_epoch, sealed.members, bound
                    yield "cells", "a", header.a_epoch, sealed.cells_a, bound
                    yield "cells", "b", header.b_epoch, sealed.cells_b, bound
                elif frame.kind_of(value) is Kind.SHARES:
                    shares = SharesBatch.decode(value)
                    extension = shares.extension
                    bound = SharesBatch.binding(shares.header_bytes, shares.extension_bytes)
                    yield "share", "a", extension.a_epoch, shares.share_a, bound
                    yield "share", "b", extension.b_epoch, shares.share_b, bound

    def private_keys(self) -> list[KemPrivateKey]:
        """All private keys of epochs that lie in any role's folder."""
        keys = []
        for role in RECIPIENTS:
            epochs = EpochKeys(role, self.trial.settings.epoch_folder(role), 1)
            keys += [epochs.private(number) for number in epochs.numbers()]
        return keys

    def data_keys(self) -> list[DataKey]:
        """All data keys that any of them unwraps."""
        identities = load_role(
            self.trial.settings.keys.dir, "attach", self.trial.settings.deployment
        ).trusted.identities
        wrapped = []
        for key, value in self.topic("keys"):
            if key.startswith(b"data/"):
                record = decode_key_record(value, identities)
                assert isinstance(record, WrappedKey)
                wrapped.append(record)
        assert wrapped
        found = []
        for private in self.private_keys():
            for record in wrapped:
                channel = Channel(self.trial.deployment, record.purpose, record.sender, record.recipient)
                try:
                    found.append(private.unwrap(record.wrapped, channel, record.context()))
                except EnvelopeUnreadable:
                    continue
        return found


def _control(trial: Trial) -> ControlPlane:
    keys = load_role(trial.settings.keys.dir, "attach", trial.deployment)
    control = ControlPlane.of(keys.trusted, trial.settings)
    for record in read_to_end(trial.settings, trial.settings.topic("keys")):
        control.apply_key(record.value())
    return control


def _destroyed(trial: Trial) -> set[tuple[str, str, int]]:
    return set(_control(trial)._destroyed)


def _not_yet_said(trial: Trial) -> set[tuple[str, str, int]]:
    """What stopped roles have destroyed and not said yet: they say so once a second, after the deed."""
    epochs = {role: EpochKeys(role, trial.settings.epoch_folder(role), 1) for role in RECIPIENTS}
    states = {role: StateKeys(trial.settings.state_folder(role), 1) for role in STATEFUL}
    found = {(role, "epoch", number) for role, keys in epochs.items() for number in keys.unannounced()}
    return found | {(role, "state", number) for role, keys in states.items() for number in keys.unannounced()}


def _batches(trial: Trial) -> int:
    """How many batches of rows attach has passed on."""
    records = read_to_end(trial.settings, trial.settings.topic("shares"))
    return sum(frame.kind_of(record.value() or b"") is Kind.SHARES for record in records)


def _rows(trial: Trial) -> float:
    windows = [FairnessMetric.decode(v) for v in trial.all_values("fairness-metrics")]
    assert not [w.reason for w in windows if w.table is None]
    return sum(sum(map(sum, w.table.values)) for w in windows if w.table is not None)


def _await(trial: Trial, done: Callable[[], bool], what: str, seconds: float = 200.0) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, what
        for _ in range(10):
            trial.watch()
            time.sleep(0.1)


def _check(trial: Trial, *overrides: str) -> Result:
    further = [part for override in overrides for part in ("--set", override)]
    return CliRunner().invoke(main, [*trial.arguments, *further, "retention", "check"])


@pytest.fixture(scope="module")
def left(kafka: str, kafka_logs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Left]:
    """A deployment that ran until every role had destroyed an epoch and a state key, and was then stopped."""
    overrides = [
        "test_cluster=true",
        "keys.governance_threshold=1",
        "privacy.rho_30_days_limit=100",
        "privacy.rho_year_limit=1000",
        f"topics.partitions={PARTITIONS}",
        f"keys.epoch_lifetime_hours={EPOCH_SECONDS / 3600}",
        f"keys.state_lifetime_hours={STATE_SECONDS / 3600}",
        f"retention.allowance_hours={60 / 3600}",
    ]
    trial = Trial(tmp_path_factory.mktemp("shredding"), print, name="t-shred", overrides=overrides)
    trial.start_kafka(kafka)
    source = trial.settings.topic("rec-events")
    trial.prepare(live=[source])
    feed = Feed(trial.settings)
    feed.send_all(
        trial.settings.topic("member-attributes"),
        ((f"m{k}".encode(), b'{"family_name": "Garcia"}') for k in range(MEMBERS)),
    )
    feed.flush()
    now_ms = time.time_ns() // 1_000_000
    from_ms = (now_ms // 2_000 + 5) * 2_000  # the roles take longer to start
    trial.approve(parse_measurement(SPEC.format(topic=source), origin="test").with_effective_from(from_ms), now_ms)
    traffic, found = Traffic(trial, source), Left(trial, kafka_logs)
    try:
        scale(trial.settings, "attach", 2, now_ms)
        trial.start_roles(WORKERS)
        time.sleep(max(0.0, from_ms / 1000 - time.time()))  # rows before it would not count
        traffic.start()
        wanted = {(role, "epoch") for role in RECIPIENTS} | {(role, "state") for role in STATEFUL}
        _await(trial, lambda: {key[:2] for key in _destroyed(trial)} == wanted, "keys were not destroyed in time")
        found.while_running = _check(trial)
        sealed, shares = IN_FLIGHT  # what is kept of `sealed` is more than this trial writes
        Deleter(trial.settings, print, [replace(sealed, kept=0), shares]).once()
        found.starts = {
            (name, j): first_offset(trial.settings, trial.settings.topic(name), j)
            for name in ("sealed", "shares")
            for j in range(PARTITIONS)
        }
        for worker in ("attach", "attach.1"):
            os.kill(trial.supervisor.pid(worker), signal.SIGKILL)
        before = _rows(trial)
        _await(trial, lambda: _rows(trial) > before + 50, "nothing came after a restart behind deleted records")
        traffic.stop()
        # On a machine that stands still for seconds a row may come too late; then it is refused, and counted there.
        _await(trial, lambda: _rows(trial) + len(trial.all_values("refused")) > traffic.sent - 0.5, "rows were lost")
        found.excess = _rows(trial) + len(trial.all_values("refused")) - traffic.sent
        # Their windows took seconds to come. These rows are sealed to the epochs that the roles are stopped in.
        batches = _batches(trial)
        traffic.send()
        _await(trial, lambda: _batches(trial) > batches, "the last rows were not passed on")
        trial.supervisor.stop()
        found.destroyed = _destroyed(trial) | _not_yet_said(trial)
        yield found
    finally:
        traffic.stop()
        trial.stop()


def test_no_row_of_an_ended_epoch_opens_and_those_of_the_present_one_do(left: Left) -> None:
    """Every envelope in Kafka's files is tried with every key that is left anywhere."""
    keys = left.data_keys()
    opened: Counter[tuple[str, str, bool]] = Counter()
    shut: Counter[tuple[str, str, bool]] = Counter()
    for purpose, recipient, epoch, ciphertext, bound in left.envelopes():
        ended = (recipient, "epoch", epoch) in left.destroyed
        for key in keys:
            try:
                key.open(ciphertext, bound)
                opened[purpose, recipient, ended] += 1
                break
            except EnvelopeUnreadable:
                continue
        else:
            shut[purpose, recipient, ended] += 1
    channels = {("members", "attach"), ("cells", "a"), ("cells", "b"), ("share", "a"), ("share", "b")}
    assert set(opened) == {(*channel, False) for channel in channels}
    assert set(shut) == {(*channel, True) for channel in channels}


@pytest.mark.parametrize("role", STATEFUL)
def test_no_checkpoint_of_an_ended_state_key_opens_and_the_live_ones_do(left: Left, role: str) -> None:
    """Every value in the files of a state topic is tried with every key of that role that is left."""
    settings = left.trial.settings
    states = StateKeys(settings.state_folder(role), 1)
    static = load_role(settings.keys.dir, role, settings.deployment).derive("state")
    keys = [AESGCM(static), *(AESGCM(states.find(number) or b"") for number in states.numbers())]
    latest: dict[bytes, bytes | None] = dict(read_topic(left.data, settings.topic(f"state-{role}")))
    opened, shut = set(), set()
    for key, value in left.topic(f"state-{role}"):
        head, nonce, rest = value[:8], value[8:20], value[20:]
        number = number_of(value)
        assert number is not None
        if any(_opens(aead, nonce, rest, head + role.encode() + b"\0" + key) for aead in keys):
            opened.add(number)
        else:
            shut.add(number)
    ended = {number for who, kind, number in left.destroyed if (who, kind) == (role, "state")}
    assert shut == ended != set()
    assert opened == set(states.numbers()) != set()
    assert {number_of(value) for value in latest.values() if value is not None} <= opened


def _opens(aead: AESGCM, nonce: bytes, rest: bytes, bound: bytes) -> bool:
    try:
        aead.decrypt(nonce, rest, bound)
    except InvalidTag:
        return False
    return True


def test_no_private_key_is_left_that_a_role_said_it_destroyed(left: Left) -> None:
    """The word of each role on `keys` is what its folder shows; nothing of it lies in another file either."""
    settings = left.trial.settings
    for role, kind, number in left.destroyed:
        folder = settings.epoch_folder(role) if kind == "epoch" else settings.state_folder(role)
        assert not (folder / f"{number}.{kind}").exists()
    for role in RECIPIENTS:
        assert EpochKeys(role, settings.epoch_folder(role), 1).numbers()


def test_what_every_reader_has_read_is_deleted_and_nothing_else(left: Left) -> None:
    """Positions in the consumer groups let `sealed` go; of `shares` the last thousand offsets stay. No row is lost."""
    assert all(left.starts["sealed", j] > 0 for j in range(PARTITIONS))
    assert all(left.starts["shares", j] == 0 for j in range(PARTITIONS))
    assert abs(left.excess) < 0.5


def test_the_check_is_content_while_keys_end_in_time_and_complains_when_they_do_not(left: Left) -> None:
    """It names each topic's oldest record with its keys; held against far shorter lifetimes it exits with 1."""
    assert left.while_running is not None
    assert left.while_running.exit_code == 0, left.while_running.output
    assert "destroyed by" in left.while_running.output
    impatient = _check(
        left.trial,
        "keys.epoch_lifetime_hours=0.0001",
        "keys.state_lifetime_hours=0.0001",
        "retention.allowance_hours=0",
    )
    assert impatient.exit_code == 1
    for role in STATEFUL:
        assert f"state-{role}: " in impatient.output
    assert "still open with b's epoch" in impatient.output
    assert "can still be opened" in impatient.output
