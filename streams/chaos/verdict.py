"""What a run is held to. Pure: evidence against what must be, and each shortfall in words.

Every window that was scheduled has exactly one committed release of each party, and whatever else lies on the topic of
that window is a copy of the same bytes; the two agree on coverage; their sum is the oracle's table to the last unit of
2^-20 row; the ledger holds exactly the debits that releases name; `fairness-metrics` has one record a window, which
says the same.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from streams.chaos.evidence import Evidence, PartyEvidence
from streams.chaos.oracle import SCALE, Expected, WindowKey
from streams.records.debit import SignedDebit
from streams.records.metric import FairnessMetric
from streams.records.refused import Refused
from streams.records.release import SignedRelease

_MOST_TOLD = 20


@dataclass
class Verdict:
    """What was found.

    Attributes:
        windows: scheduled. rows: that had to count, of the base level.
        lost, duplicated: rows of the base level that count too rarely or too often in the sum of the two releases.
        unequal: numbers of tables and moments, over all levels, that are not the oracle's.
        copies: further copies of a release with the same bytes, as aborted transactions leave them.
        void: windows without numbers, by reason. debits: in both ledgers.
        shortfalls: everything that is not as it must be, in words.
    """

    windows: int = 0
    rows: int = 0
    lost: int = 0
    duplicated: int = 0
    unequal: int = 0
    copies: int = 0
    debits: int = 0
    void: Counter[str] = field(default_factory=Counter)
    shortfalls: list[str] = field(default_factory=list)

    def add(self, text: str) -> None:
        """Note a shortfall; beyond some 20 only how many there were."""
        if len(self.shortfalls) < _MOST_TOLD:
            self.shortfalls.append(text)
        elif len(self.shortfalls) == _MOST_TOLD:
            self.shortfalls.append("and more of the like")


def judge(expected: Expected, evidence: Evidence, *, base: str) -> Verdict:
    """Hold the evidence against what must be.

    Args:
        base: name of the base level, in which each row is alone in its cell.
    """
    verdict = Verdict(windows=len(expected.tables), rows=expected.counted(base))
    released = {name: _released(verdict, name, party, expected) for name, party in evidence.parties.items()}
    for party, found in released.items():
        _ledger(verdict, party, evidence.parties[party], found.values())
    published = _published(verdict, evidence.metrics, expected)
    for key in expected.tables:
        pair = [found[key] for found in released.values() if key in found]
        if len(pair) == len(released):
            _window(verdict, key, pair, expected, base)
        if key in published:
            _metric(verdict, key, published[key], expected)
    _refused(verdict, evidence.refused, expected)
    return verdict


def _released(verdict: Verdict, name: str, party: PartyEvidence, expected: Expected) -> dict[WindowKey, SignedRelease]:
    """The party's first committed release of each window, those that ended after the traffic as well."""
    found: dict[WindowKey, SignedRelease] = {}
    times: Counter[WindowKey] = Counter()
    for value in party.committed:
        signed = SignedRelease.decode(value)
        key = signed.release.level, signed.release.end_ms
        times[key] += 1
        found.setdefault(key, signed)
    for key in expected.tables:
        if times[key] != 1:
            verdict.add(f"party {name} has released window {_told(key)} {times[key]} times, expected once")
    variants: dict[WindowKey, set[bytes]] = {}
    for value in party.all:
        signed = SignedRelease.decode(value)
        variants.setdefault((signed.release.level, signed.release.end_ms), set()).add(hashlib.sha256(value).digest())
    for key, digests in variants.items():
        if len(digests) > 1:
            verdict.add(f"party {name}'s topic holds {len(digests)} different releases of window {_told(key)}")
    verdict.copies += len(party.all) - len(party.committed)
    for problem in party.problems:
        verdict.add(f"party {name}: {problem}")
    return found


