"""How far each role is in each partition of what it reads, and whether it moved between two looks.

What the log shows counts first: seal's progress is its punctuation in `sealed`, attach's that in `shares`. A party's is
what it says of itself, and while it does not answer, the copy of its positions in its consumer group.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from streams.doctor.look import INPUTS, OUTPUTS, Look, Passed, Place, Source, Worker

STILL_MS = 5_000
"""So far behind, and not moving, a partition stands still. Punctuation comes after at most a second or two; seal's, of
a source that is silent, at the end of each base window, which is allowed for besides."""

_MARKERS = 1
"""The marker of the last transaction is an offset that nobody reads."""


@dataclass(frozen=True)
class Standing:
    """A role in one partition that it reads.

    Attributes:
        passed_ms: arrival time that it has passed, epoch milliseconds; None where nothing tells.
        unread: records that it has not read; None where nothing tells.
        stands: whether it has something to do there and did not move between the two looks.
        since_ms: since when it stands; None where that is not known.
    """

    passed_ms: int | None
    unread: int | None
    stands: bool
    since_ms: int | None


def standings(before: Look, now: Look, role: str) -> dict[Place, Standing]:
    """A role's partitions: of source topics for seal, of `sealed` or `shares` for the others; none of publish's."""
    if role == "seal":
        places = [] if now.kafka is None else [(t, i) for t, count in now.kafka.sources.items() for i in range(count)]
    elif role in INPUTS:
        topic = now.topics[INPUTS[role]]
        places = [] if now.kafka is None else sorted(place for place in now.kafka.ends if place[0] == topic)
    else:
        return {}
    places += [place for place in _own_word(now, role) if place not in places]
    return {place: _standing(before, now, role, place) for place in places}


def _standing(before: Look, now: Look, role: str, place: Place) -> Standing:
    passed, due = passed_ms(now, role, place), due_ms(now, role, place)
    unread, stands, since = _unread(now, role, place), False, None
    # A party's own watermark is that of sources too which nothing comes of any more: it has to leave records unread.
    has_more = role in OUTPUTS or max(unread or 0, _behind_group(now, role, place)) > _MARKERS
    allowed_ms = STILL_MS + (now.shortest_base_ms(place[0]) if role == "seal" else 0)
    if passed is not None and due is not None and due - passed > allowed_ms and has_more:
        stands = passed_ms(before, role, place) == passed
        since = passed or None
    progress, earlier = _own_word(now, role).get(place), _own_word(before, role).get(place)
    lag = _lag(now, role).get(place)
    if lag is not None and min(lag, _lag(before, role).get(place, 0.0)) > _MARKERS and progress == earlier:
        stands, since = True, since or (int(1000 * progress) if progress else None)
    if lag is None and now.kafka is not None and before.kafka is not None:
        ours, theirs = _position(now, role, place), _position(before, role, place)
        if ours is not None and ours == theirs and (unread or 0) > _MARKERS:
            stands = True
        since = since or now.kafka.unread_ms.get((role, place))
    return Standing(passed, unread, stands, since if stands else None)


def passed_ms(look: Look, role: str, place: Place, source: bytes | None = None) -> int | None:
    """The arrival time that a role has passed in a partition; None where nothing tells.

    Args:
        source: SHA-256 of the one source topic whose rows count; None: all that live measurements read.
    """
    topic, i = place
    log = log_of(look, OUTPUTS[role]) if role in OUTPUTS else None
    if log is not None and role == "seal":
        digests = {digest for digest, name in look.live_sources().items() if name == topic}
        times = [_arrival(look, "sealed", j, streams, (d, i)) for j, streams in log.items() for d in digests]
        return min(times, default=None)
    if log is not None:
        streams = {stream for stream in expected(look) if source in (None, stream[0])}
        times = [_arrival(look, "shares", i, log.get(i, {}), stream) for stream in streams]
        return min(times, default=None)
    said = [
        int(1000 * value)
        for seen in look.of(role)
        for place_, value in seen.by_place("evenstream_watermark_timestamp_seconds").items()
        if place_ == place
    ]
    return min(said, default=None)


def due_ms(look: Look, role: str, place: Place) -> int | None:
    """The arrival time that a role could have passed: what the role before it has, or for seal the clock."""
    topic, j = place
    if role == "seal":
        return look.at_ms if topic in look.live_sources().values() else None
    log = log_of(look, INPUTS[role])
    if log is None:
        return None
    return min((_arrival(look, INPUTS[role], j, log.get(j, {}), source) for source in expected(look)), default=None)


def expected(look: Look) -> set[Source]:
    """Every partition of a source that a live measurement reads."""
    counts = {} if look.kafka is None else look.kafka.sources
    return {(digest, i) for digest, name in look.live_sources().items() for i in range(counts.get(name, 0))}


def log_of(look: Look, short: str) -> Mapping[int, Mapping[Source, Passed]] | None:
    """Punctuation of `sealed` or `shares`, by partition; None where it could not be read."""
    return None if look.kafka is None else look.kafka.passed.get(short)


def _arrival(look: Look, short: str, j: int, streams: Mapping[Source, Passed], source: Source) -> int:
    """Of a stream without punctuation: at most the time of the oldest record that was read."""
    if source in streams:
        return streams[source].arrival_ms
    return 0 if look.kafka is None else look.kafka.beyond_ms.get((short, j), 0)


def _own_word(look: Look, role: str) -> dict[Place, float]:
    """When each partition's last record was taken in, as the role's workers say."""
    return _gathered(look, role, "evenstream_partition_progress_timestamp_seconds")


def _lag(look: Look, role: str) -> dict[Place, float]:
    return _gathered(look, role, "evenstream_partition_lag_records")


def _gathered(look: Look, role: str, metric: str) -> dict[Place, float]:
    found: dict[Place, float] = {}
    for seen in look.of(role):
        found |= seen.by_place(metric)
    return found


def _position(look: Look, role: str, place: Place) -> int | None:
    return None if look.kafka is None else look.kafka.committed.get(role, {}).get(place)


def _unread(look: Look, role: str, place: Place) -> int | None:
    lag = _lag(look, role).get(place)
    if lag is not None:
        return int(lag)
    known = look.kafka is not None and _position(look, role, place) is not None and place in look.kafka.ends
    return _behind_group(look, role, place) if known else None


def _behind_group(look: Look, role: str, place: Place) -> int:
    """Records after the copy of a role's position, which is some seconds old; 0 where there is none."""
    position = _position(look, role, place)
    if look.kafka is None or position is None or place not in look.kafka.ends:
        return 0
    return max(0, look.kafka.ends[place].end - position)


