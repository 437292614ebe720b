"""``evenstream concern``: raise concerns about measurements, list, answer and close them."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import click

from secure_agg.keyring import load_governance
from streams.cli import Invocation
from streams.concern_book import KEPT
from streams.concerns import Concerns, HeldConcern
from streams.errors import InputError
from streams.governance import Governance
from streams.report.terminal import terminal_text

_REASONS = {
    "malformed": "no concerns at all",
    "older": f"older than the {KEPT:,} newest of their measurement",
    "repeated": "repeat an id, of which the first stands",
    "unknown_measurement": "about a measurement that is not approved",
}


@click.group()
def concern() -> None:
    """Raise a concern about a measurement; list, answer and close concerns."""


_id = click.argument("concern_id", metavar="CONCERN-ID")
_key = click.option("--key", type=click.Path(path_type=Path), required=True, help="The reviewer's private key file.")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _from_input(text: str | None) -> str:
    """The text that was given, or that comes on standard input."""
    if text not in (None, "-"):
        return str(text)
    if sys.stdin.isatty():
        click.echo("write the concern; end it with Ctrl-D on a line of its own", err=True)
    try:
        return click.get_text_stream("stdin", encoding="utf-8", errors="strict").read()
    except UnicodeDecodeError:
        raise InputError("standard input is not UTF-8 text; convert it first") from None


@concern.command("raise")
@click.option("--measurement", metavar="ID", required=True, help="Which it is about.")
@click.option("--text", metavar="T", help="What should be looked at; - or nothing reads standard input.")
@click.pass_obj
def raise_(invocation: Invocation, measurement: str, text: str | None) -> None:
    """Say what should be looked at. Kept: the measurement, the day and the text, and nothing about you."""
    concerns = Concerns(invocation.settings())
    concerns.require_measurement(measurement)
    found = concerns.put(measurement, _from_input(text), _now_ms())
    click.echo(f"your concern about {measurement} is with the reviewers, as {found.id}")


@concern.command("list")
@click.option("--measurement", metavar="ID", help="Only of this one.")
@click.option("--all", "closed", is_flag=True, help="Closed ones too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def list_(invocation: Invocation, measurement: str | None, closed: bool, as_json: bool) -> None:
    """Concerns that are open, by measurement, oldest first."""
    held, left_out = Concerns(invocation.settings()).listed(measurement, closed=closed)
    if as_json:
        click.echo(json.dumps({"concerns": [_as_json(h) for h in held], "left_out": dict(left_out)}, indent=2))
        return
    for entry in held:
        click.echo(_shown(entry))
    if not held:
        click.echo("no concerns" if closed else "no open concerns; --all lists closed ones")
    _tell_left_out(left_out)


def _tell_left_out(left_out: Counter[str]) -> None:
    if left_out:
        reasons = ", ".join(f"{count:,} {_REASONS[name]}" for name, count in sorted(left_out.items()))
        click.echo(f"left out, of all that is on the topic: {reasons}", err=True)


def _shown(held: HeldConcern) -> str:
    found = held.concern
    state = "open" if held.is_open else "closed"
    how = {"page": "on the page", "command": "by command"}[found.source]
    lines = [
        f"{found.id}  {found.measurement}  {found.day}  {state}, raised {how}",
        terminal_text(found.text, "  | "),
        *(f"  answer:\n{terminal_text(text, '  > ')}" for text in held.handled.answers),
    ]
    if held.handled.closed is not None:
        lines.append(f"  closed:\n{terminal_text(held.handled.closed, '  > ')}")
    return "\n".join(lines)


def _as_json(held: HeldConcern) -> dict[str, Any]:
    found = held.concern
    return {
        "id": found.id,
        "measurement": found.measurement,
        "day": found.day,
        "source": found.source,
        "state": "open" if held.is_open else "closed",
        "text": found.text,
        "answers": held.handled.answers,
        "closed": held.handled.closed,
    }


@concern.command()
@_id
@_key
@click.option("--text", metavar="T", required=True, help="The answer, in at most 2000 characters for everyone to read.")
@click.pass_obj
def answer(invocation: Invocation, concern_id: str, key: Path, text: str) -> None:
    """Answer a concern, signed, on the log of decisions; it stays open."""
    settings, private_key = invocation.settings(), load_governance(key)
    Concerns(settings).find(concern_id)
    Governance(settings).answer(concern_id, text, private_key, _now_ms())
    click.echo(f"concern {concern_id} is answered; it stays open until it is closed")


@concern.command()
@_id
@_key
@click.option("--text", metavar="T", default="closed", show_default=True, help="How it was dealt with.")
@click.pass_obj
def close(invocation: Invocation, concern_id: str, key: Path, text: str) -> None:
    """Close a concern, signed, on the log of decisions."""
    settings, private_key = invocation.settings(), load_governance(key)
    Concerns(settings).find(concern_id)
    Governance(settings).close(concern_id, text, private_key, _now_ms())
    click.echo(f"concern {concern_id} is closed")
