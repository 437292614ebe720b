"""The verdict sees what chaos could do: each planted error is a shortfall, and without one there is none."""

from __future__ import annotations

import pytest
from chaos_example import Example, some_identity

from streams.chaos.evidence import Evidence
from streams.chaos.oracle import SCALE, WindowKey
from streams.chaos.verdict import Verdict, judge
from streams.records.debit import SignedDebit
from streams.records.release import SignedRelease


@pytest.fixture(scope="module")
def example() -> Example:
    """One run."""
    return Example.make(late=3)


def _key(example: Example, place: int = 0) -> WindowKey:
    return [key for key in example.expected.tables if key[0] == "2s"][place]


def _debit(evidence: Evidence, party: str) -> bytes:
    return SignedDebit.decode(evidence.parties[party].ledger[0]).debit


def _replace(example: Example, evidence: Evidence, change: int, coverage: bytes = bytes(32)) -> None:
    """Party b's release of the first window, again, with one row more or less in one cell, or other coverage."""
    key = _key(example)
    old = SignedRelease.decode(evidence.parties["b"].committed[0])
    assert (old.release.level, old.release.end_ms) == key
    values = {}
    for name in ("table", "moments"):
        share = old.channel(name)
        assert share is not None
        values[name] = share.copy()
    cell = int(example.expected.rows[key].argmax())
    row = example.expected.tables[key][cell].copy()
    values["table"][cell] += (change * row).view("u8")
    new = example.release(some_identity("b"), "b", key, values, _debit(evidence, "b"), coverage)
    evidence.parties["b"].committed[0] = evidence.parties["b"].all[0] = new


def _judge(example: Example, evidence: Evidence) -> Verdict:
    return judge(example.expected, evidence, base="2s")


def test_a_run_without_a_fault_has_no_shortfall(example: Example) -> None:
    """Nothing is lost, nothing double, no window is void, and the figures are the run's."""
    verdict = _judge(example, example.evidence())
    assert verdict.shortfalls == []
    assert (verdict.lost, verdict.duplicated, verdict.unequal, verdict.debits) == (0, 0, 0, 2)
    assert verdict.windows == 12
    assert verdict.rows == example.expected.counted("2s") > 0
    assert not verdict.void


@pytest.mark.parametrize(("change", "lost", "duplicated"), [(-1, 1, 0), (1, 0, 1), (2, 0, 2)])
def test_a_row_that_was_lost_or_doubled_is_counted(example: Example, change: int, lost: int, duplicated: int) -> None:
    """A row that is missing, there twice or three times is named as what it is, with its window."""
    evidence = example.evidence()
    _replace(example, evidence, change)
    verdict = _judge(example, evidence)
    assert (verdict.lost, verdict.duplicated) == (lost, duplicated)
    assert any(f"2s/{_key(example)[1]}: {lost} rows lost, {duplicated} counted twice" in s for s in verdict.shortfalls)


def test_one_unit_too_many_is_seen(example: Example) -> None:
    """Tables are held to the last unit of 2^-20 row, though no row is lost or doubled."""
    evidence = example.evidence()
    example.expected.tables[_key(example)][0, 0] += 1
    try:
        verdict = _judge(example, evidence)
    finally:
        example.expected.tables[_key(example)][0, 0] -= 1
    assert (verdict.lost, verdict.duplicated, verdict.unequal) == (0, 0, 1)
    assert verdict.shortfalls


def test_a_window_released_twice_is_seen(example: Example) -> None:
    """A second committed release is a shortfall even with the same bytes; an aborted copy of the same bytes is none."""
    evidence = example.evidence()
    evidence.parties["a"].all.append(evidence.parties["a"].all[3])
    assert _judge(example, evidence).shortfalls == []
    assert _judge(example, evidence).copies == 1
    evidence.parties["a"].committed.append(evidence.parties["a"].committed[3])
    assert any("2 times, expected once" in shortfall for shortfall in _judge(example, evidence).shortfalls)


