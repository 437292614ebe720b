"""``evenstream schema``."""

from __future__ import annotations

import click

from streams.asyncapi import asyncapi_text
from streams.cli import Invocation
from streams.records.metric_schema import json_schema_text


@click.command()
@click.option(
    "--format",
    "form",
    type=click.Choice(["jsonschema", "asyncapi"]),
    default="jsonschema",
    show_default=True,
    help="JSON Schema 2020-12 of the record's value, or the whole topic as AsyncAPI 3.0.",
)
@click.pass_obj
def schema(invocation: Invocation, form: str) -> None:
    """Print what a record of the topic fairness-metrics is, made from the types that publish writes.

    The AsyncAPI document names this deployment, its partitions and its retention, as the settings have them.
    """
    text = json_schema_text() if form == "jsonschema" else asyncapi_text(invocation.settings())
    click.echo(text, nl=False)
