"""``evenstream topics``."""

from __future__ import annotations

import click

from streams.cli import Invocation
from streams.errors import TopicMismatch
from streams.kafka import topics as kafka_topics
from streams.kafka.clients import wait_for_kafka


@click.group()
def topics() -> None:
    """Make and check evenstream's topics."""


@topics.command()
@click.option("--check", is_flag=True, help="Change nothing; name the differences and exit with 1 if there are any.")
@click.option(
    "--with-inputs", multiple=True, metavar="TOPIC",
    help="Also make this source topic and member-attributes (for development; in production they are the company's).",
)  # fmt: skip
@click.option(
    "--with-logged", multiple=True, metavar="TOPIC",
    help="The same for a topic that `evenstream replay --as-logged` writes: it keeps the log's own times, for ever.",
)  # fmt: skip
@click.pass_obj
def create(invocation: Invocation, check: bool, with_inputs: tuple[str, ...], with_logged: tuple[str, ...]) -> None:
    """Make the topics that are missing, and check those that exist. Nothing that exists is changed."""
    settings = invocation.settings()
    wait_for_kafka(settings, settings.kafka.request_timeout_seconds)
    plans = kafka_topics.plan(settings)
    if with_inputs or with_logged:
        plans += kafka_topics.input_plan(settings, with_inputs, with_logged)
    if check:
        differences = tuple(kafka_topics.compare(settings, plans))
    else:
        report = kafka_topics.create(settings, plans)
        differences = report.differences
        for name in report.created:
            click.echo(f"created {name}")
        click.echo(f"{len(report.created)} created, {len(report.existing)} existed, {len(differences)} differences")
    if differences:
        raise TopicMismatch("\n".join(str(difference) for difference in differences))
    if check:
        click.echo(f"{len(plans)} topics are as they must be")
