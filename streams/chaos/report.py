"""The one table at the end of a chaos run."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from streams.chaos.run import Result
from streams.chaos.schedule import ROLES
from streams.chaos.timings import Recovery, quantile

_OF_A_ROLE = ("kill", "kill in a transaction", "kill twice in a second", "kill in start-up")


def show(console: Console, result: Result) -> None:
    """Print the table, and what falls short."""
    options, done, verdict = result.options, result.done, result.verdict
    table = Table(title=f"chaos: seed {options.seed}, {result.seconds:.0f} s of traffic", title_justify="left")
    table.add_column("what")
    table.add_column("figure", overflow="fold")
    by_role = ", ".join(f"{role} {done.kills[role]}" for role in ROLES)
    table.add_row("kill -9 of roles", f"{done.kills.total()}: {by_role}")
    table.add_row("  in an open transaction", str(done.open_kills))
    table.add_row("  within a second of another", str(done.twice_kills))
    table.add_row("  while starting", str(done.starting_kills))
    for kind, count in sorted(done.others.items()):
        table.add_row(kind, str(count))
    table.add_section()
    table.add_row("events written", f"{result.expected.events:,}")
    table.add_row("windows scheduled", f"{verdict.windows:,}, each released by a and by b")
    refused = len(result.expected.late) + len(result.expected.future)
    silent = f"{result.expected.silent:,} of members who do not count, {refused:,} refused as late"
    table.add_row("rows that count", f"{verdict.rows:,}; besides {silent}")
    table.add_row("lost", str(verdict.lost))
    table.add_row("duplicated", str(verdict.duplicated))
    table.add_row("numbers that differ", f"{verdict.unequal} of tables and moments, to the last unit of 2^-20 row")
    void = ", ".join(f"{reason} {count}" for reason, count in sorted(verdict.void.items())) or "none"
    table.add_row("void windows", void)
    table.add_row("debits", f"{verdict.debits}, those that releases name")
    table.add_row("copies by aborted transactions", f"{verdict.copies}, the same bytes")
    table.add_section()
    table.add_row("delay without faults", f"{result.ordinary:.2f} s median, from due to visible")
    for kind, (count, longest) in sorted(result.stalls.items(), key=lambda stall: stall[1][1]):
        table.add_row(f"longest stall, {kind}", f"{longest:.1f} s ({count} windows)")
    table.add_section()
    for role in ROLES:
        of_role = [r for r in result.recoveries if r.injection.kind in _OF_A_ROLE and r.injection.roles[0] == role]
        table.add_row(f"metrics back, kill of {role}", _recovery(of_role))
    every = [r for r in result.recoveries if r.injection.kind in (*_OF_A_ROLE, "kills all over")]
    table.add_row("metrics back, every kill", _recovery(every))
    console.print(table)
    for shortfall in result.shortfalls:
        console.print(f"[red]shortfall[/red]  {shortfall}", highlight=False)
    if result.shortfalls:
        console.print(f"replay the schedule with --seed {options.seed}; logs are in {result.folder}", highlight=False)
    else:
        console.print("every row counted once, every window released once", highlight=False)


def _recovery(recoveries: list[Recovery]) -> str:
    if not recoveries:
        return "no kill"
    back, beyond = [r.back_after for r in recoveries], [r.beyond for r in recoveries]
    told = [f"{name} {quantile(back, part):.1f}" for name, part in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))]
    late = [f"{name} {quantile(beyond, part):.1f}" for name, part in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))]
    return f"{', '.join(told)} s after it; {', '.join(late)} s later than without it"
