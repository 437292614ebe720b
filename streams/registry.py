"""The registry of measurements as commands use it: sign a spec, put it on the topic, look up what is approved.

A command makes the checks that every role will make, so that a reviewer hears at once what would have no effect.
"""

from __future__ import annotations

from pathlib import Path

from privacy import Measurement, SignedMeasurement, approve, next_boundary_ms
from secure_agg.keyring import load_governance, load_trusted
from streams.control import ControlPlane
from streams.errors import InputError, KafkaUnavailable
from streams.kafka.clients import make_producer, read_to_end
from streams.settings import Settings

_TAKE_OVER_LEAD_MS = 120_000


def sign(spec: Measurement, settings: Settings, key: Path, now_ms: int) -> SignedMeasurement:
    """Sign a spec for this deployment; one that does not say when it takes effect begins at the next boundary.

    Args:
        key: the reviewer's private key file.
        now_ms: epoch milliseconds; the boundary is one of the spec's longest level.
    """
    if spec.effective_from_ms is None:
        spec = spec.with_effective_from(next_boundary_ms(spec, now_ms))
    return approve(spec, settings.deployment, load_governance(key))


def submit(settings: Settings, signed: SignedMeasurement, now_ms: int) -> Measurement:
    """Check and write one signed measurement.

    Args:
        now_ms: epoch milliseconds: a revision that takes over needs time to reach every role before it does.

    Raises:
        EvenstreamError, PrivacyError: it would have no effect, and why.
    """
    control = _read(settings)
    accepted = control.verify(signed)
    control.admit(accepted, signed.spec_digest(), control.measurements_offset)
    begin_ms = accepted.effective_from_ms or 0
    if accepted.revision > 1 and begin_ms < now_ms + _TAKE_OVER_LEAD_MS:
        raise InputError(
            f"revision {accepted.revision} of {accepted.id!r} would take over at {accepted.effective_from}, which is "
            f"past or less than {_TAKE_OVER_LEAD_MS // 60_000} minutes away: rows of the old revision are already on "
            "their way. Sign it again; it then begins at the next UTC day"
        )
    producer = make_producer(settings, None)
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


def approved_measurement(settings: Settings, name: str | None) -> Measurement:
    """The newest approved revision of this name, or the only measurement that there is.

    Raises:
        InputError: there is none of this name, or no name was given and there are several.
    """
    approved = sorted(_read(settings).approved(), key=lambda entry: entry.measurement.revision)
    found = {entry.measurement.id: entry.measurement for entry in approved}
    if name is None and len(found) == 1:
        return next(iter(found.values()))
    if name is None or name not in found:
        known = ", ".join(sorted(found)) or "none yet; submit one with `evenstream measurement submit`"
        raise InputError(f"name the measurement whose log this is with --measurement; approved: {known}")
    return found[name]


def _read(settings: Settings) -> ControlPlane:
    """The registry as the topic holds it now, checked with the public half of the keys."""
    control = ControlPlane.of(load_trusted(settings.keys.dir / "governance"), settings)
    for record in read_to_end(settings, settings.topic("measurements")):
        control.apply_measurement(int(record.offset() or 0), record.value())
    return control
