"""``evenstream budget``."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import get_args

import click

from privacy import Measurement, Period, solve
from streams.budget_plan import plan_budget
from streams.cli import Invocation
from streams.cli.audit import FILE, console
from streams.cli.measurement import read_spec
from streams.cli.numbers import EPSILON
from streams.control import limits_of
from streams.report import budget as report


@click.group()
def budget() -> None:
    """What measurements cost each member."""


@budget.command()
@click.argument("specs", nargs=-1, required=True, type=FILE, metavar="SPEC...")
@click.option("--epsilon", type=EPSILON, help="Solve rho_member_day of each spec for this much, at the spec's delta.")
@click.option("--per", type=click.Choice(get_args(Period)), default="member-day", show_default=True,
              help="The period of --epsilon.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.pass_obj
def plan(invocation: Invocation, specs: tuple[Path, ...], epsilon: float | None, per: Period, as_json: bool) -> None:
    """What each level, channel and window gets, and what a member pays over a day, 30 days and a year.

    SPEC is a measurement's YAML; several are shown together as well, next to the registry's limits. Signs nothing,
    sends nothing.
    """
    measurements = [read_spec(spec) for spec in specs]
    if epsilon is not None:
        measurements = [solve(spec, epsilon, spec.privacy.delta, per) for spec in measurements]
    found = plan_budget(measurements, limits_of(invocation.settings()), time.time_ns() // 1_000_000)
    if as_json:
        target = None if epsilon is None else (epsilon, per)
        click.echo(json.dumps(report.as_json(found, target), indent=2))
        return
    if epsilon is not None:
        _say_solved(measurements, specs, epsilon, per)
    report.as_text(found, console())


def _say_solved(measurements: list[Measurement], specs: tuple[Path, ...], epsilon: float, per: Period) -> None:
    for spec, path in zip(measurements, specs, strict=True):
        click.echo(
            f"{path}: epsilon {epsilon:g} per {per} (replacement, delta {spec.privacy.delta:g}) is met by this line "
            "under privacy:"
        )
        click.echo(report.yaml_line(spec))
