"""``evenstream settings``."""

from __future__ import annotations

import json

import click

from streams.cli import Invocation
from streams.settings import reference


@click.command()
@click.option("--current", is_flag=True, help="Show the values in force, instead of the reference.")
@click.pass_obj
def settings(invocation: Invocation, current: bool) -> None:
    """Print every setting: its name, its default, its meaning with its unit.

    A setting comes from --set NAME=VALUE, the environment (EVENSTREAM_KAFKA__BOOTSTRAP for kafka.bootstrap), a YAML
    file (--config), or its default, in this order.
    """
    if current:
        # Values of librdkafka properties may be passwords.
        shown = invocation.settings().model_dump(mode="json")
        for name, value in shown["kafka"].items():
            if name.endswith("properties"):
                shown["kafka"][name] = dict.fromkeys(value, "(set)")
        click.echo(json.dumps(shown, indent=2))
        return
    click.echo("| setting | default | meaning, unit | environment |\n|---|---|---|---|")
    for setting in reference():
        default = f"`{setting.default}`" if setting.default else ""
        click.echo(f"| `{setting.name}` | {default} | {setting.meaning} | `{setting.environment}` |")
