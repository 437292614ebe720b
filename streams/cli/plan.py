"""``evenstream plan``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from estimator import GroupModel
from privacy import Measurement
from streams.audit import require_groups
from streams.cli import Invocation
from streams.cli.audit import CONFIDENCE, FILE, console
from streams.cli.measurement import read_spec
from streams.cli.models import group_model
from streams.cli.numbers import EPSILON, FileOrCount, Finite
from streams.errors import InputError
from streams.members_file import load_members_file
from streams.planning import (
    EPSILONS,
    PLACES,
    Assumptions,
    F,
    MeasurementPlan,
    mean_products,
    plan_measurement,
    products_for,
)
from streams.report import page, plots
from streams.report import plan as report
from streams.report import sizing as size_report
from streams.sizing import Size, load_of, size_of
from streams.sizing.deployment import MOST_WORKERS
from streams.sizing.load import MOST_MEMBERS, MOST_RATE

_SHARE = Finite(0, 1)
_COUNT = click.IntRange(1, MOST_WORKERS)


@click.command()
@click.option("--measurement", "specs", type=FILE, required=True, multiple=True,
              help="The measurement's YAML; no signature needed. Repeat it for more: sizes add up.")  # fmt: skip
@click.option("--rate", type=Finite(min=0, min_open=True), required=True,
              help="Rows a second that each measurement takes from events.")  # fmt: skip
@click.option("--members", "who", type=FileOrCount(MOST_MEMBERS), multiple=True, metavar="NUMBER|FILE",
              help="A number: what so many members take, as well. A file: JSONL of your own members' attributes; "
                   "default: adults of the U.S. Give both by repeating it.")  # fmt: skip
@click.option("--place", type=click.Choice(PLACES), default="zcta", show_default=True,
              help="Without a file of members: what is known of where members live.")  # fmt: skip
@click.option("--self-id", type=_SHARE, help="Share of rows with a Self-ID; default: that of the file, or 0.")
@click.option("--events-per-member-day", "per_day", type=Finite(min=1), default=1.0, show_default=True,
              help="Rows a day of a member who has any: the cap lets only some of them count.")  # fmt: skip
@click.option("--base-rate", type=Finite(0, 1, min_open=True, max_open=True), default=0.5, show_default=True,
              help="Of decision and outcome; one half is the widest.")  # fmt: skip
@click.option("--epsilon", "epsilons", type=EPSILON, multiple=True,
              help="Beside the spec's own; repeat it. Default: 0.5, 1, 2, 4 and 8.")  # fmt: skip
@click.option("--metric", help="Which metric tables and plots show; default: the first. JSON has all.")
@click.option("--confidence", type=CONFIDENCE, default=0.95, show_default=True, help="Of the intervals.")
@click.option("--rows-per-event", type=Finite(0, 10_000, min_open=True), default=1.0, show_default=True,
              help="For the size: 25 for a list of 25 candidates, 0.1 where one event in ten has a row.")  # fmt: skip
@click.option(
    "--partitions",
    type=_COUNT,
    help="For the size: topics.partitions, where they are made; default: the settings', or more.",
)
@click.option(
    "--source-partitions", type=_COUNT, help="For the size: of each source topic; default: as topics.partitions."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.option("--html", type=FILE, help="Write one self-contained page as well (needs matplotlib).")
@click.option("--plot", type=FILE, help="Write width against window length as .svg or .png (needs matplotlib).")
@click.pass_obj
def plan(
    invocation: Invocation,
    specs: tuple[Path, ...],
    rate: float,
    who: tuple[int | Path, ...],
    place: str,
    self_id: float | None,
    per_day: float,
    base_rate: float,
    epsilons: tuple[float, ...],
    metric: str | None,
    confidence: float,
    rows_per_event: float,
    partitions: int | None,
    source_partitions: int | None,
    as_json: bool,
    html: Path | None,
    plot: Path | None,
) -> None:
    """What a measurement will be able to say, before anyone approves it, and what it takes.

    Interval widths and detectable gaps; with a number of members also cores, memory, Kafka bytes and partitions.
    """
    if plot is not None and plot.suffix not in (".svg", ".png"):
        raise click.BadParameter(f"expected a name that ends in .svg or .png, got {plot.name!r}", param_hint="--plot")
    if plot is not None and len(specs) > 1:
        raise click.BadParameter(f"draws one measurement, got {len(specs)}", param_hint="--plot")
    path, count = _one_of_each(who)
    if count is None and (partitions or source_partitions or rows_per_event != 1):
        raise click.UsageError("--partitions, --source-partitions and --rows-per-event are for the size of a "
                               "deployment: give --members a number as well")  # fmt: skip
    if html is not None or plot is not None:
        plots.require_matplotlib()  # before the work, not after it
    measurements = _read_all(specs)
    size = None
    if count is not None:
        if max(rate, rate / rows_per_event) > MOST_RATE:
            raise click.BadParameter(f"expected at most {MOST_RATE:,.0f} events a second", param_hint="--rate")
        load = load_of(measurements, rate, rows_per_event, count, invocation.settings())
        size = size_of(load, partitions, source_partitions)
    made = []
    for measurement in measurements:
        products, coverage, named = _members(measurement, group_model(invocation), path, place)
        assumptions = Assumptions(
            rate=rate,
            events_per_member_day=per_day,
            base_rate=base_rate,
            self_id_share=coverage if self_id is None else self_id,
            members=named,
        )
        one = plan_measurement(measurement, products, assumptions, epsilons=epsilons or EPSILONS, confidence=confidence)
        if metric is not None and metric not in report.metrics(one):
            known = ", ".join(report.metrics(one))
            raise InputError(f"measurement {measurement.id!r} has no metric {metric!r}, only {known}")
        made.append(one)
    if as_json:
        click.echo(json.dumps(_json(made, size), indent=2))
    else:
        _print(made, size, metric)
    if html is not None:
        page.write(html, report.as_page(made, metric, () if size is None else size_report.as_page(size)))
        click.echo(f"the page is in {html}", err=True)
    if plot is not None:
        page.write(plot, plots.image(report.width_figure(made[0], metric), plot.suffix))
        click.echo(f"the plot is in {plot}", err=True)


def _one_of_each(given: Sequence[int | Path]) -> tuple[Path | None, int | None]:
    """The file and the number among what was given as --members."""
    paths = [one for one in given if isinstance(one, Path)]
    counts = [one for one in given if isinstance(one, int)]
    if len(paths) > 1 or len(counts) > 1:
        raise click.BadParameter("expected one file and one number at most", param_hint="--members")
    return paths[0] if paths else None, counts[0] if counts else None


def _read_all(specs: Sequence[Path]) -> list[Measurement]:
    measurements = [read_spec(spec) for spec in specs]
    names = [measurement.id for measurement in measurements]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"measurement {name!r} is named twice; name each once, in the revision that will run")
    return measurements


def _json(made: Sequence[MeasurementPlan], size: Size | None) -> dict[str, Any]:
    """One measurement's plan as it always was; of several a list."""
    plans = [report.as_json(one) for one in made]
    content = plans[0] if len(plans) == 1 else {"measurements": plans}
    return content if size is None else content | {"size": size_report.as_json(size)}


def _print(made: Sequence[MeasurementPlan], size: Size | None, metric: str | None) -> None:
    for one in made:
        report.as_text(one, console(), metric)
    if size is not None:
        size_report.as_text(size, console())


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
