"""``evenstream measurement``."""

from __future__ import annotations

import time
from pathlib import Path

import click
from confluent_kafka import Producer

from privacy import (
    Measurement,
    SignedMeasurement,
    approve,
    key_id,
    next_boundary_ms,
    parse_measurement,
    plan_noise,
    verify,
)
from secure_agg.keyring import load_governance, load_trusted
from streams.cli import Invocation
from streams.control import ControlPlane
from streams.errors import InputError, KafkaUnavailable
from streams.kafka.clients import producer_config, read_to_end
from streams.settings import Settings


@click.group()
def measurement() -> None:
    """Check, sign and submit measurements."""


_spec = click.argument("spec", type=click.Path(path_type=Path, dir_okay=False))


def _read(path: Path) -> Measurement:
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as text: {error}") from None
    return parse_measurement(text, origin=str(path))


@measurement.command()
@_spec
def check(spec: Path) -> None:
    """Check a spec and say what it measures and costs. Signs nothing, sends nothing."""
    found = _read(spec)
    plan = plan_noise(found)
    statement = plan.statement()
    click.echo(f"{found.id} revision {found.revision}: {found.cell_count} cells over {found.cell_axes}")
    for level in found.levels:
        click.echo(
            f"  level {level.name}: noise of {plan.level(level.name).table.published_sigma_rows:.2f} rows an entry"
        )
    click.echo(
        f"  costs each member-day rho {statement.rho:g}: epsilon {_shown(statement.epsilon)} (replacement), "
        f"{_shown(statement.epsilon_add_remove)} (add or remove), at delta {statement.delta:g}"
    )


def _shown(epsilon: float | None) -> str:
    return "without bound" if epsilon is None else f"{epsilon:.2f}"


def sign_now(spec: Measurement, settings: Settings, key: Path, now_ms: int) -> SignedMeasurement:
    """Sign a spec; one that does not say when it takes effect begins at the next boundary of its longest level."""
    if spec.effective_from_ms is None:
        spec = spec.with_effective_from(next_boundary_ms(spec, now_ms))
    return approve(spec, settings.deployment, load_governance(key))


@measurement.command()
@_spec
@click.option("--key", type=click.Path(path_type=Path), required=True, help="The reviewer's private key file.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Where the signed measurement goes.")
@click.pass_obj
def sign(invocation: Invocation, spec: Path, key: Path, out: Path) -> None:
    """Approve a spec: sign its exact bytes for this deployment."""
    settings = invocation.settings()
    signed = sign_now(_read(spec), settings, key, time.time_ns() // 1_000_000)
    out.write_bytes(signed.encode())
    found = Measurement.from_canonical(signed.spec)
    click.echo(
        f"{out}: {found.id} revision {found.revision}, from {found.effective_from}, "
        f"signed by {signed.signatures[0].key_id}"
    )


@measurement.command()
@click.argument("signed", type=click.Path(path_type=Path, dir_okay=False))
@click.pass_obj
def submit(invocation: Invocation, signed: Path) -> None:
    """Put a signed measurement on the topic, after the checks that every role will make."""
    try:
        value = signed.read_bytes()
    except OSError as error:
        raise InputError(f"{signed} cannot be read: {error.strerror}") from None
    accepted = submit_signed(invocation.settings(), SignedMeasurement.decode(value))
    click.echo(
        f"{accepted.id} revision {accepted.revision} is on the topic; its first window begins {accepted.effective_from}"
    )


def submit_signed(settings: Settings, signed: SignedMeasurement) -> Measurement:
    """Check and write one signed measurement.

    Raises:
        EvenstreamError: it would have no effect, and why.
    """
    trusted = load_trusted(settings.keys.dir / "governance")
    control = ControlPlane(
        trusted,
        test_cluster=settings.test_cluster,
        rho_limit=settings.privacy.rho_member_day_limit,
        threshold=settings.keys.governance_threshold,
    )
    for record in read_to_end(settings, settings.topic("measurements")):
        control.apply_measurement(int(record.offset() or 0), record.value())
    accepted = verify(
        signed,
        deployment=settings.deployment,
        governance_keys={key_id(key): key for key in trusted.governance},
        threshold=settings.keys.governance_threshold,
        test_cluster=settings.test_cluster,
    )
    control.admit(accepted, signed.spec_digest(), control.measurements_offset)
    producer = Producer(producer_config(settings, None))
    failures: list[str] = []
    producer.produce(
        settings.topic("measurements"),
        key=f"{accepted.id}/{accepted.revision}".encode(),
        value=signed.encode(),
        partition=0,
        on_delivery=lambda error, _: failures.append(error.str()) if error is not None else None,
    )
    if producer.flush(settings.kafka.request_timeout_seconds) or failures:
        raise KafkaUnavailable(
            f"the measurement could not be written: {failures[0] if failures else 'no acknowledgement'}"
        )
    return accepted
