"""What a deployment takes, as text, JSON, or a part of a page."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table

from streams.report import amounts, page
from streams.report.advice import advice_of
from streams.sizing import Size
from streams.sizing.cores import BUSIEST
from streams.sizing.deployment import START_SECONDS

Rows = list[list[str]]


def title(size: Size) -> str:
    """What was asked."""
    load, count = size.load, len(size.load.demands)
    each = "" if count == 1 else f" for {count} measurements"
    events = "" if load.events == load.rows else f" from {amounts.count(load.events)} events"
    return (
        f"What it takes: {amounts.count(load.rows)} rows a second{events}{each}, {amounts.count(load.members)} members"
    )


def summary(size: Size) -> str:
    """The four figures."""
    copies = size.load.settings.topics.replication_factor
    kept = sum(topic.kept for topic in size.topics)
    most = sum(topic.most for topic in size.topics)
    return (
        f"{amounts.cores(size.cores)} cores, {amounts.size(size.memory)} of memory, {_partitions(size)}; Kafka, "
        f"source topics apart: {amounts.size(size.written)} a second written and "
        f"{amounts.size(size.read)} read, {amounts.size(copies * kept)} on disk in {_copies(copies)}, up to "
        f"{amounts.size(copies * most)} after an outage"
    )


def _partitions(size: Size) -> str:
    count, least = size.layout.partitions, size.least_partitions
    would = f" ({least} would do)" if 0 < least < count else ""
    return f"{_many(count, 'partition')}{would}"


def _many(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"


def _copies(count: int) -> str:
    return f"{count} cop{'ies' if count > 1 else 'y'}"


def notes(size: Size) -> str:
    """What stands behind the figures."""
    traffic, load = size.traffic, size.load
    batches = sum(traffic.batches)
    known = size.constants
    year = amounts.duration(load.settings.topics.metrics_retention_hours * 3600)
    return (
        f"Counted on {amounts.count(batches)} batches a second of {amounts.count(load.rows / batches)} rows each and "
        f"{_many(size.layout.sources, 'partition')} of each source topic. A start of attach loads its members in "
        f"{amounts.duration(size.start_seconds)}. On disk: releases of a year, which are kept for good, and "
        f"fairness-metrics of {year}. Workers are as many as leave the busiest below {100 * BUSIEST:.0f} % of what one "
        f"can do, partitions as many as attach needs for that and to start within {amounts.duration(START_SECONDS)}. "
        "With few events seal reads them in small lots, which takes more of a core than it needs. The brokers' own "
        "cores and memory, and the small process that deletes (retention), are not in it. Costs were measured on "
        f"{known.machine} ({known.date})."
    )


def _role_rows(size: Size) -> Iterator[list[str]]:
    for role in size.roles:
        largest = [name for name, part in role.memory.items() if part >= 0.1 * role.bytes]
        yield [
            role.role,
            str(role.workers),
            amounts.cores(role.cores),
            f"{100 * role.busiest:,.0f} %" if role.busiest >= 0.01 else "under 1 %",
            amounts.size(role.bytes),
            ", ".join(f"{name} {amounts.size(role.memory[name])}" for name in largest),
        ]


_ROLE_COLUMNS = ["role", "workers", "cores", "busiest", "memory of each, at most", "of which"]


def _topic_rows(size: Size) -> Iterator[list[str]]:
    for topic in size.topics:
        yield [
            topic.name,
            "-" if topic.written == 0 else amounts.size(topic.written),
            amounts.size(topic.kept),
            "" if topic.most == topic.kept else amounts.size(topic.most),
        ]


def _topic_columns(size: Size) -> list[str]:
    return ["topic", "a second", "on disk", f"after {amounts.duration(_outage(size))} of outage"]


def _outage(size: Size) -> float:
    return size.load.settings.topics.retention_hours * 3600


def _tables(size: Size) -> Iterator[tuple[str, list[str], Rows]]:
    yield "roles", _ROLE_COLUMNS, list(_role_rows(size))
    yield "Kafka, one copy", _topic_columns(size), list(_topic_rows(size))


def as_text(size: Size, console: Console) -> None:
    """Print it."""
    for line in (title(size), summary(size)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for caption, columns, rows in _tables(size):
        shown = Table(title=caption, title_justify="left", title_style="bold")
        for column in columns:
            shown.add_column(column)
        for row in rows:
            shown.add_row(*row)
        console.print(shown)
    for line in (*advice_of(size), notes(size)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def as_page(size: Size) -> list[str]:
    """Parts of an HTML page."""
    parts = [page.heading(title(size)), page.paragraph(summary(size))]
    parts += [page.table(columns, rows, caption) for caption, columns, rows in _tables(size)]
    return parts + [page.paragraph(line) for line in (*advice_of(size), notes(size))]


def as_json(size: Size) -> dict[str, Any]:
    """Everything, as JSON has it: bytes and seconds."""
    load, traffic = size.load, size.traffic
    return {
        "rows_per_second": load.rows,
        "events_per_second": load.events,
        "members": load.members,
        "fits": size.fits,
        "partitions": size.layout.partitions,
        "least_partitions": size.least_partitions or None,
        "source_partitions": size.layout.sources,
        "cores": size.cores,
        "memory_bytes": size.memory,
        "kafka_written_bytes_per_second": size.written,
        "kafka_read_bytes_per_second": size.read,
        "replication_factor": load.settings.topics.replication_factor,
        "attach_start_seconds": size.start_seconds,
        "party_limit_rows_per_second": None if math.isinf(size.party_limit) else size.party_limit,
        "batches_per_second": sum(traffic.batches),
        "rows_per_batch": load.rows / sum(traffic.batches),
        "roles": [
            {
                "role": role.role,
                "workers": role.workers,
                "cores": role.cores,
                "busiest_share": role.busiest,
                "memory_bytes": role.bytes,
                "memory_parts_bytes": role.memory,
            }
            for role in size.roles
        ],
        "topics": [
            {
                "topic": topic.name,
                "written_bytes_per_second": topic.written,
                "kept_bytes": topic.kept,
                "most_bytes": topic.most,
            }
            for topic in size.topics
        ],
        "advice": advice_of(size),
        "measured_on": size.constants.machine,
        "measured_at": size.constants.date.isoformat(),
    }
