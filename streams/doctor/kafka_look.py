"""What Kafka tells of all roles: ends, positions, punctuation, the newest windows. Needs no private key.

Of `sealed` and `shares` only punctuation is looked at, of `releases-*` and `fairness-metrics` only keys. What this
principal may not see is noted, and left out.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]  # its API

from secure_agg import PinnedIdentities, SignatureInvalid
from streams.control import ControlPlane
from streams.doctor.look import INPUTS, Ends, KafkaSeen, Level, Passed, Place, Source
from streams.errors import AccessRefused, EvenstreamError, RecordMalformed
from streams.kafka.clients import make_consumer, read_to_end, shared_admin
from streams.kafka.retention_watch import oldest_unread_seconds
from streams.records import frame
from streams.records.frame import Kind
from streams.records.punctuation import SignedPunctuation, SourceProgress
from streams.settings import Settings

_TAILS = (32, 256, 2048)
"""So many offsets at the end of a partition are read, until each stream's punctuation is found."""

_WINDOW_TAILS = {"a": ("releases-a", 512), "b": ("releases-b", 512), "published": ("fairness-metrics", 128)}
"""So many offsets at the end of each topic are read for windows: a release is small, a window's record is not."""

_ASKED = ("sealed", "shares", "measurements", "keys", "releases-a", "releases-b", "fairness-metrics")


def see(settings: Settings, control: ControlPlane) -> KafkaSeen:
    """One look.

    Args:
        control: approved measurements, read to their end.

    Raises:
        KafkaUnavailable: the cluster did not answer.
    """
    client, timeout = shared_admin(settings), settings.kafka.request_timeout_seconds
    seen = KafkaSeen()
    try:
        known = client.list_topics(timeout=timeout).topics
    except KafkaException as error:
        raise EvenstreamError(f"the topics could not be listed: {error.args[0].str()}") from None
    counts = {name: len(topic.partitions) for name, topic in known.items() if topic.error is None}
    topics = {entry.source: entry.measurement.source.topic for entry in control.approved() if not entry.revoked}
    seen.sources = {name: counts[name] for name in topics.values() if name in counts}
    names = [settings.topic(short) for short in _ASKED]
    places = [(name, i) for name in (*names, *seen.sources) for i in range(counts.get(name, 0))]
    seen.ends = _ends(client, places, timeout)
    for role in ("seal", *INPUTS):
        own = set(seen.sources) if role == "seal" else {settings.topic(INPUTS[role])}
        wanted = [place for place in places if place[0] in own]
        seen.committed[role] = _committed(client, settings.group(role), wanted, timeout)
    for short in ("sealed", "shares"):
        _see_punctuation(settings, control.trusted.identities, short, topics, seen)
    for name in sorted(set(topics.values()) - seen.sources.keys()):
        seen.unseen.append(
            f"source topic {name} is not there, or this principal may not describe it, and seal has told nothing of it"
        )
    for which, (short, tail) in _WINDOW_TAILS.items():
        _see_windows(settings, which, short, tail, seen)
    seen.written_ms = _last_written(
        client, {w: settings.topic(short) for w, (short, _) in _WINDOW_TAILS.items()}, timeout
    )
    return seen


def _last_written(client: Any, topics: Mapping[str, str], timeout: float) -> dict[str, int]:
    """The time of each topic's newest record, which whoever may describe a topic can ask."""
    newest: Any = OffsetSpec.max_timestamp()  # type: ignore[no-untyped-call]
    asked = client.list_offsets({TopicPartition(name, 0): newest for name in topics.values()}, request_timeout=timeout)
    found = {}
    for partition, future in asked.items():
        try:
            answer = future.result(timeout)
        except (KafkaException, TimeoutError):
            continue
        if answer.offset >= 0:
            found[partition.topic] = int(answer.timestamp)
    return {which: found[name] for which, name in topics.items() if name in found}


def _ends(client: Any, places: Sequence[Place], timeout: float) -> dict[Place, Ends]:
    if not places:
        return {}
    latest: Any = OffsetSpec.latest()  # type: ignore[no-untyped-call]
    found: list[dict[Place, int]] = []
    for isolation in (IsolationLevel.READ_COMMITTED, IsolationLevel.READ_UNCOMMITTED):  # so the second is the later
        asked = client.list_offsets(
            {TopicPartition(*place): latest for place in places}, isolation_level=isolation, request_timeout=timeout
        )
        ends = {}
        for partition, future in asked.items():
            try:
                ends[partition.topic, partition.partition] = int(future.result(timeout).offset)
            except (KafkaException, TimeoutError):  # no leader for a moment, or not this principal's to ask
                continue
        found.append(ends)
    committed, all_of = found
    return {place: Ends(end, committed.get(place, end)) for place, end in all_of.items()}


