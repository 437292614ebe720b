"""When a window is seen: `publish`'s /metrics, asked from outside as Prometheus would, but often.

Asking costs `publish` some milliseconds of its interpreter, so it is asked when a window may be there: from two thirds
of the shortest delay that was seen lately, after the window's end and lateness, and then at short intervals. A
delay is taken when the answer has come, so it holds the answer's own time and what was left of an interval.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections import deque
from dataclasses import dataclass, field

from privacy import Measurement

_ASK_SECONDS = 0.005
"""Between an answer and the next question."""
_PATIENT_SECONDS = 0.05
"""The same once a window is late by a second: it is not about milliseconds any more."""
_LATE_SECONDS = 1.0
_REMEMBERED = 20
_EARLY = 2 / 3
_MOST_EARLY_SECONDS = 0.5
_ANSWER_SECONDS = 5.0


@dataclass
class Seen:
    """What was seen.

    Attributes:
        delays: seconds from a window's end plus lateness until it was seen, by the window's end (epoch ms), in order.
        gaps: for each, seconds since the last answer that did not have it was asked for.
        questions: how many were asked.
        answer_seconds: how long all answers took together.
    """

    delays: dict[int, float] = field(default_factory=dict)
    gaps: dict[int, float] = field(default_factory=dict)
    questions: int = 0
    answer_seconds: float = 0.0


class Watch(threading.Thread):
    """Asks for one measurement's base windows until it is closed.

    Args:
        port: of `publish` on this machine. measurement: whose base windows are watched.
        from_ms: the first window that is watched ends after this, epoch milliseconds.
    """

    def __init__(self, port: int, measurement: Measurement, from_ms: int) -> None:
        super().__init__(daemon=True)
        level = measurement.windows.base
        self.seen = Seen()
        self._series = f'evenstream_window_end_timestamp_seconds{{level="{level}",measurement="{measurement.id}"}} '
        self._base_ms, self._lateness_ms = measurement.base_ms, measurement.lateness_ms
        self.next_ms = (from_ms // self._base_ms + 1) * self._base_ms
        """The end of the window that is to be seen next, epoch milliseconds."""
        self._port = port
        self._connection = self._connect()
        self._lately: deque[float] = deque(maxlen=_REMEMBERED)
        self._closed = threading.Event()
        self.start()

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=_ANSWER_SECONDS)

    def run(self) -> None:
        """Ask."""
        asked = time.time()
        while not self._closed.is_set():
            due = (self.next_ms + self._lateness_ms) / 1000
            early = min(_EARLY * min(self._lately, default=0.0), _MOST_EARLY_SECONDS)
            now = time.time()
            pause = _ASK_SECONDS if now < due + _LATE_SECONDS else _PATIENT_SECONDS
            if self._closed.wait(max(pause, due + early - now)):
                break
            before, asked = asked, time.time()
            shown_ms = self.shown_ms()
            came = time.time()
            self.seen.questions += 1
            self.seen.answer_seconds += came - asked
            while self.next_ms <= shown_ms:
                delay = came - (self.next_ms + self._lateness_ms) / 1000
                self.seen.delays[self.next_ms] = delay
                self.seen.gaps[self.next_ms] = came - before
                self._lately.append(delay)
                self.next_ms += self._base_ms

    def shown_ms(self) -> int:
        """The end of the newest window that /metrics shows, epoch milliseconds; 0 for none, or where nobody answers."""
        for line in self.ask().splitlines():
            if line.startswith(self._series):
                return round(float(line.removeprefix(self._series)) * 1000)
        return 0

    def ask(self) -> str:
        """One answer of /metrics, over the same connection; empty where nobody answers."""
        try:
            self._connection.request("GET", "/metrics")
            return self._connection.getresponse().read().decode()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            self._connection = self._connect()
            return ""

    def close(self) -> Seen:
        """Stop asking."""
        self._closed.set()
        self.join()
        self._connection.close()
        return self.seen

    @property
    def newest_delay(self) -> float:
        """Of the window that was to be seen last: what it took, or what it has taken so far; seconds."""
        missing = time.time() - (self.next_ms + self._lateness_ms) / 1000
        return max(missing, self._lately[-1] if self._lately else 0.0)
