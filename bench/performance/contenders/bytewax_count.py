"""Bytewax: ``count_window`` by an event clock, between its own Kafka source and sink, as its guide on windowing has it.

Its recovery is on, which makes it at-least-once: state and positions are snapshot into SQLite every ten seconds.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from bytewax import operators as op
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import windowing
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main

from bench.performance.contenders.program import WINDOW_MS, Task, mark_done, mark_first, read_task

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

OUT_OF_ORDER = timedelta(seconds=60)
"""Of the event clock. There is one clock a key, over all partitions, which are not read in step: what a partition lags
behind the others would be late, and left out."""


class Event(msgspec.Struct, gc=False):
    """The fields that a count needs; msgspec passes over the others."""

    shown_at: int
    recommended: bool
    group: str


class FirstEvents(FixedPartitionedSource[Any, int | None]):
    """Bytewax's own Kafka source, whose partitions end with the task: that closes the last windows."""

    def __init__(self, task: Task) -> None:
        self._limit = task.per_partition
        # Its batches stay at 1,000: 5,000 and 20,000 were slower. Backoff: see floor.py.
        self._source = KafkaSource([task.bootstrap], [task.topic], add_config={"fetch.queue.backoff.ms": 5})

    def list_parts(self) -> list[str]:
        """As Bytewax names them."""
        return list(self._source.list_parts())

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> _FirstOfPartition:
        """One partition's events."""
        return _FirstOfPartition(self._source.build_part(step_id, for_part, resume_state), self._limit)


class _FirstOfPartition(StatefulSourcePartition[Any, int | None]):
    begun = False

    def __init__(self, part: StatefulSourcePartition[Any, int | None], limit: int) -> None:
        self._part = part
        self._limit = limit

    def next_batch(self) -> list[Any]:
        if (self._part.snapshot() or 0) >= self._limit:
            raise StopIteration
        batch = list(self._part.next_batch())
        if batch and not _FirstOfPartition.begun:
            _FirstOfPartition.begun = True
            mark_first()
        return batch if not batch or batch[-1].offset < self._limit else [m for m in batch if m.offset < self._limit]

    def snapshot(self) -> int | None:
        position: int | None = self._part.snapshot()
        return position

    def close(self) -> None:
        self._part.close()


def make_flow(task: Task) -> Dataflow:
    """The flow that counts the events of a task."""
    decoder = msgspec.json.Decoder(Event)

    def decode(message: KafkaSourceMessage[bytes, bytes]) -> Event:
        return decoder.decode(message.value)

    def encode(counted: tuple[str, tuple[int, int]]) -> KafkaSinkMessage[bytes, bytes]:
        key, (window, count) = counted
        return KafkaSinkMessage(key.encode(), msgspec.json.encode({"start": window * WINDOW_MS, "count": count}))

    flow = Dataflow("group_count")
    events = op.map("decode", op.input("events", flow, FirstEvents(task)), decode)
    counted = windowing.count_window(
        "count",
        events,
        windowing.EventClock(lambda event: datetime.fromtimestamp(event.shown_at / 1000, UTC), OUT_OF_ORDER),
        windowing.TumblingWindower(align_to=_EPOCH, length=timedelta(milliseconds=WINDOW_MS)),
        lambda event: f"{event.group}|{event.recommended:d}",
    )
    op.output("counts", op.map("encode", counted.down, encode), KafkaSink([task.bootstrap], task.output))
    return flow


def main() -> None:
    """Run, as ``python -m bench.performance.contenders.bytewax_count``."""
    task = read_task()
    init_db_dir(task.state_dir, 1)
    cli_main(make_flow(task), recovery_config=RecoveryConfig(task.state_dir))
    mark_done(task.events)


if __name__ == "__main__":
    main()