def _committed(client: Any, group: str, places: Sequence[Place], timeout: float) -> dict[Place, int]:
    """A role's copy of its positions; it is some seconds old."""
    if not places:
        return {}
    wanted = ConsumerGroupTopicPartitions(group, [TopicPartition(*place) for place in places])
    try:
        (future,) = client.list_consumer_group_offsets([wanted], request_timeout=timeout).values()
        found = future.result(timeout).topic_partitions
    except (KafkaException, TimeoutError):
        return {}
    return {(p.topic, p.partition): p.offset for p in found if p.error is None and p.offset >= 0}


def _see_punctuation(
    settings: Settings, trusted: PinnedIdentities, short: str, sources: Mapping[bytes, str], seen: KafkaSeen
) -> None:
    """The last punctuation of each stream; of a source that may not be described, how many partitions it has.

    Args:
        sources: names of the source topics, by their digests.
    """
    topic = settings.topic(short)
    ends = {i: ends.committed_end for (name, i), ends in seen.ends.items() if name == topic}
    passed: dict[int, dict[Source, Passed]] = {j: {} for j in ends}
    waiting = set(ends)
    try:
        for tail in _TAILS:
            if not waiting:
                break
            begin = {j: max(0, ends[j] - tail) for j in waiting}
            for j in waiting:
                passed[j].clear()
                seen.beyond_ms.pop((short, j), None)
            for message in read_to_end(
                settings, topic, partitions=sorted(waiting), begin=begin, await_transactions=False, timeout_seconds=15
            ):
                j, time_ms = int(message.partition() or 0), int(message.timestamp()[1])
                if begin[j] > 0:
                    seen.beyond_ms.setdefault((short, j), time_ms)
                for entry in _said(message.value() or b"", j, trusted, passed_on=short == "shares"):
                    passed[j][entry.source, entry.i] = Passed(entry.arrival_ms, time_ms)
                    if entry.source in sources:
                        seen.sources.setdefault(sources[entry.source], entry.partitions)
            expected = {(digest, i) for digest, name in sources.items() for i in range(seen.sources.get(name, 0))}
            waiting = {j for j in waiting if begin[j] > 0 and not expected <= passed[j].keys()}
    except AccessRefused:
        seen.passed[short] = None
    else:
        seen.passed[short] = passed


def _said(value: bytes, j: int, trusted: PinnedIdentities, *, passed_on: bool) -> Iterable[SourceProgress]:
    """How far the sources of a punctuation are; nothing of any other record, or of one that nobody signed."""
    try:
        if frame.kind_of(value) is not Kind.PUNCTUATION:
            return ()
        signed = SignedPunctuation.decode(value)
        signed.verify(trusted, passed=passed_on)
    except (RecordMalformed, SignatureInvalid):
        return ()
    return signed.punctuation.sources if signed.punctuation.j == j else ()


def _see_windows(settings: Settings, which: str, short: str, tail: int, seen: KafkaSeen) -> None:
    """The newest end of each level, by the keys of a topic's last records."""
    topic = settings.topic(short)
    if (topic, 0) not in seen.ends:
        return
    begin = max(0, seen.ends[topic, 0].end - tail)
    newest: dict[Level, int] = {}
    since_ms: int | None = None
    # What an aborted transaction left of a release is one; of `fairness-metrics` it is nothing.
    isolation = "read_committed" if which == "published" else "read_uncommitted"
    try:
        for message in read_to_end(
            settings, topic, isolation=isolation, begin=begin, await_transactions=False, timeout_seconds=15
        ):
            since_ms = int(message.timestamp()[1]) if since_ms is None else since_ms
            key = message.key()
            level = _level_of(key if isinstance(key, bytes) else b"")
            if level is not None:
                newest[level[0]] = max(level[1], newest.get(level[0], 0))
    except AccessRefused:
        return
    seen.windows[which] = newest
    seen.windows_since_ms[which] = 0 if begin == 0 or since_ms is None else since_ms


def _level_of(key: bytes) -> tuple[Level, int] | None:
    """A window's key: measurement/level/end."""
    try:
        measurement, level, end = key.decode().split("/")
        return (measurement, level), int(end)
    except ValueError:  # no window's, or no text
        return None


def see_unread(settings: Settings, wanted: Mapping[str, Mapping[Place, int]], seen: KafkaSeen) -> None:
    """The time of the oldest record that each role has not read.

    Args:
        wanted: by role, the offset where it reads on, by partition.
    """
    extra = {"isolation.level": "read_uncommitted", "auto.offset.reset": "earliest", "fetch.wait.max.ms": 10}
    consumer = make_consumer(settings, settings.group("state-reader"), **extra)
    try:
        for role, positions in wanted.items():
            for place, offset in positions.items():
                try:
                    age = oldest_unread_seconds(consumer, *place, offset)
                except KafkaException:  # not this principal's to read, or nobody leads the partition
                    continue
                if age is not None and age > 0:
                    seen.unread_ms[role, place] = int(1000 * (time.time() - age))
    finally:
        consumer.close()
