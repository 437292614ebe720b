"""Public topics held in memory: what `evenstream transparency` and `evenstream ledger` read, without Kafka."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from confluent_kafka import Message
from signed_windows import headers_over

from secure_agg import Identity, Trusted
from streams.errors import TopicMismatch
from streams.inprocess import MemoryRecord
from streams.public_topics import PublicTopics
from streams.settings import Settings


@dataclass
class MemoryTopics(PublicTopics):
    """Records and configurations by a topic's short name; a topic that is not among them cannot be read."""

    settings: Settings
    trusted: Trusted
    held: dict[str, list[tuple[bytes | None, bytes]]] = field(default_factory=dict)
    configured: dict[str, dict[str, str]] = field(default_factory=dict)
    read: dict[str, int] = field(default_factory=dict)
    written_ms: int = 0
    headers: dict[tuple[bytes | None, bytes], tuple[tuple[str, bytes], ...]] = field(default_factory=dict)
    """Of records that have any, by key and value."""

    def publish(self, publish: Identity, key: bytes, value: bytes) -> None:
        """Put a record on `fairness-metrics` under publish's signature."""
        self.headers[key, value] = tuple(headers_over(publish, key, value))
        self.held.setdefault("fairness-metrics", []).append((key, value))

    def messages(self, name: str, *, isolation: str = "read_committed") -> Iterator[Message]:
        """As the parent's."""
        if name not in self.held:
            raise TopicMismatch(f"topic {self.settings.topic(name)!r} does not exist (or may not be read)")
        self.read.setdefault(name, 0)
        for offset, (key, value) in enumerate(self.held[name]):
            self.read[name] = offset + 1
            yield MemoryRecord(name, 0, offset, key, value, (1, self.written_ms), self.headers.get((key, value), ()))  # type: ignore[misc]

    def configurations(self, names: tuple[str, ...]) -> dict[str, dict[str, str]]:
        """As the parent's."""
        return {name: self.configured[name] for name in names if name in self.configured}