def test_a_window_with_other_bytes_is_seen_though_aborted(example: Example) -> None:
    """Noise drawn twice for one window shows in what read_uncommitted readers see."""
    evidence = example.evidence()
    kept = evidence.parties["b"].committed[0]
    _replace(example, evidence, 0)  # signed by another key: other bytes
    evidence.parties["b"].committed[0] = kept
    evidence.parties["b"].all.append(kept)
    assert any("2 different releases" in shortfall for shortfall in _judge(example, evidence).shortfalls)


def test_a_missing_release_and_a_missing_record_are_seen(example: Example) -> None:
    """A window that one party never released, or that subscribers never got, is a shortfall."""
    evidence = example.evidence()
    del evidence.parties["a"].committed[5], evidence.parties["a"].all[5], evidence.metrics[7]
    told = _judge(example, evidence).shortfalls
    assert any("party a has released window" in shortfall and "0 times" in shortfall for shortfall in told)
    assert any("fairness-metrics has 0 records" in shortfall for shortfall in told)


def test_a_second_record_of_a_window_is_seen(example: Example) -> None:
    """Subscribers get each window once."""
    evidence = example.evidence()
    evidence.metrics.append(evidence.metrics[2])
    assert any("fairness-metrics has 2 records" in shortfall for shortfall in _judge(example, evidence).shortfalls)


def test_coverage_that_differs_is_seen(example: Example) -> None:
    """Two releases that do not say the same of what they folded must not pass, whatever their sum."""
    evidence = example.evidence()
    _replace(example, evidence, 0, coverage=b"\1" * 32)
    verdict = _judge(example, evidence)
    assert verdict.void == {"coverage_differs": 1}
    assert any("coverage" in shortfall for shortfall in verdict.shortfalls)


def test_a_void_window_is_counted_with_its_reason(example: Example) -> None:
    """No fault of the schedule makes a window void, so each one is a shortfall."""
    evidence = example.evidence()
    void = example.release(some_identity("b"), "a", _key(example, 1), None, b"")
    place = list(example.expected.tables).index(_key(example, 1))
    evidence.parties["a"].committed[place] = evidence.parties["a"].all[place] = void
    verdict = _judge(example, evidence)
    assert verdict.void == {"stopped_stream": 1}
    assert any("stopped_stream" in shortfall for shortfall in verdict.shortfalls)


def test_a_debit_that_is_missing_double_or_unused_is_seen(example: Example) -> None:
    """The ledger holds precisely the debits that releases name."""
    for change, text in (
        (list.clear, "debits that releases name are not in the ledger"),
        (lambda ledger: ledger.append(ledger[0]), "debits are in the ledger more than once"),
        (lambda ledger: ledger.append(_other_debit()), "debits in the ledger pay for no release"),
    ):
        evidence = example.evidence()
        change(evidence.parties["a"].ledger)
        assert any(text in shortfall for shortfall in _judge(example, evidence).shortfalls)


def _other_debit() -> bytes:
    return SignedDebit.signed(some_identity("b"), b"{}").encode()


def test_rows_refused_without_cause_or_not_at_all_are_seen(example: Example) -> None:
    """`refused` holds the rows that were late by the broker's clock, each once, and no other."""
    for change in (list.pop, lambda refused: refused.append(refused[0])):
        evidence = example.evidence()
        change(evidence.refused)
        assert any(shortfall.startswith("refused:") for shortfall in _judge(example, evidence).shortfalls)


def test_what_subscribers_read_is_held_to_the_oracle(example: Example) -> None:
    """A published table that is not the sum of the two releases is seen."""
    evidence = example.evidence()
    window = evidence.metrics[0]
    assert window.table is not None
    values = [list(row) for row in window.table.values]
    values[0][0] += 1 / SCALE
    table = window.table.model_copy(update={"values": tuple(map(tuple, values))})
    evidence.metrics[0] = window.model_copy(update={"table": table})
    assert any("another table" in shortfall for shortfall in _judge(example, evidence).shortfalls)
