"""Runs :class:`streams.roles.publish.PublishCore` as a faust-streaming app.

At start all releases are read to their end and the state is rebuilt from them; windows that `fairness-metrics` already
holds are neither estimated nor emitted again (``emitted``), and those that it lacks are written at once. Then a Faust
agent follows both release topics. Faust's positions carry no meaning: a release that comes twice is recognised by its
bytes, so the app reads from the beginning under a group of its own (which also spares it the wait for a predecessor's
session to time out), and nothing exact rests on Faust. It writes nothing: that is ``metrics_writer``'s, in transactions
that fence any other publisher.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import threading
import time
from collections.abc import AsyncIterable, Callable, Collection, Iterable
from pathlib import Path
from typing import Any

import faust

from streams.control import limits_of
from streams.errors import AccessRefused, EvenstreamError, KafkaUnavailable, PositionLost, TopicMismatch
from streams.kafka.clients import admin, read_to_end
from streams.kafka.faust_consumer import SleepingConsumer
from streams.kafka.faust_credentials import credentials
from streams.kafka.properties import client_properties
from streams.kafka.refusals import lacking, lacks
from streams.kafka.topic_watch import TopicWatch
from streams.published_windows import PublishedWindows
from streams.records.metric import FairnessMetric
from streams.roles.detecting import HistoryNeeded, LevelName
from streams.roles.emitted import EmittedWindows
from streams.roles.metrics_writer import MetricsWriter
from streams.roles.process import RoleProcess, collect_seldom, stop_on_signals
from streams.roles.publish import PublishCore
from streams.roles.publish_concerns import ConcernDesk
from streams.roles.publish_page import PublishedPage
from streams.settings import Settings
from streams.watch.collector import FairnessCollector

log = logging.getLogger(__name__)

_BEAT_SECONDS = 1.0
_CONTROL_SECONDS = 0.2
_CONCERNS_SECONDS = 1.0  # nobody waits for these counts, and to ask costs as much as all else at rest
_STOP_SECONDS = 8.0
_RIGHTS_SECONDS = 5.0
_MOST_FRESH = 200
"""Windows that are held until they are written while releases are replayed; each takes some 300 kB."""
_MOST_WAITING = 1000
"""Windows that wait for the transaction before them; then reading waits."""


class Publisher:
    """Everything that `publish` holds; the Faust app below is its way to and from Kafka."""

    def __init__(self, process: RoleProcess) -> None:
        settings = process.settings
        self.process = process
        self.settings = settings
        self._begin()
        self.collector = FairnessCollector(
            process.registry,
            limits=limits_of(settings),
            retention_seconds=settings.topics.retention_hours * 3600,
        )
        self.topics = {settings.topic("releases-a"): "a", settings.topic("releases-b"): "b"}
        self.not_ready: str | None = "replaying releases"
        self.failure: EvenstreamError | None = None
        self._shown_version = -1
        self._lock = threading.Lock()
        self.page = PublishedPage(process)
        self.concerns = ConcernDesk(
            settings, process.registry, process.control, lambda each: self.core.statement(each), self.page.live
        )

    def _begin(self, from_releases: Collection[LevelName] = ()) -> None:
        """Hold nothing yet; of these levels no window will be passed over."""
        settings = self.process.settings
        self.held = EmittedWindows(from_releases)
        """What lies on `fairness-metrics`."""
        self.core = PublishCore(
            self.process.control,
            confidence=settings.publish.confidence,
            rho_limit=settings.privacy.rho_member_day_limit,
            emitted=self.held,
        )

    def replay(
        self,
        write: Callable[[list[FairnessMetric]], None] | None = None,
        alive: Callable[[], None] | None = None,
    ) -> list[FairnessMetric]:
        """Rebuild from retained releases: the windows that are not on `fairness-metrics`, but should be.

        What was released longer ago than that topic keeps its records has been there, and gone.

        Args:
            write: makes windows durable that are new. Called whenever many are, since years of them would not fit into
                memory: after an upgrade from a version that did not sign its records, all are. By default, none is
                written, and all are returned.
            alive: called with each record, by default the pulse alone; what it raises ends the replay.
        """
        alive = alive or self.process.pulse.beat
        anew: set[LevelName] = set()
        while True:
            fresh = self._replay(write, alive)
            if not self.core.lost:
                break
            log.warning("%s", HistoryNeeded(self.core.lost))
            anew |= self.core.lost
            self._begin(anew)
            self.collector.forget()
            self._shown_version = -1
        self._say_passed_over()
        self.collector.open()
        self.page.open()
        self.not_ready = None
        return fresh

    def _say_passed_over(self) -> None:
        for reason, count in self._signed.passed_over.items():
            self.process.health.refused(reason, count)
        told = self._signed.told(self.settings.topic("fairness-metrics"))
        if told is not None:
            log.warning("%s. Their windows were estimated from the releases, and written where they were missing", told)

    def _replay(
        self, write: Callable[[list[FairnessMetric]], None] | None, alive: Callable[[], None]
    ) -> list[FairnessMetric]:
        oldest_ms = 1000 * (time.time() - self.settings.topics.metrics_retention_hours * 3600)
        self.process.reader.catch_up()
        topic = self.settings.topic("fairness-metrics")
        self._signed = PublishedWindows(self.process.control.trusted.identities)
        for record in self._signed.records(read_to_end(self.settings, topic, alive=alive)):
            self.held.read(record)
            self.concerns.governance.read(record)
            self.page.read(record)
        fresh: list[FairnessMetric] = []
        for topic, party in self.topics.items():
            # What an aborted transaction left counts too: every copy of a release is the same signed bytes.
            for release in read_to_end(self.settings, topic, isolation="read_uncommitted", alive=alive):
                alive()
                window = self.take(party, release.value() or b"", live=False)
                if window is not None and release.timestamp()[1] >= oldest_ms and self.is_new(window):
                    fresh.append(window)
                if write is not None and len(fresh) >= _MOST_FRESH:
                    # Those of a level whose evidence is lost come again, with it.
                    write(self.take_new(w for w in fresh if (w.measurement, w.level) not in self.core.lost))
                    fresh.clear()
        fresh += [w for w in self.refresh_measurements() if w.window.end_ms >= oldest_ms and self.is_new(w)]
        return fresh

    def take(self, party: str, value: bytes, *, live: bool) -> FairnessMetric | None:
        """Take in one release; the window's record when it is complete.

        Raises:
            HistoryNeeded: a live window goes on from evidence that is not known here.
        """
        with self._lock:
            window = self.core.apply(party, value)
            if live and self.core.lost:
                raise HistoryNeeded(self.core.lost)
            self.collector.refused(self.core.refused)
            released, paid_for = self.core.last_release, self.core.last_paid_for
            withheld, emitted = self.core.last_withheld, self.core.last_emitted
        if paid_for is not None:
            self.collector.paid_for(*paid_for)
            self.concerns.governance.paid_for(*paid_for)
        if released is not None:
            self.collector.released(*released)
        for uncounted in (withheld, emitted):
            if uncounted is not None:
                self.collector.count(uncounted)
        if emitted is not None and released is not None:
            measurement, level, _, end_ms = released
            self.page.confirm(measurement, level, end_ms)
        if window is None:
            return None
        delay = None
        if live:
            approved = self.process.control.find(bytes.fromhex(window.spec_sha256))
            lateness_ms = 0 if approved is None else approved.measurement.lateness_ms
            delay = time.time() - (window.window.end_ms + lateness_ms) / 1000
        self.collector.window(window, delay)
        self.page.window(window)
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
            self.page.window(window)
        return withdrawn

    def is_new(self, window: FairnessMetric) -> bool:
        """Whether a window has not been emitted yet, or only what a withdrawal takes the place of."""
        return window.version > self.held.version(window.topic_key())

    def take_new(self, windows: Iterable[FairnessMetric]) -> list[FairnessMetric]:
        """Those that are new, each once, in their order; from now on they are not.

        Whether they become durable or not: where they do not, this process ends.
        """
        fresh = []
        for window in windows:
            if self.is_new(window):
                self.held.note(window.topic_key(), window.version)
                self.concerns.governance.window(window)
                fresh.append(window)
        return fresh

    def give_up(self, error: EvenstreamError) -> None:
        """End this process; the next one finds what is missing on `fairness-metrics`, and emits it."""
        log.error("%s; ending", error)
        self.failure = error
        os.kill(os.getpid(), signal.SIGTERM)

    def ready(self) -> str | None:
        """Why this process does not publish, or None. One that has failed ends by itself, and is not hung."""
        return self.not_ready if self.failure is None else str(self.failure)


def make_app(publisher: Publisher, writer: MetricsWriter, folder: Path) -> faust.App:
    """The Faust app around a publisher.

    Args:
        writer: writes what the publisher has found to say.
        folder: for Faust's own use.
    """
    settings = publisher.settings
    app = faust.App(
        f"{settings.group('publish')}.{os.urandom(4).hex()}",
        broker=[f"kafka://{address.strip()}" for address in settings.kafka.bootstrap.split(",")],
        broker_credentials=credentials(client_properties(settings.kafka)),
        store="memory://",
        datadir=str(folder),
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        broker_commit_interval=5.0,
        stream_wait_empty=False,
    )
    app.transport.Consumer = SleepingConsumer  # type: ignore[misc]  # Faust makes the transport by itself
    app.boot_strategy.enable_kafka_producer = False  # one that cannot be fenced would be one too many
    releases = app.topic(
        *publisher.topics, key_type=bytes, value_type=bytes, value_serializer="raw", key_serializer="raw"
    )
    watch = TopicWatch(settings, "publish")

    # One queue and one reader of it, so that a withdrawal cannot be overtaken by the numbers whose place it takes.
    waiting: asyncio.Queue[FairnessMetric] = asyncio.Queue(_MOST_WAITING)

    @app.task
    async def write() -> None:
        while True:
            windows = [await waiting.get()]
            while not waiting.empty():  # what came during the transaction before goes into one
                windows.append(waiting.get_nowait())
            try:
                await asyncio.to_thread(writer.write, publisher.take_new(windows))
            except Exception as error:  # Faust would start its task again, after a window that was never emitted
                if not isinstance(error, EvenstreamError):
                    error = EvenstreamError(f"a window's record could not be written: {error}")
                publisher.give_up(error)
                return  # nothing may be emitted after it

    @app.agent(releases)
    async def join(stream: Any) -> None:
        events: AsyncIterable[Any] = stream.events()
        async for event in events:
            party = publisher.topics[event.message.topic]
            try:
                window = publisher.take(party, event.value, live=True)
            except HistoryNeeded as needed:  # one more window of a level that had ended: the next start estimates it
                publisher.give_up(needed)
                return
            if window is not None:
                await waiting.put(window)

    client = admin(settings)

    @app.timer(interval=_RIGHTS_SECONDS)
    async def ask_rights() -> None:
        """Faust's client takes a refusal for something that passes, and would try for ever."""
        try:
            missing = await asyncio.to_thread(lacking, settings, "publish", client)
        except KafkaUnavailable:  # an outage, which is waited for
            return
        if missing:
            publisher.give_up(lacks(settings, missing))

    @app.task
    async def follow_control() -> None:
        followed_at, version = float("-inf"), -1
        while True:
            await asyncio.sleep(_CONTROL_SECONDS)  # Faust's own timer wakes three tasks for one
            try:
                watch.look()
                publisher.process.reader.poll()
            except (AccessRefused, PositionLost, TopicMismatch) as error:
                publisher.give_up(error)
            for window in publisher.refresh_measurements():
                await waiting.put(window)
            due = time.monotonic() - followed_at >= _CONCERNS_SECONDS
            if due or publisher.process.control.version != version or not publisher.concerns.caught_up:
                followed_at, version = time.monotonic(), publisher.process.control.version
                publisher.concerns.follow()

    return app


