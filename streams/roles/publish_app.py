"""Runs :class:`streams.roles.publish.PublishCore` as a faust-streaming app.

At start all releases are read to their end and the state is rebuilt from them; windows that `fairness-metrics` already
holds are neither estimated nor emitted again (``emitted``), and those that it lacks are written at once. Then a Faust
agent follows both release topics. Faust's positions carry no meaning: a release that comes twice is recognised by its
bytes, so the app reads from the beginning under a group of its own (which also spares it the wait for a predecessor's
session to time out), and nothing exact rests on Faust.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import AsyncIterable, Callable, Sequence
from pathlib import Path
from typing import Any

import faust
from confluent_kafka import KafkaError, Message
from faust.transport.drivers.aiokafka import Producer

from streams.control import limits_of
from streams.errors import AccessRefused, EvenstreamError, KafkaUnavailable, TopicMismatch
from streams.kafka.clients import admin, make_producer, partition_count, read_to_end
from streams.kafka.faust_credentials import credentials
from streams.kafka.refusals import lacking, lacks
from streams.kafka.topic_watch import TopicWatch
from streams.kafka.topics import METRIC_BYTES
from streams.records.metric import FairnessMetric
from streams.roles.emitted import EmittedWindows
from streams.roles.process import RoleProcess
from streams.roles.publish import PublishCore
from streams.roles.publish_concerns import ConcernDesk
from streams.settings import Settings
from streams.watch.collector import FairnessCollector

log = logging.getLogger(__name__)

_BEAT_SECONDS = 1.0
_CONTROL_SECONDS = 0.2
_WRITE_SECONDS = 15.0
_RIGHTS_SECONDS = 5.0


class Publisher:
    """Everything that `publish` holds; the Faust app below is its way to and from Kafka."""

    def __init__(self, process: RoleProcess) -> None:
        settings = process.settings
        self.process = process
        self.settings = settings
        self.held = EmittedWindows()
        """What lies on `fairness-metrics`."""
        self.core = PublishCore(
            process.control,
            confidence=settings.publish.confidence,
            rho_limit=settings.privacy.rho_member_day_limit,
            emitted=self.held,
        )
        self.collector = FairnessCollector(
            process.registry,
            limits=limits_of(settings),
            retention_seconds=settings.topics.retention_hours * 3600,
        )
        self.topics = {settings.topic("releases-a"): "a", settings.topic("releases-b"): "b"}
        self.not_ready: str | None = "replaying releases"
        self.failed: str | None = None
        self._shown_version = -1
        self._lock = threading.Lock()
        self.concerns = ConcernDesk(settings, process.registry, process.control, self.core.statement)

    def replay(self) -> list[FairnessMetric]:
        """Rebuild from retained releases: the windows that are not on `fairness-metrics`, but should be.

        What was released longer ago than that topic keeps its records has been there, and gone.
        """
        oldest_ms = 1000 * (time.time() - self.settings.topics.metrics_retention_hours * 3600)
        self.process.reader.catch_up()
        alive = self.process.pulse.beat
        for record in read_to_end(self.settings, self.settings.topic("fairness-metrics"), alive=alive):
            key = record.key()
            if isinstance(key, bytes):
                self.held.read(key, record.value(), record.headers())
        fresh = []
        for topic, party in self.topics.items():
            # What an aborted transaction left counts too: every copy of a release is the same signed bytes.
            for record in read_to_end(self.settings, topic, isolation="read_uncommitted", alive=alive):
                alive()
                window = self.take(party, record.value() or b"", live=False)
                if window is not None and record.timestamp()[1] >= oldest_ms and self.is_new(window):
                    fresh.append(window)
        fresh += [w for w in self.refresh_measurements() if w.window.end_ms >= oldest_ms and self.is_new(w)]
        self.collector.open()
        self.not_ready = None
        return fresh

    def take(self, party: str, value: bytes, *, live: bool) -> FairnessMetric | None:
        """Take in one release; the window's record when it is complete."""
        with self._lock:
            window = self.core.apply(party, value)
            self.collector.refused(self.core.refused)
            released, paid_for = self.core.last_release, self.core.last_paid_for
            withheld, emitted = self.core.last_withheld, self.core.last_emitted
        if paid_for is not None:
            self.collector.paid_for(*paid_for)
        if released is not None:
            self.collector.released(*released)
        for uncounted in (withheld, emitted):
            if uncounted is not None:
                self.collector.count(uncounted)
        if window is None:
            return None
        delay = None
        if live:
            approved = self.process.control.find(bytes.fromhex(window.spec_sha256))
            lateness_ms = 0 if approved is None else approved.measurement.lateness_ms
            delay = time.time() - (window.window.end_ms + lateness_ms) / 1000
        self.collector.window(window, delay)
        return window

    def refresh_measurements(self) -> list[FairnessMetric]:
        """Show what is approved now; the windows that revocations have withdrawn since the last call."""
        control = self.process.control
        if control.version == self._shown_version:
            return []
        self._shown_version = control.version
        for approved in control.approved():
            self.process.pulse.beat()
            self.core.statement(approved)  # worked out now, and not when the first window waits for it
        with self._lock:
            withdrawn = self.core.withdrawals()
        self.collector.measurements(control.approved(), self.settings.privacy.rho_member_day_limit)
        for window in withdrawn:
            self.collector.window(window, None)
        return withdrawn

    def is_new(self, window: FairnessMetric) -> bool:
        """Whether a window has not been emitted yet, or only what a withdrawal takes the place of."""
        return window.version > self.held.version(window.topic_key())

    def give_up(self, reason: str) -> None:
        """End this process; the next one finds what is missing on `fairness-metrics`, and emits it."""
        log.error("%s; ending, to be restarted", reason)
        self.failed = reason
        os.kill(os.getpid(), signal.SIGTERM)

    def emitted(self, window: FairnessMetric) -> None:
        """A window's record is durable."""
        self.held.note(window.topic_key(), window.version)


