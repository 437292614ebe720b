"""Durations as Prometheus writes them: ``1h30m``, ``250ms``."""

from __future__ import annotations

import re

_UNITS_MS = {
    "y": 365 * 86_400_000,
    "w": 7 * 86_400_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1_000,
    "ms": 1,
}
_PATTERN = re.compile("".join(rf"(?:([0-9]{{1,9}}){unit})?" for unit in _UNITS_MS))


def parse_duration(text: str) -> int:
    """Milliseconds.

    Raises:
        ValueError: it is not written as Prometheus writes durations.
    """
    found = _PATTERN.fullmatch(text)
    if text == "0":
        return 0
    if found is None or not text:
        raise ValueError(f"expected a duration such as 90s, 15m or 1h30m, got {text!r}")
    return sum(int(count) * unit for count, unit in zip(found.groups(), _UNITS_MS.values(), strict=True) if count)


def shown_duration(milliseconds: int) -> str:
    """The shortest text that Prometheus reads as so many milliseconds (non-negative)."""
    parts = []
    for name in ("d", "h", "m", "s", "ms"):
        count, milliseconds = divmod(milliseconds, _UNITS_MS[name])
        if count:
            parts.append(f"{count}{name}")
    return "".join(parts) or "0s"


def scaled(milliseconds: int, factor: float) -> int:
    """A duration over a factor, in whole milliseconds, and never 0 where it was not."""
    return max(1, round(milliseconds / factor)) if milliseconds else 0
