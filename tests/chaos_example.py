"""A small chaos run without Kafka: members, a source topic, what must come out, and releases that are just that."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from privacy import Ledger, Limits, Measurement
from secure_agg import Identity
from streams.chaos.evidence import Evidence, PartyEvidence
from streams.chaos.oracle import SCALE, Expected, SourceRecord, WindowKey, expect
from streams.chaos.traffic import BASE_MS, Members, Stream, measurement
from streams.records.debit import SignedDebit
from streams.records.metric import FairnessMetric, Table, Window
from streams.records.refused import Refused
from streams.records.release import Release, ReleasedChannel, SignedRelease

BEGIN_MS = 1_700_000_040_000
END_MS = BEGIN_MS + 20_000
ROWS_A_WINDOW = 30
_PARTITIONS = 2


@dataclass
class Example:
    """One run; :meth:`evidence` is what it looks like when nothing went wrong."""

    spec: Measurement
    members: Members
    source: list[SourceRecord]
    expected: Expected

    @classmethod
    def make(cls, *, late: int = 0) -> Example:
        """Twenty seconds of traffic; ``late`` events arrive after their time is up."""
        spec = measurement("rec-events", ROWS_A_WINDOW, 5).with_effective_from(BEGIN_MS)
        members = Members(1, 200)
        stream = Stream(BEGIN_MS, ROWS_A_WINDOW, spec.cell_count, 200)
        source = []
        for number in range(ROWS_A_WINDOW * (END_MS - BEGIN_MS) // BASE_MS):
            at_ms, _, value = stream.event(number)
            arrival = at_ms + 40 + (60_000 if number >= 300 - late else 0)
            source.append(SourceRecord(number % _PARTITIONS, number // _PARTITIONS, arrival, value))
        return cls(spec, members, source, expect(spec, members, source, END_MS))

    def evidence(self) -> Evidence:
        """Two parties' releases, ledgers and metrics that are right."""
        parties = {name: PartyEvidence() for name in ("a", "b")}
        shares = {key: self._split(key) for key in self.expected.tables}
        for place, (name, party) in enumerate(parties.items()):
            identity = some_identity(name)
            debit = _debit(name, self.spec)
            party.ledger.append(SignedDebit.signed(identity, debit).encode())
            for key in shares:
                party.committed.append(self.release(identity, name, key, shares[key][place], debit))
            party.all = list(party.committed)
        metrics = [self._metric(key) for key in shares]
        refused = [Refused("late", "rec-events", i, offset, "chaos") for i, offset in sorted(self.expected.late)]
        return Evidence(parties, metrics, refused)

    def _split(self, key: WindowKey) -> list[dict[str, np.ndarray]]:
        rng = np.random.default_rng(key[1])
        whole = {"table": self.expected.tables[key], "moments": self.expected.moments[key]}
        mask = {name: rng.integers(0, 2**64, value.shape, dtype=np.uint64) for name, value in whole.items()}
        return [mask, {name: value.view(np.uint64) - mask[name] for name, value in whole.items()}]

    def release(
        self,
        identity: Identity,
        party: str,
        key: WindowKey,
        values: dict[str, np.ndarray] | None,
        debit: bytes,
        coverage: bytes = bytes(32),
    ) -> bytes:
        """A release's bytes; without values a void one."""
        level, end_ms = key
        length = {name.name: name.length_ms for name in self.spec.levels}[level]
        shapes = {"table": self.expected.tables[key].shape, "moments": self.expected.moments[key].shape}
        release = Release(
            party=party,  # type: ignore[arg-type]
            measurement=self.spec.id,
            revision=1,
            spec=bytes.fromhex("ab" * 32),
            level=level,
            start_ms=end_ms - length,
            end_ms=end_ms,
            status="void" if values is None else "released",
            reason="stopped_stream" if values is None else "",
            coverage=coverage,
            debit=bytes(32) if values is None else hashlib.sha256(debit).digest(),
            channels=tuple(ReleasedChannel(name, shape, 0.01, 0.1) for name, shape in shapes.items()),  # type: ignore[arg-type]
        )
        return SignedRelease.signed(identity, release, values).encode()

    def _metric(self, key: WindowKey) -> FairnessMetric:
        level, end_ms = key
        length = {name.name: name.length_ms for name in self.spec.levels}[level]
        rows = self.expected.tables[key] / SCALE
        table = Table(axes=self.spec.cell_axes, groups=self.spec.group_names, values=tuple(map(tuple, rows.tolist())))
        return FairnessMetric.model_construct(
            level=level,
            window=Window(start_ms=end_ms - length, end_ms=end_ms),
            status="published",
            reason=None,
            table=table,
        )


def some_identity(role: str) -> Identity:
    """A role's identity that nobody has pinned."""
    return Identity(role, "example", Ed25519PrivateKey.generate())


def _debit(party: str, spec: Measurement) -> bytes:
    ledger = Ledger(party, Limits.of_day(1.0))
    debit = ledger.debit(
        day="2023-11-14",
        measurement=spec.id,
        revision=1,
        spec_sha256="ab" * 32,
        rho=0.1,
        days_in_30=30,
        days_in_year=365,
        at_ms=BEGIN_MS,
    )
    assert debit is not None
    return debit
