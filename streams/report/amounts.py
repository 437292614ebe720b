"""How amounts are written for people: from a laptop's to those of a billion members, three digits at most."""

from __future__ import annotations

_COUNTS = ((1e15, "quadrillion"), (1e12, "trillion"), (1e9, "billion"), (1e6, "million"))
_BYTES = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB")
_TIMES = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"))


def count(number: float) -> str:
    """``20,000``, ``1.5 million``, ``1 billion``; below 10 with one decimal where it is no whole number."""
    for size, name in _COUNTS:
        if number >= 0.9995 * size:
            return f"{_three(number / size)} {name}"
    return f"{number:,.0f}" if number >= 10 or number == round(number) else f"{number:.2g}"


def size(count_bytes: float) -> str:
    """``548 B``, ``1.04 MB``, ``276 GB``: powers of 1,000."""
    unit = 0
    while count_bytes >= 999.5 and unit < len(_BYTES) - 1:
        count_bytes /= 1000
        unit += 1
    return f"{count_bytes:.0f} B" if unit == 0 else f"{_three(count_bytes)} {_BYTES[unit]}"


def cores(share: float) -> str:
    """``0.01``, ``0.45``, ``5.7``, ``45``: never 0, since nothing runs on nothing."""
    if share >= 9.95:
        return f"{share:,.0f}"
    return f"{share:.1f}" if share >= 0.995 else f"{max(share, 0.01):.2f}"


def duration(seconds: float) -> str:
    """``under 1 s``, ``25 s``, ``4.2 min``, ``3 h``, ``7 d``."""
    for length, unit in _TIMES:
        if seconds >= length:
            return f"{_two(seconds / length)} {unit}"
    return "under 1 s"


def _three(number: float) -> str:
    """Three significant digits, without zeros behind the point."""
    decimals = 2 if number < 9.995 else 1 if number < 99.95 else 0
    shown = f"{number:,.{decimals}f}"
    return shown.rstrip("0").rstrip(".") if decimals else shown


def _two(number: float) -> str:
    shown = f"{number:.1f}" if number < 9.95 else f"{number:,.0f}"
    return shown.removesuffix(".0")
