"""All roles at work on live events at steady rates, one after the other in one deployment: CPU, and what was done.

Nothing is taken off: what a role costs by being there is a part of what an event costs, and at low rates nearly all.
Each rate is let settle for two seconds and measured over whole seconds, so that as many windows end in each span. The
last rate may be more than the machine carries: rows are what `seal` took in, not what was asked for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from bench.performance.amounts import Counters, Figure, elements, log_bytes, values
from bench.performance.deployment import ROLES, Deployment
from bench.performance.drained import MEASURED_TOPICS, SOURCE, specifications
from bench.performance.events import Drawn, Traffic, create
from bench.performance.processes import resident_bytes
from streams.errors import EvenstreamError
from streams.kafka import topics
from streams.kafka.clients import make_producer, produce
from streams.settings import Settings
from streams.sizing import Layout, Load, load_of
from streams.sizing.constants import read_constants
from streams.sizing.cores import reading
from streams.sizing.topics import topics_of
from streams.sizing.traffic import traffic_of

_SETTLING_SECONDS = 2.0
_FIRST_WINDOW_SECONDS = 60.0
_WRITER_SECONDS = 30.0
_TICK_SECONDS = 0.01
_MOST_AT_ONCE = 5_000
_WAITING = 20_000


@dataclass(frozen=True)
class Steps:
    """What is varied.

    Attributes:
        rates: events a second, rising. partitions: of evenstream's topics; sources: of the source topic, as many
            where it is 0.
        seconds: each rate is measured for. members: in the store.
    """

    rates: Sequence[float]
    partitions: int = 4
    seconds: int = 6
    members: int = 100_000
    measurements: int = 1
    sources: int = 0

    @property
    def of_source(self) -> int:
        """Partitions of the source topic."""
        return self.sources or self.partitions


def pace(
    steps: Steps, folder: Path, bootstrap: str, data: Path | None, progress: Callable[[str], object]
) -> list[Figure]:
    """One point for each rate, and one (rate 0, no measurement) of roles that have nothing to do.

    Args:
        data: the broker's folder of logs, where there is one.
    """
    deployment = Deployment(folder, bootstrap, members=steps.members, partitions=steps.partitions)
    settings = deployment.trial.settings
    topic = settings.topic(SOURCE)
    try:
        create(settings, topic, steps.of_source)
        return _Paced(steps, deployment, data).run(progress)
    finally:
        deployment.close()
        topics.delete(settings, (topic,))


@dataclass(frozen=True)
class _Span:
    """What was counted at its ends, and by topic the bytes that came to the broker's logs within it."""

    before: Counters
    after: Counters
    written: dict[str, int]


