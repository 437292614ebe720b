"""``evenstream seal | attach | aggregate | publish | up``."""

from __future__ import annotations

from pathlib import Path

import click

from streams.cli import Invocation
from streams.errors import InputError
from streams.log import configure_logging
from streams.settings import load_settings


@click.command()
@click.pass_obj
def seal(invocation: Invocation) -> None:
    """Run the role seal: events in, sealed batches out."""
    from streams.roles import run_seal

    run_seal.run(invocation.settings())


@click.command()
@click.pass_obj
def attach(invocation: Invocation) -> None:
    """Run the role attach: sealed batches in, shares out."""
    from streams.roles import run_attach

    run_attach.run(invocation.settings())


@click.command()
@click.option("--party", type=click.Choice(["a", "b"]), required=True, help="Which half.")
@click.pass_obj
def aggregate(invocation: Invocation, party: str) -> None:
    """Run one party: shares in, noised releases out. One worker a party; a second one takes its place."""
    from streams.roles import run_aggregate

    run_aggregate.run(invocation.settings(), party)


@click.command()
@click.pass_obj
def publish(invocation: Invocation) -> None:
    """Run the role publish: releases in, fairness-metrics and /metrics out."""
    from streams.roles import publish_app

    publish_app.run(invocation.settings())


@click.command()
@click.option("--seal-workers", type=click.IntRange(1, 64), default=1, help="How many workers of seal to start.")
@click.option("--attach-workers", type=click.IntRange(1, 64), default=1, help="How many workers of attach to start.")
@click.option(
    "--configs", type=click.Path(path_type=Path, exists=True, file_okay=False), metavar="FOLDER",
    help="Settings files of the roles, FOLDER/ROLE.yaml, each with its own Kafka credentials.",
)  # fmt: skip
@click.pass_obj
def up(invocation: Invocation, seal_workers: int, attach_workers: int, configs: Path | None) -> None:
    """Run all five roles on this machine and restart what dies. Ctrl-C stops them.

    How many workers of a role are at work says `evenstream scale`; those beyond stand by.

    For development and trials: a machine that runs both parties can put their halves together.
    """
    from streams.roles.process import stop_on_signals
    from streams.roles.supervisor import COMMANDS, Supervisor, workers_of

    own = {} if configs is None else {role: configs / f"{role}.yaml" for role in COMMANDS}
    missing = [str(path) for path in own.values() if not path.is_file()]
    if missing:
        raise InputError(f"--configs needs one settings file a role; missing: {', '.join(missing)}")
    configure_logging("up", invocation.settings().logging)
    workers = workers_of(seal_workers, attach_workers)
    addresses = {worker: _address(invocation, own, worker) for worker in workers}
    Supervisor(invocation.arguments(), configs=own, addresses=addresses).run(stop_on_signals(), workers)


def _address(invocation: Invocation, own: dict[str, Path], worker: str) -> tuple[str, int]:
    """Where a worker will answer /healthz; where it takes any free port (``http.port`` is 0), nobody can know."""
    role, _, shard = worker.partition(".")
    overrides = [*invocation.overrides, *([f"{role}.shard={shard}"] if shard else [])]
    settings = load_settings(own.get(role, invocation.config), overrides)
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # to ask at, not to listen on
    return everywhere.get(settings.http.host, settings.http.host), settings.port(role)
