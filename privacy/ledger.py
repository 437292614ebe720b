"""A party's budget ledger: append-only, hash-chained, one debit for each member-day and measurement.

The member-day scope is debited once, before its first window, at what the whole day may cost; the noise is fixed for
that day. Each record holds the SHA-256 of the one before it, so that no entry can be removed, changed or reordered
without every later one showing it. The ledger refuses what would pass the limit.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, fields
from datetime import date

from privacy.errors import BudgetExceeded, LedgerBroken
from privacy.limits import TOLERANCE, Limits

_GENESIS = "0" * 64


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
    at_ms: int

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
        self._spent: dict[str, dict[str, float]] = {}
        self._paid: dict[tuple[str, str, int], Debit] = {}

    @property
    def entries(self) -> tuple[Debit, ...]:
        """All debits, oldest first."""
        return tuple(self._entries)

    def spent(self, day: str) -> float:
        """What a member-day has been debited over all measurements (rho)."""
        return sum(self._spent.get(day, {}).values())

    def covers(self, day: str, measurement: str, revision: int) -> bool:
        """Whether this day is paid for at this revision: a party whose release is not covered must not start."""
        return (day, measurement, revision) in self._paid

    def paid_by(self, day: str, measurement: str, revision: int) -> str | None:
        """SHA-256 (hex) of the debit that pays for this day at this revision; None where there is none."""
        debit = self._paid.get((day, measurement, revision))
        return None if debit is None else hashlib.sha256(debit.encode()).hexdigest()

    def debit(
        self, *, day: str, measurement: str, revision: int, spec_sha256: str, rho: float, at_ms: int
    ) -> bytes | None:
        """Debit a member-day for a measurement.

        Returns:
            The record to append, or None where this day is already paid for at this revision.

        Raises:
            BudgetExceeded: the day's sum would pass the limit, or this revision was debited with other terms; nothing
                was debited.
            ValueError: the day is not YYYY-MM-DD, or rho is not positive and finite.
        """
        _check_debit(day, rho)
        paid = self._paid.get((day, measurement, revision))
        if paid is not None:
            if (paid.spec_sha256, paid.rho) != (spec_sha256, rho):
                raise BudgetExceeded(
                    f"party {self._party}: revision {revision} of {measurement!r} was debited on {day} at rho "
                    f"{paid.rho:g} under spec {paid.spec_sha256[:16]}, and now comes as spec {spec_sha256[:16]} at rho "
                    f"{rho:g}; a changed measurement needs a higher revision"
                )
            return None
        already = self._spent.get(day, {})
        total = sum(already.values()) + rho  # revisions that share a day add up: both may have counted a member's rows
        if not total <= self._limits.rho_member_day + TOLERANCE:
            raise BudgetExceeded(
                f"party {self._party}: {measurement!r} asks for rho {rho:g} on {day}, but {sum(already.values()):g} of "
                f"{self._limits.rho_member_day:g} is spent; its windows of that day are not released"
            )
        debit = Debit(
            sequence=len(self._entries),
            previous=self._last,
            party=self._party,
            day=day,
            measurement=measurement,
            revision=revision,
            spec_sha256=spec_sha256,
            rho=float(rho),
            at_ms=at_ms,
        )
        record = debit.encode()
        self._append(debit, record)
        return record

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
        by_measurement = self._spent.setdefault(debit.day, {})
        by_measurement[debit.measurement] = by_measurement.get(debit.measurement, 0.0) + debit.rho
        self._paid[debit.day, debit.measurement, debit.revision] = debit


def _check_debit(day: str, rho: float) -> None:
    if date.fromisoformat(day).isoformat() != day:
        raise ValueError(f"expected a UTC day as YYYY-MM-DD, got {day!r}")
    if not (math.isfinite(rho) and rho > 0):  # NaN would pass the limit, a negative debit would be a credit
        raise ValueError(f"expected a positive, finite rho, got {rho}")


def _read_debit(record: bytes) -> Debit:
    content = json.loads(record)
    kinds = {"sequence": int, "revision": int, "at_ms": int, "rho": float}
    for field in fields(Debit):
        if type(content[field.name]) is not kinds.get(field.name, str):
            raise TypeError(field.name)
    debit = Debit(**content)
    _check_debit(debit.day, debit.rho)
    return debit
