"""How long metrics stop after a kill -9 of each role, with many members a shard, on a real Kafka.

    .venv/bin/python -m bench.recovery [--members 400000] [--kills 10] [--rate 300] [--windows 0]

A live deployment with windows of a second. Each role in turn is killed with -9 and started again at once, as a
supervisor does. *Recovery* is from the kill until a subscriber of `fairness-metrics` holds a window that ended after
it, so up to a second of it, and the lateness, is the window's own; *delay* is the longest that any window came after
its end and lateness, from the kill until all runs again; *CPU* is what the new process has used when the window comes,
which other work on the machine does not change much. The load rate of the member store is attach's own word; what
a warm standby would save is attach's recovery less that of a party, which loads no members.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from confluent_kafka import Consumer, TopicPartition

from bench.performance.processes import usage
from privacy import parse_measurement
from streams.feed import Feed
from streams.governance import starting
from streams.kafka.clients import make_consumer
from streams.records.metric import FairnessMetric
from streams.simulate import SimulatedMembers, SimulatedRecommender, encode
from streams.trial import Trial

ROLES = ("seal", "attach", "a", "b", "publish")
LATENESS_MS = 200
_LIMIT_SECONDS = 60.0
_BETWEEN_SECONDS = 6.0  # longer than what the supervisor takes for a quick end, which it answers with back-off
_SPEC = """
id: recovery
purpose: how long metrics stop
source: {{topic: {topic}, member: member_id, time: shown_at, time_format: epoch_ms}}
cells: {{decision: {{field: recommended}}}}
windows: {{base: 1s, lateness: {lateness}ms, max_future: 1s}}
reference: white
privacy: {{contribution_cap: 2, cap_rule: first, rho_member_day: 0.1}}
review: {{owner: the bench, harm_considered: none, data_used: made up, retention: until the bench ends}}
"""


Figures = dict[str, list[float]]
"""Role -> one figure a kill."""


@dataclass
class Subscriber:
    """Follows `fairness-metrics`, and notes when each window came."""

    consumer: Consumer
    seen: list[tuple[int, float]] = field(default_factory=list)
    """(window end, epoch seconds when it was read), in the order of reading."""

    def poll(self) -> None:
        """Take in what has come."""
        for message in self.consumer.consume(100, 0.02):
            value = message.value()
            if message.error() is None and value is not None:
                self.seen.append((FairnessMetric.decode(value).window.end_ms, time.time()))


class Traffic(threading.Thread):
    """Events at a steady rate, until it is told to stop."""

    def __init__(self, feed: Feed, topic: str, recommender: SimulatedRecommender, rate: float) -> None:
        super().__init__(daemon=True)
        self._feed, self._topic, self._recommender, self._rate = feed, topic, recommender, rate
        self.stop = threading.Event()

    def run(self) -> None:
        """Write what is due, every 50 ms."""
        last = time.time_ns() // 1_000_000
        while not self.stop.wait(0.05):
            now = time.time_ns() // 1_000_000
            count = int(np.random.default_rng().poisson(self._rate * (now - last) / 1000))
            for key, value in encode(self._recommender.draw(last, now, count)):
                self._feed.send(self._topic, key, value)
            last = now


def await_window(trial: Trial, subscriber: Subscriber, after_ms: int) -> float:
    """Epoch seconds when a window that ended after a moment was read."""
    deadline = time.monotonic() + _LIMIT_SECONDS
    while time.monotonic() < deadline:
        trial.watch()
        subscriber.poll()
        came = [at for end_ms, at in subscriber.seen if end_ms > after_ms]
        if came:
            return came[0]
    raise SystemExit(f"no window came within {_LIMIT_SECONDS:.0f} s; logs are in {trial.folder / 'logs'}")


def rest(trial: Trial, subscriber: Subscriber, seconds: float) -> None:
    """Let the pipeline run."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        trial.watch()
        subscriber.poll()


