"""The registry of measurements as commands look it up: what is approved now."""

from __future__ import annotations

from privacy import Measurement
from secure_agg.keyring import load_trusted
from streams.control import ControlPlane
from streams.errors import InputError
from streams.kafka.clients import read_to_end
from streams.settings import Settings


def approved_measurement(settings: Settings, name: str | None) -> Measurement:
    """The newest approved revision of this name, or the only measurement that there is; none that was revoked.

    Raises:
        InputError: there is none of this name, or no name was given and there are several.
    """
    approved = sorted(_read(settings).approved(), key=lambda entry: entry.measurement.revision)
    found = {entry.measurement.id: entry.measurement for entry in approved if not entry.revoked}
    if name is None and len(found) == 1:
        return next(iter(found.values()))
    if name is None or name not in found:
        known = ", ".join(sorted(found)) or "none yet; propose one with `evenstream measurement propose`"
        raise InputError(f"name the measurement whose log this is with --measurement; approved: {known}")
    return found[name]


def _read(settings: Settings) -> ControlPlane:
    """The registry as the topic holds it now, checked with the public half of the keys."""
    control = ControlPlane.of(load_trusted(settings.keys.dir / "governance"), settings)
    for record in read_to_end(settings, settings.topic("measurements")):
        control.apply_measurement(int(record.offset() or 0), record.value())
    return control