def _beat(loop: asyncio.AbstractEventLoop, publisher: Publisher) -> None:
    """Tell at every second that the event loop turns, from before Faust's own timers until the loop's end.

    Not when this process has failed: Faust's orderly stop has no time limit, and one that comes to no end is a hang.
    """
    if publisher.failure is None:
        publisher.process.pulse.beat()
    loop.call_later(_BEAT_SECONDS, _beat, loop, publisher)


def _end_in_time(publisher: Publisher) -> None:
    """Give this process some seconds from now: a Faust that is told to stop while it starts may never end.

    Nothing is lost by it: what was not committed is found missing at the next start.
    """

    def end() -> None:
        log.error("Faust has not stopped within %.0f s: this process ends without it", _STOP_SECONDS)
        os._exit(0 if publisher.failure is None else publisher.failure.exit_status)

    _in_time(end)


def _in_time(end: Callable[[], None]) -> None:
    timer = threading.Timer(_STOP_SECONDS, end)
    timer.daemon = True
    timer.start()


def _watch_stop(publisher: Publisher, worker: faust.Worker, told: threading.Event) -> None:
    """Begin to count when Faust begins to stop; a signal that came just before it took them over is handed on to it."""
    if worker.should_stop:
        _end_in_time(publisher)
        return
    if told.is_set():
        os.kill(os.getpid(), signal.SIGTERM)
    worker.loop.call_later(_BEAT_SECONDS, _watch_stop, publisher, worker, told)  # the loop wakes for both at once


