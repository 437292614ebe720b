"""``evenstream acl``: who may do what on Kafka, printed, applied and tried."""

from __future__ import annotations

import time
from pathlib import Path

import click
from rich.table import Table

from streams import acl as table
from streams.cli import Invocation
from streams.cli.audit import console
from streams.errors import EvenstreamError
from streams.kafka.clients import wait_for_kafka


@click.group()
def acl() -> None:
    """Who may do what on Kafka: one principal a role. `principals` and `topics.sources` in the settings name them."""


@acl.command("list")
@click.pass_obj
def list_(invocation: Invocation) -> None:
    """The table, for people."""
    shown = Table("principal", "resource", "name", "may")
    before = ""
    for rule in table.rules(invocation.settings()):
        name = f"{rule.name}..." if rule.prefixed else rule.name
        principal = "" if rule.principal == before else rule.principal
        shown.add_row(principal, rule.resource.replace("_", " "), name, ", ".join(rule.operations))
        before = rule.principal
    console().print(shown)


@acl.command()
@click.pass_obj
def commands(invocation: Invocation) -> None:
    """The same as commands of Kafka's own tool; admin.properties holds the credentials of whoever may add ACLs."""
    settings = invocation.settings()
    for rule in table.rules(settings):
        click.echo(table.kafka_acls_command(rule, settings.kafka.bootstrap))


@acl.command()
@click.option("--cluster", metavar="NAME", required=True, help="Name of the Kafka resource that the users belong to.")
@click.pass_obj
def strimzi(invocation: Invocation, cluster: str) -> None:
    """The same as KafkaUser resources for Strimzi, one YAML document a principal."""
    click.echo(table.strimzi_users(table.rules(invocation.settings()), cluster), nl=False)


@acl.command()
@click.option("--check", is_flag=True, help="Change nothing; name the differences and exit with 1 if there are any.")
@click.option("--prune", is_flag=True, help="Take away ACLs of these principals that are not in the table.")
@click.pass_obj
def apply(invocation: Invocation, check: bool, prune: bool) -> None:
    """Add the ACLs that the cluster lacks, and name those of these principals that the table does not have.

    Run it as a principal that may alter the cluster. ACLs of everyone (User:*) are named and never taken away.
    """
    from streams.kafka import acls

    if check and prune:
        raise click.UsageError("--check changes nothing; leave --prune out")
    settings = invocation.settings()
    wait_for_kafka(settings, settings.kafka.request_timeout_seconds)
    found = table.rules(settings)
    differences = acls.differences(settings, found)
    if check:
        if differences.lines():
            raise EvenstreamError("\n".join(differences.lines()))
        click.echo(f"{len(acls.bindings(found))} ACLs are in force, and nothing beside them")
        return
    acls.create(settings, differences.missing)
    click.echo(f"{len(differences.missing)} ACLs added, {len(acls.bindings(found))} in force")
    own = [binding for binding in differences.undocumented if binding.principal != acls.EVERYONE]
    if prune:
        acls.delete(settings, own)
        for binding in own:
            click.echo(f"taken away: {acls.told(binding)}")
    left = [binding for binding in differences.undocumented if not prune or binding not in own]
    if left:
        lines = "\n".join(f"undocumented: {acls.told(binding)}" for binding in left)
        raise EvenstreamError(f"{lines}\n--prune takes away those of evenstream's principals")


@acl.command()
@click.option("--dir", "folder", type=click.Path(path_type=Path), default=Path(".evenstream/acl-matrix"),
              show_default=True, help="Folder of the broker; each run takes a new one below it.")  # fmt: skip
def matrix(folder: Path) -> None:
    """Try every operation as every principal, on a secured broker of its own; 1 where the table is not what happens."""
    from streams.acl_matrix import run

    raise SystemExit(run((folder / time.strftime("%Y%m%d-%H%M%S")).absolute(), console()))
