"""The shard loop on a real broker: what is restored, what a successor does to its predecessor, what a lost log does."""

from __future__ import annotations

import itertools
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from confluent_kafka import KafkaException, Producer, TopicPartition
from confluent_kafka.admin import NewPartitions  # type: ignore[attr-defined]  # its API
from prometheus_client import CollectorRegistry

from privacy import Limits
from secure_agg import Trusted
from secure_agg.keyring import create, load_role, load_trusted
from streams.control import ControlPlane
from streams.errors import Fenced, KafkaUnavailable, PositionLost, StateUnreadable, TopicMismatch
from streams.kafka import shard as shard_module
from streams.kafka import topics
from streams.kafka.clients import admin, first_offset, producer_config, read_to_end
from streams.kafka.control_reader import ControlReader
from streams.kafka.deletion import Deleter
from streams.kafka.dev_broker import DevBroker
from streams.kafka.fencing import fence
from streams.kafka.shard import ShardLoop
from streams.records.layout import HISTORY, Layout, decode_layout, sign_layout
from streams.retention import IN_FLIGHT
from streams.scaling import present, scale
from streams.settings import Settings
from streams.stage import LEAST_PATIENCE_MS, Out, Partition, Record
from streams.watch.health import RoleHealth

pytestmark = pytest.mark.kafka

MakeSettings = Callable[..., Settings]


class CountingStage:
    """Passes records on with a running number, which is its state: a lost or repeated record shows in the numbers."""

    def __init__(self, settings: Settings) -> None:
        self._source, self._out = settings.topic("sealed"), settings.topic("shares")
        self._state = settings.topic("state-attach")
        self.restored: list[tuple[bytes, bytes | None]] = []
        self.count = 0
        self.offset = 0
        self.pending: list[Out] = []
        self.clocks: list[int] = []
        self.halted: dict[Partition, str] = {}

    def restore(self, topic: str, key: bytes, value: bytes | None) -> None:
        self.restored.append((key, value))
        if key == b"position" and value is not None:
            if value == b"unreadable":
                raise StateUnreadable("the state does not open")
            self.count, self.offset = map(int, value.split(b"/"))

    def positions(self) -> Mapping[Partition, int]:
        return {(self._source, 0): self.offset}

    def refresh(self, now_ms: int) -> bool:
        return False

    def patience_ms(self, now_ms: int) -> int:
        return LEAST_PATIENCE_MS

    def blocked(self, now_ms: int) -> str | None:
        return None

    def step(self, records: Sequence[Record], now_ms: int) -> None:
        self.clocks.append(now_ms)
        for record in records:
            self.count += 1
            self.offset = record.offset() + 1
            value = b"%d:%s" % (self.count, record.value() or b"")
            self.pending.append(Out(self._out, 0, None, value))

    def lose_position(self, topic: str, partition: int, why: str) -> bool:
        return False

    def at_end(self, topic: str, partition: int, offset: int) -> None:
        """Nothing to do."""

    def due(self, now_ms: int) -> bool:
        return bool(self.pending)

    def checkpoint(self, now_ms: int) -> list[Out]:
        outputs, self.pending = self.pending, []
        return [*outputs, Out(self._state, 0, b"position", b"%d/%d" % (self.count, self.offset))]

    def committed(self) -> None:
        """Nothing waits for durability here."""

    def stopped(self) -> Mapping[Partition, str]:
        return self.halted


@dataclass
class Worker:
    """A loop in a thread of its own, with the stages that it built and how it ended."""

    settings: Settings
    control: ControlPlane
    shard: int = 0
    stages: list[CountingStage] = field(default_factory=list)
    error: Exception | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    let_go: threading.Event = field(default_factory=threading.Event)
    hold: str | None = None

    def __post_init__(self) -> None:
        self.registry = CollectorRegistry()
        self.turns = itertools.count()
        reader = ControlReader(self.settings, "attach", self.control)
        self.loop = ShardLoop(
            self.settings,
            role="attach",
            shard=self.shard,
            state_topics=(self.settings.topic("state-attach"), self.settings.topic("ledger-a")),
            build=self._build,
            control=reader,
            health=RoleHealth("attach", self.registry),
            let_go=self.let_go.set,
            hold=lambda: self.hold,
            alive=lambda: next(self.turns),
        )
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _build(self, _: Layout) -> CountingStage:
        self.stages.append(CountingStage(self.settings))
        return self.stages[-1]

    def _run(self) -> None:
        try:
            self.loop.run(self.stop)
        except Exception as error:
            self.error = error

    def end(self) -> None:
        """Stop, and wait for it."""
        self.stop.set()
        self._thread.join(20)
        assert not self._thread.is_alive()

    def join(self) -> None:
        """Wait until it ends by itself."""
        self._thread.join(20)
        assert not self._thread.is_alive()


