"""The shard loop: exactly-once consume-process-produce for one shard of a role (DESIGN section 2.4).

Goals, and how each is met.

* **No record lost or counted twice.** Outputs, state and input positions are written in one transaction. Input
  positions live in the state records themselves, so there is one truth to restore from.
* **No zombie.** The order at start is: make the producer, ``init_transactions()`` (which fences the predecessor), read
  state to its end, assign with explicit offsets from that state. State read earlier could be overtaken by a zombie's
  commit. A shard that is fenced exits; two that fought back would fence each other for ever.
* **As many workers as the role's layout says** (``streams.records.layout``), followed live. The transactional id names
  generation and shard. After ``init_transactions()`` the layout is read again: a worker that took an id of a generation
  that is past lets go of it, so an id that was fenced stays fenced. Then every id of the earlier generations is fenced,
  before state is read, and that this one has begun is kept on disk: the topic can be taken back (``streams.layouts``).
  A worker that the layout has no place for stands by.
* **A short hand-over.** A worker of the old generation works on until one of the new has fenced it, or until it is
  ready to be one itself: what takes long (loading members) is done before anyone is fenced.
* **No half state.** After any abort, time-out or ambiguous commit the producer and the stage are thrown away, and both
  are built anew from committed state. librdkafka has no KIP-890 client side, so nothing less is safe.
* **Others see how far it is.** Now and then the positions go to the role's consumer group as well, after they were
  committed: a copy for deletion (``streams.retention``) and for lag tools, never ahead of the truth, and never read
  here. Nobody waits for it: librdkafka's ``send_offsets_to_transaction`` has no end where the broker dies amid it.
* **Latency.** The loop gathers records for as long as the stage can wait, 10 ms where it cannot; after a turn without
  any it sleeps until the next one comes. It commits when the stage says so: at punctuation, else once a second.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from streams.errors import Fenced, PositionLost
from streams.kafka.broker_clock import BrokerClock, local_ms
from streams.kafka.clients import (
    COMMIT_SECONDS,
    POSITION_GONE,
    admin,
    make_consumer,
    make_producer,
    produce,
    read_to_end,
    transaction_timeout_seconds,
)
from streams.kafka.control_reader import ControlReader
from streams.kafka.fencing import FENCED, fence, reason_of, taken_over
from streams.kafka.refusals import explained, is_refusal, refused_reading
from streams.kafka.retention_watch import RetentionWatch
from streams.kafka.topic_watch import TopicWatch
from streams.layouts import BegunLayout
from streams.records.layout import Layout
from streams.settings import Settings
from streams.stage import LEAST_PATIENCE_MS, Record, Stage
from streams.watch.health import RoleHealth

log = logging.getLogger(__name__)

# A turn after a silence takes .2 ms of a processor: twenty a second were the half of what an idle role uses. A record
# ends the wait at once, so what waits for the turn are the control topics: a revocation, a new layout.
_IDLE_SECONDS = 0.1
_GATHER_SECONDS = 0.003  # the first record after a silence is seldom alone
_RECORDS_A_POLL = 5_000
_INIT_TIMEOUT_SECONDS = 30.0
_RETRY_SECONDS = 0.2
_LAG_INTERVAL_SECONDS = 1.0
_STAND_BY_SECONDS = 0.1
_LET_GO_SECONDS = 1.0
_HAND_OVER_SECONDS = 30.0  # for so long a worker of an old generation waits for those that are new in the next
# A question more for a transaction, so not for each: nobody needs the group's copy of the positions to the second.
_GROUP_OFFSETS_SECONDS = 5.0


class _Rewind(Exception):
    """The transaction did not commit, or may not have: everything goes back to committed state."""


@dataclass
class _HandOver:
    """A worker of an old generation on its way into a newer one.

    Attributes:
        to: the newer layout.
        steps: what is to be done before, piece by piece.
        alone: whether all workers of the newer layout are workers of the old one: nobody else need be waited for.
        since: when the layout was seen, ``time.monotonic()``.
    """

    to: Layout
    steps: Iterator[None]
    alone: bool
    since: float
    prepared: bool = False

    def is_due(self) -> bool:
        """Do one more piece; True when this worker should begin anew."""
        if not self.prepared:
            self.prepared = next(self.steps, _NO_MORE) is _NO_MORE
            return False
        return self.alone or time.monotonic() - self.since > _HAND_OVER_SECONDS


_NO_MORE = object()


now_ms = local_ms
"""This machine's clock, for what is done before the loop runs; the loop itself goes by the broker's."""


class ShardLoop:
    """Drives one stage.

    Args:
        settings: the deployment's settings.
        role, shard: who this worker is; with the layout's generation they name the transactional id.
        state_topics: topics to restore from, in this order.
        build: makes a new, empty stage for this shard's part under a layout; called again after every abort.
        control: follows the control topics.
        health: the role's health metrics.
        verify: called with the stage when its state is restored, before it reads anything.
        tick: called at every turn with the stage and the time, for what a role does beside its records.
        prepare: what takes long and must be done before ``build`` is called with a layout, in pieces of well under a
            second: they are done between the turns of an older generation. It knows by itself what is done already.
        idle_seconds: for how long a turn waits for a record when the one before had none and the stage is impatient.
        alive: called at every turn, and within what takes long or waits for Kafka (``streams.pulse``).
        let_go: called while this worker has no part, or waits for a recipient's key: forgets what other workers of the
            role have destroyed meanwhile.
        hold: why nothing may be read or written now, whatever the stage says; None where it may.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        role: str,
        shard: int,
        state_topics: Sequence[str],
        build: Callable[[Layout], Stage],
        control: ControlReader,
        health: RoleHealth,
        verify: Callable[[Stage], None] = lambda stage: None,
        tick: Callable[[Stage, int], None] = lambda stage, now: None,
        prepare: Callable[[Layout], Iterator[None]] = lambda layout: iter(()),
        let_go: Callable[[], None] = lambda: None,
        hold: Callable[[], str | None] = lambda: None,
        idle_seconds: float = _IDLE_SECONDS,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._group = settings.group(role)
        self._role, self._shard = role, shard
        self._transactional_id = settings.transactional_id(role, shard)
        self._transaction_seconds = transaction_timeout_seconds(settings)
        self._state_topics = tuple(state_topics)
        self._build = build
        self._control = control
        self._health = health
        self._verify = verify
        self._tick = tick
        self._prepare = prepare
        self._let_go = let_go
        self._hold = hold
        self._idle_seconds = idle_seconds
        self._alive = alive
        self._let_go_at = 0.0
        self._hand_over: _HandOver | None = None
        self._paused: set[tuple[str, int]] = set()
        self._begun = BegunLayout(settings.layout_file(role), role, control.control.trusted.identities)
        self._out_of_place: Layout | None = None
        self._fenced_before = 0  # generations below this one were fenced by this process, for good
        self._standing_by: str | None = None
        self._retention = RetentionWatch(settings, role, health)
        self._clock = BrokerClock(health.clock_ahead)
        self._topic_watch = TopicWatch(settings, role)
        self._group_offsets_at = 0.0
        self._not_ready: str | None = "starting"

    def ready(self) -> str | None:
        """Why this shard is not at work, or None."""
        return self._not_ready

    def standing_by(self) -> str | None:
        """Why this worker has nothing to do, which is no fault; None while it has."""
        return self._standing_by

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set.

        Raises:
            Fenced: another instance took over this shard.
            PositionLost: the log no longer holds what comes next.
        """
        self._take_begun()
        self._retention.start()
        try:
            self._sessions(stop)
        finally:
            self._retention.close()

    def _sessions(self, stop: threading.Event) -> None:
        while (layout := self._await_place(stop)) is not None:
            try:
                self._try_session(layout, stop)
            except Fenced:
                self._control.catch_up()
                newest = self._layout()
                if newest.generation == layout.generation:
                    raise
                log.info("generation %d of %s has begun", newest.generation, self._role)

    def _try_session(self, layout: Layout, stop: threading.Event) -> None:
        try:
            self._session(layout, stop)
        except _Rewind as error:
            self._health.transaction("aborted", 0.0)
            self._go_back(f"a transaction did not commit: {error}", stop)
        except KafkaException as error:  # a question beside the transactions failed, such as a topic's end
            meaning = self._translate(error)
            if not isinstance(meaning, _Rewind):
                raise meaning from error
            self._go_back(str(meaning), stop)

    def _go_back(self, reason: str, stop: threading.Event) -> None:
        self._not_ready = "going back to committed state"
        log.warning("%s; going back to committed state", reason)
        stop.wait(_RETRY_SECONDS)

    def _layout(self) -> Layout:
        return self._control.control.layout(self._role)

    # -- a place in the layout ------------------------------------------------------------------------------------

    def _await_place(self, stop: threading.Event) -> Layout | None:
        """A layout in which this shard has a part, everything prepared for it; None when told to stop."""
        while not stop.is_set():
            self._alive()
            self._control.poll()
            layout = self._layout()
            self._health.layout(layout.generation, layout.shards, self._shard)
            if self._shard >= layout.shards:
                self._not_ready = None
                self._standing_by = (
                    f"standing by: {self._role} is divided into {layout.shards} in generation {layout.generation}, and "
                    f"this is shard {self._shard}"
                )
                self._retention.tell({})
                self._forget()
                stop.wait(_STAND_BY_SECONDS)
                continue
            if self._standing_by is not None:
                self._standing_by, self._not_ready = None, "starting"
            begun = self._hand_over
            for _ in begun.steps if begun is not None and begun.to == layout else self._prepare(layout):
                self._alive()
                if stop.is_set():
                    return None
            return layout
        return None

    def _forget(self) -> None:
        if time.monotonic() - self._let_go_at >= _LET_GO_SECONDS:
            self._let_go_at = time.monotonic()
            self._let_go()

    def _moves_on(self, layout: Layout) -> bool:
        """Whether this worker should give up its place in ``layout`` for one in a newer layout, or for none."""
        newest = self._layout()
        if newest.generation == layout.generation:
            return False
        if self._hand_over is None or self._hand_over.to != newest:
            log.info("generation %d of %s: %d shards", newest.generation, self._role, newest.shards)
            stays = self._shard < newest.shards
            steps = self._prepare(newest) if stays else iter(())
            self._hand_over = _HandOver(newest, steps, stays and newest.shards <= layout.shards, time.monotonic())
        return self._hand_over.is_due()

    def _take_begun(self) -> None:
        begun = self._begun.read()
        if begun is not None:
            self._control.control.layouts.begin(*begun)

    def _look_at_layouts(self) -> None:
        """Say once, and count, that `keys` holds another layout than the one in force."""
        layouts = self._control.control.layouts
        said, found = self._out_of_place, layouts.out_of_place(self._role)
        self._out_of_place = found
        if found is not None and found != said:
            held = layouts.of(self._role)
            self._health.refused("layout")
            log.error(
                "`keys` holds generation %d of %s as its newest layout, expected generation %d, which its workers have "
                "begun: an old record was put back, or the newest one taken away. They stay in generation %d. Write "
                "the next one where %s is, or with a copy of it: `evenstream scale %s %d --begun FILE`",
                found.generation,
                self._role,
                held.generation,
                held.generation,
                self._begun.path,
                self._role,
                held.shards,
            )

    def _begin(self, layout: Layout) -> None:
        """Fence every id of the generations before this one, then remember that it has begun.

        Whatever began was remembered, so a history that does not reach back to it leaves nobody out.
        """
        if self._fenced_before >= layout.generation:
            return
        begun = self._begun.read()
        before = (Layout() if begun is None else Layout.of(begun[0])).generations()
        earlier = {
            known for known in (*layout.history, *before) if self._fenced_before <= known.generation < layout.generation
        }
        fence(
            self._settings,
            [
                self._settings.transactional_id(self._role, shard, known.generation)
                for known in earlier
                for shard in range(known.shards)
            ],
            self._alive,
        )
        self._begun.keep(layout, self._control.control.layouts.value(self._role))
        self._fenced_before = layout.generation

    # -- one producer's life --------------------------------------------------------------------------------------

    def _session(self, layout: Layout, stop: threading.Event) -> None:
        self._transactional_id = self._settings.transactional_id(self._role, self._shard, layout.generation)
        producer = make_producer(self._settings, self._transactional_id)
        try:
            producer.init_transactions(_INIT_TIMEOUT_SECONDS)
        except KafkaException as error:
            raise self._translate(error) from error
        self._alive()
        self._control.catch_up()
        self._take_begun()
        self._look_at_layouts()
        if self._layout() != layout:
            return  # it has moved on before the id was ours: this id may have been fenced already
        self._begin(layout)
        self._hand_over = None
        stage = self._build(layout)
        for topic in self._state_topics:
            self._restore(stage, topic)
        self._alive()
        self._verify(stage)
        self._alive()
        stage.refresh(self._clock.now_ms())
        consumer = make_consumer(self._settings, self._group)
        self._paused.clear()
        try:
            # What is due at once goes out before anything is read; its acknowledgement tells the broker's time.
            while stage.due(now := self._clock.now_ms()) and (self._hold() or stage.blocked(now)) is None:
                self._commit(producer, consumer, stage, now)
            self._assign(consumer, stage)
            self._turns(stop, layout, stage, producer, consumer)
        finally:
            consumer.close()

    def _restore(self, stage: Stage, topic: str) -> None:
        """Give a stage what compaction would leave of a state topic, whether it has run yet or not.

        A stage that saw each old value would have to undo it at the tombstone that follows; records without a key (a
        ledger's) are all given, in order.
        """
        latest: dict[bytes, bytes | None] = {}
        for record in read_to_end(self._settings, topic, alive=self._alive):
            key = record.key()
            if isinstance(key, bytes):
                latest[key] = record.value()
            else:
                stage.restore(topic, b"", record.value())
        for key, value in latest.items():
            self._alive()
            stage.restore(topic, key, value)

    def _assign(self, consumer: Consumer, stage: Stage) -> None:
        positions = [TopicPartition(topic, i, offset) for (topic, i), offset in stage.positions().items()]
        # librdkafka leaves a paused partition paused, whatever is assigned; what is stopped still is paused again.
        if self._paused:
            consumer.resume([TopicPartition(topic, i) for topic, i in self._paused])
            self._paused.clear()
        consumer.assign(positions)

    def _turns(
        self, stop: threading.Event, layout: Layout, stage: Stage, producer: Producer, consumer: Consumer
    ) -> None:
        lag_at, messages = 0.0, list[Message]()
        while not stop.is_set():
            self._alive()
            now = self._clock.now_ms()
            self._topic_watch.look()
            self._control.poll()
            self._look_at_layouts()
            if self._moves_on(layout):
                return  # what is not committed is read again by whoever owns it then
            if stage.refresh(now):
                self._assign(consumer, stage)
            if time.monotonic() - lag_at > _LAG_INTERVAL_SECONDS:
                lag_at = time.monotonic()
                self._report_lag(consumer, stage)
            # Said once a turn, and not taken back in between: whoever asks does so while the loop waits for records.
            held = self._hold()
            reason = held or stage.blocked(now)
            if reason is not None:
                self._not_ready = reason
                self._forget()
                if held is not None:  # which may last: whoever seals to this role needs its next epoch
                    self._tick(stage, now)
                stop.wait(0.1)
                continue
            messages = self._read(consumer, stage.patience_ms(now), after_records=bool(messages))
            now = self._clock.now_ms()
            records, ends = self._sort_out(messages, stage)
            if records:
                stage.step(cast(Sequence[Record], records), now)
            self._pause_stopped(consumer, stage)
            self._not_ready = next((f"{t} [{i}] is stopped: {why}" for (t, i), why in stage.stopped().items()), None)
            for topic, partition, offset in ends:
                stage.at_end(topic, partition, offset)
            self._tick(stage, now)
            while stage.due(now) and not stop.is_set():
                self._commit(producer, consumer, stage, now)
                now = self._clock.now_ms()

    def _read(self, consumer: Consumer, patience_ms: int, *, after_records: bool) -> list[Message]:
        """What comes in a turn. ``consume`` waits for as many as it is asked for, so after a silence that is one."""
        if after_records or patience_ms > LEAST_PATIENCE_MS:
            return consumer.consume(_RECORDS_A_POLL, patience_ms / 1000)
        messages = consumer.consume(1, self._idle_seconds)
        return messages and messages + consumer.consume(_RECORDS_A_POLL - 1, _GATHER_SECONDS)

    def _sort_out(self, messages: list[Message], stage: Stage) -> tuple[list[Message], list[tuple[str, int, int]]]:
        """Records, and the partitions that were read to their end: (topic, partition, end offset)."""
        records = [message for message in messages if message.error() is None]
        ends: dict[tuple[str, int], int] = {}
        if len(records) == len(messages):
            return records, []
        for message in messages:
            error = message.error()
            partition = (str(message.topic()), int(message.partition() or 0))
            if error is None:
                ends.pop(partition, None)  # an end that more records follow says nothing any more
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  # librdkafka's own codes begin with _
                ends[partition] = int(message.offset() or 0)
            elif error.code() in POSITION_GONE:
                why = (
                    f"{message.topic()} [{message.partition()}] no longer holds the position that this role's state "
                    f"names ({error.str()}): records were deleted before they were read, or the topic was recreated. "
                    "Nothing is skipped by itself; see docs/operations.md"
                )
                if not stage.lose_position(*partition, why):
                    raise PositionLost(why)
            elif is_refusal(error):
                raise refused_reading(self._settings, message.topic(), error)
            else:
                log.warning("consumer: %s", error.str())
        return records, [(topic, i, offset) for (topic, i), offset in ends.items()]

    def _pause_stopped(self, consumer: Consumer, stage: Stage) -> None:
        fresh = [partition for partition in stage.stopped() if partition not in self._paused]
        if fresh:
            consumer.pause([TopicPartition(topic, i) for topic, i in fresh])
            self._paused.update(fresh)

    def _commit(self, producer: Producer, consumer: Consumer, stage: Stage, now: int) -> None:
        self._alive()
        outputs = stage.checkpoint(now)
        if outputs:
            started = time.monotonic()
            try:
                producer.begin_transaction()
                for out in outputs:
                    produce(
                        producer,
                        out.topic,
                        value=out.value,
                        key=out.key,
                        partition=out.partition,
                        on_delivery=self._clock.delivered,
                    )
                producer.commit_transaction(COMMIT_SECONDS)
            except KafkaException as error:
                meaning, took = self._translate(reason_of(producer, error)), time.monotonic() - started
                if isinstance(meaning, Fenced) and took > self._transaction_seconds:
                    # librdkafka calls it fenced as well when the broker has ended a transaction that stood open too
                    # long, as those of a process that was paused do. Whoever did take over meanwhile is fenced in turn.
                    raise _Rewind(f"it stood open for {took:.0f} s, longer than the broker waits") from error
                raise meaning from error
            self._health.transaction("committed", time.monotonic() - started)
            self._tell_group(consumer, stage)
        stage.committed()

    def _tell_group(self, consumer: Consumer, stage: Stage) -> None:
        if time.monotonic() - self._group_offsets_at < _GROUP_OFFSETS_SECONDS:
            return
        # Set before it is tried: where the group's coordinator fails, the next transactions go on without it.
        self._group_offsets_at = time.monotonic()
        positions = [TopicPartition(topic, i, offset) for (topic, i), offset in stage.positions().items()]
        if positions:
            consumer.commit(offsets=positions, asynchronous=True)

    def _translate(self, error: KafkaException) -> Exception:
        kafka_error: KafkaError = error.args[0]
        if kafka_error.code() in FENCED:
            return taken_over(self._transactional_id)
        if is_refusal(kafka_error):
            what = f"{kafka_error.str()}, transactional id {self._transactional_id}"
            return explained(self._settings, self._role, what, admin(self._settings))
        return _Rewind(kafka_error.str())

    def _report_lag(self, consumer: Consumer, stage: Stage) -> None:
        positions = stage.positions()
        self._retention.tell(positions)
        for (topic, i), offset in positions.items():
            try:
                _, high = consumer.get_watermark_offsets(TopicPartition(topic, i), cached=True)
            except KafkaException:
                continue
            if high >= 0:
                self._health.lag(topic, i, max(0, high - max(offset, 0)))
