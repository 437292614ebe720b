"""``evenstream transparency``."""

from __future__ import annotations

import time
from pathlib import Path

import click

from streams.cli import Invocation
from streams.kafka.clients import wait_for_kafka
from streams.public_topics import PublicTopics, trusted_keys
from streams.report import page
from streams.report.transparency import document
from streams.transparency import gather


@click.command()
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, metavar="FOLDER",
              help="Where transparency.html and transparency.md go; it is made if need be.")  # fmt: skip
@click.option("--trusted", type=click.Path(path_type=Path),
              help="A trusted.json, the public keys (default: that of keys.dir/governance).")  # fmt: skip
@click.pass_obj
def transparency(invocation: Invocation, out: Path, trusted: Path | None) -> None:
    """Write the public page: what is measured, by whose approval, at what cost, and how to opt out. Needs public keys.

    Every figure is read from the running system now; what cannot be read is said to be missing.
    """
    settings = invocation.settings()
    keys = trusted_keys(settings, trusted)
    wait_for_kafka(settings, settings.kafka.request_timeout_seconds)
    made = document(gather(PublicTopics(settings, keys), time.time_ns() // 1_000_000))
    out.mkdir(parents=True, exist_ok=True)
    for name, content in (("transparency.html", made.html()), ("transparency.md", made.markdown())):
        page.write(out / name, content)
        click.echo(str(out / name))
