"""Quix Streams: a tumbling window over the record's key, as its chapter on windowed aggregations has it.

One aggregate of two counts, so that the record's key serves and nothing is grouped anew through Kafka. Its windows go
by the record's timestamp, which is the event's time. Of what its documentation offers this is the cheapest here: two
aggregations (``Count`` and ``Sum``) cost a tenth more, windows that each key closes for itself a third more.
"""

from __future__ import annotations

from typing import Any

import orjson
from confluent_kafka import Consumer, TopicPartition
from quixstreams import Application, message_context
from quixstreams.models import JSONDeserializer
from quixstreams.models.serializers.exceptions import IgnoreMessage

from bench.performance.contenders.program import WINDOW_MS, Task, mark_done, mark_first, read_task


def decode(value: bytes) -> Any:
    """The fields of an event; the empty record that ends the log is passed over."""
    if not value:
        raise IgnoreMessage
    return orjson.loads(value)


def run(task: Task) -> int:
    """Count the events of a task; returns how many there were."""
    counted = 0

    def on_message(topic: str, partition: int, offset: int) -> None:
        nonlocal counted
        if offset < task.per_partition:
            counted += 1
            if counted == 1:
                mark_first()
            if counted == task.events:
                app.stop()

    app = Application(
        broker_address=task.bootstrap,
        consumer_group=task.output,
        auto_offset_reset="earliest",
        state_dir=task.state_dir,
        processing_guarantee=task.guarantee or "at-least-once",
        # Without it a full queue is not filled again for a second (see floor.py).
        consumer_extra_config={"fetch.queue.backoff.ms": 5},
        on_message_processed=on_message,
        loglevel="WARNING",
    )
    events = app.dataframe(app.topic(task.topic, value_deserializer=JSONDeserializer(loads=decode)))
    if _has_more(task):  # a filter costs some, so it is there only where there is something to be left out
        events = events.filter(lambda event: message_context().offset < task.per_partition)
    counts = (
        events.tumbling_window(WINDOW_MS)
        .reduce(
            lambda counts, event: [counts[0] + 1, counts[1] + event["recommended"]],
            lambda event: [1, int(event["recommended"])],
        )
        .final(closing_strategy="partition")
    )
    counts.to_topic(app.topic(task.output))
    app.run()
    return counted


def _has_more(task: Task) -> bool:
    """Whether partitions hold more than the task's events and the record that ends the log."""
    consumer = Consumer({"bootstrap.servers": task.bootstrap, "group.id": "offsets"})
    ends = [consumer.get_watermark_offsets(TopicPartition(task.topic, i))[1] for i in range(task.partitions)]
    consumer.close()
    return max(ends) > task.per_partition + 1


def main() -> None:
    """Run, as ``python -m bench.performance.contenders.quix_count``."""
    mark_done(run(read_task()))


if __name__ == "__main__":
    main()
