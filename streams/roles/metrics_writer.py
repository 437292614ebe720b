"""The one way from `publish` to `fairness-metrics`: whole transactions, under an id that only one process can hold.

Made before anything is read. ``init_transactions()`` fences whoever held the id before and ends what that process left
open, so what a start then finds on the topic is all that there will ever be of a predecessor: a zombie that wakes up
can neither write a window again nor put numbers back where its successor has withdrawn them. Of two publishers that
were started by mistake, the first ends with its next window.

What a transaction did not commit is on the topic for nobody who reads read_committed; the next start finds that it is
missing, and writes it (``emitted``). So after any failure the process ends, and nothing here tries again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from confluent_kafka import KafkaException

from secure_agg import Identity
from streams.errors import EvenstreamError, KafkaUnavailable
from streams.kafka.clients import (
    COMMIT_SECONDS,
    admin,
    make_producer,
    partition_count,
    produce,
    transaction_timeout_seconds,
)
from streams.kafka.fencing import FENCED, reason_of, taken_over
from streams.kafka.refusals import explained, is_refusal
from streams.kafka.topics import METRIC_BYTES
from streams.records.metric import FairnessMetric
from streams.records.published import signed_headers
from streams.settings import Settings
from streams.watch.health import RoleHealth

_INIT_SECONDS = 30.0
_MOST_WINDOWS = 500
_MOST_BYTES = 2_000_000  # of a transaction, but for its last window: acknowledged within seconds on a slow link too


class MetricsWriter:
    """Writes windows' records, each with publish's signature.

    Args:
        identity: publish's own.

    Raises:
        KafkaUnavailable: the transactional id could not be taken over.
        AccessRefused: this principal may not use it.
    """

    def __init__(self, settings: Settings, health: RoleHealth, identity: Identity) -> None:
        self._settings = settings
        self._identity = identity
        self._health = health
        self._topic = settings.topic("fairness-metrics")
        self._partitions = partition_count(settings, self._topic)
        self._transactional_id = settings.transactional_id("publish", 0)
        self._producer = make_producer(settings, self._transactional_id, **{"message.max.bytes": METRIC_BYTES})
        try:
            self._producer.init_transactions(_INIT_SECONDS)
        except KafkaException as error:
            raise self._explained(error, 0.0) from error

    def write(self, windows: Iterable[FairnessMetric], alive: Callable[[], None] = lambda: None) -> None:
        """Write records, in their order; when this returns, all of them are durable. Waits: some milliseconds.

        Args:
            alive: called after each transaction: to write years of windows takes long, and is no hang.

        Raises:
            Fenced: another instance took over; nothing more can be written.
            KafkaUnavailable: not all of it is durable. Begin anew with what the topic holds.
        """
        for part in self._parts(windows):
            began = time.monotonic()
            try:
                self._producer.begin_transaction()
                for window, value in part:
                    self._produce(window, value)
                self._producer.commit_transaction(COMMIT_SECONDS)
            except KafkaException as error:
                self._health.transaction("aborted", 0.0)
                raise self._explained(reason_of(self._producer, error), time.monotonic() - began) from error
            self._health.transaction("committed", time.monotonic() - began)
            alive()

    def _parts(self, windows: Iterable[FairnessMetric]) -> Iterator[list[tuple[FairnessMetric, bytes]]]:
        """What goes into each transaction."""
        part: list[tuple[FairnessMetric, bytes]] = []
        size = 0
        for window in windows:
            value = window.encode()
            part.append((window, value))
            size += len(value)
            if len(part) >= _MOST_WINDOWS or size >= _MOST_BYTES:
                yield part
                part, size = [], 0
        if part:
            yield part

    def _produce(self, window: FairnessMetric, value: bytes) -> None:
        produce(
            self._producer,
            self._topic,
            key=window.topic_key(),
            value=value,
            headers=signed_headers(window, value, self._identity),
            partition=window.partition(self._partitions),
        )

    def _explained(self, error: KafkaException, took_seconds: float) -> EvenstreamError:
        told = error.args[0]
        # librdkafka calls it fenced as well when the broker has ended a transaction for its age, as it does with those
        # of a process that was paused: that one begins anew, and fences whoever did take over meanwhile.
        if told.code() in FENCED and took_seconds <= transaction_timeout_seconds(self._settings):
            return taken_over(self._transactional_id)
        if is_refusal(told):
            what = f"{told.str()}, transactional id {self._transactional_id}"
            return explained(self._settings, "publish", what, admin(self._settings))
        return KafkaUnavailable(f"windows' records could not be written to {self._topic}: {told.str()}")
