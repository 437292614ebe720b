"""``evenstream chaos``."""

from __future__ import annotations

import secrets
from pathlib import Path

import click


@click.command()
@click.option(
    "--minutes",
    type=click.FloatRange(0.5, 240),
    default=8.0,
    show_default=True,
    help="How long faults are injected, about; 8 gives at least 60 kills of roles.",
)
@click.option("--seed", type=click.IntRange(0, (1 << 32) - 1), help="Replay a schedule of faults (default: drawn).")
@click.option("--rate", type=click.IntRange(10, 900), default=200, show_default=True, help="Events a second.")
@click.option(
    "--members",
    type=click.IntRange(1_000, 9_999_999),
    default=50_000,
    show_default=True,
    help="Members, all of whom attach must load when it is killed.",
)
@click.option(
    "--lateness",
    type=click.IntRange(5, 120),
    default=30,
    show_default=True,
    help="Seconds that a row may be late; longer than a broker is away, else rows are refused.",
)
@click.option("--only", multiple=True, metavar="KIND", help="Leave the schedule at this kind of fault; repeatable.")
@click.option("--dir", "folder", type=click.Path(path_type=Path), default=Path(".evenstream/chaos"), show_default=True,
              help="Folder of the run's data, keys and logs; each run takes a new one below it.")  # fmt: skip
def chaos(
    minutes: float, seed: int | None, rate: int, members: int, lateness: int, only: tuple[str, ...], folder: Path
) -> None:
    """Kill anything at any time, and show that every row counts exactly once.

    Starts a Kafka and the five roles, lets traffic flow in which every row is alone in its cell, kills roles and broker
    by a schedule, and holds what came out against an oracle. Exit code 0 means that nothing falls short.
    """
    from streams.chaos.run import Options
    from streams.chaos.schedule import KINDS
    from streams.chaos.screen import run

    unknown = sorted(set(only) - set(KINDS))
    if unknown:
        raise click.BadParameter(f"{', '.join(unknown)}: name {', '.join(KINDS)}", param_hint="--only")
    seed = secrets.randbelow(1 << 32) if seed is None else seed
    raise SystemExit(run(folder, Options(seed, minutes, rate, members, lateness, only)))
