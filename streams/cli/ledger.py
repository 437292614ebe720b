"""``evenstream ledger``."""

from __future__ import annotations

import json
import time
from datetime import date
from pathlib import Path

import click
from rich.table import Table

from streams.cli import Invocation
from streams.cli.audit import console
from streams.control import limits_of
from streams.errors import EvenstreamError
from streams.kafka.clients import wait_for_kafka
from streams.ledger_check import Findings, check
from streams.ledger_view import LedgerView, view_of_topic
from streams.public_topics import PublicTopics, trusted_keys
from streams.report.numbers import moment

_PROGRESS_SECONDS = 2.0

_party = click.option("--party", type=click.Choice(["a", "b"]), required=True, help="Whose ledger.")
_trusted = click.option(
    "--trusted", type=click.Path(path_type=Path),
    help="A trusted.json, the public keys (default: that of keys.dir/governance).",
)  # fmt: skip
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


@click.group()
def ledger() -> None:
    """Read a party's budget ledger, and check it against the party's releases. Needs public keys only."""


def _topics(invocation: Invocation, trusted: Path | None) -> PublicTopics:
    settings = invocation.settings()
    keys = trusted_keys(settings, trusted)
    wait_for_kafka(settings, settings.kafka.request_timeout_seconds)
    return PublicTopics(settings, keys)


def _day(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    try:
        return None if value is None else date.fromisoformat(value).isoformat()
    except ValueError:
        raise click.BadParameter(f"expected a UTC day as YYYY-MM-DD, got {value!r}") from None


@ledger.command()
@_party
@click.option("--day", metavar="YYYY-MM-DD", callback=_day, help="The last day of each period (default: today, UTC).")
@_trusted
@_json
@click.pass_obj
def show(invocation: Invocation, party: str, day: str | None, trusted: Path | None, as_json: bool) -> None:
    """What is spent and left of a member's budget, by measurement, and when it will be used up."""
    topics = _topics(invocation, trusted)
    found = view_of_topic(topics, party, topics.control(), time.time_ns() // 1_000_000, day)
    if as_json:
        click.echo(json.dumps(found.as_json(), indent=2))
    else:
        _print(found)


def _print(view: LedgerView) -> None:
    out = console()
    out.print(
        f"Ledger of party {view.party} on {view.day}, {view.debits} debits. The most that one member can have spent, "
        f"on replacement; epsilon at delta {view.delta:g}."
    )
    table = Table("period", "from", "to", "spent", "limit", "left", "by measurement (rho)")
    for period in view.periods:
        table.add_row(
            period.period,
            period.first_day,
            period.last_day,
            _amount(period.rho, period.epsilon),
            _amount(period.limit, period.epsilon_limit),
            f"rho {period.remaining:.4g}",
            ", ".join(f"{name} {rho:.4g}" for name, rho in period.by_measurement.items()) or "-",
        )
    out.print(table)
    out.print(view.forecast_in_words())
    if view.last:
        last = Table("debit", "day", "measurement", "rho", "a member counts on", "made", title="Last debits")
        for debit in view.last:
            days = f"{debit.days_in_30} of 30, {debit.days_in_year} of 365 days"
            name = f"{debit.measurement} revision {debit.revision}"
            last.add_row(str(debit.sequence), debit.day, name, f"{debit.rho:.4g}", days, moment(debit.at_ms))
        out.print(last)


def _amount(rho: float, epsilon: float | None) -> str:
    return f"rho {rho:.4g}, epsilon {'without bound' if epsilon is None else f'{epsilon:.3g}'}"


@ledger.command()
@_party
@_trusted
@_json
@click.pass_obj
def verify(invocation: Invocation, party: str, trusted: Path | None, as_json: bool) -> None:
    """Check a party's ledger and its releases against each other and against the signed specs; 1 if anything is wrong.

    Limits are those of these settings: use the deployment's own.
    """
    topics = _topics(invocation, trusted)
    begun, shown = time.monotonic(), time.monotonic()

    def progress(count: int) -> None:
        nonlocal shown
        if time.monotonic() - shown >= _PROGRESS_SECONDS:
            shown = time.monotonic()
            click.echo(f"{count:,} releases checked, {shown - begun:.0f} s", err=True)

    findings = check(
        party,
        ledger=topics.ledger(party),
        releases=topics.releases(party),
        approved=topics.control().approved(),
        trusted=topics.trusted.identities,
        limits=limits_of(topics.settings),
        progress=progress,
    )
    if as_json:
        click.echo(json.dumps(_as_json(findings, topics), indent=2))
    else:
        _tell(findings, topics)
    if findings.problems:
        raise EvenstreamError(
            f"{len(findings.problems) + findings.more} problem(s) in the ledger and the releases of party {party}"
        )


def _tell(findings: Findings, topics: PublicTopics) -> None:
    for problem in findings.problems:
        click.echo(str(problem))
    if findings.more:
        click.echo(f"and {findings.more:,} more")
    for note in findings.notes:
        click.echo(f"note: {note}")
    for entry in findings.idle:
        debit = entry.debit
        click.echo(
            f"ledger-{findings.party} offset {entry.offset}: no release yet names this debit ({debit.measurement} "
            f"revision {debit.revision} on {debit.day})"
        )
    windows = ", ".join(f"{count:,} {status}" for status, count in sorted(findings.windows.items())) or "none"
    verdict = "NOT in order" if findings.problems else "in order"
    click.echo(
        f"party {findings.party}: {len(findings.entries):,} debits, windows: {windows}; "
        f"{findings.copies:,} further copies with the same bytes; {verdict}"
    )


def _as_json(findings: Findings, topics: PublicTopics) -> dict[str, object]:
    return {
        "party": findings.party,
        "in_order": not findings.problems,
        "problems": [
            {"topic": problem.topic, "offset": problem.offset, "text": problem.text} for problem in findings.problems
        ],
        "more_problems": findings.more,
        "notes": findings.notes,
        "debits": len(findings.entries),
        "windows": findings.windows,
        "copies": findings.copies,
        "debits_without_release": [entry.offset for entry in findings.idle],
        "read_up_to_offset": topics.read,
    }
