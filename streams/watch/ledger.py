"""A party's budget in its own /metrics: what its operator watches.

The figures follow from signed specs, debits and the calendar alone. No row and no member changes any of them, so they
tell nothing of anyone.

A forecast looks at four hundred days, which takes part of a second: it is made in a thread of its own, from a copy, and
the party goes on closing windows meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import UTC, datetime

from privacy import Debit, Ledger
from privacy.limits import PERIOD_DAYS
from streams.control import Approved
from streams.ledger_view import forecast, utc_day
from streams.watch.health import RoleHealth

_INTERVAL_MS = 1_000


class LedgerWatch:
    """Shows how a ledger stands whenever a debit, a measurement or a UTC day is new.

    Args:
        party: "a" or "b". health: where it is shown.
    """

    def __init__(self, party: str, health: RoleHealth) -> None:
        self._party = party
        self._health = health
        self._looked_ms = 0
        self._shown: tuple[int, int, str] | None = None
        self._thread: threading.Thread | None = None

    def look(self, ledger: Ledger, approved: Iterable[Approved], version: int, now_ms: int) -> None:
        """Begin to work out what is to be shown, if there is anything new; never waits.

        Args:
            version: of the set of approved measurements.
        """
        if now_ms - self._looked_ms < _INTERVAL_MS or (self._thread is not None and self._thread.is_alive()):
            return
        self._looked_ms = now_ms
        entries, day = ledger.entries, utc_day(now_ms)
        if self._shown == (len(entries), version, day):
            return
        self._shown = (len(entries), version, day)
        copy = Ledger(self._party, ledger.limits)
        self._thread = threading.Thread(
            target=self._show, args=(copy, entries, tuple(approved), day), name="ledger-watch", daemon=True
        )
        self._thread.start()

    def wait(self) -> None:
        """Until what was begun is shown."""
        if self._thread is not None:
            self._thread.join()

    def _show(self, copy: Ledger, entries: tuple[Debit, ...], approved: tuple[Approved, ...], day: str) -> None:
        for debit in entries:
            copy.restore(debit.encode())
        spent: dict[str, float] = {period: copy.spent(day, period) / copy.limits.of(period) for period in PERIOD_DAYS}
        end = forecast(copy, approved, day)
        at_seconds = None if end is None else datetime.fromisoformat(end.day).replace(tzinfo=UTC).timestamp()
        self._health.ledger(spent, at_seconds, len(entries))
