"""``evenstream canary``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option("--short", is_flag=True, help="End each role by one signal instead of three.")
@click.option("--dir", "folder", type=click.Path(path_type=Path), default=Path(".evenstream/canary"), show_default=True,
              help="Folder of the run's data, keys and logs; each run takes a new one below it.")  # fmt: skip
def canary(short: bool, folder: Path) -> None:
    """Send unmistakable members through the whole system, on a Kafka of its own, and search for what is left of them.

    Roles are killed and made to fail with members' data in their hands. Then topics, the broker's disk, logs, metrics,
    keys, /proc, core dumps and memory are searched. Exit code 0 means 0 finds, by a search that found all that was
    planted for it.
    """
    from rich.console import Console

    from streams.canary.report import show
    from streams.canary.run import run

    console = Console()
    if not console.is_terminal:
        console = Console(width=130)  # a log file has no width of its own
    outcome = run(folder, lambda line: console.print(line, highlight=False, markup=False), short=short)
    show(console, outcome)
    raise SystemExit(0 if outcome.clean else 1)
