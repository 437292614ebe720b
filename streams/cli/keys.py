"""``evenstream keys``."""

from __future__ import annotations

import click

from secure_agg.keyring import create
from streams.cli import Invocation


@click.group()
def keys() -> None:
    """Make the roles' keys."""


@keys.command()
@click.pass_obj
def init(invocation: Invocation) -> None:
    """Make every role's identity and state key, and one governance key, below keys.dir.

    One folder a role, private files with mode 0600: give each machine the folder of its own role and nothing else. The
    governance folder belongs to reviewers.
    """
    settings = invocation.settings()
    create(settings.keys.dir, settings.deployment)
    click.echo(
        f"keys of deployment {settings.deployment!r} are in {settings.keys.dir}: seal, attach, a, b, publish, and "
        "governance/reviewer-1.key. Keep them apart: whoever holds both a's and b's can undo the secrecy of rows"
    )
