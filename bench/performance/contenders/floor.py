"""The floor: confluent-kafka reads, msgspec decodes, one record at a time, and nothing is done with what was decoded.

No Python program that looks at single JSON events on Kafka is cheaper, so every figure of the bench is told as a ratio
to this one. The settings below are the quickest of those that were tried.
"""

from __future__ import annotations

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition

from bench.performance.contenders.program import Task, mark_done, mark_first, read_task

AT_ONCE = 500
"""Messages a call. From 100 to 1,000 the cost is the same; a call each costs two thirds more, 5,000 fill the caches."""

WAIT_SECONDS = 0.05
"""A call that finds fewer messages than it asked for waits so long for more: a second here is one more at the end."""

SETTINGS: dict[str, str | int | bool] = {
    # A partition whose queue is full is asked for again after so long. By default that is a whole second, long after
    # this loop has emptied the queue: it stood still for most of its time, at 220,000 events a second, not 1,300,000.
    "fetch.queue.backoff.ms": 5,
    # Five fetches of a partition ahead. More (100,000 by default, or a million) takes memory and brings nothing.
    "queued.min.messages": 20_000,
    # Fetch sizes stay as they are: 256 KiB, 1 MiB (the default), 4 and 8 MiB a partition were all within the spread.
}


class Event(msgspec.Struct, gc=False):
    """The fields that a count needs; msgspec passes over the others. No field can be in a cycle: nothing to collect."""

    member_id: str
    shown_at: int
    score: float
    recommended: bool
    clicked: bool
    group: str


def read(task: Task, at_once: int = AT_ONCE, settings: dict[str, str | int | bool] = SETTINGS) -> int:
    """Decode the events of a task one by one; returns how many there were."""
    consumer = Consumer(
        {
            "bootstrap.servers": task.bootstrap,
            "group.id": "floor",  # required, and without meaning: partitions are assigned here, nothing is committed
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            **settings,
        }
    )
    consumer.assign([TopicPartition(task.topic, i, OFFSET_BEGINNING) for i in range(task.partitions)])
    decode = msgspec.json.Decoder(Event).decode
    limit, left = task.per_partition, task.events
    while left:
        messages = consumer.consume(at_once, WAIT_SECONDS)
        if left == task.events and messages:
            mark_first()
        for message in messages:
            if message.error() is not None:
                raise KafkaException(message.error())
            if message.offset() < limit:  # type: ignore[operator]  # a message without an error has an offset
                decode(message.value())  # type: ignore[arg-type]  # and an event has a value
                left -= 1
    consumer.close()
    return task.events


def main() -> None:
    """Run, as ``python -m bench.performance.contenders.floor``."""
    mark_done(read(read_task()))


if __name__ == "__main__":
    main()
