"""The time as Kafka's brokers tell it: what a worker goes by, so that its own clock may be wrong.

A worker whose clock is an hour ahead would let idle partitions follow it, close windows an hour early, and refuse what
comes then as late. So time is the broker's: each acknowledgement of a record on a LogAppendTime topic (`sealed`,
`shares`) carries the moment at which the leader appended it, and from there on the worker counts by its monotonic
clock, which nobody sets. That runs behind the broker by the time of an acknowledgement, and never ahead of it.

What is left: leaders whose clocks differ (``seal.idle_margin_ms`` covers 150 ms), and the brokers' own clocks, which
stamp the arrival of every event and are the arbiter.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, Message

log = logging.getLogger(__name__)

_DIFFERENCE_MS = 5_000
"""Beyond it the difference is said: NTP keeps clocks within a fraction of a second."""


def local_ms() -> int:
    """This machine's clock, epoch milliseconds."""
    return time.time_ns() // 1_000_000


class BrokerClock:
    """See the module's text.

    Args:
        show: told by how many seconds this machine's clock is ahead of the broker's, whenever that is known anew.
        local: this machine's clock, epoch milliseconds; stands in until a broker has been heard.
        monotonic: seconds, from any beginning.
    """

    def __init__(
        self,
        show: Callable[[float], None],
        local: Callable[[], int] = local_ms,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._show = show
        self._local = local
        self._monotonic = monotonic
        self._heard: tuple[int, float] | None = None
        self._differed = False

    @property
    def is_known(self) -> bool:
        """Whether a broker has been heard."""
        return self._heard is not None

    def now_ms(self) -> int:
        """Epoch milliseconds, by the broker's clock once it is known."""
        if self._heard is None:
            return self._local()
        broker_ms, at = self._heard
        return broker_ms + int((self._monotonic() - at) * 1000)

    def delivered(self, error: KafkaError | None, message: Message) -> None:
        """A record's delivery report."""
        kind, broker_ms = message.timestamp()
        if error is None and kind == TIMESTAMP_LOG_APPEND_TIME:
            self._heard = broker_ms, self._monotonic()
            self._compare(self._local() - broker_ms)

    def _compare(self, ahead_ms: int) -> None:
        self._show(ahead_ms / 1000)
        differs = abs(ahead_ms) > _DIFFERENCE_MS
        if differs and not self._differed:
            log.error(
                "this machine's clock is %.0f s %s the broker's: time is taken from the broker; set the clock (NTP)",
                abs(ahead_ms) / 1000,
                "ahead of" if ahead_ms > 0 else "behind",
            )
        elif self._differed and not differs:
            log.warning("this machine's clock is right again")
        self._differed = differs