def write_missing(publisher: Publisher, windows: Sequence[FairnessMetric]) -> None:
    """Write what replay has found missing on `fairness-metrics`, before Faust is up: that takes it seconds.

    Raises:
        KafkaUnavailable: not all of it is durable. The next start finds what is missing, and writes it.
    """
    if not windows:
        return
    settings, failures = publisher.settings, list[str]()
    topic = settings.topic("fairness-metrics")
    partitions = partition_count(settings, topic)
    producer = make_producer(settings, None, **{"message.max.bytes": METRIC_BYTES})

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failures.append(error.str())

    for window in windows:
        producer.produce(
            topic,
            key=window.topic_key(),
            value=window.encode(),
            headers=window.headers(settings.deployment),  # type: ignore[arg-type]  # its stub is narrower than what it takes
            partition=window.partition(partitions),
            on_delivery=delivered,
        )
        producer.poll(0)
    left = producer.flush(_WRITE_SECONDS)
    if left or failures:
        why = failures[0] if failures else "no acknowledgement"
        raise KafkaUnavailable(f"{left or len(failures)} windows' records could not be written to {topic}: {why}")
    for window in windows:
        publisher.emitted(window)


class _IdempotentProducer(Producer):
    """Faust's producer, told to number its records: else one that is sent again because the broker went away between
    writing and acknowledging it would be on the topic twice."""

    def _settings_extra(self) -> dict[str, Any]:
        return {"acks": "all", "enable_idempotence": True}


