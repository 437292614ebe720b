"""The monitor's mathematics over a file, for planning and research: no Kafka, no parties, one process.

The same rows count, the same fixed-point sums are made of them, and the same estimators read the sums. What is missing
is the separation of roles: whoever runs this holds members, features and probabilities together, as only research
inside the company may. Without an epsilon the figures are exact; with one they carry both parties' noise of a
measurement that spends it, so that they are what the monitor would publish.

Privacy (with an epsilon). Unit: one member's rows of one UTC day. Relation: replacement of the member's group
probabilities and Self-ID; who took part, and how often, is not protected, and interval widths use the latter.
Mechanism: the discrete Gaussian, from OpenDP, on the fixed-point sums, whose L2 sensitivity is the live monitor's
(``privacy.spend``). Every run draws anew and spends anew: no ledger keeps count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from estimator import (
    Disparities,
    GroupModel,
    Moments,
    NoiseVariance,
    disparities,
    implausible,
    to_fixed_point,
)
from estimator.moments import implausible_moments, moments_of, moments_size
from estimator.self_id import masses_of
from privacy import ChannelNoise, Measurement, PrivacyStatement, plan_noise, rho_of_epsilon
from secure_agg import SCALE
from streams.cell_layout import layout_of
from streams.errors import InputError
from streams.file_rows import FileRows, Tally
from streams.members_file import MembersFile

F = NDArray[np.float64]

MAX_WINDOWS = 1000
"""So many results are no audit any more but a log; the monitor is for that."""

_MAX_BATCH = 4096  # rows whose moments are exact in float64 (``estimator.moments``)
_DAY_MS = 86_400_000


@dataclass(frozen=True)
class AuditedWindow:
    """One window.

    Attributes:
        start_ms, end_ms: epoch milliseconds. void: why it must not be read, or None.
        disparities: what it says; nothing where it is void.
    """

    start_ms: int
    end_ms: int
    disparities: Disparities
    void: str | None = None


@dataclass(frozen=True)
class Audit:
    """The result.

    Attributes:
        measurement: as it was read. level: the level whose windows these are; None: the whole file is one window.
        tally: what became of the log, in exact numbers.
        statement: the promise of the figures in ``windows``; None where they are exact.
        sigma_rows: by channel, standard deviation of an entry's noise (both parties'), rows; empty where exact.
    """

    measurement: Measurement
    confidence: float
    level: str | None
    windows: tuple[AuditedWindow, ...]
    tally: Tally
    statement: PrivacyStatement | None
    sigma_rows: Mapping[str, float]


# -- what a measurement asks for --------------------------------------------------------------------------------------


def uses_self_id(measurement: Measurement) -> bool:
    """Whether a measurement learns from what members say of themselves."""
    return "rectifier" in measurement.channels


def require_groups(measurement: Measurement, model: GroupModel) -> None:
    """Refuse a model of other groups (InputError)."""
    if measurement.group_names != tuple(model.groups):
        raise InputError(
            f"measurement {measurement.id!r} compares {', '.join(measurement.group_names)}, and the group model knows "
            f"{', '.join(model.groups)}: name the model that the measurement is for"
        )


def spending(measurement: Measurement, epsilon: float, *, one_level: bool = False) -> Measurement:
    """The measurement with another budget.

    Args:
        epsilon: for a member-day, on replacement, at the spec's delta.
        one_level: all of it for one level, named as the base.

    Raises:
        InputError: no spec may spend so much or so little.
    """
    terms = measurement.privacy
    content = measurement.model_dump() | {"test_only": None}
    content["privacy"] |= {"rho_member_day": rho_of_epsilon(epsilon, terms.delta)}
    if one_level:
        content["windows"] |= {"rollups": ()}
        content["privacy"] |= {"level_shares": None}
    try:
        return Measurement.model_validate(content)
    except ValueError:
        raise InputError(
            f"epsilon {epsilon:g} at delta {terms.delta:g} is rho {content['privacy']['rho_member_day']:.3g}, and a "
            "measurement may spend at most rho 10 on a member-day, and not so little that all is noise; name an "
            "epsilon between 0.01 and 20, say"
        ) from None


# -- sums -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class WindowSums:
    """Sums of a window in fixed-point units, int64: what both parties hold together before they add noise.

    Attributes:
        table, rectifier: shape (cells, k). moments: shape (moments_size(k),).
    """

    table: NDArray[np.int64]
    rectifier: NDArray[np.int64]
    moments: NDArray[np.int64]


class SumMaker:
    """Makes sums of rows; probabilities become fixed-point once a member."""

    def __init__(self, members: MembersFile, model: GroupModel, cells: int, *, self_id: bool) -> None:
        self._cells = cells
        self._fixed = to_fixed_point(members.probabilities(model)).astype(np.int64)
        self._said = members.said & self_id
        self._residuals = np.zeros_like(self._fixed)
        masses = masses_of(members.self_id[self._said], len(model.groups), SCALE)
        self._residuals[self._said] = masses.astype(np.int64) - self._fixed[self._said]

    def sums(self, member: NDArray[np.int64], cell: NDArray[np.int64]) -> WindowSums:
        """Of the rows of one window: shape (n,) each."""
        fixed, residuals, said = self._fixed[member], self._residuals[member], self._said[member]
        moments = np.zeros(moments_size(fixed.shape[1]), dtype=np.int64)
        for start in range(0, member.size, _MAX_BATCH):
            batch = slice(start, start + _MAX_BATCH)
            moments += moments_of(fixed[batch].astype(np.uint64), residuals[batch][said[batch]], SCALE).astype(np.int64)
        return WindowSums(self._folded(cell, fixed), self._folded(cell, residuals), moments)

    def _folded(self, cell: NDArray[np.int64], values: NDArray[np.int64]) -> NDArray[np.int64]:
        # 2**53 / 2**20: sums over fewer than 8e9 rows are exact in float64.
        columns = [np.bincount(cell, weights=column, minlength=self._cells) for column in values.T]
        return np.stack(columns, axis=1).astype(np.int64)


def _noised(sums: NDArray[np.int64], noise: ChannelNoise | None) -> F:
    """In rows, with the noise of both parties; exact without one."""
    if noise is not None:
        sums = sums + (noise.sample(sums.size) + noise.sample(sums.size)).reshape(sums.shape)
    return sums / SCALE


# -- the audit --------------------------------------------------------------------------------------------------------


def audit(
    measurement: Measurement,
    rows: FileRows,
    members: MembersFile,
    model: GroupModel,
    *,
    level: str | None = None,
    epsilon: float | None = None,
    confidence: float = 0.95,
) -> Audit:
    """Audit the rows of a file.

    Args:
        rows: of ``streams.file_rows.counted_rows``.
        level: the name of a level of the measurement, for one result a window; None: the whole file is one window.
        epsilon: what the figures may cost a member-day; None: they are exact and promise nothing.

    Raises:
        InputError: the model is for other groups, there is no such level, it has too many windows here, or the epsilon
            is out of range.
    """
    require_groups(measurement, model)
    noise, statement = _noise(measurement, epsilon)
    reader = _Reader(measurement, confidence, noise, rows.tally.rows_per_member)
    maker = SumMaker(members, model, measurement.cell_count, self_id=uses_self_id(measurement))
    windows: list[AuditedWindow] = []
    for start_ms, end_ms, part in _windows(measurement, level, rows.time_ms, every=epsilon is not None):
        pools = windows[-1].disparities.pools if windows else None  # kept while they are separate, as `publish` does
        windows.append(reader.read(start_ms, end_ms, maker.sums(rows.member[part], rows.cell[part]), pools))
    sigma_rows = {name: channel.published_sigma_rows for name, channel in (noise or {}).items()}
    return Audit(measurement, confidence, level, tuple(windows), rows.tally, statement, sigma_rows)


def _noise(
    measurement: Measurement, epsilon: float | None
) -> tuple[dict[str, ChannelNoise] | None, PrivacyStatement | None]:
    """The noise of each channel when one level has all of epsilon: one level's tables are all that is shown."""
    if epsilon is None:
        return None, None
    spends = spending(measurement, epsilon, one_level=True)
    plan = plan_noise(spends)
    return plan.level(spends.levels[0].name).channels, plan.statement()


