"""Which windows there are, told to whoever asked for others: a name that nothing has is mostly a slip of the pen."""

from __future__ import annotations

from collections.abc import Iterable

from streams.report.terminal import terminal_line


class PresentWindows:
    """The names that records had so far."""

    def __init__(self) -> None:
        self._levels: dict[str, dict[str, None]] = {}
        self._metrics: dict[str, None] = {}

    @property
    def empty(self) -> bool:
        """Whether there was no record yet."""
        return not self._levels

    def note(self, measurement: str, level: str, metrics: Iterable[str] = ()) -> None:
        """A record has these names."""
        self._levels.setdefault(measurement, {})[level] = None
        self._metrics.update(dict.fromkeys(metrics))

    def instead(self) -> str:
        """What there is instead of what was asked for."""
        if not self._levels:
            return "there is no window at all"
        found = "; ".join(f"{name} ({', '.join(levels)})" for name, levels in sorted(self._levels.items()))
        return terminal_line(f"there is no such window; there are windows of {found}")

    def without(self, metrics: Iterable[str]) -> str | None:
        """Which of these metrics no window has, and which there are; None where all were seen, or nothing was."""
        absent = [name for name in metrics if name not in self._metrics]
        if not absent or not self._metrics:
            return None
        return terminal_line(f"no window has {', '.join(absent)}; there are {', '.join(sorted(self._metrics))}")
