"""The accountant: adds up events of privacy spend, and says what the sum promises.

It knows of no mechanism: an event says what each of its channels costs (``privacy.spend``). It adds up in zCDP (Bun and
Steinke 2016), where costs of independent mechanisms on the same person's data add (their lemma 1.7).

**Within a member-day.** The windows of one level and channel divide the day, so each of a member's at most c counted
rows lies in one of them: they compose in parallel, and share the c rows out. Let window w move by d_w (L2) when the
member's day is replaced, or added or removed, under Gaussian noise of scale s_w. A distance is at most the lengths of
its rows added up, and each row is in one window: so sum d_w <= D, the sensitivity of c rows. The day costs

    sum_w d_w^2 / (2 s_w^2)  <=  max_w 1 / (2 s_w^2) * sum_w d_w^2  <=  max_w 1 / (2 s_w^2) * (sum_w d_w)^2
                             <=  max_w D^2 / (2 s_w^2),

which is the largest rho among its events: that of one Gaussian vector over the whole day, also where scales differ.
Nothing else is shared out: a row counts in every channel, in every level, and its member may count under every
revision and measurement. So these add.

**Over days.** Days add too, those on which a member can count: of what that comes to in any 30 days or any year,
see ``privacy.budget``. OpenDP turns a sum into (epsilon, delta). An epsilon is never shown without its unit, relation,
delta and period, so they travel together in one `PrivacyStatement`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from privacy.budget import LiveRevision, peak_spending
from privacy.limits import PERIOD_DAYS, Period
from privacy.spend import RELATIONS, Channel, CountingDays, Relation, ReleaseSpend

_RHO_OF_NO_PROMISE = 100.0  # epsilon is then beyond 100: a number that would only look like a promise

_UNITS: dict[Period, str] = {
    "member-day": "one member's rows of one UTC day",
    "30-days": "one member's rows of any 30 consecutive UTC days",
    "year": "one member's rows of any 365 consecutive UTC days",
}


@dataclass(frozen=True)
class PrivacyStatement:
    """A promise with all that belongs to it.

    Attributes:
        unit: whose what is protected.
        period: over which time rho and epsilon are counted: "member-day", "30-days" or "year".
        rho, rho_add_remove: zCDP, on replacement and on adding or removing the unit.
        epsilon, epsilon_add_remove: the same as (epsilon, delta)-DP; None where rho is beyond any promise, as with
            ``test_only`` noise.
        delta: of both epsilons.
        relation: the relation of ``rho`` and ``epsilon``.
    """

    unit: str
    period: Period
    rho: float
    epsilon: float | None
    rho_add_remove: float
    epsilon_add_remove: float | None
    delta: float
    relation: Relation = "replace"

    @classmethod
    def of(cls, period: Period, *, rho: float, rho_add_remove: float, delta: float) -> PrivacyStatement:
        """The promise of these rhos over a period."""
        return cls(
            unit=_UNITS[period],
            period=period,
            rho=rho,
            epsilon=promised_epsilon(rho, delta),
            rho_add_remove=rho_add_remove,
            epsilon_add_remove=promised_epsilon(rho_add_remove, delta),
            delta=delta,
        )


def promised_epsilon(rho: float, delta: float) -> float | None:
    """As :func:`epsilon`; None where rho is so large that a number would only look like a promise."""
    return epsilon(rho, delta) if rho <= _RHO_OF_NO_PROMISE else None


@lru_cache(maxsize=1024)
def epsilon(rho: float, delta: float) -> float:
    """(epsilon, delta)-DP of rho-zCDP, by OpenDP's conversion.

    Args:
        rho: zCDP, finite, not negative.
        delta: above 0 and below 1.

    Raises:
        ValueError: rho or delta is out of range.
    """
    if not (math.isfinite(rho) and rho >= 0 and 0 < delta < 1):
        raise ValueError(f"expected a finite rho from 0 and a delta between 0 and 1, got rho {rho}, delta {delta}")
    # Imported here: seal and attach, which say no epsilon, start without it.
    from opendp import combinators, domains, measurements, metrics, mod

    mod.enable_features("contrib")
    # A Gaussian of scale 1 at distance d spends rho = d^2 / 2: the probe only carries rho into OpenDP's converter.
    probe = combinators.make_zCDP_to_approxDP(
        measurements.make_gaussian(domains.atom_domain(T="i64"), metrics.absolute_distance(T=float), scale=1.0)
    )
    profile: Any = probe.map(math.sqrt(2 * rho))  # type: ignore[no-untyped-call]  # OpenDP publishes no types here
    return float(profile.epsilon(delta))


def rho_of_epsilon(wanted: float, delta: float) -> float:
    """The largest rho whose (epsilon, delta) is at most ``wanted``, by bisection, to a millionth of it.

    Args:
        wanted: epsilon, above 0 and finite.
        delta: above 0 and below 1.

    Raises:
        ValueError: epsilon or delta is out of range.
    """
    if not (math.isfinite(wanted) and wanted > 0):
        raise ValueError(f"expected a finite epsilon above 0, got {wanted}")
    # Bun and Steinke's epsilon = rho + 2 sqrt(rho log(1 / delta)) is never below OpenDP's: a rho to begin with.
    low = (math.sqrt(wanted - math.log(delta)) - math.sqrt(-math.log(delta))) ** 2 if 0 < delta < 1 else 0.0
    high = 1.5 * low
    while epsilon(high, delta) <= wanted:
        low, high = high, 2 * high
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        if epsilon(middle, delta) <= wanted:
            low = middle
        else:
            high = middle
    return low


@dataclass(frozen=True)
class MemberDay:
    """A UTC day (days since 1970-01-01) under one revision."""

    day: int
    measurement: str
    revision: int
    counting: CountingDays


_Channel = tuple[MemberDay, str, Channel]
"""A channel of a level (its name) of a member-day."""


class Accountant:
    """Adds up events; see the module's text.

    Args:
        delta: of its statements.
        events: to begin with.
    """

    def __init__(self, delta: float, events: Iterable[ReleaseSpend] = ()) -> None:
        self._delta = delta
        # By relation, then by what composes in parallel over the windows of a day: the largest rho of these.
        self._largest: dict[Relation, dict[_Channel, float]] = {relation: {} for relation in RELATIONS}
        for event in events:
            self.add(event)

    def add(self, event: ReleaseSpend) -> None:
        """Take in one event, in any order. A window is noised once by each party: its two events count as one."""
        day = MemberDay(event.day, event.measurement, event.revision, event.counting)
        for spend in event.channels:
            for relation, largest in self._largest.items():
                key = (day, event.level, spend.channel)
                largest[key] = max(largest.get(key, 0.0), spend.rho[relation])

    def member_days(self, relation: Relation) -> dict[MemberDay, float]:
        """Rho of each UTC day under each revision: windows in parallel, then channels and levels added."""
        parts: defaultdict[MemberDay, list[float]] = defaultdict(list)
        for (day, _, _), rho in self._largest[relation].items():
            parts[day].append(rho)
        return {day: math.fsum(rhos) for day, rhos in parts.items()}

    def rho(self, relation: Relation, period: Period) -> float:
        """The most that the events cost one member in any window of a period's UTC days (zCDP)."""
        spent = [
            LiveRevision(day.measurement, day.revision, rho, day.counting, day.day, day.day + 1)
            for day, rho in self.member_days(relation).items()
        ]
        return peak_spending(spent, PERIOD_DAYS[period]).rho

    def statement(self, period: Period) -> PrivacyStatement:
        """What the events promise together to each member, over a period."""
        return PrivacyStatement.of(
            period,
            rho=self.rho("replace", period),
            rho_add_remove=self.rho("add_remove", period),
            delta=self._delta,
        )
