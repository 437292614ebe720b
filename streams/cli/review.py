"""``evenstream review``: the reviews that alarms open, and what reviewers decide about them."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from privacy.dispositions import CAUSES, DECISIONS, Disposition
from secure_agg.keyring import load_governance
from streams.cli import Invocation
from streams.report import alarms
from streams.report.terminal import terminal_line
from streams.review_book import Review
from streams.reviews import Reviews
from streams.settings import Settings


@click.group()
def review() -> None:
    """List the reviews that alarms opened; sign what was decided. Nothing changes a ranking automatically."""


_alarm = click.argument("alarm", metavar="ALARM")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _reviews(settings: Settings) -> Reviews:
    found = Reviews(settings)
    if found.passed_over is not None:
        click.echo(f"warning: {found.passed_over}", err=True)
    return found


@review.command("list")
@click.option("--open", "only_open", is_flag=True, help="Only those that are still to be decided.")
@click.option("--measurement", metavar="ID", help="Only of this one.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def list_(invocation: Invocation, only_open: bool, measurement: str | None, as_json: bool) -> None:
    """Reviews, open ones first, by their deadlines."""
    now_ms = _now_ms()
    found = [
        entry
        for entry in _reviews(invocation.settings()).all
        if measurement in (None, entry.alarm.measurement) and (entry.is_open or not only_open)
    ]
    if as_json:
        click.echo(json.dumps({"reviews": [alarms.as_json(entry, now_ms) for entry in found]}, indent=2))
        return
    for entry in found:
        click.echo(terminal_line(f"{entry.alarm.id}  {alarms.state_in_words(entry, now_ms)}"))
    if not found:
        click.echo("no open reviews; without --open decided ones are listed" if only_open else "no reviews")


@review.command()
@_alarm
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def show(invocation: Invocation, alarm: str, as_json: bool) -> None:
    """One alarm, its deadline, and everything that was decided about it."""
    found, now_ms = _reviews(invocation.settings()).find(alarm), _now_ms()
    if as_json:
        click.echo(json.dumps(alarms.as_json(found, now_ms), indent=2))
        return
    for line in _told(found, now_ms):
        click.echo(terminal_line(line))


def _told(found: Review, now_ms: int) -> list[str]:
    lines = [found.alarm.id, f"{alarms.in_words(found.alarm)}; {alarms.gap_in_words(found.alarm)}"]
    lines.append(alarms.state_in_words(found, now_ms))
    lines += [f"  record {each.sequence}: {alarms.disposition_in_words(each)}" for each in found.dispositions]
    if len(found.dispositions) > 1:
        lines.append("The last one stands that was not signed before the alarm.")
    if found.is_open:
        lines += [f"{alarms.NOTHING_CHANGES}. To decide:", f"  {alarms.command(found)}"]
    return lines


@review.command()
@_alarm
@click.option("--cause", type=click.Choice(tuple(CAUSES)), required=True, help="Why it came about.")
@click.option("--decision", type=click.Choice(tuple(DECISIONS)), required=True, help="What is to be done.")
@click.option("--follow-up", metavar="T", required=True, help="What happens next, and who does it, for all to read.")
@click.option("--reason", metavar="T", default="", help="What was found; needed where cause or decision is other.")
@click.option("--after", type=click.IntRange(min=0), metavar="N",
              help="The last word on the alarm that you have seen, by its record's number in `review show`; needed "
                   "where there is one.")  # fmt: skip
@click.option("--key", type=click.Path(path_type=Path), required=True, help="The reviewer's private key file.")
@click.pass_obj
def decide(
    invocation: Invocation,
    alarm: str,
    cause: str,
    decision: str,
    follow_up: str,
    reason: str,
    after: int | None,
    key: Path,
) -> None:
    """Sign what was decided about an alarm, on the log of decisions; one reviewer is enough, the last word stands.

    A word that you have not seen is not signed over: --after says which was the last that you saw.
    """
    settings, private_key = invocation.settings(), load_governance(key)
    reviews = _reviews(settings)
    disposition = Disposition(reviews.find(alarm).alarm.id, cause, decision, follow_up.strip(), reason.strip())
    reviews.decide(disposition, private_key, _now_ms(), after)
    closed = "decided" if disposition.closes else "still open, with its deadline"
    click.echo(f"signed: cause {cause}, decision {decision}. The review of {alarm} is {closed}")
    click.echo(f"{alarms.NOTHING_CHANGES}: what was decided is for people to do")
