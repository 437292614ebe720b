"""``evenstream probabilities``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from streams.cli import Invocation
from streams.cli.audit import FILE, console
from streams.cli.models import group_model
from streams.members_file import load_members_file
from streams.model_check import check_members
from streams.report import model_check as report


@click.group()
def probabilities() -> None:
    """How well a company's own members match, in aggregates only."""


@probabilities.command()
@click.option("--members", type=FILE, required=True, help="JSONL of members' attributes, as `evenstream replay` takes.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.pass_obj
def check(invocation: Invocation, members: Path, as_json: bool) -> None:
    """Match rates, group shares and calibration of a sample of members. Nothing about a person is ever shown."""
    model = group_model(invocation)
    result = check_members(model, load_members_file(members, model))
    if as_json:
        click.echo(json.dumps(report.as_json(result), indent=2))
    else:
        report.as_text(result, console())
