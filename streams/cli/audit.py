"""``evenstream audit``."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import click
from rich.console import Console

from streams.audit import audit as run_audit
from streams.cli import Invocation
from streams.cli.measurement import read_spec
from streams.cli.models import group_model
from streams.cli.numbers import EPSILON, Finite
from streams.cli.replay import progress_line
from streams.file_rows import counted_rows
from streams.members_file import load_members_file
from streams.replay import read_events
from streams.report import audit as report
from streams.report import page, plots

FILE = click.Path(path_type=Path, dir_okay=False)
CONFIDENCE = Finite(0, 1, min_open=True, max_open=True)


def console() -> Console:
    """Text on standard output: as wide as the terminal, or 120 columns where it is read by something else."""
    return Console(width=None if sys.stdout.isatty() else 120)


@click.command()
@click.option("--events", type=FILE, required=True, help="JSONL of events, as `evenstream replay` takes it.")
@click.option("--members", type=FILE, required=True, help="JSONL of members' attributes.")
@click.option("--measurement", "spec", type=FILE, required=True, help="The measurement's YAML; no signature needed.")
@click.option("--epsilon", type=EPSILON, help="Add the noise of this much a member-day.")
@click.option("--level", help="One result for each window of this level; without it the file is one window.")
@click.option("--confidence", type=CONFIDENCE, default=0.95, show_default=True, help="Of the intervals.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.option("--html", type=FILE, help="Write one self-contained page as well (needs matplotlib).")
@click.pass_obj
def audit(
    invocation: Invocation,
    events: Path,
    members: Path,
    spec: Path,
    epsilon: float | None,
    level: str | None,
    confidence: float,
    as_json: bool,
    html: Path | None,
) -> None:
    """The monitor's mathematics over a file, without Kafka: for planning and research.

    Without --epsilon the figures are exact and NOT private: for use inside the company only.
    """
    if html is not None:
        plots.require_matplotlib()  # before the work, not after it
    measurement = read_spec(spec)
    model = group_model(invocation)
    people = load_members_file(members, model)
    untimed: Counter[str] = Counter()
    log = read_events(events, measurement, untimed)
    rows = counted_rows(log, measurement, people, progress_line("events"), untimed)
    result = run_audit(measurement, rows, people, model, level=level, epsilon=epsilon, confidence=confidence)
    if result.statement is not None:
        # Exact counts are for whoever holds the log, and have no place beside noised figures.
        for name, count in report.counted(result):
            click.echo(f"{count:>12}  {name}", err=True)
    if as_json:
        click.echo(json.dumps(report.as_json(result), indent=2))
    else:
        report.as_text(result, console())
    if html is not None:
        page.write(html, report.as_page(result))
        click.echo(f"the page is in {html}", err=True)
