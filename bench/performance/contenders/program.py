"""What every contender is as a program: the same arguments, and marks on its standard output.

A contender reads the first events of each partition of a topic, from its beginning, and writes its counts into a topic
that is there already. It prints ``{"mark": "first"}`` at its first event, ``{"mark": "done", "events": N}`` once all N
are counted and the counts are in Kafka as its delivery guarantee has it, and then ends by itself. Whoever started it
reads the processor time of its processes at both marks, so they leave at once. One that is slow until it has warmed
up (a virtual machine that compiles what is hot) prints ``{"mark": "half"}`` as well, after half of the events.

Only the standard library is used here: contenders run in environments of their own.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

WINDOW_MS = 1_000
"""The windows that contenders count by (``bench.performance.events.WINDOW_MS``, which needs evenstream's packages)."""


@dataclass(frozen=True)
class Task:
    """What a contender was asked for.

    Attributes:
        bootstrap: of Kafka. topic: of the events. partitions: of that topic. output: the topic of the counts.
        events: of all partitions together; a multiple of the partitions.
        state_dir: an empty folder of its own. guarantee: what delivery is asked for, in the contender's own words.
    """

    bootstrap: str
    topic: str
    partitions: int
    events: int
    output: str
    state_dir: Path
    guarantee: str

    @property
    def per_partition(self) -> int:
        """The first so many records of each partition are the events; whatever comes after is passed over."""
        return self.events // self.partitions


def read_task(arguments: Sequence[str] | None = None) -> Task:
    """The task that the command line names."""
    parser = argparse.ArgumentParser(description="A contender of the bench: a plain count of events by group.")
    parser.add_argument("--bootstrap", required=True, metavar="HOST:PORT")
    parser.add_argument("--topic", required=True)
    parser.add_argument("--partitions", required=True, type=int)
    parser.add_argument("--events", required=True, type=int)
    parser.add_argument("--output", required=True, metavar="TOPIC")
    parser.add_argument("--state-dir", required=True, type=Path, metavar="FOLDER")
    parser.add_argument("--guarantee", default="", help="of delivery, in the contender's own words")
    task = Task(**vars(parser.parse_args(arguments)))
    if task.events % task.partitions:
        parser.error(f"--events {task.events} is no multiple of the {task.partitions} partitions")
    return task


def mark_first() -> None:
    """Say that the first event has come."""
    _mark({"mark": "first"})


def mark_done(events: int) -> None:
    """Say that all events are counted, and the counts in Kafka."""
    _mark({"mark": "done", "events": events})


def _mark(fields: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()
