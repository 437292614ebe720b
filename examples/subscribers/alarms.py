"""Prints a line for each alarm, and for each window that says nothing: python alarms.py HOST:PORT DEPLOYMENT"""

import json
import sys
from collections import deque

from confluent_kafka import Consumer

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
seen = deque(maxlen=100_000)  # a record may come twice, with the same id
while True:
    message = consumer.poll(1.0)
    if message is None or message.error():
        continue  # the client reconnects by itself
    headers = dict(message.headers())
    if headers["ce_id"] not in seen:
        seen.append(headers["ce_id"])
        window = json.loads(message.value())
        where = headers["ce_subject"].decode(), headers["ce_time"].decode()
        if window["status"] != "published":  # void, suppressed, withdrawn: never keep the value before
            print(*where, window["status"], window["reason"], window["supersedes"] or "", flush=True)
        for result in window["results"]:
            if result["alarm"]:
                print(*where, "ALARM", result["group"], result["metric"], result["gap"], flush=True)
    consumer.store_offsets(message)
