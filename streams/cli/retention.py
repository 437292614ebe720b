"""``evenstream retention``."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import click
from rich.table import Table

from streams.cli import Invocation
from streams.cli.audit import console
from streams.control import ControlPlane
from streams.errors import EvenstreamError
from streams.kafka import deletion
from streams.kafka.clients import partition_count, read_to_end, wait_for_kafka
from streams.log import configure_logging
from streams.public_topics import PublicTopics, trusted_keys
from streams.records import frame
from streams.report.numbers import moment
from streams.retention_check import TOPICS, Found, Limits, as_json
from streams.retention_check import check as look
from streams.roles.process import stop_on_signals
from streams.settings import Settings
from streams.stage import Record

_PROGRESS_SECONDS = 2.0
_HOUR_MS = 3_600_000


@click.group()
def retention() -> None:
    """Delete records that every reader has behind it, and show what of people still lies on Kafka."""


@retention.command()
@click.option("--once", is_flag=True, help="Delete once and end, instead of every retention.interval_seconds.")
@click.pass_obj
def run(invocation: Invocation, once: bool) -> None:
    """Delete records of sealed and shares below what their readers have committed. Needs no key of any role."""
    settings = invocation.settings()
    configure_logging("retention", settings.logging)
    wait_for_kafka(settings, settings.kafka.request_timeout_seconds)
    if once:
        deletion.Deleter(settings, click.echo).once()
    else:
        deletion.run(settings, click.echo, stop_on_signals())


@retention.command()
@click.option("--trusted", type=click.Path(path_type=Path),
              help="A trusted.json, the public keys (default: that of keys.dir/governance).")  # fmt: skip
@click.option("--json", "as_machine", is_flag=True, help="Print JSON instead of text.")
@click.pass_obj
def check(invocation: Invocation, trusted: Path | None, as_machine: bool) -> None:
    """Show each topic's oldest record of people and whether its keys still exist; 1 if one opens that should not.

    Needs public keys only. What roles say of their keys is believed.
    """
    settings = invocation.settings()
    keys = trusted_keys(settings, trusted)
    wait_for_kafka(settings, settings.kafka.request_timeout_seconds)
    control = PublicTopics(settings, keys).add_keys(ControlPlane.of(keys, settings))
    now_ms = time.time_ns() // 1_000_000
    allowance_ms = int(settings.retention.allowance_hours * _HOUR_MS)
    limits = Limits.at(now_ms, settings.epoch_lifetime_ms, settings.state_lifetime_ms, allowance_ms)
    shown = time.monotonic()

    def progress(count: int) -> None:
        nonlocal shown
        if time.monotonic() - shown >= _PROGRESS_SECONDS:
            shown = time.monotonic()
            click.echo(f"{count:,} records looked at", err=True)

    partitions = {name: partition_count(settings, settings.topic(name)) for name in TOPICS}
    found = look(
        partitions,
        lambda topic, i: _records(settings, topic, i),
        control.destroyed,
        limits,
        progress,
        lambda topic, value: topic in frame.WRITERS and frame.is_newer(value, frame.WRITERS[topic], keys.identities),
    )
    if as_machine:
        click.echo(json.dumps(as_json(found, limits), indent=2))
    else:
        _print(found)
    problems = []
    if found.openable:
        problems.append(
            f"{sum(entry.count for entry in found.openable):,} records are older than they may be and can still be "
            "opened; see docs/operations.md"
        )
    if found.newer:
        problems.append(
            f"{sum(found.newer.values()):,} batches of {', '.join(found.newer)} are of a later format version, so that "
            "nothing is known of them: upgrade this command"
        )
    if problems:
        raise EvenstreamError("\n".join(problems))
    if not as_machine:
        click.echo("nothing can be opened that is older than it may be")


def _records(settings: Settings, topic: str, i: int) -> Iterator[Record]:
    records = read_to_end(settings, settings.topic(topic), isolation="read_uncommitted", partitions=[i])
    return cast(Iterator[Record], records)


def _print(found: Found) -> None:
    out = console()
    table = Table("topic", "oldest record", "of", "lies under")
    for topic in TOPICS:
        oldest = found.oldest.get(topic)
        if oldest is None:
            table.add_row(topic, "none", "-", "-")
            continue
        states = [
            f"{key}: " + ("still there" if at_ms is None else f"destroyed by {moment(at_ms)}")
            for key, at_ms in oldest.keys.items()
        ]
        table.add_row(topic, f"[{oldest.partition}] {oldest.offset}", moment(oldest.time_ms), "\n".join(states))
    out.print(table, markup=False)
    for entry in found.openable:
        click.echo(
            f"{entry.topic}: {entry.count:,} records that are older than they may be still open with {entry.key}, the "
            f"oldest at [{entry.partition}] {entry.offset} of {moment(entry.time_ms)}"
        )
