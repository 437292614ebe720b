"""``evenstream tail``."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import deque
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import click
from rich.live import Live
from rich.table import Table
from rich.text import Text

from secure_agg import PinnedIdentities
from streams.cli import Invocation
from streams.cli.audit import console
from streams.errors import EvenstreamError, RecordMalformed
from streams.kafka.clients import partition_count
from streams.present_windows import PresentWindows
from streams.public_topics import trusted_keys
from streams.record_check import RecordCheck
from streams.records.metric import FairnessMetric
from streams.report.terminal import terminal_line
from streams.report.windows import COLUMNS, Line
from streams.settings import Settings
from streams.subscription import BEGINNING, NOW, Delivery, follow

_ROWS = 40
"""Of a live table, where the terminal is high enough."""


def _begin(ctx: click.Context, param: click.Parameter, value: str) -> str | int:
    if value in (BEGINNING, NOW):
        return value
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(
            f"expected {BEGINNING}, {NOW} or a time such as 2026-11-26T08:00:00Z, got {value!r}"
        ) from None
    return round(1000 * (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())


@click.command()
@click.option("--measurement", metavar="ID", help="Only of this one.")
@click.option("--level", metavar="NAME", help="Only of this one, such as 10s.")
@click.option("--metric", "metrics", multiple=True, metavar="NAME",
              help="Statistic whose widest gap is shown; may be repeated; default: all.")  # fmt: skip
@click.option("--from", "begin", default=NOW, show_default=True, callback=_begin, metavar="beginning|now|TIME",
              help="Where to begin; a TIME is when records were written, UTC where it says no other.")  # fmt: skip
@click.option("--no-follow", is_flag=True, help="Stop at the end, instead of waiting for more.")
@click.option("--count", type=click.IntRange(min=1), help="Stop after so many windows.")
@click.option("--validate", is_flag=True,
              help="Check each record's value, headers, signature, key and partition; 1 at the end if any is "
                   "wrong.")  # fmt: skip
@click.option("--trusted", "pinned", type=click.Path(path_type=Path), metavar="FILE",
              help="With --validate, the trusted.json by which signatures are verified (default: that of keys.dir/"
                   "governance, where it is there).")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line, with headers, instead of a table.")
@click.pass_obj
def tail(
    invocation: Invocation,
    measurement: str | None,
    level: str | None,
    metrics: tuple[str, ...],
    begin: str | int,
    no_follow: bool,
    count: int | None,
    validate: bool,
    pinned: Path | None,
    as_json: bool,
) -> None:
    """Follow the topic fairness-metrics, window by window, until Ctrl-C.

    Needs what a subscriber needs, and no key: the principal `company` may read the topic. `--no-follow --from beginning
    --json` writes a file that `evenstream recompute --file` takes.
    """
    settings = invocation.settings()
    topic = settings.topic("fairness-metrics")
    deliveries = follow(settings, begin, to_end=no_follow, say=lambda text: click.echo(text, err=True))
    if pinned is not None and not validate:
        raise click.UsageError("--trusted goes with --validate")
    trusted = _pinned(settings, pinned) if validate else None
    check = RecordCheck(settings.deployment, lambda: partition_count(settings, topic), trusted) if validate else None
    screen: _Screen = _JsonLines() if as_json else _LiveTable(metrics) if sys.stdout.isatty() else _Lines(metrics)
    seen = wrong = 0
    there, hint = PresentWindows(), _Hint()
    if begin == NOW and not no_follow:
        click.echo(f"waiting for windows on {topic}; --from beginning shows those that are there", err=True)
    with _Ending() as ending, closing(deliveries), screen:
        for delivery in deliveries:
            ending.following = True
            if ending.asked:
                break
            if delivery is None:
                hint.say(there, seen, metrics)
                screen.pause()
                continue
            problems = [] if check is None else check.problems(delivery)
            record = _decoded(delivery)
            if record is not None:
                there.note(record.measurement, record.level, (result.metric for result in record.results))
            if not _wanted(record, measurement, level):
                continue
            if record is None and not problems:
                problems = ["no record of this topic that this version can read; --validate says why"]
            seen, wrong = seen + 1, wrong + bool(problems)
            screen.show(delivery, record, problems)
            if seen == count:
                break
        sys.stdout.flush()
    hint.say(there, seen, metrics)
    if validate:
        unverified = "" if trusted is not None else "; signatures were not verified"
        click.echo(f"{seen:,} records checked, {wrong:,} wrong{unverified}", err=True)
        if wrong:
            raise EvenstreamError(f"{wrong:,} of {seen:,} records on {topic} are not what docs/protocol.md promises")


def _pinned(settings: Settings, path: Path | None) -> PinnedIdentities | None:
    """The identities by which signatures are verified; None where none was named and there are none."""
    default = settings.keys.dir / "governance" / "trusted.json"
    if path is None and not default.exists():
        click.echo(
            f"signatures are not verified, for there is no {default}: name the deployment's trusted.json with "
            "--trusted (it holds public keys alone)",
            err=True,
        )
        return None
    return trusted_keys(settings, path).identities


def _decoded(delivery: Delivery) -> FairnessMetric | None:
    try:
        return FairnessMetric.decode(delivery.value or b"")
    except RecordMalformed:
        return None


def _wanted(record: FairnessMetric | None, measurement: str | None, level: str | None) -> bool:
    """Whether a record was asked for; one that cannot be read is nobody's, and shown to all."""
    if record is None:
        return True
    return measurement in (None, record.measurement) and level in (None, record.level)


