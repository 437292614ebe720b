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
from dataclasses import asdict, dataclass
from types import FrameType

from bench.performance.events import Traffic, write
from bench.performance.processes import usage
from streams.errors import EvenstreamError
from streams.settings import load_settings

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
    done = write(settings, options.topic, traffic, progress, stop.is_set)
    seconds = time.time() - done.begin_ms / 1000
    cpu = usage(os.getpid()).seconds
    print(json.dumps(asdict(Sent(written, done.begin_ms, done.end_ms, round(seconds, 3), cpu))), flush=True)


if __name__ == "__main__":
    main()