@dataclass
class Shard:
    """One shard of a fresh deployment, with the workers that a test has started for it."""

    settings: Settings
    trusted: Trusted
    workers: list[Worker] = field(default_factory=list)

    def start(self, shard: int = 0) -> Worker:
        """Start one more worker."""
        control = ControlPlane(self.trusted, test_cluster=True, limits=Limits.of_day(1.0))
        self.workers.append(Worker(self.settings, control, shard))
        return self.workers[-1]


@pytest.fixture
def shard(kafka: str, make_settings: MakeSettings) -> Iterator[Shard]:
    """A shard with topics and keys; what a test has left running is ended."""
    with _shard(make_settings(kafka, "topics.partitions=3")) as shard:
        yield shard


@contextmanager
def _shard(settings: Settings) -> Iterator[Shard]:
    topics.create(settings, topics.plan(settings))
    create(settings.keys.dir, settings.deployment)
    shard = Shard(settings, load_trusted(settings.keys.dir / "seal"))
    yield shard
    for worker in shard.workers:
        worker.end()


def write(settings: Settings, name: str, *records: tuple[bytes | None, bytes | None]) -> None:
    """Write records to one of the deployment's topics."""
    producer = Producer(producer_config(settings, None))
    for key, value in records:
        producer.produce(settings.topic(name), key=key, value=value, partition=0)
    assert producer.flush(10) == 0


def wait_for(settings: Settings, count: int) -> list[bytes]:
    """What was passed on, once ``count`` records were."""
    for _ in range(200):
        values = [record.value() or b"" for record in read_to_end(settings, settings.topic("shares"))]
        if len(values) >= count:
            return values
        time.sleep(0.05)
    raise AssertionError(f"expected {count} records, got {len(values)}")


def test_what_is_held_reads_and_writes_nothing(shard: Shard) -> None:
    """As long as there is a reason, which /readyz says; afterwards it goes on with what came meanwhile."""
    worker = shard.start()
    until(lambda: worker.loop.ready() is None)
    worker.hold = "a revocation may be there"
    until(lambda: worker.loop.ready() == worker.hold)
    write(shard.settings, "sealed", (None, b"a"))
    time.sleep(0.5)
    assert list(read_to_end(shard.settings, shard.settings.topic("shares"))) == []
    worker.hold = None
    assert wait_for(shard.settings, 1) == [b"1:a"]


def test_the_last_value_of_each_key_is_restored(shard: Shard) -> None:
    """Before the cleaner has run, a stage is given what it would leave: old values are not seen, tombstones are."""
    settings = shard.settings
    write(settings, "state-attach", (b"gone", b"1"), (b"position", b"5/0"), (b"gone", None), (b"position", b"7/0"))
    write(settings, "ledger-a", (None, b"first"), (None, b"second"))
    write(settings, "sealed", (None, b"x"))
    worker = shard.start()
    assert wait_for(settings, 1) == [b"8:x"]
    assert worker.stages[0].restored == [(b"gone", None), (b"position", b"7/0"), (b"", b"first"), (b"", b"second")]


def test_a_successor_takes_over_exactly_there(shard: Shard) -> None:
    """A second worker of a shard fences the first, which ends with Fenced; no record is lost or passed on twice."""
    settings = shard.settings
    first = shard.start()
    write(settings, "sealed", *[(None, b"%d" % k) for k in range(20)])
    wait_for(settings, 20)
    second = shard.start()
    while second.loop.ready() is not None:
        assert second.error is None
        time.sleep(0.02)
    write(settings, "sealed", *[(None, b"%d" % k) for k in range(20, 40)])
    assert wait_for(settings, 40) == [b"%d:%d" % (k + 1, k) for k in range(40)]
    first.join()
    assert isinstance(first.error, Fenced)
    assert "another instance" in str(first.error)
    assert second.error is None


