"""Writing the company's side of the topics: events and member attributes, for replays and simulations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from streams.errors import KafkaUnavailable
from streams.kafka.clients import make_producer, produce
from streams.settings import Settings

_FLUSH_SECONDS = 30.0
_KEYS_A_POLL = 2_000

Progress = Callable[[int, int], None]
"""Told how many of how many records have been written."""


class Feed:
    """A producer that partitions as Java clients do and loses nothing in silence."""

    def __init__(self, settings: Settings) -> None:
        self._producer = make_producer(
            settings, None, **{"message.timeout.ms": 30_000, "delivery.report.only.error": True}
        )
        self._failed = 0
        self._why = ""

    def _delivered(self, error: object, message: object) -> None:
        if error is not None:
            self._failed += 1
            self._why = str(error)

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        *,
        timestamp_ms: int = 0,
        partition: int = -1,
        headers: list[tuple[str, bytes]] | None = None,
    ) -> None:
        """Write one record; waits only while the local queue is full. ``timestamp_ms`` 0 means now."""
        produce(
            self._producer,
            topic,
            value=value,
            key=key,
            partition=partition,
            timestamp=timestamp_ms,
            headers=headers,
            on_delivery=self._delivered,
        )
        self._producer.poll(0)

    def send_all(self, topic: str, records: Iterable[tuple[bytes, bytes]]) -> None:
        """Write many records and wait for all of them."""
        for key, value in records:
            self.send(topic, key, value)
        self.flush()

    def send_each(self, topic: str, keys: Sequence[bytes], value: bytes, show: Progress) -> None:
        """Write one value under many keys, millions of them, and wait for all."""
        produce, poll, delivered = self._producer.produce, self._producer.poll, self._delivered
        for start in range(0, len(keys), _KEYS_A_POLL):
            for key in keys[start : start + _KEYS_A_POLL]:
                while True:
                    try:
                        produce(topic, value=value, key=key, on_delivery=delivered)
                        break
                    except BufferError:
                        poll(0.05)
            poll(0)
            show(min(start + _KEYS_A_POLL, len(keys) - 1), len(keys))
        self.flush()
        show(len(keys), len(keys))

    def flush(self) -> None:
        """Wait until everything is durable, or raise :class:`KafkaUnavailable`."""
        left = self._producer.flush(_FLUSH_SECONDS)
        if left or self._failed:
            raise KafkaUnavailable(
                f"{left + self._failed} records were not written: {self._why or 'no acknowledgement'}"
            )
