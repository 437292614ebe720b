"""``evenstream alerts simulate``."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click

from privacy import Measurement
from streams.alert_simulation import campaign, report
from streams.alert_simulation.gaussian import SIGMA
from streams.alert_simulation.tasks import FULL, QUICK, Level, Terms, month_levels
from streams.cell_layout import layout_of
from streams.cli.audit import FILE, console
from streams.cli.measurement import read_spec
from streams.cli.replay import progress_line
from streams.errors import InputError

_DETECTORS = (1, 5, 50)
_WINDOWS, _QUICK_WINDOWS = 500, 100


@click.command()
@click.option("--false-alarm-windows", "windows", type=click.IntRange(20, 100_000), metavar="A",
              help=f"Windows to a false alarm of a level; default: {_WINDOWS}, quick {_QUICK_WINDOWS}.")  # fmt: skip
@click.option("--detectors", type=click.IntRange(1, 1_000), metavar="K",
              help="How many share the promise; default: 1, 5 and 50, one after the other.")  # fmt: skip
@click.option("--spec", type=FILE, help="A measurement's YAML: its own detectors, tolerated gaps and levels.")
@click.option("--runs", type=click.IntRange(2, 100_000),
              help=f"Of each Gaussian world, half of it with more than 5 detectors; default: {FULL.runs}, "
                   f"quick {QUICK.runs}.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Decides every figure.")
@click.option("--processes", type=click.IntRange(1, 64), default=1, show_default=True, help="To work on.")
@click.option("--quick", is_flag=True, help="Seconds instead of minutes, with larger errors.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.pass_context
def simulate(
    ctx: click.Context,
    windows: int | None,
    detectors: int | None,
    spec: Path | None,
    runs: int | None,
    seed: int,
    processes: int,
    quick: bool,
    as_json: bool,
) -> None:
    """What the alarms of gaps promise, measured: false alarms, delays, and how long an alarm outlasts its gap.

    The e-detector as `publish` runs it, beside a plain threshold and a CUSUM. Ends with 1 where a promise that is made
    does not hold; worlds that bend what it takes for granted are shown, whatever they give.
    """
    if spec is not None and detectors is not None:
        raise InputError("--detectors comes from the measurement: leave it out, or leave out --spec")
    a = windows or (_QUICK_WINDOWS if quick else _WINDOWS)
    if spec is None:
        terms = Terms(a, _DETECTORS if detectors is None else (detectors,), SIGMA, month_levels())
    else:
        terms = terms_of(read_spec(spec), a)
    size = QUICK if quick else FULL
    size = size if runs is None else replace(size, runs=runs)
    show: Callable[[int, int], None] = progress_line("simulations")
    found = campaign.simulate(terms, size, seed, show, processes)
    if as_json:
        click.echo(json.dumps(report.as_json(found), indent=2, allow_nan=False))
    else:
        report.as_text(found, console())
    if not all(promise.holds for promise in found.promises):
        ctx.exit(1)


def terms_of(measurement: Measurement, false_alarm_windows: int) -> Terms:
    """A measurement's own terms; runs without a gap are simulated at an A that does not take days."""
    compared = len(measurement.group_names) - 1
    alarms = measurement.alarms
    tolerated = [alarms.tolerated(each.metric) for each in layout_of(measurement).statistics() for _ in range(compared)]
    levels = tuple(
        Level(level.name, level.length_ms / 1000, alarms.false_alarm_windows(level.length_ms))
        for level in measurement.levels
    )
    return Terms(false_alarm_windows, (len(tolerated),), tuple(tolerated), levels, real_tables=False)
