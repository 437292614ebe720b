"""``evenstream simulate``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import get_args

import click
import numpy as np

from streams.cli import Invocation
from streams.cli.numbers import Finite
from streams.cli.replay import progress_line
from streams.errors import InputError
from streams.feed import Feed
from streams.simulate import (
    DEFAULT_GAP,
    RECOMMENDED_RATIO,
    Disparity,
    SimulatedMembers,
    SimulatedRecommender,
    run_traffic,
)

_POSITIVE = Finite(min=0, min_open=True)


@click.command()
@click.option("--topic", help="Source topic; default DEPLOYMENT.rec-events.")
@click.option("--members", type=click.IntRange(min=1), default=200_000, show_default=True, help="How many members.")
@click.option("--rate", type=_POSITIVE, default=2_000.0, show_default=True, help="Events a second.")
@click.option("--duration", type=_POSITIVE, default=120.0, show_default=True, help="Seconds.")
@click.option("--unfair-after", type=float, help="Seconds after which the recommender is unfair; default never.")
@click.option(
    "--disparity",
    type=click.Choice(get_args(Disparity)),
    default="direct",
    show_default=True,
    help="What then is planted: by race, by the black share of adults in the member's ZCTA, or nothing.",
)
@click.option(
    "--gap",
    type=Finite(0, RECOMMENDED_RATIO),
    default=DEFAULT_GAP,
    show_default=True,
    help=f"How much: off the rate of {RECOMMENDED_RATIO} of black members, or of an all-black ZCTA.",
)
@click.option("--self-id", type=Finite(0, 1), default=0.0, show_default=True,
              help="Share of members, at random, who say their group.")  # fmt: skip
@click.option("--seed", default=20_261_124, show_default=True, help="Seed of the simulation.")
@click.option("--truth", type=click.Path(path_type=Path), default=Path("truth.npz"), show_default=True,
              help="Where the truth goes; no role reads it.")  # fmt: skip
@click.pass_obj
def simulate(
    invocation: Invocation,
    topic: str | None,
    members: int,
    rate: float,
    duration: float,
    unfair_after: float | None,
    disparity: Disparity,
    gap: float,
    self_id: float,
    seed: int,
    truth: Path,
) -> None:
    """Feed a simulated population with a known truth, at a chosen rate (measurement: examples/simulated-feed)."""
    if not truth.absolute().parent.is_dir():
        raise InputError(f"the truth cannot be written to {truth}: there is no folder {truth.absolute().parent}")
    settings = invocation.settings()
    rng = np.random.default_rng(seed)
    population = SimulatedMembers(rng, members, self_id)
    feed = Feed(settings)
    feed.send_all(settings.topic("member-attributes"), population.attributes())
    click.echo(f"{members:,} members written", err=True)
    start_ms = time.time_ns() // 1_000_000
    unfair_from = None if unfair_after is None else start_ms + round(unfair_after * 1000)
    recommender = SimulatedRecommender(rng, population, unfair_from, disparity, gap)
    run_traffic(
        feed,
        topic or settings.topic("rec-events"),
        recommender,
        rate=rate,
        start_ms=start_ms,
        end_ms=start_ms + round(duration * 1000),
        progress=progress_line("events"),
    )
    recommender.write_truth(truth)
    click.echo(f"the truth is in {truth}", err=True)