def test_a_stopped_partition_is_said_for_as_long_as_it_lasts(shard: Shard) -> None:
    """Whenever /readyz is asked, also while the loop waits for records; and the loop goes on turning."""
    worker = shard.start()
    write(shard.settings, "sealed", (None, b"x"))
    wait_for(shard.settings, 1)
    sealed = shard.settings.topic("sealed")
    worker.stages[0].halted[sealed, 0] = "at offset 1: a gap"
    deadline = time.monotonic() + 10
    while worker.loop.ready() is None:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    turns, asked, said = next(worker.turns), 0, set()
    while next(worker.turns) - turns - asked <= 5:  # to look at the count adds one to it
        assert time.monotonic() < deadline
        asked += 1
        said.add(worker.loop.ready())
        time.sleep(0.001)
    assert said == {f"{sealed} [0] is stopped: at offset 1: a gap"}
    worker.stages[0].halted.clear()
    while worker.loop.ready() is not None:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_an_aborted_transaction_is_done_again(shard: Shard) -> None:
    """When a commit fails, the stage is built anew from committed state, and the numbers show nothing lost or twice."""
    settings = shard.settings
    worker = shard.start()
    write(settings, "sealed", (None, b"a"))
    wait_for(settings, 1)
    stage = worker.stages[-1]
    broken = Out("no-such-topic." + settings.deployment, 0, None, b"x")
    stage.pending.append(broken)  # the whole transaction fails with it
    write(settings, "sealed", (None, b"b"), (None, b"c"))
    assert wait_for(settings, 3) == [b"1:a", b"2:b", b"3:c"]
    assert len(worker.stages) >= 2
    aborted = {"role": "attach", "result": "aborted"}
    assert (worker.registry.get_sample_value("evenstream_transactions_total", aborted) or 0) >= 1


class _Slowly(list[Out]):
    """Outputs after each of which the worker is paused."""

    pause_seconds = 4.0

    def __iter__(self) -> Iterator[Out]:
        for out in super().__iter__():
            yield out
            time.sleep(self.pause_seconds)


def test_a_transaction_that_timed_out_is_done_again(kafka: str, make_settings: MakeSettings) -> None:
    """The broker ends the transaction of a worker that was paused: that is no fence, and the worker goes on."""
    properties = 'kafka.producer_properties={"transaction.timeout.ms": "2000", "message.timeout.ms": "2000"}'
    with _shard(make_settings(kafka, "topics.partitions=3", properties)) as shard:
        worker = shard.start()
        write(shard.settings, "sealed", (None, b"a"))
        wait_for(shard.settings, 1)
        stage = worker.stages[-1]
        checkpoint = stage.checkpoint
        stage.checkpoint = lambda now_ms: _Slowly(checkpoint(now_ms))  # type: ignore[method-assign]
        write(shard.settings, "sealed", (None, b"b"))
        assert wait_for(shard.settings, 2) == [b"1:a", b"2:b"]
        assert worker.error is None
        assert len(worker.stages) >= 2


def test_a_zombie_that_learns_of_its_fence_while_it_produces_ends(shard: Shard) -> None:
    """librdkafka then says no more than "fatal error"; it is a fence all the same, and not a reason to come back."""
    settings = shard.settings
    first = shard.start()
    write(settings, "sealed", (None, b"a"))
    wait_for(settings, 1)
    stage = first.stages[-1]
    checkpoint = stage.checkpoint
    stage.checkpoint = lambda now_ms: _Slowly(checkpoint(now_ms))  # type: ignore[method-assign]
    fence(settings, [settings.transactional_id("attach", 0)])
    write(settings, "sealed", (None, b"b"))
    first.join()
    assert isinstance(first.error, Fenced)
    assert len(first.stages) == 1


def test_a_log_that_lost_what_comes_next_is_an_error(shard: Shard) -> None:
    """Records that were deleted before they were read stop the worker loudly; it never resumes elsewhere in silence."""
    settings = shard.settings
    write(settings, "sealed", *[(None, b"%d" % k) for k in range(5)])
    client = admin(settings)
    for future in client.delete_records([TopicPartition(settings.topic("sealed"), 0, 3)]).values():
        future.result()
    worker = shard.start()
    worker.join()
    assert isinstance(worker.error, PositionLost)
    assert settings.topic("sealed") in str(worker.error)
    assert list(read_to_end(settings, settings.topic("shares"))) == []


