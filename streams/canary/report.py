"""The table that a run ends with: what was searched, where, and what was found."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from streams.canary.run import Outcome
from streams.canary.search import Find

_SHOWN = 20


def show(console: Console, outcome: Outcome) -> None:
    """Print it."""
    searched = Table(title="searched")
    for column, side in (("where", "left"), ("how many", "right"), ("bytes", "right"), ("finds", "right")):
        searched.add_column(column, justify=side)  # type: ignore[arg-type]
    searched.add_column("note")
    for place in outcome.places:
        searched.add_row(
            place.name, f"{place.count:,} {place.unit}", f"{place.bytes:,}", str(len(place.finds)), place.note
        )
    eyes = Table(title="the same search, on what was planted")
    for column, side in (("where", "left"), ("planted", "right"), ("found", "right")):
        eyes.add_column(column, justify=side)  # type: ignore[arg-type]
    eyes.add_column("note")
    for eye in outcome.eyes:
        found = "-" if eye.skipped else f"{eye.found:,}"
        eyes.add_row(eye.name, f"{eye.planted:,}", found, eye.skipped or ("" if eye.sees else "BLIND"))
    console.print(searched)
    console.print(eyes)
    for line in _lines(outcome):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _lines(outcome: Outcome) -> Iterator[str]:
    crashes = ", ".join(f"{count} by {kind}" for kind, count in outcome.crashes.items())
    finds = [find for place in outcome.places for find in place.finds]
    yield f"roles ended while they worked on canaries: {crashes}; windows published with numbers: {outcome.windows}"
    yield (
        f"looked for {outcome.traces:,} byte strings, and vectors printed with 3 to 17 digits, "
        f"in {sum(place.bytes for place in outcome.places):,} bytes and {outcome.topics} topics: {len(finds)} finds"
    )
    for find in finds[:_SHOWN]:
        yield f"FOUND {described(find)}"
    if len(finds) > _SHOWN:
        yield f"... and {len(finds) - _SHOWN} more"
    for shortfall in outcome.shortfalls:
        yield f"SHORT {shortfall}"
    for eye in outcome.eyes:
        if not eye.sees:
            yield f"BLIND {eye.name}: {eye.found} of {eye.planted} planted traces found"
    yield "holds: no trace of a canary" if outcome.clean else "FAILS"


def described(find: Find) -> str:
    """One find: what, in which encoding, of whom, where, and the bytes. A canary is nobody, so they may be shown."""
    trace = find.trace
    return f"{trace.what} of {trace.who} ({trace.encoding}) in {find.place} at byte {find.offset}: {trace.data[:64]!r}"
