"""``evenstream skip``."""

from __future__ import annotations

import time
from pathlib import Path

import click

from privacy import key_id
from privacy.revocation import YEAR_10000_MS
from secure_agg.keyring import load_operator
from streams.cli import Invocation
from streams.control import operator_keys
from streams.errors import InputError
from streams.kafka.clients import first_offset, read_to_end, wait_for_kafka
from streams.kafka.control_reader import write_control
from streams.public_topics import PublicTopics, trusted_keys
from streams.records.header import source_digest
from streams.records.skip import Skip
from streams.report.numbers import moment
from streams.settings import Settings
from streams.skipping import LOOK_BACK, TOPIC_OF, SkipPlan, SkipPlanner


@click.command()
@click.option("--role", type=click.Choice(["attach", "a", "b"]), required=True, help="Whose partition is stopped.")
@click.option("--partition", type=click.IntRange(0), required=True, help="Which partition, as /readyz names it.")
@click.option("--offset", type=click.IntRange(0), required=True, help="Where it has stopped, as /readyz names it.")
@click.option(
    "--whole-epoch", is_flag=True,
    help="The role's epoch key is lost: give up every batch that is sealed to it, from the stop on.",
)  # fmt: skip
@click.option("--reason", required=True, help="Why, in plain words that everyone may read.")
@click.option(
    "--key", type=click.Path(path_type=Path),
    help="An operator's private key (default: keys.dir/operator/operator.key).",
)  # fmt: skip
@click.option(
    "--trusted", type=click.Path(path_type=Path),
    help="A trusted.json, the public keys (default: that of keys.dir/operator).",
)  # fmt: skip
@click.option("--yes", is_flag=True, help="Sign and write it; without this it is only shown.")
@click.pass_obj
def skip(
    invocation: Invocation, role: str, partition: int, offset: int, whole_epoch: bool, reason: str,
    key: Path | None, trusted: Path | None, yes: bool,
) -> None:  # fmt: skip
    """Let a stopped partition go on without the batches at fault. The windows that they touch are void for everyone.

    Restore the log or the key instead wherever that can be done: what is skipped is lost for good.
    """
    settings = invocation.settings()
    folder = settings.keys.dir / "operator"
    keys = trusted_keys(settings, trusted or folder)
    if not keys.operators:
        raise InputError(
            "trusted.json pins no operator key (`operators`): this set of keys was made by an earlier version, and "
            "nobody can skip. Only a new deployment's keys have one"
        )
    wait_for_kafka(settings, settings.kafka.request_timeout_seconds)
    control = PublicTopics(settings, keys).control()
    plan = _plan(settings, SkipPlanner(role, partition, control), role, partition, offset, whole_epoch=whole_epoch)
    sources = {source_digest(a.measurement.source.topic).hex(): a.measurement.source.topic for a in control.approved()}
    for line in _lines(plan, sources):
        click.echo(line)
    if not yes:
        click.echo("Nothing was written. With --yes it is signed and written, and cannot be taken back")
        return
    private_key = load_operator(key or folder / "operator.key")
    if key_id(private_key.public_key()) not in operator_keys(keys):
        raise InputError("this is not an operator key that trusted.json pins: no role would act on its word")
    record = Skip.signed(
        private_key,
        deployment=settings.deployment,
        topic=plan.topic,
        partition=plan.partition,
        offset=plan.offset,
        streams=plan.streams,
        windows=plan.windows,
        reason=reason,
        at_ms=time.time_ns() // 1_000_000,
    )
    write_control(settings, "measurements", record.topic_key(), record.encode())
    click.echo("Signed and written: the role goes on by itself; see its /readyz. If it stops again, skip again")


def _plan(
    settings: Settings, planner: SkipPlanner, role: str, partition: int, stop: int, *, whole_epoch: bool
) -> SkipPlan:
    if partition >= settings.topics.partitions:
        raise InputError(f"expected a partition below {settings.topics.partitions}, got {partition}")
    topic = settings.topic(TOPIC_OF[role])
    first = first_offset(settings, topic, partition)
    begin = max(first, stop - LOOK_BACK)
    records = read_to_end(settings, topic, partitions=[partition], begin={partition: begin}, await_transactions=False)
    signed = ((int(record.offset() or 0), record.value() or b"") for record in records)
    return planner.plan(signed, stop, first, whole_epoch=whole_epoch)


def _lines(plan: SkipPlan, sources: dict[str, str]) -> list[str]:
    given_up = [
        f"  given up: {entry.until_sequence - entry.from_sequence} batches of "
        f"{sources.get(entry.source, f'source {entry.source[:16]}')} [{entry.i}], numbers {entry.from_sequence} to "
        f"{entry.until_sequence - 1}"
        for entry in plan.streams
    ]
    void = [
        f"  void: {windows.measurement} revision {windows.revision}, every window of every level, not published yet, "
        f"that touches {_time(windows.from_ms)} to {_time(windows.until_ms)}"
        for windows in plan.windows
    ]
    return [f"{plan.topic} [{plan.partition}]: {plan.finding}", *given_up, *void]


def _time(epoch_ms: int) -> str:
    """As a date where there is one: a batch may name any window."""
    return moment(epoch_ms) if 0 <= epoch_ms < YEAR_10000_MS else f"{epoch_ms} ms"
