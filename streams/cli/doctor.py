"""``evenstream doctor``."""

from __future__ import annotations

import time
from pathlib import Path

import click

from secure_agg import KeyFileError, Trusted
from streams.cli import Invocation
from streams.cli.audit import console
from streams.doctor.examination import BETWEEN_SECONDS, Doctor, examine
from streams.doctor.findings import exit_status
from streams.doctor.report import as_json, show
from streams.public_topics import trusted_keys
from streams.settings import Settings
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
@click.option("--watch", type=click.FloatRange(1.0), metavar="SECONDS", help="Look again and again, until Ctrl-C.")
@click.option("--json", "as_machine", is_flag=True, help="Print JSON instead of text.")
@click.pass_context
def doctor(
    ctx: click.Context, named: tuple[str, ...], token_file: Path | None, trusted: Path | None, watch: float | None,
    as_machine: bool,
) -> None:  # fmt: skip
    """Say why a pipeline stands still: which role, which partition, which window, and what to do.

    Looks twice, some seconds apart. Ends with 0 where all is well, 1 where something is wrong, 2 where something could
    not be looked at. Writes nothing, and needs no private key.
    """
    invocation: Invocation = ctx.obj
    settings = invocation.settings()
    known = token_file or settings.http.token_file
    token = None if known is None else token_of(known)
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
