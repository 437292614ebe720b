"""Runs :class:`streams.roles.seal.SealStage` on Kafka."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # its API

from streams.control import Approved
from streams.errors import KafkaUnavailable
from streams.kafka import topics
from streams.kafka.clients import admin, make_consumer
from streams.kafka.shard import ShardLoop, now_ms
from streams.kafka.topic_watch import find_topic
from streams.records.layout import Layout
from streams.records.punctuation import NEVER_MS
from streams.roles.process import RoleProcess, stop_on_signals
from streams.roles.seal import SealOptions, SealStage
from streams.roles.source_topics import SourceTopic
from streams.settings import Settings
from streams.stage import Stage

log = logging.getLogger(__name__)

_CLOCKS_DIFFER_MS = 500
"""How far a broker's clock may be ahead of this worker's."""

_SELDOM = 10
"""So much more seldom idle partitions are asked about while no window waits for them."""

_IDLE_SECONDS = 0.01  # while a window without events waits for an answer

_CLOCK_ADVICE = {
    "live": "arrival is taken from this worker's clock, and a backlog older than the lateness is refused as late",
    "record_time": "a log replayed with its own times would all be late, since the broker overwrites them",
}


class IdleProbe:
    """Asks the broker where idle partitions end, so that they may follow the clock.

    The question is what keeps this honest: a partition advances only when its leader has said, after the time that it
    advances to, that nothing more is there. A leader that cannot be reached answers nothing, and time stands still.
    """

    def __init__(self, client: AdminClient, interval_ms: int, margin_ms: int) -> None:
        self._client = client
        self._interval_ms = interval_ms
        self._margin_ms = margin_ms
        self._asked_at_ms = 0
        self._awaited = False
        self._latest: Any = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        self._answers: dict[TopicPartition, Future[Any]] = {}

    def __call__(self, stage: Stage, now: int) -> None:
        """Called at every turn of the loop; never waits."""
        assert isinstance(stage, SealStage)
        if self._answers:
            if all(answer.done() for answer in self._answers.values()):
                answers, self._answers = self._answers, {}
                stage.advance_idle(self._ends(answers), self._asked_at_ms - self._margin_ms)
            return
        awaited = stage.awaits(now - self._margin_ms)
        pause_ms = self._interval_ms * (1 if awaited else _SELDOM)
        first = awaited and not self._awaited  # no window waited for the question before
        if not first and abs(now - self._asked_at_ms) < pause_ms:  # also where the broker's clock was set back
            return
        quiet = stage.quiet_partitions(now - (self._margin_ms if awaited else self._interval_ms))
        if quiet:
            self._asked_at_ms, self._awaited = now, awaited
            self._answers = self._client.list_offsets(
                {TopicPartition(topic, i): self._latest for topic, i in quiet}, request_timeout=5.0
            )

    def _ends(self, answers: dict[TopicPartition, Future[Any]]) -> list[tuple[str, int, int]]:
        ends = []
        for partition, answer in answers.items():
            if answer.exception() is None:
                ends.append((partition.topic, partition.partition, answer.result().offset))
        return ends


def _start_offset(
    settings: Settings, alive: Callable[[], None]
) -> Callable[[str, int, Approved], tuple[int, int] | None]:
    """Where to begin with a source partition that this deployment has never read."""

    def start(topic: str, i: int, approved: Approved) -> tuple[int, int] | None:
        alive()  # many partitions, and a broker that is slow to answer, are no hang
        consumer = make_consumer(settings, settings.group("seal-start"))
        timeout = settings.kafka.request_timeout_seconds
        try:
            ends = consumer.get_watermark_offsets(TopicPartition(topic, i), timeout=timeout)
            if ends is None:
                return None
            low, high = ends
            if approved.measurement.source.arrival == "record_time":
                return low, NEVER_MS
            # Nothing that arrived earlier than this can belong to the measurement.
            wanted = approved.from_ms - approved.measurement.max_future_ms
            # All that arrives from now on is read as well. Whether this clock is right is asked, not believed: where
            # records have come since, by the broker's, reading begins with the first of them.
            wanted = min(wanted, now_ms() + _CLOCKS_DIFFER_MS)
            found = consumer.offsets_for_times([TopicPartition(topic, i, wanted)], timeout=timeout)[0]
            if found.error is not None:
                return None
            return (high if found.offset < 0 else max(found.offset, low)), wanted
        except KafkaException as error:
            log.warning("where to begin with %s [%d] could not be asked: %s", topic, i, error.args[0].str())
            return None
        finally:
            consumer.close()

    return start


def _source_topic(
    settings: Settings, client: AdminClient, alive: Callable[[], None]
) -> Callable[[Approved], SourceTopic | None]:
    """Asks for a source topic, and says once where its clock does not suit the measurement."""
    judged: set[str] = set()

    def ask(approved: Approved) -> SourceTopic | None:
        alive()
        source = approved.measurement.source
        try:
            found = find_topic(client, source.topic, settings.kafka.request_timeout_seconds)
        except KafkaUnavailable as error:
            log.warning("%s", error)
            return None
        if found is not None and source.topic not in judged:
            judged.add(source.topic)
            clock = topics.timestamp_type(settings, source.topic)
            wanted = "LogAppendTime" if source.arrival == "live" else "CreateTime"
            if clock is not None and clock != wanted:
                log.warning(
                    "%s has message.timestamp.type %s: %s. To change it: %s",
                    source.topic,
                    clock,
                    _CLOCK_ADVICE[source.arrival],
                    topics.change_command(settings, source.topic, "message.timestamp.type", wanted),
                )
        return None if found is None else SourceTopic(found.id, found.partitions)

    return ask


def run(settings: Settings) -> None:
    """Run one worker of `seal` until it is told to stop."""
    stop = stop_on_signals()
    process = RoleProcess.start("seal", settings)
    process.reader.catch_up()
    client = admin(settings)
    source_topic = _source_topic(settings, client, process.pulse.beat)

    def build(layout: Layout) -> SealStage:
        options = SealOptions(
            partitions=settings.topics.partitions,
            batch_rows=settings.seal.batch_rows,
            commit_interval_ms=int(settings.seal.commit_interval_seconds * 1000),
            few_rows_wait_ms=int(settings.seal.few_rows_wait_seconds * 1000),
            max_event_bytes=settings.seal.max_event_bytes,
            shard=settings.seal.shard,
            shards=layout.shards,
        )
        # New data keys with every attempt: what an aborted transaction has shown is under keys that are used no more.
        return SealStage(
            options,
            process.topics("sealed", "refused", "state-seal"),
            process.keys.identity,
            process.control,
            process.sending_keys(),
            process.state_codec(),
            process.health,
            source_topic,
            _start_offset(settings, process.pulse.beat),
        )

    probe = IdleProbe(client, settings.seal.idle_check_ms, settings.seal.idle_margin_ms)
    keep_state_keys = process.state_keeper()

    def tick(stage: Stage, now: int) -> None:
        probe(stage, now)
        keep_state_keys(stage, now)

    loop = ShardLoop(
        settings,
        role="seal",
        shard=settings.seal.shard,
        state_topics=(settings.topic("state-seal"),),
        build=build,
        control=process.reader,
        health=process.health,
        tick=tick,
        let_go=process.let_go,
        idle_seconds=_IDLE_SECONDS,
        alive=process.pulse.beat,
    )
    process.work(loop, stop)
