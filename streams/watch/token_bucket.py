"""How often something may happen, whoever asks: nobody is remembered, so nobody can be told apart."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class TokenBucket:
    """Lets ``burst`` through at once and ``per_hour`` over time, from all callers together. Thread-safe.

    Args:
        per_hour: tokens that come back an hour, positive.
        burst: tokens that there are at most, and at first.
        clock: seconds, never backwards.
    """

    def __init__(self, per_hour: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_hour / 3600
        self._burst = burst
        self._clock = clock
        self._lock = threading.Lock()
        self._tokens = float(burst)
        self._at = clock()

    def take(self) -> float:
        """Take a token: 0; where there is none, the seconds until there is one."""
        with self._lock:
            now = self._clock()
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._per_second)
            self._at = now
            if self._tokens >= 1:
                self._tokens -= 1
                return 0.0
            return (1 - self._tokens) / self._per_second
