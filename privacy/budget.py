"""What one member can spend in any window of days, and the registry's rule that all measurements fit into its limits.

One function, :func:`most_spent`, says it for the registry (before a measurement is approved, in every role) and for
each party's ledger (before each debit).

**Who counts when** (DESIGN section 5, rotation). One keyed hash puts the 30 residues of the UTC day number modulo 30 in
an order of each member's own; under days_in_30 = k a member counts on the days of the first k of them. So it counts on
at most k of any 30 days, and *all measurements with the same rotation terms count it on the same days*: let v(d) be
what those that are live on day d cost together. Of a window's days a member spends v on those of k residues, so at most
on the k residues whose days together cost most, and for some member these are the k. In 30 days each residue has one
day: the k dearest days count. A yearly cap Y adds that it counts on at most Y of any 365 days, so it spends at most the
Y dearest. Measurements with other rotation terms are added, as if the worst days of each were the same person's: exact
where all of them are live throughout, and never too low.

Spending is on replacement; days are numbers since 1970-01-01 in UTC.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import repeat

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from privacy.errors import RegistryBudgetError
from privacy.limits import PERIOD_DAYS, TOLERANCE, Limits, Period
from privacy.measurement import Measurement
from privacy.spend import CountingDays

F = NDArray[np.float64]

ROTATION_DAYS = 30
"""Days after which a rotation comes round."""

_DAY_MS = 86_400_000
_EPOCH = date(1970, 1, 1).toordinal()


@dataclass(frozen=True)
class LiveRevision:
    """What one revision of a measurement costs, and when.

    Attributes:
        rho: of one member-day on which its member counts.
        counting: on how many days a member can count.
        first_day, end_day: it is live on the days from ``first_day`` to before ``end_day``; None: without end.
    """

    measurement: str
    revision: int
    rho: float
    counting: CountingDays
    first_day: int
    end_day: int | None

    def is_live(self, day: int) -> bool:
        """Whether it may spend on this day."""
        return self.first_day <= day and (self.end_day is None or day < self.end_day)


@dataclass(frozen=True)
class Peak:
    """The most that one member can spend in a window of days, and the first day of the (first) such window."""

    rho: float
    first_day: int


def most_spent(daily: Mapping[CountingDays, F], days: int, *, rotation_days: int = ROTATION_DAYS) -> F:
    """The most that one member can spend in each window of so many consecutive days; see the module's text.

    Args:
        daily: by rotation terms, what all that have them cost together on each day of a stretch: shape (n,) each.
        days: of a window, 1 to n.
        rotation_days: after which a rotation comes round (tests make it small).

    Returns:
        Shape (n - days + 1,): by the window's first day; a single 0 where nothing costs anything.
    """
    total: F = np.zeros(1)
    for counting, rho in daily.items():
        most = _dearest_residues(rho, days, counting.in_30, rotation_days)
        if counting.in_year < days:
            most = np.minimum(most, _dearest_days(rho, days, counting.in_year))
        total = total + most
    return total


def _dearest_residues(rho: F, days: int, count: int, rotation_days: int) -> F:
    """The sum of the days of the ``count`` dearest residues of each window."""
    windows = sliding_window_view(rho, days)
    residues = min(days, rotation_days)
    if count >= residues:
        return np.asarray(windows.sum(axis=1))
    by_residue = np.zeros((len(windows), residues))
    for start in range(0, days, rotation_days):
        part = windows[:, start : start + rotation_days]
        by_residue[:, : part.shape[1]] += part
    by_residue.partition(residues - count, axis=1)
    return np.asarray(by_residue[:, -count:].sum(axis=1))


def _dearest_days(rho: F, days: int, count: int) -> F:
    """The sum of the ``count`` dearest days of each window.

    In layers: each level of cost adds its height times the days that reach it, but no more than ``count`` of them.
    """
    levels = np.unique(rho[rho > 0])
    total = np.zeros(rho.size - days + 1)
    for height, level in zip(np.diff(levels, prepend=0.0), levels, strict=True):
        reach = np.concatenate(([0], np.cumsum(rho >= level)))
        total += height * np.minimum(reach[days:] - reach[:-days], count)
    return total


def peak_spending(revisions: Sequence[LiveRevision], days: int) -> Peak:
    """The most that one member can spend in any window of ``days`` consecutive days, over all time.

    Exact, whatever the dates: stretches of equal days longer than a window are looked at once.
    """
    revisions = [one for one in revisions if one.end_day is None or one.first_day < one.end_day]
    if not revisions:
        return Peak(0.0, 0)
    edges = {one.first_day for one in revisions} | {one.end_day for one in revisions if one.end_day is not None}
    # Windows that reach beyond the first or the last edge hold no more than those that end there; where something is
    # live without end, one whole window behind the last edge shows all that is to come.
    edges |= {max(edges) + days}
    bounds = np.array(sorted(edges))
    lengths = np.minimum(np.diff(bounds), days)
    place = dict(zip(bounds.tolist(), np.concatenate(([0], np.cumsum(lengths))).tolist(), strict=True))
    daily: dict[CountingDays, F] = {}
    for one in revisions:
        rho = daily.setdefault(one.counting, np.zeros(int(lengths.sum())))
        rho[place[one.first_day] : None if one.end_day is None else place[one.end_day]] += one.rho
    spent = most_spent(daily, days)
    first = int(np.argmax(spent))
    # A stretch that was cut short is laid to its end: what a window that starts in it holds of what comes after.
    stretch = int(np.searchsorted(np.cumsum(lengths), first, side="right"))
    return Peak(float(spent[first]), int(bounds[stretch + 1] - (np.cumsum(lengths)[stretch] - first)))


class DailyDebits:
    """What has been debited on which days, in any order of days."""

    def __init__(self) -> None:
        self._daily: dict[CountingDays, dict[int, float]] = {}
        self._last = 0

    def add(self, day: int, counting: CountingDays, rho: float) -> None:
        """Add a debit."""
        by_day = self._daily.setdefault(counting, {})
        by_day[day] = by_day.get(day, 0.0) + rho
        self._last = max(self._last, day)

    def copy(self) -> DailyDebits:
        """The same, to go on from without changing this one."""
        copied = DailyDebits()
        copied._daily = {counting: dict(by_day) for counting, by_day in self._daily.items()}
        copied._last = self._last
        return copied

    def spent(self, last_day: int, days: int) -> float:
        """The most that one member can have spent in the ``days`` days that end with ``last_day``."""
        return float(most_spent(self._stretch(last_day - days + 1, last_day), days).max())

    def peak_with(self, day: int, counting: CountingDays, rho: float, days: int) -> Peak:
        """The most that one member can spend in any window that holds ``day`` if this much more is debited on it."""
        # A window that ends behind the last debit holds no more than the one that ends with it.
        first, last = day - days + 1, min(day + days - 1, max(day, self._last))
        stretch = self._stretch(first, last)
        stretch.setdefault(counting, np.zeros(last - first + 1))[day - first] += rho
        spent = most_spent(stretch, days)
        return Peak(float(spent.max()), first + int(np.argmax(spent)))

    def _stretch(self, first_day: int, last_day: int) -> dict[CountingDays, F]:
        stretch = range(first_day, last_day + 1)
        return {
            counting: np.fromiter(map(by_day.get, stretch, repeat(0.0)), np.float64, len(stretch))
            for counting, by_day in self._daily.items()
        }


# -- the registry -----------------------------------------------------------------------------------------------------


def counting_days(measurement: Measurement) -> CountingDays:
    """On how many days a member can count under a measurement's rotation."""
    return CountingDays(measurement.privacy.days_in_30, measurement.privacy.days_in_year)


