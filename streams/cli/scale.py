"""``evenstream scale``."""

from __future__ import annotations

import time
from pathlib import Path

import click

from streams.cli import Invocation
from streams.kafka.clients import wait_for_kafka
from streams.records.layout import SHARDED_ROLES, Layout


@click.command()
@click.argument("role", type=click.Choice(SHARDED_ROLES))
@click.argument("shards", type=int, required=False)
@click.option(
    "--begun",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File in which the role's workers keep what they have begun, or a copy; by default that of its state folder.",
)
@click.option("--at-most", is_flag=True, help="Only to fewer; where there are as many or fewer, do nothing.")
@click.pass_obj
def scale(invocation: Invocation, role: str, shards: int | None, begun: Path | None, at_most: bool) -> None:
    """Divide the partitions of seal or attach among SHARDS workers; without a number, say how it is now.

    Needs the role's key folder and its Kafka principal. Workers follow while they run: start those that are to come
    first (ROLE.shard=N), and stop those that are to go when they say that they stand by.
    """
    from streams import scaling

    if at_most and shards is None:
        raise click.UsageError("--at-most goes with SHARDS")
    settings = invocation.settings()
    wait_for_kafka(settings, settings.kafka.request_timeout_seconds)
    before = scaling.present(settings, role, begun)
    if shards is None:
        click.echo(f"{role}: {_told(before)}")
        return
    layout = scaling.scale(settings, role, shards, time.time_ns() // 1_000_000, begun, at_most=at_most)
    if layout.generation == before.generation:
        click.echo(f"{role}: {_told(layout)}; nothing to do")
        return
    click.echo(f"{role}: {_told(layout)}, before: {_told(before)}")
    workers = ", ".join(f"{role}.shard={shard}" for shard in range(layout.shards))
    click.echo(
        f"at work within seconds: {workers}. Each must run: what one that is missing owns waits, all windows too"
    )
    if layout.shards < before.shards:
        click.echo("the others stand by (/readyz says so), and can be stopped")


def _told(layout: Layout) -> str:
    return f"generation {layout.generation}, {layout.shards} shard{'s' if layout.shards > 1 else ''}"
