"""The shard loop on a real broker: what is restored, what a successor does to its predecessor, what a lost log does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from confluent_kafka import KafkaException, Producer, TopicPartition
from prometheus_client import CollectorRegistry

from privacy import Limits
from secure_agg import Trusted
from secure_agg.keyring import create, load_trusted
from streams.control import ControlPlane
from streams.errors import Fenced, PositionLost, StateUnreadable
from streams.kafka import shard as shard_module
from streams.kafka import topics
from streams.kafka.clients import admin, producer_config, read_to_end
from streams.kafka.control_reader import ControlReader
from streams.kafka.shard import ShardLoop
from streams.records.layout import Layout
from streams.scaling import scale
from streams.settings import Settings
from streams.stage import Out, Partition, Record
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

    def blocked(self, now_ms: int) -> str | None:
        return None

    def step(self, records: Sequence[Record], now_ms: int) -> None:
        for record in records:
            self.count += 1
            self.offset = record.offset() + 1
            value = b"%d:%s" % (self.count, record.value() or b"")
            self.pending.append(Out(self._out, 0, None, value))

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
        return {}


@dataclass
class Worker:
    """A loop in a thread of its own, with the stages that it built and how it ended."""

    settings: Settings
    control: ControlPlane
    shard: int = 0
    stages: list[CountingStage] = field(default_factory=list)
    error: Exception | None = None
    stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.registry = CollectorRegistry()
        reader = ControlReader(self.settings, "attach", self.control)
        self.loop = ShardLoop(
            self.settings,
            role="attach",
            shard=self.shard,
            state_topics=(self.settings.topic("state-attach"), self.settings.topic("ledger-a")),
            build=self._build,
            control=reader,
            health=RoleHealth("attach", self.registry),
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
    settings = make_settings(kafka, "topics.partitions=3")
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
