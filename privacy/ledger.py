"""A party's budget ledger: append-only, hash-chained, one debit for each UTC day and measurement revision.

The member-day scope is debited once, before its first window, at what the whole day may cost; the noise is fixed for
that day. Each record holds the SHA-256 of the one before it, so that no entry can be removed, changed or reordered
without every later one showing it.

The ledger refuses what would let any member spend more than a limit: on that day, in any 30 and in any 365 consecutive
days that hold it, in whatever order days come (a replay debits old ones). What a member can have spent of the debits is
``privacy.budget``'s to say.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

from privacy.budget import DailyDebits, LiveRevision, Peak, day_name, day_number
from privacy.errors import BudgetExceeded, LedgerBroken
from privacy.limits import PERIOD_DAYS, TOLERANCE, Limits, Period
from privacy.revocation import YEAR_10000_MS
from privacy.spend import CountingDays

FORECAST_DAYS = 400
"""How far a forecast looks: past a year, after which a steady spender goes on as it is."""

_GENESIS = "0" * 64
_DIGEST = re.compile("[0-9a-f]{64}")
_ID = re.compile("[a-z0-9][a-z0-9-]{0,62}")
_REASONS: dict[Period, str] = {
    "member-day": "budget_exceeded_day",
    "30-days": "budget_exceeded_30_days",
    "year": "budget_exceeded_year",
}
_OTHER_TERMS = "budget_exceeded_terms"


@dataclass(frozen=True)
class Debit:
    """One entry.

    Attributes:
        sequence: 0, 1, 2, ...
        previous: SHA-256 (hex) of the record before it.
        party: "a" or "b".
        day: UTC day, YYYY-MM-DD.
        measurement, revision, spec_sha256: what it pays for.
        rho: zCDP on replacement, for one member-day.
        days_in_30, days_in_year: on how many days a member can count.
        at_ms: the party's clock, epoch milliseconds.
    """

    sequence: int
    previous: str
    party: str
    day: str
    measurement: str
    revision: int
    spec_sha256: str
    rho: float
    days_in_30: int
    days_in_year: int
    at_ms: int

    @property
    def counting(self) -> CountingDays:
        """On how many days a member can count."""
        return CountingDays(self.days_in_30, self.days_in_year)

    def encode(self) -> bytes:
        """The record's bytes: JSON with sorted keys."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, record: bytes) -> Debit:
        """Read a record's bytes, or raise :class:`LedgerBroken`. Says nothing about its place in a chain."""
        try:
            debit = _read_debit(record)
        except (ValueError, TypeError, KeyError, RecursionError):
            raise LedgerBroken("the record is not a debit") from None
        if debit.encode() != record:
            raise LedgerBroken("the debit is not in canonical form")
        return debit


@dataclass(frozen=True)
class Exhaustion:
    """The first debit that a ledger would refuse if all live revisions go on as they are.

    Attributes:
        day: UTC day, YYYY-MM-DD.
        measurement, revision: whose debit it is. reason: see `BudgetExceeded`.
    """

    day: str
    measurement: str
    revision: int
    reason: str


