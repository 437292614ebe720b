"""``evenstream doctor``."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import click

from secure_agg import KeyFileError, Trusted
from streams.cli import Invocation
from streams.cli.audit import console
from streams.doctor.examination import BETWEEN_SECONDS, Doctor, examine
from streams.doctor.findings import Finding, exit_status
from streams.doctor.readiness import examination as readiness
from streams.doctor.readiness import progress
from streams.doctor.readiness.subject import Subject
from streams.doctor.report import as_json, line, show
from streams.doctor.workers import addresses
from streams.public_topics import trusted_keys
from streams.settings import PRINCIPALS, Settings
from streams.watch.access import token_of


@click.command()
@click.option(
    "--role", "named", multiple=True, metavar="ROLE=HOST:PORT",
    help="Where a worker answers; default: its default port here. A further worker is ROLE.SHARD; https:// or http:// "
    "before HOST says how, whatever the settings say.",
)  # fmt: skip
@click.option(
    "--token-file", type=click.Path(path_type=Path, dir_okay=False),
    help="A file with the bearer token of the roles' addresses; default: http.token_file.",
)  # fmt: skip
@click.option(
    "--trusted", type=click.Path(path_type=Path),
    help="A trusted.json, the public keys (default: that of keys.dir/operator or keys.dir/governance).",
)  # fmt: skip
@click.option(
    "--as", "role", type=click.Choice(PRINCIPALS),
    help="Look at one role instead, with its own settings and credentials, before it starts or beside it.",
)  # fmt: skip
@click.option(
    "--wait-for-progress", "wait_seconds", type=click.FloatRange(0.0), metavar="SECONDS",
    help="With --as: then wait until the role's workers are ready and have moved since the command began.",
)  # fmt: skip
@click.option("--watch", type=click.FloatRange(1.0), metavar="SECONDS", help="Look again and again, until Ctrl-C.")
@click.option("--json", "as_machine", is_flag=True, help="Print JSON instead of text.")
@click.pass_context
def doctor(
    ctx: click.Context, named: tuple[str, ...], token_file: Path | None, trusted: Path | None, role: str | None,
    wait_seconds: float | None, watch: float | None, as_machine: bool,
) -> None:  # fmt: skip
    """Say why a pipeline stands still: which role, which partition, which window, and what to do.

    Looks twice, some seconds apart. Ends with 0 where all is well, 1 where something is wrong, 2 where something could
    not be looked at. Writes nothing, and needs no private key.

    With --as ROLE it says what would keep that role from working: brokers, credentials, ACLs, topics, keys, clock,
    measurements, memory; run it where the role runs, with the role's settings. It ends with the same statuses.
    """
    if role is None and wait_seconds is not None:
        raise click.UsageError("--wait-for-progress waits for one role: name it with --as")
    if role is not None and watch is not None:
        raise click.UsageError("--watch looks at a whole pipeline again and again: leave --as out")
    invocation: Invocation = ctx.obj
    settings = invocation.settings()
    if role is not None:
        ctx.exit(
            _as_role(Subject(settings, role, trusted, named, _token(settings, token_file)), wait_seconds, as_machine)
        )
    token = _token(settings, token_file)
    examiner = Doctor(settings, _trusted(settings, trusted), named, token)
    before, pause = examiner.look(), BETWEEN_SECONDS
    while True:
        time.sleep(pause)
        now = examiner.look()
        findings = examine(before, now)
        if as_machine:
            click.echo(as_json(before, now, findings))
        else:
            show(before, now, findings, console())
        if watch is None:
            ctx.exit(exit_status(findings))
        before, pause = now, watch


def _as_role(subject: Subject, wait_seconds: float | None, as_machine: bool) -> int:
    """What would keep one role from working, line by line; the exit status."""
    addresses(subject.settings, subject.named, None)  # a --role that is none is a mistake, and nothing to be found
    watched = progress.begin(subject) if wait_seconds is not None else ()
    findings = readiness.examine(subject)
    shown = 0 if as_machine else _show(findings)
    if wait_seconds is not None:
        waits = partial(progress.wait, watched=watched, seconds=wait_seconds, say=partial(click.echo, err=True))
        findings += readiness.asked(progress.CHECK, waits, subject)
    if as_machine:
        click.echo(readiness.as_json(subject, findings))
    else:
        _show(findings[shown:])
    return exit_status(findings)


def _show(findings: list[Finding]) -> int:
    for finding in findings:
        click.echo(line(finding))
    return len(findings)


def _token(settings: Settings, path: Path | None) -> str | None:
    known = path or settings.http.token_file
    return None if known is None else token_of(known)


def _trusted(settings: Settings, path: Path | None) -> Trusted | None:
    """The public keys; None where none were named and none lie in the usual places."""
    if path is not None:
        return trusted_keys(settings, path)
    for folder in ("operator", "governance"):
        try:
            return trusted_keys(settings, settings.keys.dir / folder)
        except KeyFileError:
            continue
    return None
