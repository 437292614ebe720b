"""``evenstream plan``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from estimator import GroupModel
from privacy import Measurement
from streams.audit import require_groups
from streams.cli import Invocation
from streams.cli.audit import CONFIDENCE, FILE, console
from streams.cli.measurement import read_spec
from streams.cli.models import group_model
from streams.cli.numbers import EPSILON, Finite
from streams.errors import InputError
from streams.members_file import load_members_file
from streams.planning import EPSILONS, PLACES, Assumptions, F, mean_products, plan_measurement, products_for
from streams.report import page, plots
from streams.report import plan as report

_SHARE = Finite(0, 1)


@click.command()
@click.option("--measurement", "spec", type=FILE, required=True, help="The measurement's YAML; no signature needed.")
@click.option("--rate", type=Finite(min=0, min_open=True), required=True,
              help="Rows a second that the measurement takes from events.")  # fmt: skip
@click.option("--members", type=FILE, help="JSONL of your own members' attributes; default: adults of the U.S.")
@click.option("--place", type=click.Choice(PLACES), default="zcta", show_default=True,
              help="Without --members: what is known of where members live.")  # fmt: skip
@click.option("--self-id", type=_SHARE, help="Share of rows with a Self-ID; default: that of --members, or 0.")
@click.option("--events-per-member-day", "per_day", type=Finite(min=1), default=1.0, show_default=True,
              help="Rows a day of a member who has any: the cap lets only some of them count.")  # fmt: skip
@click.option("--base-rate", type=Finite(0, 1, min_open=True, max_open=True), default=0.5, show_default=True,
              help="Of decision and outcome; one half is the widest.")  # fmt: skip
@click.option("--epsilon", "epsilons", type=EPSILON, multiple=True,
              help="Beside the spec's own; repeat it. Default: 0.5, 1, 2, 4 and 8.")  # fmt: skip
@click.option("--metric", help="Which metric tables and plots show; default: the first. JSON has all.")
@click.option("--confidence", type=CONFIDENCE, default=0.95, show_default=True, help="Of the intervals.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.option("--html", type=FILE, help="Write one self-contained page as well (needs matplotlib).")
@click.option("--plot", type=FILE, help="Write width against window length as .svg or .png (needs matplotlib).")
@click.pass_obj
def plan(
    invocation: Invocation,
    spec: Path,
    rate: float,
    members: Path | None,
    place: str,
    self_id: float | None,
    per_day: float,
    base_rate: float,
    epsilons: tuple[float, ...],
    metric: str | None,
    confidence: float,
    as_json: bool,
    html: Path | None,
    plot: Path | None,
) -> None:
    """What a measurement will be able to say, before anyone approves it: interval widths and detectable gaps."""
    if plot is not None and plot.suffix not in (".svg", ".png"):
        raise click.BadParameter(f"expected a name that ends in .svg or .png, got {plot.name!r}", param_hint="--plot")
    if html is not None or plot is not None:
        plots.require_matplotlib()  # before the work, not after it
    measurement = read_spec(spec)
    products, coverage, who = _members(measurement, group_model(invocation), members, place)
    assumptions = Assumptions(
        rate=rate,
        events_per_member_day=per_day,
        base_rate=base_rate,
        self_id_share=coverage if self_id is None else self_id,
        members=who,
    )
    made = plan_measurement(measurement, products, assumptions, epsilons=epsilons or EPSILONS, confidence=confidence)
    if metric is not None and metric not in report.metrics(made):
        raise InputError(f"the measurement has no metric {metric!r}, only {', '.join(report.metrics(made))}")
    if as_json:
        click.echo(json.dumps(report.as_json(made), indent=2))
    else:
        report.as_text(made, console(), metric)
    if html is not None:
        page.write(html, report.as_page(made, metric))
        click.echo(f"the page is in {html}", err=True)
    if plot is not None:
        page.write(plot, plots.image(report.width_figure(made, metric), plot.suffix))
        click.echo(f"the plot is in {plot}", err=True)


def _members(measurement: Measurement, model: GroupModel, path: Path | None, place: str) -> tuple[F, float, str]:
    """M / n, the share with a Self-ID, and who they are, in words."""
    if path is None:
        return products_for(measurement, model, place), 0.0, f"adults of the United States, names and {place} known"
    require_groups(measurement, model)
    people = load_members_file(path, model)
    counting = ~people.opted_out
    if not counting.any():
        raise InputError(f"{path}: all members opted out, or their records cannot be read")
    products = mean_products(people.probabilities(model)[counting])
    return products, float(people.said[counting].mean()), f"those of {path.name}, each as active as the others"