class Ledger:
    """One party's ledger.

    Args:
        party: "a" or "b".
        limits: what all measurements together may spend on one member.
    """

    def __init__(self, party: str, limits: Limits) -> None:
        self._party = party
        self._limits = limits
        self._entries: list[Debit] = []
        self._last = _GENESIS
        self._debits = DailyDebits()
        self._paid: dict[tuple[str, str, int], tuple[Debit, str]] = {}

    @property
    def limits(self) -> Limits:
        """What all measurements together may spend on one member."""
        return self._limits

    @property
    def entries(self) -> tuple[Debit, ...]:
        """All debits, oldest first."""
        return tuple(self._entries)

    def spent(self, day: str, period: Period = "member-day") -> float:
        """The most that a member can have spent in the period that ends with this day, over all measurements (rho)."""
        return self._debits.spent(day_number(day), PERIOD_DAYS[period])

    def covers(self, day: str, measurement: str, revision: int) -> bool:
        """Whether this day is paid for at this revision: a party whose release is not covered must not start."""
        return (day, measurement, revision) in self._paid

    def paid_by(self, day: str, measurement: str, revision: int) -> str | None:
        """SHA-256 (hex) of the record that pays for this day at this revision; None where none does."""
        paid = self._paid.get((day, measurement, revision))
        return None if paid is None else paid[1]

    def debit(
        self,
        *,
        day: str,
        measurement: str,
        revision: int,
        spec_sha256: str,
        rho: float,
        days_in_30: int,
        days_in_year: int,
        at_ms: int,
    ) -> bytes | None:
        """Debit a member-day for a measurement.

        Args:
            day: UTC day, YYYY-MM-DD. rho: of one member-day, zCDP on replacement.
            days_in_30, days_in_year: on how many days a member can count.
            at_ms: the party's clock, epoch milliseconds.

        Returns:
            The record to append, or None where this day is already paid for at this revision.

        Raises:
            BudgetExceeded: a limit would be passed, or this revision was debited with other terms; nothing was debited.
            ValueError: the day is not YYYY-MM-DD, the digest none, or rho, the days or the time are out of range.
        """
        debit = Debit(
            sequence=len(self._entries),
            previous=self._last,
            party=self._party,
            day=day,
            measurement=measurement,
            revision=revision,
            spec_sha256=spec_sha256,
            rho=float(rho),
            days_in_30=days_in_30,
            days_in_year=days_in_year,
            at_ms=at_ms,
        )
        _check_debit(debit)
        paid = self._paid.get((day, measurement, revision))
        if paid is not None:
            self._require_same_terms(paid[0], debit)
            return None
        # Revisions that share a day add up as measurements do: both may have counted a member's rows.
        passed = _limit_passed(self._debits, self._limits, debit.counting, debit.rho, day_number(day))
        if passed is not None:
            raise BudgetExceeded(self._refusal(debit, *passed), reason=_REASONS[passed[0]])
        record = debit.encode()
        self._append(debit, record)
        return record

    def _require_same_terms(self, paid: Debit, debit: Debit) -> None:
        terms = [(one.spec_sha256, one.rho, one.counting) for one in (paid, debit)]
        if terms[0] != terms[1]:
            raise BudgetExceeded(
                f"party {self._party}: revision {paid.revision} of {paid.measurement!r} was debited on {paid.day} as "
                f"{_terms(paid)}, and now comes as {_terms(debit)}; a changed measurement needs a higher revision",
                reason=_OTHER_TERMS,
            )

    def _refusal(self, debit: Debit, period: Period, peak: Peak) -> str:
        held, limit = max(peak.rho - debit.rho, 0.0), self._limits.of(period)
        first, last = day_name(peak.first_day), day_name(peak.first_day + PERIOD_DAYS[period] - 1)
        when = f"on {first}" if period == "member-day" else f"from {first} to {last}"
        asks = f"party {self._party}: {debit.measurement!r} asks for rho {debit.rho:g} on {debit.day}, but "
        if period == "member-day":
            return f"{asks}{held:g} of {limit:g} is spent; its windows of that day are not released"
        return (
            f"{asks}a member could then spend {peak.rho:.6g} {when}, and at most {limit:g} in any "
            f"{PERIOD_DAYS[period]} days; its windows of that day are not released"
        )

    def forecast(self, revisions: Sequence[LiveRevision], from_day: str) -> Exhaustion | None:
        """The first debit that will be refused if the live revisions are debited day by day.

        Args:
            revisions: those of the registry (``privacy.budget.live_revisions``), in the order of their debits.
            from_day: the first day to look at, YYYY-MM-DD; the last is 400 days on. Days that are paid for stay so.
        """
        debits, first = self._debits.copy(), day_number(from_day)
        for number in range(first, first + FORECAST_DAYS):
            day = day_name(number)
            for one in revisions:
                if not one.is_live(number) or self.covers(day, one.measurement, one.revision):
                    continue
                passed = _limit_passed(debits, self._limits, one.counting, one.rho, number)
                if passed is not None:
                    return Exhaustion(day, one.measurement, one.revision, _REASONS[passed[0]])
                debits.add(number, one.counting, one.rho)
        return None

    def restore(self, record: bytes) -> None:
        """Take in the next record of the ledger's topic.

        Raises:
            LedgerBroken: it is not this party's, or does not follow from the one before it.
        """
        try:
            debit = _read_debit(record)
        except (ValueError, TypeError, KeyError, RecursionError):
            raise LedgerBroken(f"record {len(self._entries)} of party {self._party}'s ledger is not a debit") from None
        if debit.party != self._party or debit.sequence != len(self._entries) or debit.previous != self._last:
            raise LedgerBroken(
                f"record {len(self._entries)} of party {self._party}'s ledger does not follow from the one before it: "
                "records were removed, changed or reordered. The party does not start on a broken ledger"
            )
        if debit.encode() != record:
            raise LedgerBroken(f"record {len(self._entries)} of party {self._party}'s ledger was rewritten")
        if self.covers(debit.day, debit.measurement, debit.revision):
            raise LedgerBroken(
                f"record {len(self._entries)} of party {self._party}'s ledger debits {debit.measurement!r} revision "
                f"{debit.revision} on {debit.day} a second time; two processes wrote to one ledger"
            )
        self._append(debit, record)

    def _append(self, debit: Debit, record: bytes) -> None:
        self._entries.append(debit)
        self._last = hashlib.sha256(record).hexdigest()
        self._debits.add(day_number(debit.day), debit.counting, debit.rho)
        self._paid[debit.day, debit.measurement, debit.revision] = debit, self._last


