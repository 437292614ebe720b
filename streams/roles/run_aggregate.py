"""Runs :class:`streams.roles.aggregate.AggregateStage` on Kafka, for party a or b."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator

from privacy import Ledger
from streams.control import limits_of
from streams.kafka.clients import read_since
from streams.kafka.shard import ShardLoop, now_ms
from streams.records.layout import Layout
from streams.roles.aggregate import AggregateOptions, AggregateStage
from streams.roles.process import RoleProcess, stop_on_signals
from streams.settings import Settings
from streams.stage import Stage
from streams.watch.ledger import LedgerWatch

log = logging.getLogger(__name__)

_PROGRESS_SECONDS = 5.0


def sent_since(settings: Settings, topic: str, time_ms: int, alive: Callable[[], None]) -> Iterator[bytes]:
    """What lies on a party's own topic from a time on, aborted records as well.

    Args:
        alive: as for ``read_to_end``.
    """
    began = told = time.monotonic()
    count = 0
    for count, record in enumerate(read_since(settings, topic, time_ms, alive), 1):
        if time.monotonic() - told > _PROGRESS_SECONDS:
            told = time.monotonic()
            log.info("holding state and ledger against %s: %d records so far, in %.0f s", topic, count, told - began)
        yield record.value() or b""
    log.info("state and ledger were held against %d records of %s", count, topic)


def run(settings: Settings, party: str) -> None:
    """Run one party until it is told to stop."""
    stop = stop_on_signals()
    process = RoleProcess.start(party, settings)
    options = AggregateOptions(
        partitions=settings.topics.partitions,
        commit_interval_ms=int(settings.aggregate.commit_interval_seconds * 1000),
    )
    epochs = process.epoch_keys()
    process.reader.catch_up()
    process.announce_epoch(epochs, now_ms())
    receiving = process.receiving_keys(epochs)
    coverage_sender = (process.sending_keys(), process.keys.derive("coverage")) if party == "a" else None
    names = process.topics("shares", f"state-{party}", f"releases-{party}", f"ledger-{party}")

    def build(_: Layout) -> AggregateStage:
        return AggregateStage(
            party,
            options,
            names,
            process.keys.identity,
            process.control,
            receiving,
            process.state_codec(),
            process.health,
            Ledger(party, limits_of(settings)),
            coverage_sender,
        )

    def verify(stage: Stage) -> None:
        assert isinstance(stage, AggregateStage)
        topic = names[f"releases-{party}"]
        stage.check_sent(lambda time_ms: sent_since(settings, topic, time_ms, process.pulse.beat), now_ms())

    watch, keep_epochs = LedgerWatch(party, process.health), process.epoch_keeper(epochs)

    def tick(stage: Stage, now: int) -> None:
        keep_epochs(stage, now)
        assert isinstance(stage, AggregateStage)
        watch.look(stage.ledger, process.control.approved(), process.control.version, now)

    loop = ShardLoop(
        settings,
        role=party,
        shard=0,
        state_topics=(names[f"state-{party}"], names[f"ledger-{party}"]),
        build=build,
        control=process.reader,
        health=process.health,
        verify=verify,
        tick=tick,
        hold=process.reader.revocations_hidden,
        alive=process.pulse.beat,
    )
    process.work(loop, stop)
