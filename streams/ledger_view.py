"""How a party's budget stands, as anyone can work it out from its ledger: spent, left, and when it will be used up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from privacy import Debit, Exhaustion, Ledger, LedgerBroken, Limits, Measurement
from privacy.accountant import promised_epsilon
from privacy.budget import DailyDebits, day_number, live_revisions
from privacy.limits import PERIOD_DAYS, Period
from streams.control import Approved, ControlPlane, limits_of, revoked_at_ms
from streams.ledger_check import Findings, read_ledger
from streams.public_topics import PublicTopics

LAST_DEBITS = 10
_DELTA = 1e-9
"""Where no measurement is approved that could say another."""


@dataclass(frozen=True)
class PeriodSpend:
    """The most that one member can have spent in a period, on replacement.

    Attributes:
        first_day, last_day: UTC days of the period, both in it.
        rho, limit: zCDP. epsilon, epsilon_limit: the same at the view's delta; None where that is no promise.
        by_measurement: rho of each measurement by itself. Where they count members on different days, the sum may be
            more than ``rho``.
    """

    period: Period
    first_day: str
    last_day: str
    rho: float
    limit: float
    epsilon: float | None
    epsilon_limit: float | None
    by_measurement: Mapping[str, float]

    @property
    def remaining(self) -> float:
        """Rho that is left."""
        return max(self.limit - self.rho, 0.0)


@dataclass(frozen=True)
class LedgerView:
    """A party's budget on one day.

    Attributes:
        day: the last day of every period.
        delta: of the epsilons: the smallest of the approved measurements'.
        periods: shortest first.
        exhaustion: the first debit that a limit will refuse if the approved measurements go on as signed; None where
            none will within 400 days.
        debits: how many there are. last: the newest of them, newest first.
    """

    party: str
    day: str
    delta: float
    periods: tuple[PeriodSpend, ...]
    exhaustion: Exhaustion | None
    debits: int
    last: tuple[Debit, ...]

    def forecast_in_words(self) -> str:
        """When it will be used up, in a sentence."""
        if self.exhaustion is None:
            return "If the approved measurements go on as signed, no limit is passed within the next 400 days."
        end = self.exhaustion
        return (
            f"If the approved measurements go on as signed, {end.measurement} revision {end.revision} will be refused "
            f"from {end.day} on ({end.reason}): its windows are then published as void, without a number."
        )

    def as_json(self) -> dict[str, Any]:
        """For machines: names with units, nothing rounded."""
        end = self.exhaustion
        return {
            "party": self.party,
            "day": self.day,
            "relation": "replace",
            "delta": self.delta,
            "periods": [
                {
                    "period": period.period,
                    "first_day": period.first_day,
                    "last_day": period.last_day,
                    "rho_spent": period.rho,
                    "rho_limit": period.limit,
                    "rho_remaining": period.remaining,
                    "epsilon_spent": period.epsilon,
                    "epsilon_limit": period.epsilon_limit,
                    "rho_by_measurement": dict(period.by_measurement),
                }
                for period in self.periods
            ],
            "exhaustion": None
            if end is None
            else {
                "day": end.day,
                "measurement": end.measurement,
                "revision": end.revision,
                "reason": end.reason,
            },
            "debits": self.debits,
            "last_debits": [
                {
                    "sequence": debit.sequence,
                    "day": debit.day,
                    "measurement": debit.measurement,
                    "revision": debit.revision,
                    "rho": debit.rho,
                    "at_ms": debit.at_ms,
                }
                for debit in self.last
            ],
        }


def view(ledger: Ledger, party: str, approved: Iterable[Approved], day: str, delta: float) -> LedgerView:
    """How a restored ledger stands on a UTC day (YYYY-MM-DD)."""
    entries = ledger.entries
    return LedgerView(
        party=party,
        day=day,
        delta=delta,
        periods=tuple(_spend(ledger, period, day, delta) for period in PERIOD_DAYS),
        exhaustion=forecast(ledger, approved, day),
        debits=len(entries),
        last=tuple(reversed(entries[-LAST_DEBITS:])),
    )


def forecast(ledger: Ledger, approved: Iterable[Approved], day: str) -> Exhaustion | None:
    """The first debit that will be refused from this day on, if what is approved goes on until it ends."""
    approved = tuple(approved)
    return ledger.forecast(live_revisions((entry.measurement for entry in approved), revoked_at_ms(approved)), day)


def _spend(ledger: Ledger, period: Period, day: str, delta: float) -> PeriodSpend:
    days, last = PERIOD_DAYS[period], date.fromisoformat(day)
    first = last - timedelta(days=days - 1)
    by_measurement: dict[str, DailyDebits] = {}
    for debit in ledger.entries:
        if first <= date.fromisoformat(debit.day) <= last:
            own = by_measurement.setdefault(debit.measurement, DailyDebits())
            own.add(day_number(debit.day), debit.counting, debit.rho)
    rho, limit = ledger.spent(day, period), ledger.limits.of(period)
    return PeriodSpend(
        period=period,
        first_day=first.isoformat(),
        last_day=day,
        rho=rho,
        limit=limit,
        epsilon=promised_epsilon(rho, delta),
        epsilon_limit=promised_epsilon(limit, delta),
        by_measurement={name: own.spent(day_number(day), days) for name, own in sorted(by_measurement.items())},
    )


def restored(findings: Findings, limits: Limits) -> Ledger:
    """The ledger that a party's signed debits come to.

    Raises:
        LedgerBroken: a debit was not signed, or the chain does not hold: no sum of it would mean anything.
    """
    if findings.problems:
        raise LedgerBroken(
            f"{findings.problems[0]}. No figure of a broken ledger can be trusted: run `evenstream ledger verify "
            f"--party {findings.party}` for every problem"
        )
    ledger = Ledger(findings.party, limits)
    for entry in findings.entries:
        ledger.restore(entry.record)
    return ledger


def smallest_delta(measurements: Iterable[Measurement]) -> float:
    """The delta at which sums over measurements are told: no epsilon is understated for any of them."""
    return min((measurement.privacy.delta for measurement in measurements), default=_DELTA)


def view_of_topic(
    topics: PublicTopics, party: str, control: ControlPlane, now_ms: int, day: str | None = None
) -> LedgerView:
    """How a party's ledger stands, from its topic.

    Args:
        day: YYYY-MM-DD; the UTC day of ``now_ms`` by default.

    Raises:
        LedgerBroken: its chain or its signatures do not hold. EvenstreamError: it cannot be read.
    """
    findings = Findings(party)
    read_ledger(findings, topics.ledger(party), topics.trusted.identities)
    ledger = restored(findings, limits_of(topics.settings))
    approved = tuple(control.approved())
    delta = smallest_delta(entry.measurement for entry in approved)
    return view(ledger, party, approved, day or utc_day(now_ms), delta)


def utc_day(now_ms: int) -> str:
    """The UTC day of a moment, YYYY-MM-DD."""
    return datetime.fromtimestamp(now_ms / 1000, UTC).date().isoformat()
