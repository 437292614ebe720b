"""Whether a role has a transaction open now, as the broker sees it.

A partition's end for a read_committed reader is where the first open transaction begins; for any other reader it is
after the last record. A difference means that something is written and not decided.
"""

from __future__ import annotations

from collections.abc import Mapping

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]  # its API

from streams.kafka.clients import admin, partition_count
from streams.settings import Settings

_TOPICS: Mapping[str, tuple[str, ...]] = {
    "seal": ("sealed", "state-seal"),
    "attach": ("shares", "state-attach"),
    "a": ("releases-a", "ledger-a", "state-a"),
    "b": ("releases-b", "ledger-b", "state-b"),
    "publish": ("fairness-metrics",),
}
"""What each role writes in transactions."""

_SECONDS = 2.0


class OpenTransactions:
    """Asks the broker, with one client."""

    def __init__(self, settings: Settings) -> None:
        self._client = admin(settings)
        self._latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        self._partitions = {
            role: [
                TopicPartition(settings.topic(name), i)
                for name in names
                for i in range(partition_count(settings, settings.topic(name)))
            ]
            for role, names in _TOPICS.items()
        }

    def of(self, worker: str) -> bool:
        """Whether one of the worker's role is open; False as well where the broker does not answer."""
        role = worker.partition(".")[0]
        try:
            committed = self._ends(role, IsolationLevel.READ_COMMITTED)
            return committed != self._ends(role, IsolationLevel.READ_UNCOMMITTED)
        except KafkaException:
            return False

    def _ends(self, role: str, isolation: IsolationLevel) -> dict[tuple[str, int], int]:
        answers = self._client.list_offsets(
            dict.fromkeys(self._partitions[role], self._latest), isolation_level=isolation, request_timeout=_SECONDS
        )
        return {(place.topic, place.partition): answer.result().offset for place, answer in answers.items()}