def _limit_passed(
    debits: DailyDebits, limits: Limits, counting: CountingDays, rho: float, day: int
) -> tuple[Period, Peak] | None:
    """The shortest period whose limit one more debit would pass, and what a member could then spend in it."""
    for period, days in PERIOD_DAYS.items():
        peak = debits.peak_with(day, counting, rho, days)
        if not peak.rho <= limits.of(period) + TOLERANCE:
            return period, peak
    return None


def _terms(debit: Debit) -> str:
    return (
        f"spec {debit.spec_sha256[:16]} at rho {debit.rho:g} on {debit.days_in_30} days in 30 and "
        f"{debit.days_in_year} in a year"
    )


def _check_debit(debit: Debit) -> None:
    day_number(debit.day)
    for name in ("spec_sha256", "previous"):
        if not _DIGEST.fullmatch(getattr(debit, name)):
            raise ValueError(f"expected {name} as 64 hexadecimal digits, got {getattr(debit, name)[:80]!r}")
    if not _ID.fullmatch(debit.measurement):
        raise ValueError(f"expected a measurement's id, got {debit.measurement[:80]!r}")
    if not 0 <= debit.at_ms < YEAR_10000_MS:
        raise ValueError(f"expected at_ms in epoch milliseconds, before the year 10000, got {debit.at_ms}")
    if not (math.isfinite(debit.rho) and debit.rho > 0):  # NaN would pass the limit, a negative debit would be a credit
        raise ValueError(f"expected a positive, finite rho, got {debit.rho}")
    if not (1 <= debit.days_in_30 <= 30 and 1 <= debit.days_in_year <= 365):
        raise ValueError(
            f"expected 1 to 30 days in 30 and 1 to 365 in a year, got {debit.days_in_30} and {debit.days_in_year}"
        )


def _read_debit(record: bytes) -> Debit:
    content = json.loads(record)
    whole = ("sequence", "revision", "days_in_30", "days_in_year", "at_ms")
    kinds = dict.fromkeys(whole, int) | {"rho": float}
    for field in fields(Debit):
        if type(content[field.name]) is not kinds.get(field.name, str):
            raise TypeError(field.name)
    debit = Debit(**content)
    _check_debit(debit)
    return debit
