"""DeleteRecords on `sealed` and `shares`, below what their readers have committed (``streams.retention``)."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # its API

from streams.errors import KafkaUnavailable
from streams.kafka.clients import admin, partition_count
from streams.retention import IN_FLIGHT, Deletion, Held, InFlight, deletable
from streams.settings import Settings

log = logging.getLogger(__name__)

T = TypeVar("T")


class Deleter:
    """Asks how far readers are, and deletes what lies behind them.

    Args:
        say: told of each partition in which records were deleted.
        topics: of which.
    """

    def __init__(self, settings: Settings, say: Callable[[str], None], topics: Sequence[InFlight] = IN_FLIGHT) -> None:
        self._settings = settings
        self._topics = topics
        self._say = say
        self._client: AdminClient = admin(settings)
        self._timeout = settings.kafka.request_timeout_seconds
        self._held: dict[tuple[str, int], str] = {}

    def once(self) -> int:
        """Delete once; returns in how many partitions records were deleted.

        Raises:
            KafkaUnavailable: the cluster did not answer, or refuses this principal.
        """
        return sum(self._topic(topic) for topic in self._topics)

    def _topic(self, topic: InFlight) -> int:
        name = self._settings.topic(topic.topic)
        partitions = range(partition_count(self._settings, name))
        bounds = self._bounds(name, partitions)
        committed = {role: self._committed(role, name, partitions) for role in topic.readers}
        verdicts = list(deletable(topic, bounds, committed))
        self._tell_held(name, [verdict for verdict in verdicts if isinstance(verdict, Held)])
        deletions = [verdict for verdict in verdicts if isinstance(verdict, Deletion)]
        if deletions:
            wanted = [TopicPartition(name, deletion.i, deletion.before) for deletion in deletions]
            for future in self._asked(
                lambda: self._client.delete_records(wanted, request_timeout=self._timeout).values()
            ):
                self._answer(future, f"records of {name} could not be deleted")
        for deletion in deletions:
            count = deletion.before - bounds[deletion.i][0]
            self._say(f"{name} [{deletion.i}]: deleted {count} offsets below {deletion.before}")
        return len(deletions)

    def _tell_held(self, name: str, held: Iterable[Held]) -> None:
        """Say why nothing is deleted of a partition, when the reason changes."""
        now = {(name, verdict.i): verdict.why for verdict in held}
        for place, why in now.items():
            if self._held.get(place) != why:
                log.warning("nothing is deleted of %s [%d]: %s", *place, why)
        self._held = {place: why for place, why in self._held.items() if place[0] != name} | now

    def _bounds(self, name: str, partitions: range) -> dict[int, tuple[int, int]]:
        earliest: Any = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
        latest: Any = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        first, end = (self._offsets(name, partitions, spec) for spec in (earliest, latest))
        return {i: (first[i], end[i]) for i in partitions}

    def _offsets(self, name: str, partitions: range, spec: Any) -> dict[int, int]:
        asked = self._client.list_offsets(
            {TopicPartition(name, i): spec for i in partitions}, request_timeout=self._timeout
        )
        what = f"the bounds of {name} could not be asked"
        return {partition.partition: self._answer(future, what).offset for partition, future in asked.items()}

    def _committed(self, role: str, name: str, partitions: range) -> dict[int, int]:
        group = self._settings.group(role)
        wanted = ConsumerGroupTopicPartitions(group, [TopicPartition(name, i) for i in partitions])
        (future,) = self._client.list_consumer_group_offsets(
            [wanted], require_stable=True, request_timeout=self._timeout
        ).values()
        found = self._answer(future, f"the offsets of group {group} could not be asked").topic_partitions
        return {p.partition: p.offset for p in found if p.error is None and p.offset >= 0}

    def _asked(self, question: Callable[[], T]) -> T:
        try:
            return question()
        except KafkaException as error:
            raise KafkaUnavailable(f"the cluster could not be asked: {error.args[0].str()}") from None

    def _answer(self, future: Any, what: str) -> Any:
        try:
            return future.result(self._timeout)
        except KafkaException as error:
            kafka_error: KafkaError = error.args[0]
            raise KafkaUnavailable(f"{what}: {kafka_error.str()}") from None
        except TimeoutError:
            raise KafkaUnavailable(f"{what}: no answer within {self._timeout:.0f} s") from None


def run(settings: Settings, say: Callable[[str], None], stop: threading.Event) -> None:
    """Delete on schedule until ``stop`` is set. What cannot be asked now is asked again next time."""
    deleter = Deleter(settings, say)
    while not stop.is_set():
        try:
            deleter.once()
        except KafkaUnavailable as error:
            log.error("%s; trying again in %.0f s", error, settings.retention.interval_seconds)
        stop.wait(settings.retention.interval_seconds)