@dataclass(frozen=True)
class _Reader:
    """Reads sums: noise, then estimators. ``noise`` None: exact."""

    measurement: Measurement
    confidence: float
    noise: Mapping[str, ChannelNoise] | None
    rows_per_member: float

    def read(self, start_ms: int, end_ms: int, sums: WindowSums, pools: tuple[str, ...] | None) -> AuditedWindow:
        table = _noised(sums.table, self._channel("table"))
        moments = rectifier = None
        if self._has("moments"):
            moments = Moments.from_vector(_noised(sums.moments, self._channel("moments")))
            if uses_self_id(self.measurement) and self._has("rectifier"):
                rectifier = _noised(sums.rectifier, self._channel("rectifier"))
        variance = self._variance()
        void = implausible(table, variance.table**0.5)
        if void is None and moments is not None:
            void = implausible_moments(moments, variance.moments**0.5)
        if void is not None:
            return AuditedWindow(start_ms, end_ms, Disparities(()), void)
        found = disparities(
            table,
            cells=layout_of(self.measurement),
            reference=self.measurement.reference,
            noise_variance=variance,
            moments=moments,
            rectifier=rectifier,
            pools=pools,
            groups=self.measurement.group_names,
            confidence=self.confidence,
            rows_per_member=self.rows_per_member,
        )
        return AuditedWindow(start_ms, end_ms, found)

    def _has(self, channel: str) -> bool:
        return self.noise is None or channel in self.noise

    def _channel(self, name: str) -> ChannelNoise | None:
        return None if self.noise is None else self.noise[name]

    def _variance(self) -> NoiseVariance:
        return NoiseVariance(
            **{"table": 0.0} | {n: channel.published_sigma_rows**2 for n, channel in (self.noise or {}).items()}
        )


def _windows(
    measurement: Measurement, level: str | None, time_ms: NDArray[np.int64], *, every: bool
) -> Iterator[tuple[int, int, slice]]:
    """(start, end, rows) of each window; ``every``: those without rows as well, since existence must not tell."""
    first_day, after = int(time_ms[0]) // _DAY_MS * _DAY_MS, (int(time_ms[-1]) // _DAY_MS + 1) * _DAY_MS
    if level is None:
        yield first_day, after, slice(0, time_ms.size)
        return
    lengths = {known.name: known.length_ms for known in measurement.levels}
    if level not in lengths:
        raise InputError(f"measurement {measurement.id!r} has no level {level!r}, only {', '.join(lengths)}")
    length = lengths[level]
    window = time_ms // length
    numbers = np.arange(first_day // length, after // length) if every else np.unique(window)
    if numbers.size > MAX_WINDOWS:
        raise InputError(
            f"the log has {numbers.size:,} windows of {level}, and at most {MAX_WINDOWS:,} are shown: leave --level "
            "out, name a longer level, or cut the log"
        )
    for number in numbers.tolist():
        begin, end = np.searchsorted(window, [number, number + 1])
        yield number * length, (number + 1) * length, slice(int(begin), int(end))
