"""``evenstream keys``."""

from __future__ import annotations

import click

from secure_agg.keyring import MOST_REVIEWERS, create
from streams.cli import Invocation
from streams.errors import SettingsError


@click.group()
def keys() -> None:
    """Make the roles' keys."""


@keys.command()
@click.option(
    "--reviewers",
    type=click.IntRange(1, MOST_REVIEWERS),
    default=3,
    show_default=True,
    help="How many governance keys; keys.governance_threshold of them must approve a measurement.",
)
@click.pass_obj
def init(invocation: Invocation, reviewers: int) -> None:
    """Make every role's identity and state key, the reviewers' governance keys and an operator's, below keys.dir.

    One folder a role, private files with mode 0600: give each machine the folder of its own role and nothing else. The
    governance folder belongs to reviewers: each gets one key, reviewer-1.key and so on, and trusted.json. The operator
    folder belongs to whoever is on call: its key lets a stopped partition go on (`evenstream skip`).
    """
    settings = invocation.settings()
    threshold = settings.keys.governance_threshold
    if threshold > reviewers:
        raise SettingsError(
            f"keys.governance_threshold is {threshold}, but only {reviewers} governance keys would be made: nothing "
            f"could ever be approved. Use --reviewers {threshold} or more, or lower the threshold"
        )
    create(settings.keys.dir, settings.deployment, reviewers)
    click.echo(
        f"keys of deployment {settings.deployment!r} are in {settings.keys.dir}: seal, attach, a, b, publish, "
        f"operator, and governance ({reviewers} reviewers, {threshold} must approve). Keep them apart: whoever holds "
        "both a's and b's can undo the secrecy of rows, and whoever holds several reviewers' keys is all of them"
    )