def test_state_that_does_not_open_ends_the_worker(shard: Shard) -> None:
    """A worker that cannot read its own state does nothing at all: starting afresh would count twice."""
    settings = shard.settings
    write(settings, "state-attach", (b"position", b"unreadable"))
    write(settings, "sealed", (None, b"x"))
    worker = shard.start()
    worker.join()
    assert isinstance(worker.error, StateUnreadable)
    assert list(read_to_end(settings, settings.topic("shares"))) == []


@pytest.mark.parametrize("hours", [1, -1])
def test_time_is_the_brokers(shard: Shard, monkeypatch: pytest.MonkeyPatch, hours: int) -> None:
    """With a clock that is an hour off, before the start and while it runs, a stage is told the broker's time."""
    right = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: right() + hours * 3_600 * 10**9)
    settings = shard.settings
    worker = shard.start()
    for number in range(3):
        write(settings, "sealed", (None, b"%d" % number))
        wait_for(settings, number + 1)
    monkeypatch.setattr(time, "time_ns", lambda: right() - hours * 3_600 * 10**9)
    write(settings, "sealed", (None, b"3"))
    wait_for(settings, 4)
    now_ms = right() // 10**6
    first, *others = worker.stages[-1].clocks
    assert abs(first - now_ms) > 3_000_000  # nothing was acknowledged yet
    assert others
    assert all(abs(clock - now_ms) < 60_000 for clock in others)
    ahead = worker.registry.get_sample_value("evenstream_clock_ahead_seconds", {"role": "attach"}) or 0.0
    assert abs(ahead + hours * 3600) < 60


def _deleted(settings: Settings, topic: str = "shares") -> None:
    client = admin(settings)  # kept until the answer is there
    client.delete_topics([settings.topic(topic)])[settings.topic(topic)].result()


def _made_again(settings: Settings, topic: str = "shares") -> None:
    _deleted(settings, topic)
    name = settings.topic(topic)
    while name in admin(settings).list_topics(timeout=10).topics:
        time.sleep(0.05)
    topics.create(settings, tuple(plan for plan in topics.plan(settings) if plan.name == name))


def _grown(settings: Settings) -> None:
    name = settings.topic("shares")
    client = admin(settings)
    client.create_partitions([NewPartitions(name, 4)])[name].result()


@pytest.mark.parametrize(
    ("change", "said"),
    [(_deleted, "was deleted while"), (_made_again, "made again while"), (_grown, "was given 4 partitions and had 3")],
    ids=["deleted", "made again", "grown"],
)
def test_a_topic_that_is_no_longer_the_one_ends_the_worker(
    shard: Shard, change: Callable[[Settings], None], said: str
) -> None:
    """It does not wait for a topic to come back, and uses none that came back."""
    worker = shard.start()
    write(shard.settings, "sealed", (None, b"a"))
    wait_for(shard.settings, 1)
    topic = shard.settings.topic("shares")
    deadline = time.monotonic() + 30
    while topic not in worker.loop._topic_watch._known:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    change(shard.settings)
    worker.join()
    assert isinstance(worker.error, TopicMismatch)
    assert said in str(worker.error)
    assert topic in str(worker.error)


def until(condition: Callable[[], bool]) -> None:
    """Wait for it, with patience for a busy machine."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def metric(worker: Worker, name: str) -> float | None:
    """One of a worker's gauges."""
    return worker.registry.get_sample_value(f"evenstream_layout_{name}", {"role": "attach"})


