"""What the pages know: told by the threads that follow the topics, read by the HTTP server's.

Whoever shows something reads one :class:`Snapshot`, which does not change while it is read. Each change makes another
version; a page that was rendered for a version is good until there is a next one.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar

from privacy import PrivacyStatement
from streams.control import Approved

T = TypeVar("T")


@dataclass(frozen=True)
class Shown:
    """An approved revision and what it promises."""

    approved: Approved
    statement: PrivacyStatement


@dataclass(frozen=True)
class Snapshot:
    """What is known at a moment.

    Attributes:
        shown: the approved revisions, by their offset.
        now_ms: epoch milliseconds; within some seconds of when it is looked at.
        version: of what is known, as the stream of events names it.
    """

    shown: tuple[Shown, ...]
    now_ms: int
    version: str = "0"
    told: Mapping[type, Any] = field(default_factory=dict)

    def of(self, kind: type[T]) -> T | None:
        """What :meth:`Site.tell` was told last of a kind, or None."""
        return self.told.get(kind)

    def measurements(self) -> dict[str, list[Shown]]:
        """The revisions of each measurement, in their order; by name."""
        found: dict[str, list[Shown]] = {}
        key = lambda entry: (entry.approved.measurement.id, entry.approved.measurement.revision)  # noqa: E731
        for entry in sorted(self.shown, key=key):
            found.setdefault(entry.approved.measurement.id, []).append(entry)
        return found


class Site:
    """Holds what pages show.

    Args:
        now_ms: epoch milliseconds.
    """

    def __init__(self, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self.now_ms = now_ms
        self._lock = threading.Lock()
        self._shown: tuple[Shown, ...] | None = None
        self._told: dict[type, Any] = {}
        self._changes = 0
        # Versions of this process and of the one before it never look alike to a browser that outlives a restart.
        self._start = secrets.token_hex(4)
        self._listeners: list[Callable[[str, str, str], None]] = []

    def show(self, shown: Iterable[Shown]) -> None:
        """These are the approved revisions now. Before the first call the pages say that publish is starting."""
        found = tuple(shown)
        with self._lock:
            self._shown = found
        self.changed("change", "measurements")

    def tell(self, value: object, event: str = "change", subject: str | None = None) -> None:
        """Something else is so now: pages find it by its type (:meth:`Snapshot.of`). It must not change any more."""
        with self._lock:
            self._told[type(value)] = value
        self.changed(event, type(value).__name__ if subject is None else subject)

    def changed(self, event: str, subject: str) -> None:
        """What is shown has become another; ``subject`` says of what, for the stream of events."""
        with self._lock:
            self._changes += 1
            version, listeners = self._version(), tuple(self._listeners)
        for listener in listeners:
            listener(event, version, subject)

    def listen(self, listener: Callable[[str, str, str], None]) -> None:
        """Call this with (event, version, subject) at each change; it must return at once."""
        with self._lock:
            self._listeners.append(listener)

    def snapshot(self) -> Snapshot | None:
        """What is known now; None while publish is starting."""
        with self._lock:
            if self._shown is None:
                return None
            return Snapshot(self._shown, self.now_ms(), self._version(), MappingProxyType(dict(self._told)))

    @property
    def version(self) -> str:
        """Of what is known now."""
        with self._lock:
            return self._version()

    def _version(self) -> str:
        return f"{self._start}-{self._changes}"
