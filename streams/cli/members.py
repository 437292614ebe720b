"""``evenstream members``."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from streams.cli import Invocation
from streams.cli.replay import progress_line
from streams.feed import Feed
from streams.kafka.clients import partition_count, wait_for_kafka
from streams.opt_outs import opt_out as write_opt_outs
from streams.opt_outs import read_ids


@click.group()
def members() -> None:
    """Take members out of every measurement."""


@members.command("opt-out")
@click.argument("ids", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.pass_obj
def opt_out(invocation: Invocation, ids: Path) -> None:
    """Opt out the members of FILE (- for standard input), one id a line.

    Writes {"opt_out": true} as each member's record on member-attributes, in the partition that attach reads it from.
    It acts from attach's next batch on, also on Self-ID, and stands until the company's own profile system writes that
    member's record again: that system owns it, must keep the wish, and is the one to undo it. What was published stays.
    """
    settings = invocation.settings()
    if str(ids) == "-":
        members = read_ids(sys.stdin.buffer, "standard input")
    else:
        with ids.open("rb") as lines:
            members = read_ids(lines, str(ids))
    wait_for_kafka(settings, settings.kafka.request_timeout_seconds)
    topic = settings.topic("member-attributes")
    partition_count(settings, topic)  # an error now, not a topic that the broker makes by itself
    started = time.monotonic()
    write_opt_outs(Feed(settings), topic, members, progress_line("opt-outs"))
    seconds = time.monotonic() - started
    click.echo(f"{len(members):,} opt-outs written in {seconds:.1f} s; they act from attach's next batch on")
