"""Pieces of PromQL that several rules need."""

from __future__ import annotations

import re
from collections.abc import Mapping

_SERIES = re.compile(r"\b(evenstream[_:][a-z0-9_:]+)(\{)?")


def risen(series: str, by: str, window: str, memory: str) -> str:
    """By how much a counter of `publish` has risen over a time span.

    `publish` counts its windows and refusals anew from the log at each start, and shows nothing before that is done. So
    its counters come back at their full height, also in a process that Prometheus sees for the first time, or lower,
    where releases have been deleted meanwhile; `increase()` would miss what came while it was down in the first case
    and call everything new in the second. Here the height is held against the greatest that was seen before the span,
    and where none was, against the least within it.

    Args:
        series: a selector. by: labels, comma-separated; any instance tells all of it, so the greatest counts.
        window: the span. memory: how far before it to look, which is the longest time `publish` may be away.
    """
    return (
        f"max by ({by}) ({series})\n"
        f"- (\n"
        f"  max by ({by}) (max_over_time({series}[{memory}] offset {window}))\n"
        f"  or\n"
        f"  min by ({by}) (min_over_time({series}[{window}]))\n"
        f")"
    )


def selecting(expr: str, metrics: Mapping[str, str], recorded: Mapping[str, str]) -> str:
    """An expression that reads only series with certain labels.

    Args:
        metrics: matchers, label by value, of every metric; recorded: of every series that a recording rule makes.
    """

    def with_matchers(found: re.Match[str]) -> str:
        name, brace = found[1], found[2]
        matchers = recorded if ":" in name else metrics
        text = ", ".join(f'{label}="{quoted(value)}"' for label, value in matchers.items())
        if not text:
            return found[0]
        return f"{name}{{{text}, " if brace else f"{name}{{{text}}}"

    return _SERIES.sub(with_matchers, expr)


def quoted(value: str) -> str:
    """A label's value between PromQL's double quotes."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
