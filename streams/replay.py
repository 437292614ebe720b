"""Replaying a real log: JSONL of events and of members, as it was or as if it happened now.

``as_logged`` keeps the log's own times: they become the records' timestamps, and an end-of-log record in each partition
closes the last window. ``now`` moves the log to the present and plays it at a speed, so that a long log takes a minute.
A file is read and checked whole before anything is written.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from privacy import Measurement
from streams.errors import InputError
from streams.feed import Feed, Progress
from streams.roles.decoding import MISSING_FIELD, WRONG_TYPE
from streams.roles.seal import END_OF_LOG

_LATEST_MS = 253_402_300_799_000  # the end of the year 9999


@dataclass(frozen=True)
class LoggedEvent:
    """One event of a log: its time, its key (the member), and its JSON object."""

    time_ms: int
    key: bytes
    content: dict[str, Any]


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    content = json.loads(line)
                except (ValueError, RecursionError):
                    raise InputError(f"{path}:{number}: expected one JSON object a line, this is not JSON") from None
                if not isinstance(content, dict):
                    raise InputError(f"{path}:{number}: expected a JSON object, got {type(content).__name__}")
                yield number, content
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no UTF-8 text ({error}); unpack it first if it is compressed") from None


def read_members(path: Path) -> list[tuple[bytes, bytes]]:
    """Key and value of each `member-attributes` record of a members file."""
    records = []
    for number, content in _lines(path):
        member = content.pop("member_id", None)
        where = f"{path}:{number}"
        if not isinstance(member, str | int) or isinstance(member, bool) or member == "":
            raise InputError(f"{where}: expected a member_id (text or number)")
        records.append((_key(member, where), json.dumps(content).encode()))
    return records


def read_events(path: Path, measurement: Measurement, untimed: Counter[str] | None = None) -> list[LoggedEvent]:
    """The events of a log, in time order, with time and member where the measurement says they are.

    Args:
        untimed: where given, events without a time are left out and counted in it by the reason that `seal` would give;
            else they are an error, since a log cannot be replayed without its times.
    """
    events = []
    for number, content in _lines(path):
        where = f"{path}:{number}"
        moment = _get(content, measurement.source.time)
        time_ms = _parse_time(moment, measurement.source.time_format)
        if time_ms is None and untimed is not None:
            untimed[MISSING_FIELD if moment is None else WRONG_TYPE] += 1
            continue
        if time_ms is None:
            what = "nothing" if moment is None else f"a {type(moment).__name__} that is none"
            zone = ", with a zone, as in 2026-01-01T00:00:00Z" if measurement.source.time_format == "iso8601" else ""
            raise InputError(
                f"{where}: expected a time ({measurement.source.time_format}{zone}) at {measurement.source.time!r}, "
                f"got {what}"
            )
        member = None if "[]" in measurement.source.member else _get(content, measurement.source.member)
        events.append(LoggedEvent(time_ms, b"" if member is None else _key(member, where), content))
    if not events and untimed:
        source = measurement.source
        raise InputError(
            f"{path}: none of its {sum(untimed.values()):,} lines has a time ({source.time_format}) at {source.time!r}"
        )
    if not events:
        raise InputError(f"{path} holds no events")
    events.sort(key=lambda event: event.time_ms)
    return events


def _key(member: Any, where: str) -> bytes:
    try:
        return str(member).encode()
    except UnicodeEncodeError:
        raise InputError(f"{where}: expected a member id, got half a surrogate pair, which is no text") from None


def _get(content: dict[str, Any], path: str) -> Any:
    node: Any = content
    for name in path.split("."):
        node = node.get(name) if isinstance(node, dict) else None
    return node


def _parse_time(value: Any, time_format: str) -> int | None:
    if time_format == "iso8601":
        try:
            moment = datetime.fromisoformat(value)
        except (TypeError, ValueError):
            return None
        if moment.tzinfo is None:
            return None
        milliseconds = moment.timestamp() * 1000
    elif isinstance(value, bool) or not isinstance(value, int | float):
        return None
    else:
        milliseconds = value * (1000 if time_format == "epoch_s" else 1)
    # Python's JSON lets NaN and Infinity in; Kafka has no record from before 1970.
    return round(milliseconds) if 0 <= milliseconds <= _LATEST_MS else None


def _stamped(event: LoggedEvent, measurement: Measurement, time_ms: int) -> bytes:
    """The event's JSON with another time in it."""
    value: Any
    if measurement.source.time_format == "iso8601":
        value = datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds")
    else:
        value = time_ms / 1000 if measurement.source.time_format == "epoch_s" else time_ms
    content = dict(event.content)
    node = content
    *parents, last = measurement.source.time.split(".")
    for name in parents:
        node[name] = dict(node[name])
        node = node[name]
    node[last] = value
    return json.dumps(content).encode()


def replay_as_logged(
    feed: Feed, measurement: Measurement, events: list[LoggedEvent], partitions: int, progress: Progress
) -> None:
    """Write a log with its own times as record timestamps, then end it.

    Raises:
        InputError: the measurement does not take its time from records.
    """
    source = measurement.source
    if source.arrival != "record_time":
        raise InputError(
            f"{measurement.id!r} takes arrival from the clock, so a log with its own times would all be late: set "
            "source.arrival to record_time in the measurement, or replay with --now"
        )
    for number, event in enumerate(events, 1):
        feed.send(source.topic, event.key or None, json.dumps(event.content).encode(), timestamp_ms=event.time_ms)
        progress(number, len(events))
    longest = measurement.levels[-1].length_ms
    end_ms = (events[-1].time_ms // longest + 1) * longest + measurement.lateness_ms
    feed.flush()  # the end must come after everything
    for partition in range(partitions):
        feed.send(source.topic, None, None, timestamp_ms=end_ms, partition=partition, headers=[(END_OF_LOG, b"1")])
    feed.flush()


def replay_now(
    feed: Feed, measurement: Measurement, events: list[LoggedEvent], speed: float, progress: Progress
) -> None:
    """Play a log from now on, ``speed`` times as fast as it was, with each event's time moved to when it is written."""
    first, started = events[0].time_ms, time.time()
    for number, event in enumerate(events, 1):
        due = started + (event.time_ms - first) / 1000 / speed
        wait = due - time.time()
        if wait > 0.002:
            feed.flush()
            time.sleep(wait)
        feed.send(measurement.source.topic, event.key or None, _stamped(event, measurement, round(due * 1000)))
        progress(number, len(events))
    feed.flush()