class _Hint:
    """Says once, when what is there was read, that nothing of it is what was asked for."""

    def __init__(self) -> None:
        self._said: str | None = None

    def say(self, there: PresentWindows, seen: int, metrics: tuple[str, ...]) -> None:
        """``seen``: how many windows were asked for and came."""
        text = there.without(metrics) if seen else there.instead()
        if text is not None and text != self._said and not there.empty:
            self._said = text
            click.echo(text, err=True)


class _Ending:
    """How this command ends: Ctrl-C is the way to end it, and a reader of its output may have had enough.

    Once records are followed, Ctrl-C only sets a flag, which is looked at several times a second: an interrupt within
    Kafka's client, while that reports an outage, would come out of it as another error.
    """

    def __init__(self) -> None:
        self.asked = False
        self.following = False
        self._before: Any = None

    def __enter__(self) -> _Ending:
        self._before = signal.signal(signal.SIGINT, self._interrupted)
        return self

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        if not self.following or self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        signal.signal(signal.SIGINT, self._before)
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what Python flushes at its end
            return True
        return isinstance(error, KeyboardInterrupt)


class _Screen(Protocol):
    """Where windows are shown."""

    def __enter__(self) -> object: ...
    def __exit__(self, *error: object) -> None: ...
    def show(self, delivery: Delivery, record: FairnessMetric | None, problems: list[str]) -> None: ...
    def pause(self) -> None: ...


class _JsonLines:
    """One object a line."""

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None: ...

    def show(self, delivery: Delivery, record: FairnessMetric | None, problems: list[str]) -> None:
        found = delivery.as_json() | ({"problems": problems} if problems else {})
        sys.stdout.write(json.dumps(found) + "\n")
        _tell(delivery, problems)

    def pause(self) -> None:
        sys.stdout.flush()


class _Lines:
    """One line of text a window, for logs and pipes."""

    _WIDTHS = (20, 16, 5, 12, 64, 13, 0)

    def __init__(self, metrics: tuple[str, ...]) -> None:
        self._metrics = metrics

    def __enter__(self) -> None:
        self._print(COLUMNS)

    def __exit__(self, *error: object) -> None: ...

    def _print(self, cells: tuple[str, ...]) -> None:
        padded = (cell.ljust(width) for cell, width in zip(cells, self._WIDTHS, strict=True))
        sys.stdout.write("  ".join(padded).rstrip() + "\n")

    def show(self, delivery: Delivery, record: FairnessMetric | None, problems: list[str]) -> None:
        if record is not None:
            self._print(Line.of(record, self._metrics).cells)
        _tell(delivery, problems)

    def pause(self) -> None:
        sys.stdout.flush()


def _tell(delivery: Delivery, problems: list[str]) -> None:
    for problem in problems:
        click.echo(f"{delivery.place}: {terminal_line(problem)}", err=True)


class _LiveTable:
    """The last windows, in a table that stays in its place; of each window the record that stands."""

    _EVERY_SECONDS = 0.25

    def __init__(self, metrics: tuple[str, ...]) -> None:
        self._metrics = metrics
        self._console = console()
        self._rows: deque[tuple[bytes, Line]] = deque(maxlen=max(5, min(_ROWS, self._console.height - 6)))
        self._live = Live(console=self._console, auto_refresh=False)
        self._shown = 0.0
        self._changed = True

    def __enter__(self) -> None:
        self._live.__enter__()

    def __exit__(self, *error: object) -> None:
        self.pause()
        self._live.__exit__(None, None, None)

    def show(self, delivery: Delivery, record: FairnessMetric | None, problems: list[str]) -> None:
        for problem in problems:
            self._console.print(f"{delivery.place}: {terminal_line(problem)}", markup=False, highlight=False)
        if record is None:
            return
        key = record.topic_key()
        self._rows = deque([row for row in self._rows if row[0] != key], maxlen=self._rows.maxlen)
        self._rows.append((key, Line.of(record, self._metrics)))
        self._changed = True
        if time.monotonic() - self._shown > self._EVERY_SECONDS:
            self.pause()

    def pause(self) -> None:
        if not self._changed:
            return
        self._changed, self._shown = False, time.monotonic()
        table = Table(
            *COLUMNS,
            caption="evidence: natural logarithm of the most that any detector has, and the threshold; Ctrl-C ends",
            caption_justify="left",
        )
        for _, line in self._rows:
            table.add_row(*map(Text, line.cells), style="bold red" if line.alarm else None)
        self._live.update(table, refresh=True)
