"""``evenstream dev kafka``."""

from __future__ import annotations

import os
from pathlib import Path

import click

from streams.cli import Invocation
from streams.kafka.dev_broker import BrokerProcess, DevBroker
from streams.kafka.dev_jars import KAFKA_VERSION, cache_folder
from streams.kafka.dev_security import ADMIN, BrokerSecurity, client_file
from streams.settings import PRINCIPALS


@click.group()
def dev() -> None:
    """A real Kafka on a developer's machine."""


@dev.group()
def kafka() -> None:
    """One KRaft node on 127.0.0.1, for development and tests."""


_folder = click.option(
    "--dir", "folder", type=click.Path(path_type=Path), default=Path(".evenstream/kafka"), show_default=True,
    help="Folder of the broker's data and log.",
)  # fmt: skip


def _elsewhere() -> bool:
    bootstrap = os.environ.get("KAFKA_BOOTSTRAP")
    if bootstrap:
        click.echo(
            f"KAFKA_BOOTSTRAP is set: using {bootstrap}, nothing is started or stopped here. To start one: unset it."
        )
    return bool(bootstrap)


@kafka.command()
@_folder
@click.option("--port", default=9092, show_default=True, help="Port to listen on; 0 takes a free one.")
@click.option("--secure", is_flag=True, help="With TLS, SCRAM users and ACLs; for a folder of its own.")
@click.pass_obj
def start(invocation: Invocation, folder: Path, port: int, secure: bool) -> None:
    """Start the broker (the first time, Maven copies Kafka into the cache folder).

    With --secure: users for each principal of this deployment, and a settings file of each in DIR/principals.
    """
    if _elsewhere():
        return
    broker = DevBroker(folder, secure=secure)
    running = broker.start(port, progress=lambda line: click.echo(line, err=True))
    if broker.security is None:
        click.echo(f"Kafka {KAFKA_VERSION} is up: export KAFKA_BOOTSTRAP={running.bootstrap}")
    else:
        _make_principals(broker.security, running, invocation)


def _make_principals(security: BrokerSecurity, running: BrokerProcess, invocation: Invocation) -> None:
    settings = invocation.settings()
    users = {role: settings.principal(role).removeprefix("User:") for role in PRINCIPALS} | {ADMIN: ADMIN}
    security.add_users(running.bootstrap, users.values())
    folder = running.folder / "principals"
    given = [*invocation.overrides, f"kafka.bootstrap={running.bootstrap}"]
    if not any(name.startswith("topics.replication_factor=") for name in given):
        given += ["topics.replication_factor=1", "topics.min_insync_replicas=1"]
    for role, user in users.items():
        client_file(folder / f"{role}.yaml", given, security.properties(user))
    click.echo(
        f"Kafka {KAFKA_VERSION} is up at {running.bootstrap}, secured. Settings of each principal: {folder}\n"
        f"  evenstream --config {folder / 'admin.yaml'} acl apply\n"
        f"  evenstream --config {folder / 'operator.yaml'} topics create\n"
        f"  evenstream up --configs {folder}"
    )


@kafka.command()
def fetch() -> None:
    """Have Maven copy Kafka into the cache folder, and Java keep its classes there; no broker is left running."""
    from streams.kafka.dev_archive import ensure_class_archive

    if not _elsewhere():
        ensure_class_archive(lambda line: click.echo(line, err=True))
        click.echo(f"Kafka {KAFKA_VERSION} is in {cache_folder()}")


@kafka.command()
@_folder
def stop(folder: Path) -> None:
    """Stop the broker that was started here, whatever KAFKA_BOOTSTRAP names."""
    # `start` asks for KAFKA_BOOTSTRAP to be exported, so it must not keep the same shell from stopping the broker.
    if DevBroker(folder).stop():
        click.echo("stopped")
    elif not _elsewhere():
        click.echo(f"no broker of {folder} is running")


@kafka.command()
@_folder
def status(folder: Path) -> None:
    """Say whether the broker runs; exit code 3 where it does not."""
    running = DevBroker(folder).running()
    if running is None and _elsewhere():
        return
    if running is None:
        click.echo(f"no broker of {folder} is running")
        raise SystemExit(3)
    click.echo(f"running: {running.bootstrap}, process {running.pid}, data in {running.folder}")