def live_revisions(
    measurements: Iterable[Measurement], revoked_at_ms: Mapping[tuple[str, int], int] | None = None
) -> list[LiveRevision]:
    """When each revision is live: until a later one takes over, it expires, or it is revoked.

    Revisions take over at UTC days. A day on which one was live for a part counts whole.

    Args:
        measurements: all approved revisions; one that does not say when it takes effect is live from the first.
        revoked_at_ms: by id and revision, epoch milliseconds; the day of its revocation still counts.
    """
    measurements = tuple(measurements)
    revoked = revoked_at_ms or {}
    live = []
    for spec in measurements:
        ends = [_first_day(other) for other in measurements if other.id == spec.id and other.revision > spec.revision]
        if spec.expires_ms is not None:
            ends.append(-(-spec.expires_ms // _DAY_MS))
        if (spec.id, spec.revision) in revoked:
            ends.append(revoked[spec.id, spec.revision] // _DAY_MS + 1)
        first, end = _first_day(spec), min(ends, default=None)
        if end is None or first < end:
            live.append(
                LiveRevision(spec.id, spec.revision, spec.privacy.rho_member_day, counting_days(spec), first, end)
            )
    return live


def check_registry_budget(
    measurements: Sequence[Measurement],
    limits: Limits,
    revoked_at_ms: Mapping[tuple[str, int], int] | None = None,
) -> None:
    """Raise :class:`RegistryBudgetError` unless all measurements together fit into the registry's limits.

    On every UTC day, in any 30 and in any 365 consecutive ones, for every member.

    Args:
        measurements: all revisions that are or would be approved, in the order of their approval.
        limits: of the registry.
        revoked_at_ms: see :func:`live_revisions`.
    """
    live = live_revisions(measurements, revoked_at_ms)
    for period, days in PERIOD_DAYS.items():
        found = peak_spending(live, days)
        if not found.rho <= limits.of(period) + TOLERANCE:
            raise RegistryBudgetError(_refusal(live, measurements[-1], period, found.first_day, limits))


def _refusal(live: Sequence[LiveRevision], newest: Measurement, period: Period, first_day: int, limits: Limits) -> str:
    days = PERIOD_DAYS[period]
    inside = [cut for one in live if (cut := _cut(one, first_day, first_day + days)) is not None]
    names = list(dict.fromkeys(one.measurement for one in inside))
    asks = newest.id if newest.id in names else names[0]
    held = {name: peak_spending([one for one in inside if one.measurement == name], days).rho for name in names}
    others = [one for one in inside if one.measurement != asks]
    left = max(limits.of(period) - peak_spending(others, days).rho, 0.0)
    holders = ", ".join(f"{name} {held[name]:.6g}" for name in names if name != asks) or "nothing"
    what = {"member-day": "a member-day", "30-days": "in 30 days", "year": "in a year"}[period]
    change = "lower its rho_member_day, "
    if period != "member-day":
        change += "let rotation count a member on fewer days, "
    return (
        f"{asks!r} asks for rho {held[asks]:.6g} {what}, but only {left:.6g} of {limits.of(period):g} is left "
        f"({holders}) {_dates(first_day, days)}: {change}let it begin later or expire sooner, or have the registry's "
        "limit raised"
    )


def _cut(one: LiveRevision, first_day: int, end_day: int) -> LiveRevision | None:
    """The same within some days; None where it is not live on any of them."""
    first, end = max(one.first_day, first_day), end_day if one.end_day is None else min(one.end_day, end_day)
    if first >= end:
        return None
    return LiveRevision(one.measurement, one.revision, one.rho, one.counting, first, end)


def _dates(first_day: int, days: int) -> str:
    if days == 1:
        return f"on {day_name(first_day)}"
    return f"from {day_name(first_day)} to {day_name(first_day + days - 1)}"


def day_name(day: int) -> str:
    """A UTC day as YYYY-MM-DD."""
    return str(np.datetime64(day, "D"))


def day_number(day: str) -> int:
    """Days since 1970-01-01; ValueError where it is not YYYY-MM-DD."""
    parsed = date.fromisoformat(day)
    if parsed.isoformat() != day:
        raise ValueError(f"expected a UTC day as YYYY-MM-DD, got {day!r}")
    return parsed.toordinal() - _EPOCH


def _first_day(spec: Measurement) -> int:
    return 0 if spec.effective_from_ms is None else spec.effective_from_ms // _DAY_MS
