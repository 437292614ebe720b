"""``evenstream measurement``."""

from __future__ import annotations

import time
from pathlib import Path

import click

from privacy import Measurement, SignedMeasurement, parse_measurement, plan_noise
from streams import registry
from streams.cli import Invocation
from streams.errors import InputError


@click.group()
def measurement() -> None:
    """Check, sign and submit measurements."""


_spec = click.argument("spec", type=click.Path(path_type=Path, dir_okay=False))


def read_spec(path: Path) -> Measurement:
    """Read and check a spec's YAML (InputError, MeasurementError)."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as text: {error}") from None
    return parse_measurement(text, origin=str(path))


@measurement.command()
@_spec
def check(spec: Path) -> None:
    """Check a spec and say what it measures and costs. Signs nothing, sends nothing."""
    found = read_spec(spec)
    plan = plan_noise(found)
    statement = plan.statement()
    click.echo(f"{found.id} revision {found.revision}: {found.cell_count} cells over {found.cell_axes}")
    click.echo(f"  groups: {', '.join(found.group_names)}; reference {found.reference}")
    for level in found.levels:
        noises = plan.level(level.name).channels.items()
        shown = ", ".join(f"{name} {noise.published_sigma_rows:.2f}" for name, noise in noises)
        click.echo(f"  level {level.name}: noise of an entry, rows: {shown}")
    if "rectifier" in found.channels:
        click.echo("  uses what members say of themselves (self_id)")
    click.echo(
        f"  costs each member-day rho {statement.rho:g}: epsilon {_shown(statement.epsilon)} (replacement), "
        f"{_shown(statement.epsilon_add_remove)} (add or remove), at delta {statement.delta:g}"
    )


def _shown(epsilon: float | None) -> str:
    return "without bound" if epsilon is None else f"{epsilon:.2f}"


@measurement.command()
@_spec
@click.option("--key", type=click.Path(path_type=Path), required=True, help="The reviewer's private key file.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Where the signed measurement goes.")
@click.pass_obj
def sign(invocation: Invocation, spec: Path, key: Path, out: Path) -> None:
    """Approve a spec: sign its exact bytes for this deployment."""
    settings = invocation.settings()
    signed = registry.sign(read_spec(spec), settings, key, time.time_ns() // 1_000_000)
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
    accepted = registry.submit(invocation.settings(), SignedMeasurement.decode(value), time.time_ns() // 1_000_000)
    click.echo(
        f"{accepted.id} revision {accepted.revision} is on the topic; its first window begins {accepted.effective_from}"
    )
