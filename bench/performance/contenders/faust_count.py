"""Faust: a windowed table, as its user guide's chapter on tables has it, by group and decision.

The table's changelog is the output: Faust writes every change of a table there anyway, so nothing is written twice.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import faust

from bench.performance.contenders.program import WINDOW_MS, Task, mark_done, mark_first, read_task


class Event(faust.Record, serializer="json"):
    """The fields that a count needs; Faust passes over the others."""

    group: str
    recommended: bool


def make_app(task: Task) -> faust.App:
    """The worker that counts the events of a task."""
    app = faust.App(
        task.output,
        broker=f"kafka://{task.bootstrap}",
        datadir=str(task.state_dir),
        store="memory://",
        topic_disable_leader=True,
        processing_guarantee=task.guarantee or "at_least_once",
        web_enabled=False,
    )
    # No expiry: it goes by the clock on the wall, by which a log's windows are long over before they are counted.
    counts = app.Table("counts", default=int, partitions=task.partitions).tumbling(WINDOW_MS / 1000)
    counts.table.changelog_topic = app.topic(
        task.output,
        partitions=task.partitions,
        key_serializer="json",
        value_serializer="json",
        compacting=True,
        deleting=True,
        acks=False,
        internal=True,
        allow_empty=True,
    )
    finished = asyncio.Event()

    @app.agent(app.topic(task.topic, key_type=bytes, value_type=bytes, value_serializer="raw"))
    async def count(stream: faust.StreamT[bytes]) -> None:
        counted = 0
        async for event in stream.events():
            if not event.value or event.message.offset >= task.per_partition:
                continue
            if counted == 0:
                mark_first()
            # One table holds all partitions of a worker: the partition in the key keeps their counts apart.
            shown = Event.loads(event.value)
            counts[f"{event.message.partition}|{shown.group}|{shown.recommended:d}"] += 1
            counted += 1
            if counted == task.events:
                finished.set()

    @app.task
    async def finish() -> None:
        await finished.wait()
        await app.producer.flush()
        await app.consumer.commit()
        mark_done(task.events)
        os.kill(os.getpid(), signal.SIGTERM)

    return app


def main() -> None:
    """Run, as ``python -m bench.performance.contenders.faust_count``."""
    app = make_app(read_task())
    # Standard output is for the marks alone: the worker's own signs and its log go to standard error.
    faust.Worker(app, loglevel="WARNING", stdout=sys.stderr, redirect_stdouts=False).execute_from_commandline()


if __name__ == "__main__":
    main()
