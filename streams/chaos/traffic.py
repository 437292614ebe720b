"""Traffic in which every row is alone in its cell: the n-th event of a window goes to a cell of its own.

So of each base window's table one cell says of one event whether it was counted once (its row sums to exactly 2^20
fixed-point units), not at all (0) or twice. Event times, members and cells are fixed by the event's number; only when
an event is written follows the clock. Each member has far fewer rows than the cap lets count.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np

from estimator.population import People, Population
from privacy import Measurement, parse_measurement
from streams.errors import EvenstreamError
from streams.kafka.clients import make_producer
from streams.settings import Settings

MEASUREMENT = "chaos"
BASE_MS = 2_000
CAP = 24
_OPTED_OUT, _UNKNOWN, _OF = 7, 13, 40
"""Of every 40 members, number 7 has opted out, and number 13 has no attributes."""

_SPEC = """
id: {id}
purpose: to show that no fault makes a row count twice or not at all
source: {{topic: {topic}, arrival: live, member: member, time: at, time_format: epoch_ms}}
cells:
  score: {{field: place, bins: [{edges}]}}
  decision: {{field: shown}}
windows: {{base: 2s, rollups: [10s], lateness: {lateness}s, max_future: 2s}}
reference: white
privacy: {{contribution_cap: {cap}, cap_rule: first, rho_member_day: 0.1}}
test_only: {{noise_scale_units: 0.01}}
"""
_TICK_SECONDS = 0.02
_GIVE_UP_MS = 600_000
_FLUSH_SECONDS = 120.0
_encoder = msgspec.json.Encoder()


def measurement(topic: str, rows_a_window: int, lateness_seconds: int) -> Measurement:
    """The spec: noise that is zero in practice, and as many cells as a base window has rows, or a few more."""
    edges = ", ".join(map(str, range(1, (rows_a_window + 1) // 2)))
    text = _SPEC.format(id=MEASUREMENT, topic=topic, edges=edges, cap=CAP, lateness=lateness_seconds)
    return parse_measurement(text, origin="chaos")


def member_id(index: int) -> bytes:
    """The id of a member."""
    return b"m%07d" % index


def index_of(member: str) -> int:
    """The member that an id names."""
    return int(member[1:])


class Members:
    """Members with names and places, drawn from the Census tables.

    Args:
        seed: of the simulation. count: how many; some of them have opted out, and some are unknown.
    """

    def __init__(self, seed: int, count: int) -> None:
        self.count = count
        self.people: People = Population().draw(np.random.default_rng(seed), count)

    def attributes(self) -> Iterator[tuple[bytes, bytes]]:
        """Key and value of each `member-attributes` record."""
        names, places = self.people.surname.tolist(), self.people.zcta.tolist()
        for index, (name, place) in enumerate(zip(names, places, strict=True)):
            if index % _OF != _UNKNOWN:
                value = {"family_name": name, "zcta": place, "opt_out": index % _OF == _OPTED_OUT}
                yield member_id(index), _encoder.encode(value)

    def counts(self, index: int) -> bool:
        """Whether this member's rows count."""
        return index % _OF not in (_OPTED_OUT, _UNKNOWN)


@dataclass(frozen=True)
class Stream:
    """All events, by number.

    Attributes:
        start_ms: of the first window. rows_a_window: events of each base window. cells: of the spec.
        members: how many there are.
    """

    start_ms: int
    rows_a_window: int
    cells: int
    members: int

    def event(self, number: int) -> tuple[int, bytes, bytes]:
        """An event's time, key and value."""
        window, place = divmod(number, self.rows_a_window)
        at_ms = self.start_ms + window * BASE_MS + place * BASE_MS // self.rows_a_window
        cell = (place + 37 * window) % self.cells
        key = member_id(number * 7_919 % self.members)
        value = {"member": key.decode(), "at": at_ms, "place": cell // 2, "shown": bool(cell % 2)}
        return at_ms, key, json.dumps(value, separators=(",", ":")).encode()

    def due(self, now_ms: int) -> int:
        """How many events have happened before a moment."""
        window, inside = divmod(max(0, now_ms - self.start_ms), BASE_MS)
        return window * self.rows_a_window + -(-inside * self.rows_a_window // BASE_MS)


class Traffic:
    """Writes the stream as its time comes, in a thread, through whatever happens to the broker."""

    def __init__(self, settings: Settings, topic: str, stream: Stream) -> None:
        self._topic = topic
        self._stream = stream
        self._end_ms: int | None = None
        self._failures = 0
        self.sent = 0
        """Events handed to the producer so far."""
        # A record that waits for a broker to come back must not be given up, nor be followed by later ones.
        self._producer = make_producer(settings, None, **{"message.timeout.ms": _GIVE_UP_MS})
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def end_at(self, end_ms: int) -> None:
        """Write what happens before this moment, and no more."""
        self._end_ms = end_ms

    def finish(self) -> int:
        """Wait until the last event is written; returns how many there were.

        Raises:
            EvenstreamError: not all could be written.
        """
        self._thread.join()
        left = self._producer.flush(_FLUSH_SECONDS)
        if left or self._failures:
            raise EvenstreamError(f"the run's own traffic failed: {left + self._failures} events were not written")
        return self.sent

    def _run(self) -> None:
        while True:
            end_ms = self._end_ms
            now_ms = time.time_ns() // 1_000_000
            due = self._stream.due(now_ms if end_ms is None else min(now_ms, end_ms))
            while self.sent < due:
                _, key, value = self._stream.event(self.sent)
                try:
                    self._producer.produce(self._topic, value=value, key=key, on_delivery=self._delivered)
                except BufferError:
                    break
                self.sent += 1
            self._producer.poll(0)
            if end_ms is not None and now_ms >= end_ms and self.sent >= due:
                return
            time.sleep(_TICK_SECONDS)

    def _delivered(self, error: object, message: object) -> None:
        self._failures += error is not None
