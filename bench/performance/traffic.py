"""Live traffic, written by a process of its own, so that what it costs is nobody else's.

    python -m bench.performance.traffic --bootstrap HOST:PORT --topic T --partitions P --rate R --seconds S --members M

Events are those of ``events``, at a steady rate from the next whole second on. A line of JSON a second says how many
were written; the last one says what was written in all. SIGTERM ends it early, in order.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from types import FrameType

import msgspec

from bench.performance.events import WINDOW_MS, Drawn, Traffic
from bench.performance.processes import usage
from streams.errors import EvenstreamError
from streams.kafka.clients import make_producer, produce
from streams.settings import Settings, load_settings

_TICK_SECONDS = 0.01
_MOST_AT_ONCE = 5_000  # all have one time, which must not be long past
_SAY_SECONDS = 1.0
_START_SECONDS = 15.0
_END_SECONDS = 60.0


@dataclass(frozen=True)
class Sent:
    """What was written.

    Attributes:
        events: in all. begin_ms, end_ms: the windows of a second that hold them, epoch milliseconds.
        seconds: it took, until Kafka had acknowledged all of it. cpu_seconds: of the writing process.
    """

    events: int
    begin_ms: int
    end_ms: int
    seconds: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.events / self.seconds if self.seconds else 0.0


class LiveTraffic:
    """A process that writes events, from its making until it is done or is told to stop.

    Args:
        seconds: for how long, at the rate that is wanted: where the machine is too slow, it takes longer.

    Raises:
        EvenstreamError: it did not begin.
    """

    def __init__(
        self, bootstrap: str, topic: str, *, rate: float, seconds: float, members: int, partitions: int = 4
    ) -> None:
        options = {
            "bootstrap": bootstrap,
            "topic": topic,
            "partitions": partitions,
            "rate": rate,
            "seconds": seconds,
            "members": members,
        }
        command = [sys.executable, "-m", __name__, *(part for k, v in options.items() for part in (f"--{k}", str(v)))]
        self.events = 0
        """How many were written so far."""
        self._sent: Sent | None = None
        self._begun = threading.Event()
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # our own program
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._begun.wait(_START_SECONDS):
            self._process.kill()
            raise EvenstreamError(f"no event was written within {_START_SECONDS:.0f} s")

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            if "begin_ms" in said:
                self._sent = Sent(**said)
            self.events = said["events"]
            self._begun.set()
        self._begun.set()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def is_running(self) -> bool:
        """Whether it still writes."""
        return self._process.poll() is None

    def end(self, *, early: bool = True) -> Sent:
        """Wait until it is done, or stop it now.

        Raises:
            EvenstreamError: it failed, or did not end.
        """
        if early and self.is_running():
            self._process.terminate()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise EvenstreamError(
                f"the events were not all written {_END_SECONDS:.0f} s after they should be"
            ) from None
        self._reader.join(_END_SECONDS)
        if self._sent is None:
            raise EvenstreamError(f"the process that writes events ended with status {self._process.returncode}")
        return self._sent

    def kill(self) -> None:
        """End it whatever it does."""
        if self.is_running():
            self._process.kill()
            self._process.wait()


def main() -> None:
    """Write events, and say so."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.performance.traffic", description="write events at a steady rate"
    )
    parser.add_argument("--bootstrap", required=True, help="the Kafka's address")
    parser.add_argument("--topic", required=True, help="a topic that is there")
    parser.add_argument("--partitions", type=int, default=4, help="of the topic")
    parser.add_argument("--rate", type=float, required=True, help="events a second")
    parser.add_argument("--seconds", type=float, required=True, help="for how long")
    parser.add_argument("--members", type=int, default=100_000, help="how many are shown something")
    options = parser.parse_args()
    settings = load_settings(None, [f"kafka.bootstrap={options.bootstrap}"])
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    said_at, written = float("-inf"), 0

    def progress(events: int) -> None:
        nonlocal said_at, written
        written = events
        if time.monotonic() - said_at >= _SAY_SECONDS:
            said_at = time.monotonic()
            print(json.dumps({"events": events}), flush=True)

    traffic = Traffic(max(1, round(options.rate * options.seconds)), options.partitions, options.members, options.rate)
    begin_ms, end_ms = _write(settings, options.topic, traffic, progress, stop.is_set)
    seconds = max(0.0, time.time() - begin_ms / 1000)
    print(
        json.dumps(asdict(Sent(written, begin_ms, end_ms, round(seconds, 3), usage(os.getpid()).seconds))), flush=True
    )


def _write(
    settings: Settings, topic: str, traffic: Traffic, progress: Callable[[int], None], stop: Callable[[], bool]
) -> tuple[int, int]:
    """Write from the next whole second on; the windows of a second that hold events, epoch milliseconds.

    As ``events.write``, which keeps what it wrote, and reads it back, so that all of it can be held against a count.
    """
    # A short queue: where the machine is too slow for the rate, events wait before they have a time, not after.
    producer = make_producer(settings, None, **{"linger.ms": 5, "queue.buffering.max.messages": 50_000})
    encoder, drawn, sent = msgspec.json.Encoder(), Drawn(traffic), 0
    begin_ms = (time.time_ns() // 1_000_000 // WINDOW_MS + 1) * WINDOW_MS
    now_ms, behind = begin_ms, False
    while sent < traffic.count and not stop():
        time.sleep(0.0 if behind else _TICK_SECONDS)
        now_ms = max(time.time_ns() // 1_000_000, begin_ms)
        # Half an interval apart from whole seconds: one event a second on each would always fall on a window's edge.
        due = min(int(traffic.rate * (now_ms - begin_ms) / 1000 + 0.5), traffic.count)
        behind = due > sent + _MOST_AT_ONCE
        for event in drawn.events(min(due - sent, _MOST_AT_ONCE), now_ms):
            value, i = encoder.encode(event), sent % traffic.partitions
            produce(producer, topic, key=event.group.encode(), value=value, partition=i)
            sent += 1
        producer.poll(0)
        progress(sent)
    producer.flush()
    return begin_ms, (now_ms // WINDOW_MS + 1) * WINDOW_MS


if __name__ == "__main__":
    main()
