"""Whether a role's main loop still turns, for /healthz.

A role that hangs answers HTTP all the same, from another thread. So the loop says at each turn that it turns, and also
amid whatever may rightly take long, piece by piece: a long load of members, a topic that is read to its end, a wait for
Kafka that has a time-out of its own. Silence for longer than the limit is a hang.

What is counted is time in which this process ran. One that is stopped by a signal, or whose machine sleeps, does not
find itself hung when it wakes up.
"""

from __future__ import annotations

import threading

_TICK_SECONDS = 0.5


class Pulse:
    """The pulse of one main loop.

    Args:
        limit_seconds: a longer silence is a hang.
    """

    def __init__(self, limit_seconds: float) -> None:
        self._limit_seconds = limit_seconds
        self._ticks = 0
        self._ended = threading.Event()

    def beat(self) -> None:
        """The loop turns, or is at work on something that takes long."""
        self._ticks = 0

    def start(self) -> None:
        """Begin to count silence."""
        self.beat()
        threading.Thread(target=self._count, name="pulse", daemon=True).start()

    def _count(self) -> None:
        while not self._ended.wait(_TICK_SECONDS):
            self.tick()

    def tick(self) -> None:
        """Half a second has passed in which this process ran."""
        self._ticks += 1

    def hang(self) -> str | None:
        """What is wrong where the loop has been silent for too long, or None."""
        silent = self._ticks * _TICK_SECONDS
        if silent <= self._limit_seconds:
            return None
        return f"the main loop has not turned for {silent:.0f} s: it hangs, and should be restarted"

    def close(self) -> None:
        """Count no more."""
        self._ended.set()
