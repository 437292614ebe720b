"""Check: is this machine's clock the brokers'?

A broker tells its time in one way only: it stamps what is appended to a topic with LogAppendTime (`sealed`, `shares`,
live sources), and whoever may describe such a topic can ask for its newest stamp. While nothing comes, that bounds this
clock from one side: a stamp of the future means that it is behind. Where a record comes while this waits, its stamp
lies between two readings of this clock, which bounds it from both. Nothing is ever written for it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]  # its API

from streams import acl
from streams.doctor.findings import Finding
from streams.doctor.readiness.subject import Subject
from streams.errors import EvenstreamError
from streams.kafka import topics
from streams.kafka.clients import shared_admin

CHECK = "clock"

_MOST_SECONDS = 5.0
"""As everywhere: NTP keeps clocks within a fraction of a second."""
_WAIT_SECONDS = 2.5
_PAUSE_SECONDS = 0.25

Place = tuple[str, int]
Stamp = tuple[int, int]
"""The offset and the broker's time of a partition's newest record, epoch milliseconds."""


def check(subject: Subject) -> Iterator[Finding]:
    """One finding."""
    for seen in subject.at_first:
        ahead = [value for _, value in seen.values("evenstream_clock_ahead_seconds")]
        if ahead:
            yield _both(max(ahead, key=abs), "as its worker has measured it", seen.worker.name)
            return
    names = _stamped(subject)
    before, asked_ms = _newest(subject, names), _local_ms()
    if not before:
        yield Finding(
            CHECK,
            "ok",
            "not compared: this principal sees no record that a broker has stamped (LogAppendTime); keep NTP running",
        )
        return
    deadline = time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < deadline:
        time.sleep(_PAUSE_SECONDS)
        now = _newest(subject, names)
        seen_ms = _local_ms()
        fresh = [stamp[1] for place, stamp in now.items() if place in before and stamp[0] > before[place][0]]
        if fresh:
            yield between(asked_ms, max(fresh), seen_ms)
            return
    yield from one_side(asked_ms, max(stamp for _, stamp in before.values()))


def _local_ms() -> int:
    return time.time_ns() // 1_000_000


def between(before_ms: int, stamp_ms: int, after_ms: int) -> Finding:
    """Of a record that was appended between two readings of this clock.

    Args:
        before_ms, after_ms: this clock, epoch milliseconds. stamp_ms: the broker's.
    """
    if before_ms <= stamp_ms <= after_ms:
        return _both(0.0, f"to within {(after_ms - before_ms) / 1000:.1f} s, by a record that came just now")
    edge = after_ms if stamp_ms > after_ms else before_ms
    return _both((edge - stamp_ms) / 1000, "by a record that came just now")


def _both(ahead_seconds: float, how: str, worker: str | None = None) -> Finding:
    if abs(ahead_seconds) <= _MOST_SECONDS:
        return Finding(CHECK, "ok", f"it is the brokers', {how}", role=worker)
    side = "ahead of" if ahead_seconds > 0 else "behind"
    return Finding(
        CHECK,
        "wrong",
        f"it is {abs(ahead_seconds):,.0f} s {side} the brokers', {how}",
        "set the clock (NTP)",
        role=worker,
    )


def one_side(local_ms: int, stamp_ms: int) -> Iterator[Finding]:
    """Of the newest stamp, where no record came: this clock and the broker's, epoch milliseconds."""
    behind = (stamp_ms - local_ms) / 1000
    if behind > _MOST_SECONDS:
        yield Finding(
            CHECK,
            "wrong",
            f"it is at least {behind:,.0f} s behind the brokers', whose newest stamp is of the future here",
            "set the clock (NTP)",
        )
        return
    yield Finding(
        CHECK, "ok", "it is not behind the brokers'; whether it is ahead cannot be told, since no record came meanwhile"
    )


def _stamped(subject: Subject) -> tuple[str, ...]:
    """Topics that brokers stamp and this principal may describe, by the table."""
    settings, role = subject.settings, subject.role
    found = acl.rules(settings)
    own = [settings.topic(name) for name in ("sealed", "shares")]
    sources = [name for name in settings.sources() if topics.timestamp_type(settings, name) == "LogAppendTime"]
    return tuple(name for name in (*own, *sources) if "Describe" in acl.allowed(found, role, "topic", name))


def _newest(subject: Subject, names: tuple[str, ...]) -> Mapping[Place, Stamp]:
    client, timeout = shared_admin(subject.settings), subject.settings.kafka.request_timeout_seconds
    newest: Any = OffsetSpec.max_timestamp()  # type: ignore[no-untyped-call]
    try:
        known = client.list_topics(timeout=timeout).topics
    except KafkaException as error:
        raise EvenstreamError(f"the topics could not be listed: {error.args[0].str()}") from None
    places = {TopicPartition(n, i): newest for n in names if n in known for i in known[n].partitions}
    if not places:
        return {}
    found: dict[Place, Stamp] = {}
    for place, answer in client.list_offsets(places, request_timeout=timeout).items():
        try:
            told = answer.result(timeout)
        except (KafkaException, TimeoutError):  # no leader for a moment, or not this principal's to ask
            continue
        if told.offset >= 0 and told.timestamp > 0:
            found[place.topic, place.partition] = int(told.offset), int(told.timestamp)
    return found
