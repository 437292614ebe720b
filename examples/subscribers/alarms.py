"""Prints a line for each alarm, and for each window that says nothing: python alarms.py HOST:PORT DEPLOYMENT"""

import json
import sys

from confluent_kafka import Consumer, KafkaException

bootstrap, deployment = sys.argv[1:]
consumer = Consumer(
    {
        "bootstrap.servers": bootstrap,
        "group.id": f"{deployment}.company.alarms",  # `company` may use groups that begin with DEPLOYMENT.company.
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
        "enable.auto.offset.store": False,  # a record counts as read once it was dealt with
    }
)
consumer.subscribe([f"{deployment}.fairness-metrics"])
seen = {}  # the last ids, in their order: a record may come twice, with the same one
while True:
    message = consumer.poll(1.0)
    if message is None or message.error():
        if message and "AUTHORIZATION" in message.error().name():  # all else passes: the client reconnects by itself
            raise KafkaException(message.error())
        continue
    headers = dict(message.headers())
    if headers["ce_id"] not in seen:
        window = json.loads(message.value())
        where = headers["ce_subject"].decode(), headers["ce_time"].decode()
        if window["status"] != "published":  # void, suppressed, withdrawn: never keep the value before
            print(*where, window["status"], window["reason"], window["supersedes"] or "", flush=True)
        for result in window["results"]:
            if result["alarm"] and result["alarm_since_ms"] == window["window"]["end_ms"]:  # it begins with this window
                print(*where, "ALARM", result["group"], result["metric"], result["gap"], flush=True)
        seen[headers["ce_id"]] = None
        if len(seen) > 100_000:
            del seen[next(iter(seen))]
    consumer.store_offsets(message)
