"""How long a window takes to be seen: measured from outside, at /metrics, as Prometheus would see it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from privacy import Measurement

_ASK_SECONDS = 0.01
_GIVE_UP_SECONDS = 9.0


class VisibilityProbe:
    """Asks around each window's end until it is there.

    Args:
        scrape: the text of /metrics, empty where nobody answers.
        measurement: whose base windows are watched.
    """

    def __init__(self, scrape: Callable[[], str], measurement: Measurement) -> None:
        self._scrape = scrape
        level = measurement.windows.base
        self._series = f'evenstream_window_end_timestamp_seconds{{level="{level}",measurement="{measurement.id}"}} '
        self._base_ms = measurement.base_ms
        self._lateness_ms = measurement.lateness_ms

    def run(self, starts_ms: Iterable[int], delays: list[float]) -> None:
        """Append to ``delays`` the seconds from each window's end plus lateness until it was seen."""
        for start_ms in starts_ms:
            end_ms = start_ms + self._base_ms
            due = (end_ms + self._lateness_ms) / 1000
            time.sleep(max(0.0, due - time.time()))
            while time.time() < due + _GIVE_UP_SECONDS:
                if self._shown_ms() >= end_ms:
                    delays.append(time.time() - due)
                    break
                time.sleep(_ASK_SECONDS)

    def _shown_ms(self) -> float:
        for line in self._scrape().splitlines():
            if line.startswith(self._series):
                return float(line.removeprefix(self._series)) * 1000
        return 0.0
