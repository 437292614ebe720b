"""``evenstream alerts``."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

import click
from rich.table import Table

from streams.cli import Invocation
from streams.cli.alerts_simulate import simulate
from streams.cli.audit import console
from streams.cli.numbers import Finite
from streams.errors import InputError
from streams.watch.rules import ALERTS, RECORDINGS, Format, Values, read_values
from streams.watch.rules import render as render_rules

_VALUES = click.option(
    "--values", "path", type=click.Path(path_type=Path, dir_okay=False),
    help="YAML file that tunes alerts, or switches them off (docs/metrics.md).",
)  # fmt: skip


@click.group()
def alerts() -> None:
    """Rules for Prometheus, and what each alert means."""


alerts.add_command(simulate)


def _values(path: Path | None) -> Values:
    return Values() if path is None else read_values(path, ALERTS)


@alerts.command()
@click.option("--format", "output", type=click.Choice(get_args(Format)), default="prometheus", show_default=True,
              help="A rules file, or a PrometheusRule for the Prometheus operator.")  # fmt: skip
@_VALUES
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write here, not to standard output.")
@click.option("--time-scale", type=Finite(1, 86_400), default=1.0, show_default=True,
              help="Divide every time span by this, for tests that cannot wait.")  # fmt: skip
@click.pass_obj
def render(invocation: Invocation, output: Format, path: Path | None, out: Path | None, time_scale: float) -> None:
    """Write the recording and alerting rules as YAML, for Prometheus 2.42 or newer."""
    text = render_rules(_values(path), output, time_scale)
    if out is None:
        click.echo(text, nl=False)
        return
    if not out.absolute().parent.is_dir():
        raise InputError(f"the rules cannot be written to {out}: there is no folder {out.absolute().parent}")
    out.write_text(text)


@alerts.command(name="list")
@_VALUES
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.pass_obj
def list_alerts(invocation: Invocation, path: Path | None, as_json: bool) -> None:
    """Every alert: when it fires, and what can be tuned; and every series that is worked out beforehand."""
    rows = _rows(_values(path))
    if as_json:
        recorded = [{"name": rule.name, "meaning": rule.meaning} for rule in RECORDINGS.values()]
        click.echo(json.dumps({"alerts": [asdict(row) for row in rows], "recorded": recorded}, indent=2))
        return
    table = Table(title="alerts", title_justify="left", show_lines=True)
    for column in ("alert", "severity", "fires when", "parameters"):
        table.add_column(column, overflow="fold")
    for row in rows:
        parameters = "\n".join(f"{name}: {value}" for name, value in row.parameters.items())
        table.add_row(row.name, row.severity if row.enabled else "switched off", row.meaning, parameters)
    shown = console()
    shown.print(table)
    series = Table(title="series that are recorded", title_justify="left")
    for column in ("series", "what it holds"):
        series.add_column(column, overflow="fold")
    for rule in RECORDINGS.values():
        series.add_row(rule.name, rule.meaning)
    shown.print(series)


@dataclass(frozen=True)
class _Row:
    name: str
    severity: str
    enabled: bool
    meaning: str
    parameters: dict[str, str]
    runbook: str


def _rows(values: Values) -> list[_Row]:
    rows = []
    for alert in ALERTS.values():
        tuning, known = values.tuning(alert), alert.tunable()
        shown = {name: known[name].shown(value) for name, value in tuning.parameters.items()}
        page = f"{values.runbooks.rstrip('/')}/{alert.name}.md"
        rows.append(_Row(alert.name, tuning.severity, tuning.enabled, alert.meaning, shown, page))
    return rows
