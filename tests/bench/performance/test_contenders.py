"""Each contender counts what is there: run as the bench runs it, on a real Kafka, and held against the truth."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.performance import events
from bench.performance.contenders.entries import CONTENDERS, FAUST, FLOOR, ROOT, Contender, mistakes, read_counts
from streams.settings import Settings

TRAFFIC = events.Traffic(6_000, partitions=4, members=500, rate=1_500.0)
"""Four windows of a second."""


@pytest.fixture(scope="module")
def written_once() -> list[events.Written]:
    """What holds the events already."""
    return []


@pytest.fixture
def settings(kafka: str, make_settings: Callable[..., Settings]) -> Settings:
    """Of a deployment on the run's broker."""
    return make_settings(kafka)


@pytest.fixture
def written(settings: Settings, written_once: list[events.Written]) -> events.Written:
    """The events that all contenders of this file read, written once."""
    if not written_once:
        topic = f"bench-events-{uuid.uuid4().hex[:10]}"
        events.create(settings, topic, TRAFFIC.partitions)
        written_once.append(events.write(settings, topic, TRAFFIC))
    return written_once[0]


def run(
    contender: Contender, settings: Settings, written: events.Written, count: int, folder: Path
) -> tuple[list[Any], str]:
    """The marks of a contender's run, and its topic of counts."""
    output = f"bench-counts-{uuid.uuid4().hex[:10]}"
    events.create(settings, output, TRAFFIC.partitions)
    task = {
        "--bootstrap": settings.kafka.bootstrap,
        "--topic": written.topic,
        "--partitions": str(TRAFFIC.partitions),
        "--events": str(count),
        "--output": output,
        "--state-dir": str(folder),
    }
    words = [*contender.command, *(word for pair in task.items() for word in pair)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()], output


def check(contender: Contender, settings: Settings, written: events.Written, count: int, folder: Path) -> None:
    """A run's marks are in order, and its counts are the truth."""
    marks, output = run(contender, settings, written, count, folder)
    assert marks[0] == {"mark": "first"}
    assert marks[-1] == {"mark": "done", "events": count}
    found = read_counts(contender, settings.kafka.bootstrap, output)
    assert mistakes(contender, found, written.truth(count, by_record_time=contender.by_record_time)) == []
    assert bool(found) == (contender is not FLOOR)


@pytest.mark.parametrize("contender", [FLOOR, FAUST], ids=lambda contender: contender.name)
def test_ours_count_all(contender: Contender, settings: Settings, written: events.Written, tmp_path: Path) -> None:
    """The floor and Faust read every event; Faust's counts are right."""
    check(contender, settings, written, TRAFFIC.count, tmp_path)


@pytest.mark.parametrize("contender", [FLOOR, FAUST], ids=lambda contender: contender.name)
def test_ours_stop_where_they_are_told(
    contender: Contender, settings: Settings, written: events.Written, tmp_path: Path
) -> None:
    """Of a longer log, the first events of each partition are counted, and no others."""
    check(contender, settings, written, 4_000, tmp_path)


@pytest.mark.parametrize("count", [TRAFFIC.count, 4_000])
@pytest.mark.parametrize(
    "contender", [each for each in CONTENDERS if each not in (FLOOR, FAUST)], ids=lambda contender: contender.name
)
def test_others_count_right(
    contender: Contender, count: int, settings: Settings, written: events.Written, tmp_path: Path
) -> None:
    """Those that stand in an environment of their own, where it was made: the whole log, and the first part of it."""
    if (missing := contender.missing()) is not None:
        pytest.skip(missing)
    check(contender, settings, written, count, tmp_path)
