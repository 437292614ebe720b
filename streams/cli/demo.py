"""``evenstream demo``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option("--keep", is_flag=True, help="Keep roles and metrics up until Ctrl-C, after traffic has stopped.")
@click.option("--secure", is_flag=True, help="On a Kafka with TLS, SCRAM and ACLs, and one principal a role.")
@click.option("--dir", "folder", type=click.Path(path_type=Path), default=Path(".evenstream/demo"), show_default=True,
              help="Folder of the run's data, keys and logs; each run takes a new one below it.")  # fmt: skip
def demo(keep: bool, secure: bool, folder: Path) -> None:
    """The main job, live, on this machine: three minutes, ending with a result to judge.

    Starts Kafka (or uses KAFKA_BOOTSTRAP), the five roles as processes, a simulated feed whose recommender turns unfair
    on a minute's boundary, and a real log. Exit code 0 means that the result is what it must be.
    """
    from streams.demo.run import run

    raise SystemExit(run(folder, keep=keep, secure=secure))
