"""A window as `publish` sees it: the sum of two noised releases, whether it can be true, and what it says.

All that is here is post-processing of noised numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from estimator import Correction, Disparities, NoiseVariance, channels_disagree, disparities, implausible
from estimator.moments import NOT_FINITE, Moments, implausible_moments
from privacy import Measurement
from secure_agg import SCALE
from secure_agg.ring import to_rows
from streams.cell_layout import layout_of
from streams.records.release import SignedRelease


@dataclass(frozen=True, eq=False)
class NoisedWindow:
    """The channels of a window, noised by both parties, in rows.

    Attributes:
        table: shape (cells, k), float64. moments, rectifier: None where the window does not have them; the rectifier
            has the table's shape.
        sigma_rows: by channel, the standard deviation of one entry's noise (of the moments: one entry of their vector).
    """

    table: NDArray[np.float64]
    moments: Moments | None
    rectifier: NDArray[np.float64] | None
    sigma_rows: dict[str, float]

    @classmethod
    def of(cls, a: SignedRelease, b: SignedRelease) -> NoisedWindow:
        """Add two releases of one window that agree, both with status "released"."""
        sums = {
            channel.name: to_rows(_share(a, channel.name) + _share(b, channel.name)) for channel in a.release.channels
        }
        moments = Moments.from_vector(sums["moments"]) if "moments" in sums else None
        return cls(sums["table"], moments, sums.get("rectifier"), sigma_rows(a, b))

    def implausible(self) -> str | None:
        """Why the window must be void, or None: numbers that cannot come about honestly, alone or together."""
        reason = implausible(self.table, self.sigma_rows["table"])
        if reason is None and self.moments is not None:
            reason = implausible_moments(self.moments, self.sigma_rows["moments"])
        if reason is None and self.rectifier is not None and not np.isfinite(self.rectifier).all():
            reason = NOT_FINITE
        return reason or channels_disagree(self.table, self.moments, self.rectifier, self.sigma_rows)

    def disparities(
        self,
        measurement: Measurement,
        level: str,
        *,
        confidence: float,
        correction: Correction | None,
        pools: tuple[str, ...] | None,
    ) -> Disparities:
        """What the window says of the measurement's groups.

        Args:
            level: the window's.
            correction: for a window without a rectifier of its own, where the measurement has one: the newest long
                window's, or an empty one.
            pools: of the window before, at this level.
        """
        return disparities(
            self.table,
            cells=layout_of(measurement),
            reference=measurement.reference,
            noise_variance=NoiseVariance(**{name: sigma**2 for name, sigma in self.sigma_rows.items()}),
            moments=self.moments,
            rectifier=self.rectifier,
            correction=correction,
            pools=pools,
            groups=measurement.group_names,
            confidence=confidence,
            rows_per_member=measurement.rows_per_member(level),
            tolerated={metric: measurement.alarms.tolerated(metric) for metric in measurement.cells.metrics},
        )


def sigma_rows(a: SignedRelease, b: SignedRelease) -> dict[str, float]:
    """By channel, the standard deviation of both parties' noise together, rows."""
    theirs = {channel.name: channel.sigma_units for channel in b.release.channels}
    return {
        channel.name: math.hypot(channel.sigma_units, theirs.get(channel.name, 0.0)) / SCALE
        for channel in a.release.channels
    }


def _share(signed: SignedRelease, name: str) -> NDArray[np.uint64]:
    share = signed.channel(name)
    assert share is not None  # it is "released", and both parties' channels are the same
    return share
