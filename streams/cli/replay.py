"""``evenstream replay``."""

from __future__ import annotations

import time
from pathlib import Path

import click

from streams import replay as replays
from streams.cli import Invocation, is_terminal
from streams.cli.numbers import Finite
from streams.errors import InputError
from streams.feed import Feed, Progress
from streams.kafka.clients import partition_count
from streams.kafka.topics import change_command, timestamp_type
from streams.registry import approved_measurement


def progress_line(what: str) -> Progress:
    """Shows progress on standard error: one line that is overwritten, or a line now and then where nobody watches."""
    shown = 0.0

    def show(done: int, total: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if done < total and now - shown < (0.2 if is_terminal() else 5.0):
            return
        shown = now
        end = "\n" if done == total or not is_terminal() else ""
        click.echo(f"\r{what}: {done:,} of {total:,} ({100 * done // total} %)" + end, err=True, nl=False)

    return show


@click.command()
@click.argument("events", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--members", type=click.Path(path_type=Path, dir_okay=False), help="JSONL of members, written first.")
@click.option("--measurement", "name", help="Whose log this is; needed where several measurements are approved.")
@click.option("--as-logged", "mode", flag_value="as-logged", help="Keep the log's own times (arrival: record_time).")
@click.option("--now", "mode", flag_value="now", help="Move the log to the present.")
@click.option("--speed", type=Finite(min=0, min_open=True), default=1.0, show_default=True,
              help="With --now: how many times as fast as it was.")  # fmt: skip
@click.pass_obj
def replay(
    invocation: Invocation, events: Path, members: Path | None, name: str | None, mode: str | None, speed: float
) -> None:
    """Feed a JSONL log of EVENTS, and its members, to the topics that its measurement reads."""
    if mode is None:
        raise InputError("say how the log's times are to be taken: --as-logged, or --now with --speed")
    settings = invocation.settings()
    measurement = approved_measurement(settings, name)
    log = replays.read_events(events, measurement)
    attributes = replays.read_members(members) if members is not None else []
    partitions = partition_count(settings, measurement.source.topic)
    if mode == "as-logged" and timestamp_type(settings, measurement.source.topic) == "LogAppendTime":
        command = change_command(settings, measurement.source.topic, "message.timestamp.type", "CreateTime")
        raise InputError(
            f"{measurement.source.topic} is a LogAppendTime topic: the broker would put the present in place of the "
            f"log's own times. Replay to a CreateTime topic (`evenstream topics create --with-logged`), or: {command}"
        )
    feed = Feed(settings)
    if attributes:
        feed.send_all(settings.topic("member-attributes"), attributes)
        click.echo(f"{len(attributes):,} members written", err=True)
    show = progress_line("events")
    if mode == "now":
        replays.replay_now(feed, measurement, log, speed, show)
    else:
        replays.replay_as_logged(feed, measurement, log, partitions, show)