def load_rates(log: str, members: int) -> list[float]:
    """Members a second, of each start of attach."""
    seconds = [float(found) for found in re.findall(r"member store of \d+ partitions loaded in ([0-9.]+) s", log)]
    return [members / max(second, 0.1) for second in seconds]


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, default=400_000)
    parser.add_argument("--kills", type=int, default=10, help="of each role")
    parser.add_argument("--rate", type=float, default=300.0, help="events a second")
    parser.add_argument(
        "--windows", type=int, default=0, help="how many must have been published before the first kill"
    )
    parser.add_argument("--roles", nargs="+", default=list(ROLES), choices=ROLES)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        trial = Trial(Path(name), print, name="recovery", overrides=["logging.level=INFO"])
        try:
            measure(trial, options)
        finally:
            trial.stop()


def measure(trial: Trial, options: argparse.Namespace) -> None:
    """Run the deployment, kill, and print."""
    trial.start_kafka()
    topic = trial.settings.topic("rec-events")
    trial.prepare([topic])
    feed = Feed(trial.settings)
    rng = np.random.default_rng(7)
    members = SimulatedMembers(rng, options.members)
    feed.send_all(trial.settings.topic("member-attributes"), members.attributes())
    now_ms = time.time_ns() // 1_000_000
    spec = parse_measurement(_SPEC.format(topic=topic, lateness=LATENESS_MS), origin="bench")
    trial.approve(starting(spec, now_ms, days=1, notice_ms=5_000), now_ms)
    trial.start_roles()
    consumer = make_consumer(trial.settings, trial.settings.group("bench"), **{"fetch.wait.max.ms": 10})
    consumer.assign([TopicPartition(trial.settings.topic("fairness-metrics"), 0, 0)])
    subscriber = Subscriber(consumer)
    traffic = Traffic(feed, topic, SimulatedRecommender(rng, members, None), options.rate)
    traffic.start()
    took: dict[str, list[float]] = {role: [] for role in options.roles}
    delays: dict[str, list[float]] = {role: [] for role in options.roles}
    used: dict[str, list[float]] = {role: [] for role in options.roles}
    try:
        await_window(trial, subscriber, time.time_ns() // 1_000_000)
        while len(subscriber.seen) < options.windows:
            rest(trial, subscriber, 1.0)
        for _ in range(options.kills):
            for role in options.roles:
                killed_at = time.time()
                os.kill(trial.supervisor.pid(role), signal.SIGKILL)
                took[role].append(await_window(trial, subscriber, int(killed_at * 1000)) - killed_at)
                used[role].append(usage(trial.supervisor.pid(role)).seconds)
                rest(trial, subscriber, _BETWEEN_SECONDS + float(rng.random()))
                delays[role].append(
                    max(at - (end + LATENESS_MS) / 1000 for end, at in subscriber.seen if end / 1000 > killed_at - 2)
                )
                print(f"{role}: {took[role][-1]:.2f} s, delay {delays[role][-1]:.2f} s", flush=True)
    finally:
        traffic.stop.set()
        traffic.join()
    report(
        took,
        delays,
        used,
        load_rates((trial.folder / "logs" / "attach.log").read_text(), options.members),
        len(subscriber.seen),
    )


def report(took: Figures, delays: Figures, used: Figures, rates: list[float], windows: int) -> None:
    """The table."""
    print(f"\nload average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, {windows} windows published at the end")
    print(f"{'':15}  recovery s                 delay s                    CPU s")
    print(f"{'role':8} {'kills':>6}" + f"  {'p50':>7} {'p99':>7} {'max':>7}   " * 2 + f" {'p50':>6}")
    for role in (*took, "all"):
        columns = [np.concatenate([each[name] for name in took if role in (name, "all")]) for each in (took, delays)]
        figures = [(*np.percentile(column, [50, 99]), column.max()) for column in columns]
        told = "".join(f"  {p50:7.2f} {p99:7.2f} {most:7.2f}   " for p50, p99, most in figures)
        cpu = np.median(np.concatenate([used[name] for name in took if role in (name, "all")]))
        print(f"{role:8} {columns[0].size:6}{told} {cpu:6.2f}")
    print(f"attach loads {np.median(rates):,.0f} members a second")
    if took.get("attach") and took.get("b"):
        saved = np.median(took["attach"]) - np.median(took["b"])
        print(f"a warm standby of attach would save about {saved:.1f} s of its recovery")


if __name__ == "__main__":
    main()