def _stop_while_starting() -> threading.Event:
    """An event that SIGTERM and SIGINT set until Faust takes them over; some seconds later this process ends anyhow.

    As the first process of a container it would not even hear them without a handler, and it may be waiting for Kafka.
    """
    told = stop_on_signals()

    def end() -> None:
        log.error("told to stop while it started, which took more than %.0f s: ending", _STOP_SECONDS)
        os._exit(0)

    def count() -> None:
        told.wait()
        _in_time(end)

    threading.Thread(target=count, name="told-to-stop", daemon=True).start()
    return told


def run(settings: Settings) -> None:
    """Run `publish` until it is told to stop."""
    told = _stop_while_starting()
    process = RoleProcess.start("publish", settings)

    def alive() -> None:
        process.pulse.beat()
        if told.is_set():
            log.info("told to stop before all releases were read: the next start reads them")
            raise SystemExit(0)

    publisher = Publisher(process)
    server = process.serve(publisher.ready, publisher.concerns.routes, publisher.concerns.forms)
    # Before anything is read: nobody else can write from here on, so what is read stays true.
    writer = MetricsWriter(settings, process.health, process.keys.identity)

    # What is missing is written before Faust is up: that takes it seconds.
    def write(windows: list[FairnessMetric]) -> None:
        writer.write(windows, alive)

    write(publisher.take_new(publisher.replay(write, alive)))
    publisher.concerns.follow()
    folder = settings.faust_folder()
    app = make_app(publisher, writer, folder)
    worker = faust.Worker(app, loglevel="WARNING", quiet=True, redirect_stdouts=False, override_logging=False)
    worker.loop.call_soon(_beat, worker.loop, publisher)
    worker.loop.call_soon(_watch_stop, publisher, worker, told)
    collect_seldom()
    try:
        worker.execute_from_commandline()
    except SystemExit:  # how Faust ends, whatever it ends with
        if publisher.failure is not None:
            raise publisher.failure from None
        raise
    finally:
        _end_in_time(publisher)  # threads of Faust's may be left, which Python would wait for
        process.pulse.close()
        shutil.rmtree(folder, ignore_errors=True)
        server.close()
        publisher.concerns.close()
        publisher.page.close()
        process.reader.close()
