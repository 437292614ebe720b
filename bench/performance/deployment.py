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

from confluent_kafka import Consumer, TopicPartition

from bench.performance.events import LATENESS_MS, Traffic
from bench.performance.processes import Usage, usage
from privacy import Measurement, parse_measurement
from streams.errors import EvenstreamError
from streams.feed import Feed
from streams.kafka.clients import make_consumer, partition_count
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
source: {{topic: {topic}, arrival: {arrival}, member: member_id, member_max_bytes: 12, time: shown_at, time_format: epoch_ms}}
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
_SAMPLE_SECONDS = 0.02
_ASK_SECONDS = 0.25
_QUESTION_SECONDS = 10.0


@dataclass(frozen=True)
class Work:
    """What a role, or all of them, did.

    Attributes:
        seconds: from when it was let go to the last record that it wrote.
        used: by role, CPU over that time.
    """

    seconds: float
    used: dict[str, Usage]

    @property
    def cpu_seconds(self) -> float:
        """Of all roles."""
        return sum(usage.seconds for usage in self.used.values())


def specification(
    topic: str,
    *,
    name: str = "bench",
    arrival: str = "record_time",
    base: str = "1s",
    score_bins: int = 5,
    lateness_ms: int = LATENESS_MS,
    rho: float = 0.1,
) -> Measurement:
    """A measurement of ``4 x score_bins`` cells, of which every row counts."""
    bins = ", ".join(f"{edge / score_bins:.4f}" for edge in range(1, score_bins))
    text = _SPEC.format(
        id=name, topic=topic, arrival=arrival, base=base, bins=bins, lateness=lateness_ms, rho=rho
    )
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
            people = SimulatedMembers(_rng(), members)
            Feed(self.trial.settings).send_all(self.trial.settings.topic("member-attributes"), people.attributes())
            self.trial.start_roles()
        except BaseException:
            self.trial.stop()
            raise
        self._consumer: Consumer = make_consumer(self.trial.settings, self.trial.settings.group("bench"))

    def approve(self, *specs: Measurement, begin_ms: int) -> None:
        """Let measurements begin, as reviewers would: at a time of the events."""
        for spec in specs:
            self.trial.approve(spec.with_effective_from(begin_ms).with_expires(begin_ms + _DAY_MS), _now_ms())

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

    def work(self, roles: Sequence[str], begin: Callable[[], None], done: Callable[[], bool]) -> Work:
        """Set roles to work and wait until the last of them is done.

        Args:
            roles: those whose CPU counts; the last one's output says when the work was done.
            begin: starts it.
            done: whether all that is to come of it is there; asked four times a second.
        """
        begun_ms, before = _now_ms(), self.used()
        samples = [(begun_ms, before)]
        begin()
        asked = time.monotonic()
        deadline = time.monotonic() + 600
        while True:
            time.sleep(_SAMPLE_SECONDS)
            samples.append((_now_ms(), self.used()))
            if time.monotonic() - asked > _ASK_SECONDS:
                asked = time.monotonic()
                if done():
                    break
                if time.monotonic() > deadline:
                    raise EvenstreamError(f"{roles[-1]} was not done in 600 s; its log is in {self.trial.folder}")
        ended_ms = self.last_written_ms(OUTPUT[roles[-1]])
        samples.append((_now_ms(), self.used()))
        after = next((used for at_ms, used in samples if at_ms >= ended_ms + 1000 * _SAMPLE_SECONDS), samples[-1][1])
        return Work((ended_ms - begun_ms) / 1000, {role: after[role] - before[role] for role in roles})

    # -- what is on Kafka -----------------------------------------------------------------------------------------

    def ends(self, name: str) -> list[int]:
        """End offsets of a topic's partitions."""
        topic = self.trial.settings.topic(name)
        found = []
        for i in range(partition_count(self.trial.settings, topic)):
            marks = self._consumer.get_watermark_offsets(TopicPartition(topic, i), timeout=_QUESTION_SECONDS)
            found.append(0 if marks is None else marks[1])
        return found

    def last_written_ms(self, name: str) -> int:
        """The time of the newest committed record of a topic, epoch milliseconds; 0 where there is none."""
        return max((record.timestamp()[1] for record in self._last(name)), default=0)

    def settled(self, name: str, seconds: float = 1.5) -> Callable[[], bool]:
        """Whether a topic that has grown has grown no more for so long."""
        seen, since = self.ends(name), time.monotonic()
        begun = seen

        def done() -> bool:
            nonlocal seen, since
            now = self.ends(name)
            if now != seen:
                seen, since = now, time.monotonic()
            return seen != begun and time.monotonic() - since > seconds

        return done

    def holds(self, name: str, records: int) -> Callable[[], bool]:
        """Whether a topic with one partition holds so many committed records (a party's releases, windows)."""

        def done() -> bool:
            return sum(1 for _ in self._values(name)) >= records

        return done

    def _last(self, name: str) -> Iterator[object]:
        topic = self.trial.settings.topic(name)
        for i, end in enumerate(self.ends(name)):
            # A transaction's marker takes an offset as well.
            yield from list(self._read(topic, i, max(0, end - 8)))[-1:]

    def _values(self, name: str) -> Iterator[object]:
        yield from self._read(self.trial.settings.topic(name), 0, 0)

    def _read(self, topic: str, i: int, begin: int) -> Iterator[object]:
        self._consumer.assign([TopicPartition(topic, i, begin)])
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


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _rng():  # type: ignore[no-untyped-def]
    import numpy as np

    return np.random.default_rng(3)


def windows_of(traffic: Traffic) -> int:
    """How many windows of a second hold the events."""
    return (traffic.end_ms - traffic.begin_ms) // 1_000
