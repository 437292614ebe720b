"""The part of docs/performance.md that tells who is how quick, and the verdicts on the targets: from figures alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from bench.performance.comparison import ROLE_BY_ROLE, TOGETHER
from bench.performance.contenders.entries import CONTENDERS, FLOOR, Contender

Figure = dict[str, Any]

_ROLES = {"seal": "seal", "attach": "attach", "a": "aggregate a", "b": "aggregate b", "publish": "publish"}
_SEAL_OF_FLOOR = 0.7
_OTHERS_OF_SEAL = 5.0
_ALL_OF_FLOOR = 2.3
_OF_KAFKA_STREAMS = 2.0
_MICRO = 1e6


@dataclass(frozen=True)
class Spread:
    """A figure over repetitions."""

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        return cls(min(values), float(median(values)), max(values))

    def told(self, digits: int = 2) -> str:
        """Median [least, most]."""
        return f"{self.middle:,.{digits}f} [{self.low:,.{digits}f}, {self.high:,.{digits}f}]"


@dataclass(frozen=True)
class Verdict:
    """A target and whether it is met; None: it could not be judged."""

    target: str
    found: str
    met: bool | None

    @property
    def word(self) -> str:
        """As the page has it."""
        return {True: "met", False: "**missed**", None: "not judged"}[self.met]


def of(figures: Sequence[Figure], name: str) -> list[Figure]:
    """All repetitions of a contender."""
    return [figure for figure in figures if figure["name"] == name]


def cost(figures: Sequence[Figure]) -> Spread:
    """CPU microseconds an event."""
    return Spread.of([_MICRO * figure["cpu_seconds"] / figure["events"] for figure in figures])


def rate(figures: Sequence[Figure]) -> Spread:
    """Events a second."""
    return Spread.of([figure["events"] / figure["seconds"] for figure in figures])


def role_cost(figures: Sequence[Figure], role: str) -> Spread:
    """CPU microseconds an event of one of evenstream's roles."""
    return Spread.of([_MICRO * figure["roles"][role]["own_cpu_seconds"] / figure["events"] for figure in figures])


def warm(figures: Sequence[Figure]) -> list[Figure]:
    """The second halves of a contender that warms up; its whole runs where it does not."""
    return [{**figure, **figure["warm"]} for figure in figures if "warm" in figure] or list(figures)


def ratios(figures: Sequence[Figure], name: str, of_figure: Callable[[Figure], float] | None = None) -> Spread:
    """A contender's CPU an event over the floor's of the same repetition."""
    numbers = []
    for figure in of(figures, name):
        floor = cost([f for f in of(figures, FLOOR.name) if f["repetition"] == figure["repetition"]]).middle
        value = of_figure(figure) if of_figure else _MICRO * figure["cpu_seconds"] / figure["events"]
        numbers.append(value / floor)
    return Spread.of(numbers)


def verdicts(figures: Sequence[Figure]) -> list[Verdict]:
    """Every target that the comparison can judge."""
    floor, alone, together = of(figures, FLOOR.name), of(figures, ROLE_BY_ROLE), of(figures, TOGETHER)
    if not (floor and alone and together):
        return []
    seal = role_cost(alone, "seal")
    share = ratios(figures, ROLE_BY_ROLE, lambda f: _MICRO * f["roles"]["seal"]["own_cpu_seconds"] / f["events"])
    found = [
        Verdict(
            f"seal at least {_SEAL_OF_FLOOR} of the floor, by CPU an event",
            f"{1 / share.middle:.2f} ({seal.middle:.2f} us, the floor {cost(floor).middle:.2f})",
            1 / share.middle >= _SEAL_OF_FLOOR,
        )
    ]
    for role in ("attach", "a", "b"):
        own = role_cost(alone, role)
        times = seal.middle / own.middle
        found.append(
            Verdict(
                f"{_ROLES[role]} at least {_OTHERS_OF_SEAL:.0f} x seal, in rows a CPU-second",
                f"{times:.1f} x ({own.middle:.2f} us a row)",
                times >= _OTHERS_OF_SEAL,
            )
        )
    all_roles = ratios(figures, TOGETHER)
    found.append(
        Verdict(
            f"all roles together at most {_ALL_OF_FLOOR} x the floor's CPU",
            f"{all_roles.middle:.2f} x [{all_roles.low:.2f}, {all_roles.high:.2f}] at "
            f"{rate(together).middle:,.0f} events/s; one by one {ratios(figures, ROLE_BY_ROLE).middle:.2f} x",
            all_roles.middle <= _ALL_OF_FLOOR,
        )
    )
    return found + _against_others(figures, together)


def _against_others(figures: Sequence[Figure], together: Sequence[Figure]) -> list[Verdict]:
    found = []
    python = [c for c in CONTENDERS if c is not FLOOR and c.language == "Python" and of(figures, c.name)]
    if python:
        best = max(python, key=lambda contender: rate(of(figures, contender.name)).middle)
        theirs, ours = rate(of(figures, best.name)).middle, rate(together).middle
        found.append(
            Verdict(
                "end-to-end throughput above every Python contender",
                f"{ours:,.0f} events/s; the best of them, {best.name}: {theirs:,.0f} ({ours / theirs:.1f} x)",
                ours > theirs,
            )
        )
    for contender in CONTENDERS:
        runs = of(figures, contender.name)
        if contender.language != "Java" or not runs:
            continue
        theirs, ours = cost(warm(runs)).middle, cost(together).middle
        found.append(
            Verdict(
                f"CPU an event within {_OF_KAFKA_STREAMS:.0f} x of {contender.name}, once it is warm",
                f"{ours / theirs:.2f} x ({theirs:.2f} us; over its whole run {cost(runs).middle:.2f})",
                ours / theirs <= _OF_KAFKA_STREAMS,
            )
        )
    return found