def _ledger(verdict: Verdict, name: str, party: PartyEvidence, releases: Iterable[SignedRelease]) -> None:
    debits = Counter(hashlib.sha256(SignedDebit.decode(value).debit).digest() for value in party.ledger)
    named = {signed.release.debit for signed in releases if signed.release.status == "released"}
    verdict.debits += sum(debits.values())
    for text, count in (
        ("debits that releases name are not in the ledger", len(named - debits.keys())),
        ("debits in the ledger pay for no release", len(debits.keys() - named)),
        ("debits are in the ledger more than once", sum(times > 1 for times in debits.values())),
    ):
        if count:
            verdict.add(f"party {name}: {count} {text}")


def _window(verdict: Verdict, key: WindowKey, pair: Sequence[SignedRelease], expected: Expected, base: str) -> None:
    reasons = {signed.release.reason or signed.release.status for signed in pair if not signed.values}
    if len({signed.release.coverage for signed in pair}) > 1:
        reasons.add("coverage_differs")
        verdict.add(f"the parties' coverage of window {_told(key)} differs")
    if reasons:
        verdict.void[min(reasons)] += 1
        verdict.add(f"window {_told(key)} has no numbers: {', '.join(sorted(reasons))}")
        return
    table = _sum(pair, "table")
    wrong = int((table != expected.tables[key]).sum()) + int((_sum(pair, "moments") != expected.moments[key]).sum())
    verdict.unequal += wrong
    if key[0] == base:
        # A row's probabilities sum to 2^20 units, so a cell's sum over groups says how often its row counted.
        surplus = np.rint(table.sum(axis=1) / SCALE).astype(np.int64) - expected.rows[key]
        lost, duplicated = int(-surplus[surplus < 0].sum()), int(surplus[surplus > 0].sum())
        verdict.lost += lost
        verdict.duplicated += duplicated
        if lost or duplicated:
            verdict.add(f"window {_told(key)}: {lost} rows lost, {duplicated} counted twice")
    if wrong:
        verdict.add(f"window {_told(key)}: {wrong} numbers are not the oracle's")


def _sum(pair: Sequence[SignedRelease], channel: str) -> NDArray[np.int64]:
    total: NDArray[np.uint64] | None = None
    for signed in pair:
        share = signed.channel(channel)
        assert share is not None  # every window of this measurement has both channels
        total = share if total is None else total + share
    assert total is not None
    return total.view(np.int64)


def _published(
    verdict: Verdict, metrics: Sequence[FairnessMetric], expected: Expected
) -> Mapping[WindowKey, FairnessMetric]:
    found: dict[WindowKey, FairnessMetric] = {}
    times = Counter((window.level, window.window.end_ms) for window in metrics)
    for window in metrics:
        found.setdefault((window.level, window.window.end_ms), window)
    for key in expected.tables:
        if times[key] != 1:
            verdict.add(f"fairness-metrics has {times[key]} records of window {_told(key)}, expected one")
    return found


def _metric(verdict: Verdict, key: WindowKey, window: FairnessMetric, expected: Expected) -> None:
    if window.table is None:
        verdict.add(f"fairness-metrics shows no table of window {_told(key)}: {window.reason}")
    elif not np.array_equal(np.array(window.table.values) * SCALE, expected.tables[key]):
        verdict.add(f"fairness-metrics shows another table of window {_told(key)} than the oracle's")


def _refused(verdict: Verdict, refused: Sequence[Refused], expected: Expected) -> None:
    places = Counter((entry.partition, entry.offset, entry.reason) for entry in refused)
    wanted = {(*place, "late") for place in expected.late} | {(*place, "future") for place in expected.future}
    twice = sum(times > 1 for times in places.values())
    if places.keys() != wanted or twice:
        verdict.add(
            f"refused: {len(wanted - places.keys())} rows are missing, {len(places.keys() - wanted)} are there that "
            f"must not be, {twice} are there more than once"
        )


def _told(key: WindowKey) -> str:
    return f"{key[0]}/{key[1]}"
