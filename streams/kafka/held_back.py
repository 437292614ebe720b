"""For how long a control topic has held something that this reader does not get to see.

A reader of committed records stops where the first open transaction begins (the last stable offset), whatever was
committed behind it. Transactions on control topics last for moments, but whoever may write there can leave one open,
and another before that ends: revocations, skips, new epochs and layouts behind it would be unseen, and nothing would
tell. The end of the topic for everybody else (the high watermark) comes with each answer of the broker, so looking
costs no question.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

HELD_BACK_SECONDS = 30.0
"""From here on it is no producer at work any more: one that is killed is aborted after 10 s."""


class HeldBack:
    """Told again and again how far topics were read, and where they end.

    Args:
        tell: called with a topic and for how many seconds it has been held back; 0 where all was read.
    """

    def __init__(self, tell: Callable[[str, float], None], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._tell = tell
        self._monotonic = monotonic
        self._since: dict[str, float] = {}
        self._read_once: set[str] = set()
        self._said: set[str] = set()

    def look(self, topic: str, read_to: int, end: int) -> None:
        """Where a reader is and where the topic ends for everybody, as offsets; an end that is unknown is negative."""
        if end < 0:
            return
        if read_to >= end:
            self._since.pop(topic, None)
            self._read_once.add(topic)
            if topic in self._said:
                self._said.remove(topic)
                log.warning("%s is read to its end again", topic)
            self._tell(topic, 0.0)
            return
        seconds = self._monotonic() - self._since.setdefault(topic, self._monotonic())
        self._tell(topic, seconds)
        if seconds > HELD_BACK_SECONDS and topic not in self._said:
            self._said.add(topic)
            log.error(
                "%s is held back at offset %d of %d for %.0f s: a transaction stands open there, and nothing behind it "
                "is seen. `kafka-transactions.sh find-hanging` names its producer",
                topic,
                read_to,
                end,
                seconds,
            )

    def hidden(self, topic: str) -> bool:
        """Whether something may have been hidden for long: for more than 30 s, or since this process began."""
        since = self._since.get(topic)
        if since is None:
            return False
        return topic not in self._read_once or self._monotonic() - since > HELD_BACK_SECONDS
