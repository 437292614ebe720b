"""What is seen at one moment: each worker's own word, and what Kafka tells of all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from streams.control import Approved, ControlPlane
from streams.records.header import source_digest
from streams.records.layout import SHARDED_ROLES

INPUTS = {"attach": "sealed", "a": "shares", "b": "shares"}
"""Which topic a role reads; seal reads the company's own topics, and publish both of the parties'."""

OUTPUTS = {"seal": "sealed", "attach": "shares"}
"""On whose punctuation a role's progress is seen."""

PARTIES = ("a", "b")

Place = tuple[str, int]
"""A topic, by its full name, and a partition."""

Source = tuple[bytes, int]
"""SHA-256 of a source topic's name, and a partition of it."""

Level = tuple[str, str]
"""A measurement and one of its levels."""


@dataclass(frozen=True)
class Worker:
    """A worker and where it answers."""

    name: str
    host: str
    port: int
    scheme: Literal["http", "https"] | None = None
    """What was named for it; None: as the settings say."""

    @property
    def role(self) -> str:
        """Whose worker it is."""
        return self.name.partition(".")[0]

    @property
    def shard(self) -> int:
        """Its number among the workers of its role."""
        return int(self.name.partition(".")[2] or 0)

    @property
    def address(self) -> str:
        """For people."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class WorkerSeen:
    """What a worker says of itself.

    Attributes:
        silence: why nothing came of it: "closed" (nobody listens there), "mute" (someone listens and does not answer),
            "refused" (it wants a bearer token), "unlike" (what answers there does not speak as it was asked, over TLS
            or not); None where it answered.
        health, readiness: the line of /healthz and of /readyz.
        healthy, ready: whether they said yes. All four are there as well where only the metrics were refused.
        series: by metric, its labels and values.
    """

    worker: Worker
    silence: Literal["closed", "mute", "refused", "unlike"] | None = None
    healthy: bool = False
    health: str = ""
    ready: bool = False
    readiness: str = ""
    series: Mapping[str, list[tuple[Mapping[str, str], float]]] = field(default_factory=dict)

    @property
    def answers(self) -> bool:
        """Whether it can be asked."""
        return self.silence is None

    def values(self, metric: str, **labels: str) -> Iterator[tuple[Mapping[str, str], float]]:
        """A metric's series that have these labels."""
        for own, value in self.series.get(metric, ()):
            if all(own.get(name) == wanted for name, wanted in labels.items()):
                yield own, value

    def by_place(self, metric: str) -> dict[Place, float]:
        """A metric of partitions."""
        return {(own["topic"], int(own["partition"])): value for own, value in self.values(metric)}


@dataclass(frozen=True)
class Passed:
    """What the last punctuation of a stream said, and when it was written."""

    arrival_ms: int
    written_ms: int


@dataclass(frozen=True)
class Ends:
    """Where a partition ends, for everybody and for a reader of committed records."""

    end: int
    committed_end: int


@dataclass
class KafkaSeen:
    """What Kafka tells.

    Attributes:
        sources: by full name, how many partitions each source topic has, as the cluster tells or else as seal does.
        ends: by place. committed: by role, the copies of its positions in its consumer group.
        passed: of `sealed` and `shares`, by partition j and source partition; None where they may not be read.
        beyond_ms: the time of the oldest record that was read to find punctuation, by topic and j: a stream without one
            has had none since.
        windows: ends of the newest windows, on `releases-a` ("a"), `releases-b` ("b") and `fairness-metrics`
            ("published"); a topic that may not be read is missing.
        written_ms: the time of the newest record of each of these topics, whether it may be read or not.
        windows_since_ms: from which record's time on these were read; 0 where from the beginning.
        unread_ms: by role and place, the time of the oldest record that a role has not read.
        unseen: what could not be asked, and why.
    """

    sources: dict[str, int] = field(default_factory=dict)
    ends: dict[Place, Ends] = field(default_factory=dict)
    committed: dict[str, dict[Place, int]] = field(default_factory=dict)
    passed: dict[str, dict[int, dict[Source, Passed]] | None] = field(default_factory=dict)
    beyond_ms: dict[tuple[str, int], int] = field(default_factory=dict)
    windows: dict[str, dict[Level, int]] = field(default_factory=dict)
    written_ms: dict[str, int] = field(default_factory=dict)
    windows_since_ms: dict[str, int] = field(default_factory=dict)
    unread_ms: dict[tuple[str, Place], int] = field(default_factory=dict)
    unseen: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Look:
    """Everything, at one moment.

    Attributes:
        at_ms: epoch milliseconds, when it was begun.
        topics: full names by short ones.
        workers: one for each shard of the layouts.
        kafka: None where no broker answered, or none could be asked.
        control: the registry of measurements; None where it could not be read.
        differences: how topics differ from what the protocol needs.
        unseen: what could not be looked at, and why.
    """

    at_ms: int
    topics: Mapping[str, str]
    workers: tuple[WorkerSeen, ...]
    kafka: KafkaSeen | None
    control: ControlPlane | None
    differences: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()

    def of(self, role: str) -> tuple[WorkerSeen, ...]:
        """A role's workers."""
        return tuple(seen for seen in self.workers if seen.worker.role == role)

    def owns(self, worker: Worker, partition: int) -> bool:
        """Whether a partition is a worker's, by the layout of its role."""
        if self.control is None or worker.role not in SHARDED_ROLES:
            return True
        return partition % self.control.layout(worker.role).shards == worker.shard

    def live(self) -> Iterator[Approved]:
        """Revisions whose windows follow the clock: a replayed log has times of its own."""
        if self.control is not None:
            for entry in self.control.approved():
                if not entry.revoked and entry.measurement.source.arrival != "record_time":
                    yield entry

    def shortest_base_ms(self, topic: str) -> int:
        """Of the live measurements that read a topic now: so long seal may have nothing to say there. 0: none does."""
        entries = [e.measurement for e in self.live() if e.state(self.at_ms) == "active"]
        return min((m.base_ms for m in entries if m.source.topic == topic), default=0)

    def live_sources(self) -> dict[bytes, str]:
        """Topics that live measurements read now, by their digest."""
        entries = [entry for entry in self.live() if entry.state(self.at_ms) == "active"]
        return {source_digest(entry.measurement.source.topic): entry.measurement.source.topic for entry in entries}
