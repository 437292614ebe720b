"""Memory: the most that one worker of each role holds, in bytes, and what bounds it.

    base           the process with its libraries, as measured; of attach with the Census pack
    queue          what librdkafka has fetched and the role has not taken: at most ``queued.max.messages.kbytes``, and
                   once more what one poll has taken out of it; and some 400 bytes for each of up to 100,000 events,
                   which librdkafka's limit does not count
    waiting        rows that wait for a commit, and the records that are made of them, twice (librdkafka keeps a copy
                   until they are acknowledged): at most what one core can do in a commit interval
    members        attach: 40 bytes each, twice while they are loaded or arrays grow (``estimator.members``)
    counted        attach: who has counted today, by measurement: a mark a member for two days (``privacy.caps``), and
                   the chunks that a restart reads (``streams.roles.counted_chunks``)
    streams        attach and the parties: the last 64 digests of each stream (source, i, j)
    windows        the parties: open windows' tables, and who has sent them rows
    shown          publish: the windows that the live page keeps

A burst waits in Kafka: it makes nothing of this larger.
"""

from __future__ import annotations

import math

from privacy import Measurement
from streams.kafka.clients import consumer_config
from streams.roles.channel_layout import ChannelLayout
from streams.roles.counted_chunks import RUNS_A_LEVEL
from streams.roles.seal import FEW_ROWS
from streams.roles.sequence import REMEMBERED
from streams.sizing.constants import Constants
from streams.sizing.load import Layout, Load, busiest
from streams.sizing.record_bytes import metric_bytes
from streams.sizing.traffic import Traffic

MEMBER_BYTES = 40
"""At most, in the member store."""
_COPIES = 2
_DAY_SECONDS = 86_400
_DAYS = 2
"""Of which rows can still come at once: around midnight."""
_MARK_BYTES = {"first": 1.25, "hours": 5.0}
ENTRY_BYTES = {"first": 9, "hours": 12}
"""Of who has counted: the member's tag, 8 bytes, and a mark."""
_DIGEST_OBJECT_BYTES = 73
_STREAM_OBJECT_BYTES = 600
_COVERAGE_BYTES = 500
_MOST_WAITING_ROWS = 1_000_000
_SHOWN_COPIES = 3
_FETCHED_EVENTS_BYTES = 400 * 100_000  # librdkafka's queued.min.messages

Parts = dict[str, float]


def memory_of(load: Load, layout: Layout, traffic: Traffic, constants: Constants) -> dict[str, Parts]:
    """By role, what the busiest worker holds at most, in parts (see the module's text), bytes."""
    queue = 2.0 * 1024 * int(consumer_config(load.settings, "size")["queued.max.messages.kbytes"])
    streams = layout.sources * len(load.topics) * layout.partitions
    stream_bytes = REMEMBERED * _DIGEST_OBJECT_BYTES + _STREAM_OBJECT_BYTES
    owned = busiest(layout.partitions, layout.attach)
    parts: dict[str, Parts] = {
        "seal": {"queue": queue + _FETCHED_EVENTS_BYTES, "waiting": _waiting_at_seal(load, layout, constants)},
        "attach": {
            "queue": queue,
            "waiting": _waiting_at_attach(load, queue, constants),
            "members": _COPIES * MEMBER_BYTES * load.members * owned,
            "counted": sum(
                _counted_bytes(d.measurement, d.rows * owned, load.members * owned, traffic.attach)
                for d in load.demands
            ),
            "streams": owned * streams * stream_bytes,
        },
        "party": {
            "queue": queue,
            "windows": sum(_window_bytes(d.measurement, layout) for d in load.demands),
            "streams": streams * stream_bytes,
        },
        "publish": {
            "shown": sum(
                _SHOWN_COPIES * load.settings.publish.page_windows * metric_bytes(d.measurement, level.name)
                for d in load.demands
                for level in d.measurement.levels
            ),
        },
    }
    return {role: {"base": float(constants.base_bytes[role])} | found for role, found in parts.items()}


def _width(load: Load) -> int:
    return max(demand.measurement.source.member_max_bytes for demand in load.demands)


def _waiting_at_seal(load: Load, layout: Layout, constants: Constants) -> float:
    costs, settings = constants.cpu["seal"], load.settings
    each = costs["events"] * load.events / load.rows + costs["decodings"] * load.decodings / load.rows + costs["rows"]
    few = FEW_ROWS * layout.sources * layout.partitions * len(load.demands)  # so many may wait longer
    rows = min(_MOST_WAITING_ROWS, max(few, _done_in(settings.seal.commit_interval_seconds, each)))
    # A row waits as id, cell and hash, and leaves as id and two cells.
    width = _width(load)
    return rows * ((width + 6) + 2 * (width + 4))


def _done_in(seconds: float, each: float) -> float:
    return seconds / each if each > 0 else math.inf


def _waiting_at_attach(load: Load, queue: float, constants: Constants) -> float:
    costs, settings = constants.cpu["attach"], load.settings
    columns = max(ChannelLayout.of(demand.measurement).columns for demand in load.demands)
    each = costs["rows"] + columns * costs["elements"]
    # No more than has been fetched, either: an id and two cells a row.
    rows = min(queue / (_width(load) + 4), _done_in(settings.attach.commit_interval_seconds, each))
    return rows * 2 * (4 + 8 * columns)


def _counted_bytes(measurement: Measurement, rows: float, members: float, transactions: float) -> float:
    terms = measurement.privacy
    marks = _DAYS * _MARK_BYTES[terms.cap_rule] * members
    # A row that counted is in one run, and the cap lets only so many of a day count.
    most = min(terms.contribution_cap * members, _DAY_SECONDS * rows)
    return marks + ENTRY_BYTES[terms.cap_rule] * min(most, entries(rows, members, transactions))


def entries(rows: float, members: float, transactions: float) -> float:
    """Entries of who has counted, in all runs of a day at its end: the most.

    Args:
        rows: a second. transactions: a second; each writes a run, and sixteen of a level become one of the next, in
            which a member has one entry.
    """
    runs = max(1.0, transactions * _DAY_SECONDS)
    length, found = rows / transactions, 0.0
    while runs >= 1:
        found += min(runs, RUNS_A_LEVEL - 1) * min(length, members)
        runs, length = runs // RUNS_A_LEVEL, length * RUNS_A_LEVEL
    return found


def _window_bytes(measurement: Measurement, layout: Layout) -> float:
    shape = ChannelLayout.of(measurement)
    table = 8 * (shape.cells * shape.columns + shape.tail)
    # Open at once: those that rows can still come for, and one more that is being closed.
    base = 2 + -(-(measurement.lateness_ms + measurement.max_future_ms) // measurement.base_ms)
    coverage = layout.sources * layout.partitions * _COVERAGE_BYTES
    return base * (table + coverage) + (len(measurement.levels) - 1) * table
