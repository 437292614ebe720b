"""docs/performance.md, written from the campaign's figures: nothing there is written by hand.

What was tried where a target is missed, and what came of it, is docs/performance/tried.md, which is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.performance.campaign import PARTS
from bench.performance.comparison_section import Verdict, table, verdict_table

_HEAD = """# Performance

What evenstream costs, and what others cost for less: side by side, in one run on one machine, as ratios. Written by
`make bench` (bench/performance), figures and text; do not edit. A figure without its ratio says little: machines
differ, and this one is small and shared."""

_TRIED = "What was tried where a target is missed is in [performance/tried.md](performance/tried.md)."


def write(figures: Mapping[str, Any], out: Path) -> str:
    """Write page and plots; returns the verdicts, in words."""
    folder = out / "performance"
    found = {name: part["figures"] for name, part in figures.items()}
    judged = verdicts(found)
    sections = [_HEAD, _targets(judged), _machine(figures)]
    for name, part in PARTS.items():
        if name in found:
            text = part.section(found)
            drawn = part.draw(found, folder) if part.draw is not None else []
            sections.append("\n\n".join((text.strip(), *(_shown(path) for path in drawn if path.name not in text))))
    (out / "performance.md").write_text("\n\n".join(text.strip() for text in sections if text.strip()) + "\n")
    return "\n".join(f"{each.word.strip('*'):<10} {each.target}: {each.found}" for each in judged)


def verdicts(found: Mapping[str, Any]) -> list[Verdict]:
    """Every target that the figures can judge."""
    judged: list[Verdict] = []
    for name, part in PARTS.items():
        if name in found and part.verdicts is not None:
            judged += part.verdicts(found)
    return judged


def _targets(judged: list[Verdict]) -> str:
    met = sum(each.met is True for each in judged)
    return f"## Targets\n\n**{met} of {len(judged)} met.** {_TRIED}\n\n{verdict_table(judged)}"


def _machine(figures: Mapping[str, Any]) -> str:
    lines = []
    for name, part in figures.items():
        command = f"`make bench{'-quick' if part['quick'] else ''} PARTS={name}`"
        machine = part["machine"]
        lines.append(
            (name, command, f"{part['seconds']} s", machine["date"], machine["commit"], machine["load before"])
        )
    last = next(iter(figures.values()))["machine"]
    left_out = ("date", "commit", "load before")
    with_what = table(("", ""), [(name, value) for name, value in last.items() if name not in left_out])
    head = ("part", "command that measures it anew", "took", "on", "at commit", "load before")
    quick = any(part["quick"] for part in figures.values())
    warning = "\n\n**Of a quick run: too short to be quoted.**" if quick else ""
    return f"## Measured on{warning}\n\n{with_what}\n\n{table(head, lines)}"


def _shown(plot: Path) -> str:
    return f"![{plot.stem.replace('-', ' ').capitalize()}]({plot.parent.name}/{plot.name})"