def positions_of_the_silent(look: Look) -> Iterator[tuple[str, dict[Place, int]]]:
    """Where roles that do not answer read on, as their consumer groups say, in partitions that hold more."""
    if look.kafka is None:
        return
    for role in ("seal", *INPUTS):
        if all(seen.answers for seen in look.of(role)):
            continue
        behind = {
            place: offset
            for place, offset in look.kafka.committed.get(role, {}).items()
            if place in look.kafka.ends and look.kafka.ends[place].end - offset > _MARKERS
        }
        if behind:
            yield role, behind


def last_sign_ms(look: Look, worker: Worker) -> int | None:
    """When a worker last wrote something that the log shows, or since when it leaves records unread; None: unknown."""
    if look.kafka is None:
        return None
    if worker.role not in OUTPUTS:
        unread = [at_ms for (role, _), at_ms in look.kafka.unread_ms.items() if role == worker.role]
        return min(unread, default=None)
    log = look.kafka.passed.get(OUTPUTS[worker.role]) or {}
    written = [
        passed.written_ms
        for j, streams in log.items()
        for (_, i), passed in streams.items()
        if look.owns(worker, i if worker.role == "seal" else j)
    ]
    return max(written, default=None)


def works_elsewhere(before: Look, now: Look, worker: Worker) -> bool:
    """Whether Kafka shows that a worker moved between the looks, whoever answers for it."""
    if before.kafka is None or now.kafka is None:
        return False
    if worker.role in OUTPUTS:
        return last_sign_ms(before, worker) != last_sign_ms(now, worker)
    if worker.role in INPUTS:
        return before.kafka.committed.get(worker.role) != now.kafka.committed.get(worker.role)
    return before.kafka.written_ms.get("published") != now.kafka.written_ms.get("published")