class _Paced:
    def __init__(self, steps: Steps, deployment: Deployment, data: Path | None) -> None:
        self._steps = steps
        self._data = data
        self._deployment = deployment
        self._settings: Settings = deployment.trial.settings
        self._topic = self._settings.topic(SOURCE)
        self._specs = specifications(self._topic, steps.measurements)

    def run(self, progress: Callable[[str], object]) -> list[Figure]:
        steps = self._steps
        resident = {role: resident_bytes(self._deployment.pid(role)) for role in ROLES}
        found = [self._figure(0.0, 0, self._span()) | {"resident_bytes": resident}]
        self._deployment.approve(*self._specs, begin_ms=(time.time_ns() // 1_000_000_000 + 2) * 1000)
        for rate in steps.rates:
            progress(f"paced: {rate:,.0f} events a second, {steps.of_source} x {steps.partitions} partitions")
            with _Writing(self._settings, self._topic, Traffic(0, steps.of_source, steps.members, rate)):
                self._await_window()
                time.sleep(_SETTLING_SECONDS)
                found.append(self._figure(rate, steps.measurements, self._span()))
        return found

    def _await_window(self) -> None:
        """Wait until `publish` has shown a window of a measurement that has just been approved."""
        deadline = time.monotonic() + _FIRST_WINDOW_SECONDS
        while not self._deployment.value("publish", "evenstream_windows_total"):
            if time.monotonic() > deadline:
                logs = self._deployment.trial.folder / "logs"
                raise EvenstreamError(f"no window was published in {_FIRST_WINDOW_SECONDS:.0f} s; see {logs}")
            time.sleep(0.25)

    def _span(self) -> _Span:
        """From half a second after a whole one to as much after a later one."""
        now = time.time()
        time.sleep((0.5 - now) % 1.0)
        before, logs = Counters.of(self._deployment), self._logs()
        time.sleep(max(0.0, before.at + self._steps.seconds - time.monotonic()))
        after = Counters.of(self._deployment)
        return _Span(before, after, {name: size - logs[name] for name, size in self._logs().items()})

    def _logs(self) -> dict[str, int]:
        sizes = ((name, log_bytes(self._data, self._settings.topic(name))) for name in MEASURED_TOPICS)
        return {name: size for name, size in sizes if size is not None}

    def _figure(self, rate: float, measurements: int, span: _Span) -> Figure:
        steps, before, after = self._steps, span.before, span.after
        seconds = after.at - before.at
        rows = after.rows - before.rows
        batches = {role: after.batches[role] - before.batches[role] for role in ROLES}
        transactions = {role: after.transactions[role] - before.transactions[role] for role in ROLES}
        roles: dict[str, Figure] = {}
        for role in ROLES:
            roles[role] = {
                "seconds": seconds,
                "cpu_seconds": after.cpu[role] - before.cpu[role],
                "transactions": transactions[role],
                "batches": batches[role],
            }
        punctuations = transactions["seal"] * steps.partitions
        events = rows / measurements if measurements else 0.0
        roles["seal"] |= {"events": events, "decodings": rows, "rows": rows, "punctuations": punctuations}
        roles["seal"] |= self._reading(events / seconds, roles["seal"]["cpu_seconds"] / seconds, seconds)
        for role in ("attach", "a", "b"):
            # Rows of a role are not counted, so that nobody can set them against another's; its batches are.
            own = rows * batches[role] / batches["seal"] if batches["seal"] else 0.0
            columns = elements(self._specs[0], own, batches[role])
            roles[role] |= {"rows": own, "elements": columns, "punctuations": punctuations}
        for role in ("a", "b", "publish"):
            windows = after.windows[role] - before.windows[role]
            roles[role] |= {"windows": windows, "values": windows * values(self._specs[0])}
        return {
            "kind": "paced",
            **{name: value for name, value in asdict(steps).items() if name != "rates"},
            "sources": steps.of_source,
            "measurements": measurements,
            "asked_rate": rate,
            "rate": events / seconds,
            "roles": roles,
            "log_bytes_per_second": {name: size / seconds for name, size in span.written.items()},
            "state_bytes_per_second": self._states(events / seconds),
        }

    def _load(self, rate: float) -> tuple[Load, Layout]:
        load = load_of(self._specs, rate, 1.0, self._steps.members, self._settings)
        return load, Layout(self._steps.partitions, self._steps.of_source, 1, 1)

    def _states(self, rate: float) -> float:
        """Bytes of state a second as the model has them, of a deployment that has been there for long."""
        if not rate:
            return 0.0
        load, layout = self._load(rate)
        sizes = topics_of(load, layout, traffic_of(load, layout))
        return sum(size.written for size in sizes if size.name.startswith("state-"))

    def _reading(self, rate: float, busy: float, seconds: float) -> dict[str, float]:
        """Polls and lots, which nobody counts: by the model's own rule, from the share of a core that seal used."""
        if not rate:
            return {}
        each = reading(*self._load(rate), min(busy, 1.0), read_constants().cpu["seal"])
        return {name: amount * seconds for name, amount in each.items()}


class _Writing:
    """Events are written while the block lasts, at the rate of the traffic, whose count says nothing."""

    def __init__(self, settings: Settings, topic: str, traffic: Traffic) -> None:
        self._settings = settings
        self._topic = topic
        self._traffic = traffic
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join(_WRITER_SECONDS)

    def _write(self) -> None:
        producer = make_producer(self._settings, None, **{"queue.buffering.max.messages": _WAITING})
        encode, drawn, sent = msgspec.json.Encoder().encode, Drawn(self._traffic), 0
        begun = time.monotonic()
        while not self._over.wait(_TICK_SECONDS):
            due = int(self._traffic.rate * (time.monotonic() - begun)) - sent
            # All of them would have one time: a writer that cannot keep up must not write what is late already.
            for event in drawn.events(min(due, _MOST_AT_ONCE), time.time_ns() // 1_000_000):
                partition = sent % self._traffic.partitions
                produce(producer, self._topic, key=event.group.encode(), value=encode(event), partition=partition)
                sent += 1
            producer.poll(0)
        producer.flush(_WRITER_SECONDS)
