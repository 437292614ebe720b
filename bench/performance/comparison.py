"""Side by side: the floor, what people would use for a plain count, and evenstream, on one topic of events.

Each repetition runs every contender once, in the order of the one before turned round, so that a machine that grows
slower or faster favours nobody. evenstream runs twice: its roles one by one, and all together. What a contender has
counted is held against the truth, every time.

CPU is that of all of a contender's processes, from its first event to when its counts are in Kafka; the broker's is
told apart. Of a contender that warms up the second half is told as well.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.performance.contenders.entries import FLOOR, ROOT, Contender, mistakes, read_counts
from bench.performance.drained import Drained, Shape
from bench.performance.events import Traffic, Written, create, write
from bench.performance.processes import usage
from streams.errors import EvenstreamError
from streams.settings import load_settings

Figure = dict[str, Any]

ROLE_BY_ROLE = "evenstream, role by role"
TOGETHER = "evenstream, all together"
_LIMIT_SECONDS = 300.0
_FLOORS_A_REPETITION = 2
"""At the beginning and at the end: it is what everything is divided by."""


@dataclass(frozen=True)
class Plan:
    """How much is run.

    Attributes:
        events: of the topic. repetitions: of each contender. members: in evenstream's store.
    """

    events: int = 4_000_000
    repetitions: int = 5
    partitions: int = 4
    members: int = 200_000


QUICK = Plan(events=200_000, repetitions=1, members=20_000)


class Broker:
    """The Kafka that all contenders meet.

    Args:
        bootstrap: where it is. pid: of its process; None where it is not ours. data: its folder of logs.
    """

    def __init__(self, bootstrap: str, pid: int | None, data: Path | None) -> None:
        self.bootstrap = bootstrap
        self.data = data
        self._pid = pid

    def cpu_seconds(self) -> float:
        """So far; 0 where its process is not ours to look at."""
        return 0.0 if self._pid is None else usage(self._pid).seconds


def run(
    plan: Plan, broker: Broker, folder: Path, contenders: Sequence[Contender], say: Callable[[str], None]
) -> list[Figure]:
    """All repetitions of all contenders: a figure each.

    Raises:
        EvenstreamError: a contender failed, or counted wrongly: its figures would mean nothing.
    """
    written = written_events(plan, broker, say)
    others = [contender for contender in contenders if contender is not FLOOR]
    found: list[Figure] = []
    for repetition in range(plan.repetitions):
        entries: list[Contender | str] = [FLOOR, ROLE_BY_ROLE, *others, TOGETHER, FLOOR]
        for entry in entries if repetition % 2 == 0 else reversed(entries):
            with TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as name:
                figure = _once(entry, plan, broker, written, Path(name))
            found.append({"repetition": repetition, "value_bytes": written.value_bytes, **figure})
            say(f"  {repetition + 1}/{plan.repetitions} {told(figure)}")
    return found


def written_events(plan: Plan, broker: Broker, say: Callable[[str], None]) -> Written:
    """The topic that everybody reads, written now."""
    settings = load_settings(None, [f"kafka.bootstrap={broker.bootstrap}", "deployment=bench"])
    traffic = Traffic(plan.events, plan.partitions, plan.members)
    topic = f"bench-events-{secrets.token_hex(3)}"
    create(settings, topic, plan.partitions)
    say(f"writing {plan.events:,} events at {traffic.rate:,.0f} a second ...")
    return write(settings, topic, traffic)


def told(figure: Figure) -> str:
    """One figure in a line."""
    microseconds = 1e6 * figure["cpu_seconds"] / figure["events"]
    return f"{figure['name']}: {figure['events'] / figure['seconds']:,.0f} events/s, {microseconds:.2f} us of CPU each"


def _once(entry: Contender | str, plan: Plan, broker: Broker, written: Written, folder: Path) -> Figure:
    if isinstance(entry, Contender):
        return run_contender(entry, plan, broker, written, folder)
    shape = Shape("comparison", plan.events, plan.partitions, members=plan.members)
    drained = Drained(shape, folder, broker.bootstrap, broker.data, written)
    try:
        before = broker.cpu_seconds()
        figure = drained.run() if entry == ROLE_BY_ROLE else drained.run_together()
    finally:
        drained.close()
    roles = figure["roles"].values()
    return {
        "name": entry,
        "events": plan.events,
        # One by one they take turns; together they are done when the last is.
        "seconds": (sum if entry == ROLE_BY_ROLE else max)(role["own_seconds"] for role in roles),
        "cpu_seconds": sum(role["own_cpu_seconds"] for role in roles),
        "broker_cpu_seconds": broker.cpu_seconds() - before,
        **figure,
    }


def run_contender(contender: Contender, plan: Plan, broker: Broker, written: Written, folder: Path) -> Figure:
    """One run of a contender that is a program of its own."""
    most = contender.most_events or plan.events
    events = min(most, plan.events) // plan.partitions * plan.partitions
    output = f"bench-counts-{secrets.token_hex(4)}"
    settings = load_settings(None, [f"kafka.bootstrap={broker.bootstrap}", "deployment=bench"])
    create(settings, output, plan.partitions)
    task = {
        "--bootstrap": broker.bootstrap,
        "--topic": written.topic,
        "--partitions": plan.partitions,
        "--events": events,
        "--output": output,
        "--state-dir": folder,
    }
    words = [*contender.command, *(str(word) for pair in task.items() for word in pair)]
    log = folder.parent / f"{output}.log"
    with _started(words, log) as process:
        marks = _marks(process, broker)
    if set(marks) < {"first", "done"}:
        raise EvenstreamError(f"{contender.name} ended without having counted all; its log is {log}")
    truth = written.truth(events, by_record_time=contender.by_record_time)
    wrong = mistakes(contender, read_counts(contender, broker.bootstrap, output), truth)
    if wrong:
        raise EvenstreamError(f"{contender.name} has counted wrongly: {'; '.join(wrong[:3])}")
    log.unlink()
    figure: Figure = {"name": contender.name, "kind": "contender", **_between(marks, "first", "done", events)}
    if "half" in marks:
        figure["warm"] = _between(marks, "half", "done", events // 2)
    return figure | {"written_bytes": _written_bytes(broker, output)}


@dataclass(frozen=True)
class _Mark:
    at: float
    cpu_seconds: float
    broker_cpu_seconds: float


def _marks(process: subprocess.Popen[str], broker: Broker) -> dict[str, _Mark]:
    assert process.stdout is not None
    found = {}
    for line in process.stdout:
        mark = _Mark(time.monotonic(), usage(process.pid).seconds, broker.cpu_seconds())
        try:
            found[json.loads(line)["mark"]] = mark
        except (ValueError, KeyError, TypeError):
            continue  # a line of its framework's
    return found


def _between(marks: dict[str, _Mark], first: str, last: str, events: int) -> Figure:
    begun, ended = marks[first], marks[last]
    return {
        "events": events,
        "seconds": ended.at - begun.at,
        "cpu_seconds": ended.cpu_seconds - begun.cpu_seconds,
        "broker_cpu_seconds": ended.broker_cpu_seconds - begun.broker_cpu_seconds,
    }


@contextmanager
def _started(words: Sequence[str], log: Path) -> Iterator[subprocess.Popen[str]]:
    """A contender's process, ended when it has taken too long."""
    with log.open("w") as errors:
        process = subprocess.Popen(
            words, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, stdin=subprocess.DEVNULL, text=True
        )
        deadline = threading.Timer(_LIMIT_SECONDS, process.kill)
        deadline.start()
        try:
            yield process
            process.wait(_LIMIT_SECONDS)
        finally:
            deadline.cancel()
            if process.poll() is None:
                process.kill()
                process.wait()


def _written_bytes(broker: Broker, output: str) -> int | None:
    """Bytes of the log segments of a contender's topics: the counts, and changelogs, which are named after it."""
    if broker.data is None:
        return None
    return sum(segment.stat().st_size for segment in broker.data.glob(f"*{output}*/*.log"))
