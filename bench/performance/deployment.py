"""evenstream as it is deployed, its roles set to work one by one or all together.

A role that is to wait is stopped by a signal (SIGSTOP) and goes on by another: so each role meets all of its input at
once, and what it uses is its own, from its first record to its last. When a role was done is said by the broker: the
time of the last record that it wrote.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from confluent_kafka import Consumer, Message, TopicPartition

from bench.performance.processes import Usage, usage
from privacy import Measurement, parse_measurement
from streams.feed import Feed
from streams.kafka.clients import make_consumer
from streams.records.frame import Kind, kind_of
from streams.simulate import SimulatedMembers
from streams.trial import Trial

ROLES = ("seal", "attach", "a", "b", "publish")
OUTPUT = {
    "seal": "sealed",
    "attach": "shares",
    "a": "releases-a",
    "b": "releases-b",
    "publish": "fairness-metrics",
}
"""Role -> the topic whose records say how far it is."""

# So many rows of a member count that all do: what is left out costs less. Rho is a test's: noise costs the same.
_SPEC = """
id: {id}
purpose: what a recommender's equal treatment costs to watch
source: {{topic: {topic}, member: member_id, member_max_bytes: 12, time: shown_at,
  time_format: epoch_ms}}
cells:
  score: {{field: score, bins: [{bins}]}}
  decision: {{field: recommended}}
  outcome: {{field: clicked}}
windows: {{base: {base}, lateness: {lateness}ms, max_future: 1s}}
reference: white
privacy: {{contribution_cap: 24, cap_rule: first, rho_member_day: {rho}}}
review: {{owner: the bench, harm_considered: none, data_used: made up, retention: until the bench ends}}
"""
_OVERRIDES = (
    "test_cluster=true",
    "privacy.rho_member_day_limit=10",
    "privacy.rho_30_days_limit=300",
    "privacy.rho_year_limit=3650",
    "http.hang_seconds=3600",  # a role that was stopped by a signal is not hung
)
_DAY_MS = 86_400_000
_SEED = 3
_QUESTION_SECONDS = 10.0


@dataclass
class Records:
    """What a topic holds: records, bytes of keys and values, and of those that are batches of rows.

    Attributes:
        last_ms: the time of the last batch, or of the last record where there is none, epoch milliseconds.
    """

    records: int = 0
    value_bytes: int = 0
    batches: int = 0
    batch_bytes: int = 0
    last_ms: int = 0

    def add(self, message: Message) -> None:
        """Take in one record."""
        value = message.value() or b""
        self.records += 1
        self.value_bytes += len(value) + len(message.key() or b"")
        batch = value[:2] == b"ES" and kind_of(value) in (Kind.SEALED, Kind.SHARES)
        if batch:
            self.batches += 1
            self.batch_bytes += len(value)
        if batch or not self.batches:
            self.last_ms = max(self.last_ms, message.timestamp()[1])


def specification(
    topic: str,
    *,
    name: str = "bench",
    base: str = "1s",
    score_bins: int = 5,
    lateness_ms: int = 1_000,
    rho: float = 0.1,
) -> Measurement:
    """A measurement of ``4 x score_bins`` cells, of which every row counts."""
    bins = ", ".join(f"{edge / score_bins:.4f}" for edge in range(1, score_bins))
    text = _SPEC.format(id=name, topic=topic, base=base, bins=bins, lateness=lateness_ms, rho=rho)
    return parse_measurement(text, origin="bench.performance")


class Deployment:
    """One deployment on a Kafka that is there.

    Args:
        folder: for logs and keys. bootstrap: the Kafka. members: how many are in `member-attributes`.
        partitions: of `sealed` and `shares`.
        overrides: further settings, ``name=value``.
    """

    def __init__(
        self,
        folder: Path,
        bootstrap: str,
        *,
        members: int,
        partitions: int = 4,
        live: Sequence[str] = (),
        overrides: Sequence[str] = (),
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.trial = Trial(
            folder, say, name="bench", overrides=(*_OVERRIDES, f"topics.partitions={partitions}", *overrides)
        )
        try:
            self.trial.start_kafka(bootstrap)
            self.trial.prepare([self.trial.settings.topic(name) for name in live])
            people = SimulatedMembers(np.random.default_rng(_SEED), members)
            Feed(self.trial.settings).send_all(self.trial.settings.topic("member-attributes"), people.attributes())
            self.trial.start_roles()
        except BaseException:
            self.trial.stop()
            raise
        self._consumer: Consumer = make_consumer(self.trial.settings, self.trial.settings.group("bench"))

    def approve(self, *specs: Measurement, begin_ms: int, end_ms: int | None = None) -> None:
        """Let measurements begin and end at times of the events, as if reviewers had signed before the first came."""
        for spec in specs:
            dated = spec.with_effective_from(begin_ms).with_expires(end_ms or begin_ms + _DAY_MS)
            self.trial.approve(dated, begin_ms - 1)

    def pid(self, role: str) -> int:
        """A role's process id."""
        return self.trial.supervisor.pid(role)

    def used(self) -> dict[str, Usage]:
        """CPU of each role so far."""
        return {role: usage(self.pid(role)) for role in ROLES}

    def hold(self, *roles: str) -> None:
        """Stop roles where they are."""
        for role in roles:
            os.kill(self.pid(role), signal.SIGSTOP)

    def go(self, *roles: str) -> None:
        """Let roles go on."""
        for role in roles:
            os.kill(self.pid(role), signal.SIGCONT)

    def value(self, role: str, metric: str) -> float:
        """The sum of a metric's series that a role shows."""
        lines = self.trial.scrape(role).splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((metric + "{", metric + " ")))

    # -- what is on Kafka -----------------------------------------------------------------------------------------

    def holds(self, name: str, records: int) -> Callable[[], bool]:
        """Whether a topic with one partition holds so many committed records (a party's releases, windows)."""

        def done() -> bool:
            return sum(1 for _ in self._read(self.trial.settings.topic(name))) >= records

        return done

    def _read(self, topic: str) -> Iterator[Message]:
        self._consumer.assign([TopicPartition(topic, 0, 0)])
        deadline = time.monotonic() + _QUESTION_SECONDS
        while time.monotonic() < deadline:
            for message in self._consumer.consume(1_000, 0.05):
                if message.error() is not None:
                    return
                yield message

    def close(self) -> None:
        """Stop what was started, and remove the deployment's topics."""
        try:
            self._consumer.close()
        finally:
            for role in ROLES:
                with _gone():
                    self.go(role)
            self.trial.stop()


@contextmanager
def _gone() -> Iterator[None]:
    try:
        yield
    except (ProcessLookupError, KeyError):
        return