def test_workers_follow_the_layout(shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that the layout has no part for stands by, comes to work when it has one, and goes again; none ends."""
    monkeypatch.setattr(shard_module, "_HAND_OVER_SECONDS", 1.0)  # nothing flows here that would show who is fenced
    settings = shard.settings
    first, second = shard.start(), shard.start(1)
    until(lambda: first.loop.ready() is None and second.loop.standing_by() is not None)
    assert "is divided into 1 in generation 0, and this is shard 1" in str(second.loop.standing_by())
    assert second.loop.ready() is None
    assert second.stages == []
    assert second.let_go.wait(5)  # it has no tick by which it would hear of keys that others have destroyed
    write(settings, "sealed", *[(None, b"%d" % k) for k in range(10)])
    wait_for(settings, 10)
    assert scale(settings, "attach", 2, 0).generation == 1
    until(lambda: metric(first, "generation") == metric(second, "generation") == 1)
    until(lambda: first.loop.ready() is None and second.loop.ready() is None and len(second.stages) == 1)
    assert second.loop.standing_by() is None
    scale(settings, "attach", 1, 0)
    until(lambda: metric(first, "generation") == 2 and second.loop.standing_by() is not None)
    assert first.error is second.error is None


def test_ids_of_earlier_generations_are_fenced(shard: Shard) -> None:
    """A zombie amid a transaction, of a generation that is past, cannot commit once a worker of the new one has begun.

    Its transaction is aborted, and its id cannot be used again unnoticed: whoever takes it later reads the layout.
    """
    settings = shard.settings
    scale(settings, "attach", 3, 0)
    zombie = Producer(producer_config(settings, settings.transactional_id("attach", 2, 1)))
    zombie.init_transactions(30)
    zombie.begin_transaction()
    zombie.produce(settings.topic("shares"), value=b"of a zombie", partition=0)
    zombie.flush(10)
    scale(settings, "attach", 1, 0)
    worker = shard.start()
    until(lambda: worker.loop.ready() is None)
    with pytest.raises(KafkaException):
        zombie.commit_transaction(10)
    write(settings, "sealed", (None, b"a"))
    assert wait_for(settings, 1) == [b"1:a"]


def test_a_layout_that_was_put_back_is_refused(shard: Shard) -> None:
    """`keys` restored from a backup: a worker that starts stays in the generation that was begun, counts, and says so.

    The next layout goes above both, and fences what worked in the one that the backup knows nothing of.
    """
    settings = shard.settings
    scale(settings, "attach", 3, 0)
    (old,) = [(record.key(), record.value()) for record in read_to_end(settings, settings.topic("keys"))]
    scale(settings, "attach", 1, 0)
    first = shard.start()
    until(lambda: first.loop.ready() is None)
    first.end()
    kept = settings.layout_file("attach")
    assert decode_layout(kept.read_bytes(), shard.trusted.identities).generation == 2
    _made_again(settings, "keys")
    write(settings, "keys", old)
    second = shard.start()
    until(lambda: second.loop.ready() is None)
    assert metric(second, "generation") == 2
    refused = {"role": "attach", "reason": "layout"}
    assert second.registry.get_sample_value("evenstream_records_refused_total", refused) == 1
    write(settings, "sealed", (None, b"a"))
    assert wait_for(settings, 1) == [b"1:a"]
    # From a machine that does not know what has begun, as the command line does it: first without the file, then with.
    elsewhere = settings.model_copy(update={"keys": settings.keys.model_copy(update={"state_dir": kept.parent / "no"})})
    assert present(elsewhere, "attach").generation == 1
    assert present(elsewhere, "attach", kept).generation == 2
    assert scale(elsewhere, "attach", 1, 0, kept).generation == 3
    until(lambda: metric(second, "generation") == 3 and second.loop.ready() is None)
    assert present(elsewhere, "attach").generation == 3


@pytest.mark.parametrize("begun", [0, 2])
def test_a_layout_that_leaves_out_what_was_begun_fences_it(shard: Shard, begun: int) -> None:
    """One that is more generations ahead than its history names: what a worker had begun is fenced all the same."""
    settings = shard.settings
    for generation in range(begun):
        scale(settings, "attach", 2 - generation, 0)
    first = shard.start()
    until(lambda: first.loop.ready() is None)
    first.end()
    zombie = Producer(producer_config(settings, settings.transactional_id("attach", 0, begun)))
    zombie.init_transactions(30)
    zombie.begin_transaction()
    zombie.produce(settings.topic("shares"), value=b"of a zombie", partition=0)
    zombie.flush(10)
    layout = present(settings, "attach")
    for _ in range(HISTORY + 2):
        record = layout.next("attach", 1, 0)
        layout = Layout.of(record)
    assert layout.history[0].generation > begun
    signed = sign_layout(load_role(settings.keys.dir, "attach", settings.deployment).identity, record)
    write(settings, "keys", (signed.key, signed.value))
    second = shard.start()
    until(lambda: second.loop.ready() is None)
    assert metric(second, "generation") == begun + HISTORY + 2
    with pytest.raises(KafkaException):
        zombie.commit_transaction(10)


def test_a_generation_that_is_past_is_left_again(shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that learns of a layout only after it has taken its old id does no work under it."""
    settings, built = shard.settings, []
    real = Worker._build

    def build(worker: Worker, layout: Layout) -> CountingStage:
        built.append(layout.generation)
        return real(worker, layout)

    monkeypatch.setattr(Worker, "_build", build)
    scale(settings, "attach", 2, 0)
    scale(settings, "attach", 1, 0)
    # Its first look at the control topics shows nothing: the records come when it has taken the id of generation 0.
    polls = [lambda reader: None]
    real_poll = ControlReader.poll
    monkeypatch.setattr(ControlReader, "poll", lambda reader: (polls.pop() if polls else real_poll)(reader))
    worker = shard.start()
    write(settings, "sealed", (None, b"a"))
    assert wait_for(settings, 1) == [b"1:a"]
    assert polls == []
    assert built == [2]
    assert worker.error is None


def test_what_the_group_says_can_be_deleted_and_the_next_worker_goes_on(shard: Shard) -> None:
    """Positions reach the consumer group with the records that they stand for; what lies behind them is not needed."""
    settings, said = shard.settings, list[str]()
    deleter = Deleter(settings, said.append, [replace(topic, kept=0) for topic in IN_FLIGHT])
    write(settings, "sealed", *[(None, b"%d" % k) for k in range(5)])
    worker = shard.start()
    wait_for(settings, 5)
    worker.end()
    assert deleter.once() == 1
    assert 0 < first_offset(settings, settings.topic("sealed"), 0) <= 5
    assert first_offset(settings, settings.topic("shares"), 0) == 0  # a and b have read nothing
    assert [settings.topic("sealed") in line for line in said] == [True]
    write(settings, "sealed", (None, b"5"), (None, b"6"))
    shard.start()
    assert wait_for(settings, 7) == [b"%d:%d" % (k + 1, k) for k in range(7)]
    assert deleter.once() <= 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a small file system may not be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_brokers_full_disk_stops_and_loses_nothing(small_disk: Path, make_settings: MakeSettings) -> None:
    """The broker ends; a worker waits and says so; with room and the broker back, it goes on with the next number."""
    broker = DevBroker(small_disk / "kafka")
    shard: Shard | None = None
    try:
        settings = make_settings(broker.start().bootstrap, "topics.partitions=1")
        topics.create(settings, topics.plan(settings))
        create(settings.keys.dir, settings.deployment)
        shard = Shard(settings, load_trusted(settings.keys.dir / "seal"))
        worker = shard.start()
        write(settings, "sealed", (None, b"before"))
        assert wait_for(settings, 1) == [b"1:before"]
        filler = small_disk / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(1 << 16))
        producer = Producer(producer_config(settings, None))
        deadline = time.monotonic() + 60
        while broker.running() is not None:
            assert time.monotonic() < deadline, "the broker lives on a full disk"
            producer.produce(settings.topic("sealed"), value=bytes(50_000), partition=0)
            producer.poll(0.1)
        producer.purge()
        filler.unlink()
        broker.start()
        write(settings, "sealed", (None, b"after"))
        values = [value for value in until_last(settings, b"after") if len(value) < 100]
        assert values[0] == b"1:before"
        assert values[-1].endswith(b":after")
        numbers = [int(record.split(b":")[0]) for record in until_last(settings, b"after")]
        assert numbers == list(range(1, len(numbers) + 1))
        assert worker.error is None
    finally:
        for each in shard.workers if shard is not None else ():
            each.end()
        broker.stop()


def until_last(settings: Settings, last: bytes) -> list[bytes]:
    """Values on `shares`, once the last one is as wanted."""
    deadline = time.monotonic() + 60
    while True:
        with suppress(KafkaUnavailable):
            values = [record.value() or b"" for record in read_to_end(settings, settings.topic("shares"))]
            if values and values[-1].endswith(b":" + last):
                return values
        assert time.monotonic() < deadline
        time.sleep(0.2)
