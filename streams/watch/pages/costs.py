"""What a measurement's terms cost a member at most: worked out once a spec, since a year takes some milliseconds."""

from __future__ import annotations

from privacy import Measurement
from privacy.decisions import Forecast
from streams.watch.pages.site import Shown

_known: dict[bytes, tuple[Measurement, Forecast]] = {}
"""By spec: one entry for each that was ever approved."""


def cost_of(shown: Shown) -> Forecast:
    """On replacement, over a day, any 30 days and any 365."""
    spec, measurement = shown.approved.spec, shown.approved.measurement
    known = _known.get(spec)
    if known is None or known[0] is not measurement:
        known = _known[spec] = measurement, Forecast.of(measurement)
    return known[1]