def verdict_table(found: Sequence[Verdict]) -> str:
    """As Markdown."""
    return table(("target", "found", ""), [(each.target, each.found, each.word) for each in found])


def section(figures: Sequence[Figure]) -> str:
    """The part "Side by side"."""
    repetitions = 1 + max(figure["repetition"] for figure in figures)
    floor = of(figures, FLOOR.name)
    events, value_bytes = floor[0]["events"], floor[0]["value_bytes"]
    names = [name for name in (*_order(), ROLE_BY_ROLE, TOGETHER) if of(figures, name)]
    head = (
        "contender",
        "events",
        "events/s",
        "CPU us an event",
        "x floor",
        "broker's CPU us an event",
        "bytes written an event",
    )
    lines = [_line(figures, name) for name in names]
    parts = [
        "## Side by side",
        f"{repetitions} repetitions, every second one in the opposite order; {events:,} events of "
        f"{value_bytes / events:.0f} bytes on {_partitions(figures)} partitions. Median [least, most]. CPU is that of "
        "all of a contender's processes, from its first event to when its counts are in Kafka.",
        table(head, lines),
        "One by one, evenstream's roles take turns, so its events a second are those of the sum of their times. The "
        "contenders in Python are one process each, as is the floor; evenstream's five roles share both cores with "
        "the broker. So compare CPU, or events a second as what one machine carries. *Warm* is the second half of a "
        "run. Bytes written are those of log segments: counts, changelogs, and for evenstream all topics of its own.",
        "### evenstream by role",
        _roles(figures),
        "### Bytes an event",
        _bytes(figures),
        "### How each was run",
        _settings([c for c in CONTENDERS if of(figures, c.name)]),
    ]
    return "\n\n".join(part for part in parts if part)


def _order() -> list[str]:
    return [contender.name for contender in CONTENDERS]


def _partitions(figures: Sequence[Figure]) -> str:
    found = of(figures, ROLE_BY_ROLE)
    return f"{found[0]['partitions']} x {found[0]['partitions']}" if found else "4"


def _line(figures: Sequence[Figure], name: str) -> tuple[str, ...]:
    runs = of(figures, name)
    spread, ratio = cost(runs), ratios(figures, name)
    told = spread.told()
    if any("warm" in run for run in runs):
        told += f"; warm {cost(warm(runs)).middle:.2f}"
    broker = Spread.of([_MICRO * run["broker_cpu_seconds"] / run["events"] for run in runs])
    written = [amount / run["events"] for run in runs if (amount := _written(run))]
    return (
        name,
        f"{runs[0]['events']:,}",
        rate(runs).told(0),
        told,
        ratio.told(),
        f"{broker.middle:.2f}",
        f"{median(written):.1f}" if written else "-",
    )


def _written(run: Figure) -> float | None:
    if "topics" not in run:
        return run.get("written_bytes")
    return sum(topic["log_bytes"] or 0 for name, topic in run["topics"].items() if name != "events")


def _roles(figures: Sequence[Figure]) -> str:
    alone, together = of(figures, ROLE_BY_ROLE), of(figures, TOGETHER)
    if not alone or not together:
        return ""
    lines = []
    for role, words in _ROLES.items():
        seconds = Spread.of([run["events"] / run["roles"][role]["own_seconds"] for run in alone])
        lines.append(
            (
                words,
                role_cost(alone, role).told(),
                ratios(figures, ROLE_BY_ROLE, _of_role(role)).told(),
                seconds.told(0),
                role_cost(together, role).told(),
            )
        )
    head = ("role", "alone: CPU us an event", "x floor", "alone: events/s", "all together: CPU us an event")
    return table(head, lines)


def _of_role(role: str) -> Callable[[Figure], float]:
    return lambda figure: float(_MICRO * figure["roles"][role]["own_cpu_seconds"] / figure["events"])


def _bytes(figures: Sequence[Figure]) -> str:
    runs = of(figures, ROLE_BY_ROLE)
    if not runs:
        return ""
    lines = []
    for name in runs[0]["topics"]:
        values = [run["topics"][name]["value_bytes"] / run["events"] for run in runs]
        disk = [run["topics"][name]["log_bytes"] / run["events"] for run in runs if run["topics"][name]["log_bytes"]]
        lines.append((name, f"{median(values):.1f}", f"{median(disk):.1f}" if disk else "-"))
    return table(("topic", "on the wire, before compression", "on disk"), lines)


def _settings(contenders: Sequence[Contender]) -> str:
    lines = [
        (
            contender.name,
            f"{contender.version}, {contender.language}",
            contender.guarantee,
            contender.store,
            contender.settings,
            f"[documentation]({contender.follows})",
        )
        for contender in contenders
    ]
    return table(("contender", "version", "guarantee", "state", "settings", "as in"), lines)


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table, numbers to the right but for the first column."""
    marks = ["---" if place == 0 else "---:" if _is_number(lines, place) else "---" for place in range(len(head))]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, marks, *lines))


def _is_number(lines: Sequence[Sequence[str]], place: int) -> bool:
    return all(line[place][:1].isdigit() or line[place] == "-" for line in lines)