def make_app(publisher: Publisher, folder: Path) -> faust.App:
    """The Faust app around a publisher.

    Args:
        folder: for Faust's own use.
    """
    settings = publisher.settings
    app = faust.App(
        f"{settings.group('publish')}.{os.urandom(4).hex()}",
        broker=[f"kafka://{address.strip()}" for address in settings.kafka.bootstrap.split(",")],
        broker_credentials=credentials(settings.kafka.properties),
        store="memory://",
        datadir=str(folder),
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        broker_commit_interval=5.0,
        producer_max_request_size=METRIC_BYTES,
        stream_wait_empty=False,
    )
    app.producer_transport.Producer = _IdempotentProducer  # type: ignore[misc]  # how Faust lets one be chosen
    releases = app.topic(
        *publisher.topics, key_type=bytes, value_type=bytes, value_serializer="raw", key_serializer="raw"
    )
    metrics_topic = settings.topic("fairness-metrics")
    partitions = partition_count(settings, metrics_topic)

    watch = TopicWatch(settings, "publish")

    # One record at a time, so that a withdrawal cannot be overtaken by the numbers whose place it takes.
    writing = asyncio.Lock()

    async def emit(window: FairnessMetric) -> None:
        async with writing:
            await write(window)

    async def write(window: FairnessMetric) -> None:
        if not publisher.is_new(window):
            return
        try:
            # By the producer itself: a Faust topic makes a second future of each record, which nobody can await, and
            # whose failure Python tells with a traceback.
            producer = await app.maybe_start_producer()
            await producer.send_and_wait(
                metrics_topic,
                window.topic_key(),
                window.encode(),
                partition=window.partition(partitions),
                timestamp=None,
                headers=window.headers(settings.deployment),
            )
        except Exception as error:  # Faust would restart its agent, and the window would never be emitted
            publisher.give_up(f"a window's record could not be written: {error}")
            await asyncio.Event().wait()  # for the end of this process: nothing may be emitted after it
        publisher.emitted(window)

    @app.agent(releases)
    async def join(stream: Any) -> None:
        events: AsyncIterable[Any] = stream.events()
        async for event in events:
            party = publisher.topics[event.message.topic]
            window = publisher.take(party, event.value, live=True)
            if window is not None:
                await emit(window)

    client = admin(settings)

    @app.timer(interval=_RIGHTS_SECONDS)
    async def ask_rights() -> None:
        """Faust's client takes a refusal for something that passes, and would try for ever."""
        try:
            missing = await asyncio.to_thread(lacking, settings, "publish", client)
        except KafkaUnavailable:  # an outage, which is waited for
            return
        if missing:
            publisher.give_up(str(lacks(settings, missing)))

    @app.timer(interval=_CONTROL_SECONDS)
    async def follow_control() -> None:
        try:
            watch.look()
            publisher.process.reader.poll()
        except (AccessRefused, TopicMismatch) as error:
            publisher.give_up(str(error))
        for window in publisher.refresh_measurements():
            await emit(window)
        publisher.concerns.follow()

    return app


def _beat(loop: asyncio.AbstractEventLoop, beat: Callable[[], None]) -> None:
    """Tell at every second that the event loop turns, from before Faust's own timers until the loop's end."""
    beat()
    loop.call_later(_BEAT_SECONDS, _beat, loop, beat)


def run(settings: Settings) -> None:
    """Run `publish` until it is told to stop."""
    process = RoleProcess.start("publish", settings)
    publisher = Publisher(process)
    server = process.serve(
        lambda: publisher.failed, lambda: publisher.not_ready, publisher.concerns.routes, publisher.concerns.forms
    )
    write_missing(publisher, publisher.replay())
    publisher.concerns.follow()
    # Faust makes a folder for tables, of which there are none; one name a deployment, so that kills leave one at most.
    folder = Path(tempfile.gettempdir()) / f"evenstream-{settings.group('publish')}"
    app = make_app(publisher, folder)
    worker = faust.Worker(app, loglevel="WARNING", quiet=True, redirect_stdouts=False, override_logging=False)
    worker.loop.call_soon(_beat, worker.loop, process.pulse.beat)
    try:
        worker.execute_from_commandline()
    except SystemExit:  # how Faust ends, whatever it ends with
        if publisher.failed is not None:
            missing = lacking(settings, "publish", admin(settings))
            raise lacks(settings, missing) if missing else EvenstreamError(publisher.failed) from None
        raise
    finally:
        process.pulse.close()
        shutil.rmtree(folder, ignore_errors=True)
        server.close()
        publisher.concerns.close()
        process.reader.close()
