"""The ledger: pays once for each member-day, never past the limit, and shows every tampering."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy import BudgetExceeded, Ledger, LedgerBroken, Limits

SHA = "ab" * 32
DAY = "2026-11-24"


def pay(
    ledger: Ledger,
    measurement: str = "feed",
    rho: float = 0.1,
    *,
    day: str = DAY,
    revision: int = 1,
    sha: str = SHA,
    days_in_30: int = 30,
    days_in_year: int = 365,
) -> bytes | None:
    """Debit with the test's defaults."""
    return ledger.debit(
        day=day,
        measurement=measurement,
        revision=revision,
        spec_sha256=sha,
        rho=rho,
        days_in_30=days_in_30,
        days_in_year=days_in_year,
        at_ms=17,
    )


def three_records() -> list[bytes]:
    """The records of a ledger with three debits."""
    ledger = Ledger("a", Limits.of_day(0.6))
    records = [pay(ledger, day=f"2026-11-2{n}") for n in range(3)]
    return [record for record in records if record is not None]


def restored(records: list[bytes], party: str = "a") -> Ledger:
    """A ledger that read these records."""
    ledger = Ledger(party, Limits.of_day(0.6))
    for record in records:
        ledger.restore(record)
    return ledger


def test_a_member_day_is_debited_once() -> None:
    """The second window of a day costs nothing more and appends nothing."""
    ledger = Ledger("a", Limits.of_day(0.6))
    assert pay(ledger) is not None
    assert pay(ledger) is None
    assert ledger.spent(DAY) == 0.1
    assert ledger.spent("2026-11-25") == 0
    assert ledger.covers(DAY, "feed", 1)
    assert not ledger.covers(DAY, "feed", 2)
    assert len(ledger.entries) == 1


def test_it_says_which_record_pays_for_a_day() -> None:
    """By the SHA-256 of its bytes, which a release can name; before the debit there is none."""
    ledger = Ledger("a", Limits.of_day(0.6))
    assert ledger.paid_by(DAY, "feed", 1) is None
    record = pay(ledger)
    assert record is not None
    assert ledger.paid_by(DAY, "feed", 1) == hashlib.sha256(record).hexdigest()
    assert restored([record]).paid_by(DAY, "feed", 1) == hashlib.sha256(record).hexdigest()


def test_measurements_and_revisions_share_the_day() -> None:
    """All that touches a member-day adds up; what would pass the limit is refused and leaves no trace."""
    ledger = Ledger("a", Limits.of_day(0.6))
    pay(ledger, "feed", 0.1)
    pay(ledger, "jobs", 0.4)
    pay(ledger, "feed", 0.1, revision=2)
    before = ledger.entries
    with pytest.raises(BudgetExceeded, match=r"'ads' asks for rho 0.1 on 2026-11-24, but 0.6 of 0.6 is spent"):
        pay(ledger, "ads", 0.1)
    assert ledger.entries == before
    assert ledger.spent(DAY) == pytest.approx(0.6)
    assert pay(ledger, "ads", 0.1, day="2026-11-25") is not None


def test_a_limit_reached_exactly_is_not_passed() -> None:
    """Ten times .06 is .6, whatever floating point makes of it."""
    ledger = Ledger("a", Limits.of_day(0.6))
    for n in range(10):
        assert pay(ledger, f"m{n}", 0.06) is not None
    with pytest.raises(BudgetExceeded):
        pay(ledger, "one-more", 1e-6)


@pytest.mark.parametrize("rho", [math.nan, math.inf, -0.1, 0.0])
def test_only_positive_finite_amounts_are_debits(rho: float) -> None:
    """NaN would pass every limit and a negative debit would be a credit: neither is written."""
    ledger = Ledger("a", Limits.of_day(0.6))
    with pytest.raises(ValueError, match="positive, finite rho"):
        pay(ledger, rho=rho)
    assert not ledger.entries


@pytest.mark.parametrize("day", ["24.11.2026", "2026-13-01", "20261124", "2026-W48-2", ""])
def test_a_day_has_one_spelling(day: str) -> None:
    """Two spellings of a day would be two budgets."""
    with pytest.raises(ValueError):
        pay(Ledger("a", Limits.of_day(0.6)), day=day)


def test_a_paid_revision_cannot_come_back_dearer() -> None:
    """The same revision under other bytes, rho or rotation is refused, not waved through as paid."""
    ledger = Ledger("a", Limits.of_day(0.6))
    pay(ledger)
    for change in ({"sha": "cd" * 32}, {"rho": 0.5}, {"days_in_30": 5}, {"days_in_year": 99}):
        with pytest.raises(BudgetExceeded, match="a changed measurement needs a higher revision") as caught:
            pay(ledger, **change)  # type: ignore[arg-type]
        assert caught.value.reason == "budget_exceeded_terms"
    assert ledger.spent(DAY) == 0.1


def test_a_restart_continues_the_chain() -> None:
    """A restored ledger has the same entries, remembers what is paid, and appends what the first would have."""
    records = three_records()
    first, second = restored(records), restored(records)
    assert first.entries == second.entries
    assert pay(second, day="2026-11-20") is None
    assert pay(first, "jobs", day="2026-11-20") == pay(second, "jobs", day="2026-11-20")
    assert second.spent("2026-11-20") == pytest.approx(0.2)


def test_each_record_holds_the_digest_of_the_one_before() -> None:
    """The chain is SHA-256 over the exact bytes, from 64 zeros on, so that anyone can check it without this code."""
    previous = "0" * 64
    for number, record in enumerate(three_records()):
        content = json.loads(record)
        assert (content["sequence"], content["previous"]) == (number, previous)
        previous = hashlib.sha256(record).hexdigest()


def test_the_record_is_pinned() -> None:
    """The first record's bytes never change by accident: ledgers outlive versions."""
    assert three_records()[0] == (
        b'{"at_ms":17,"day":"2026-11-20","days_in_30":30,"days_in_year":365,'
        b'"measurement":"feed","party":"a","previous":"' + b"0" * 64 + b'","revision":1,'
        b'"rho":0.1,"sequence":0,"spec_sha256":"' + b"ab" * 32 + b'"}'
    )


def test_removed_reordered_and_foreign_records_break_the_chain() -> None:
    """A gap, a swap, a repeat or the other party's record stops the start."""
    records = three_records()
    for tampered in (records[1:], [records[0], records[2]], [records[1], records[0]], [records[0], records[0]]):
        with pytest.raises(LedgerBroken, match="does not follow from the one before it"):
            restored(tampered)
    with pytest.raises(LedgerBroken):
        restored(records, party="b")


def test_a_changed_record_breaks_the_chain_at_the_next() -> None:
    """Halving an old debit is seen as soon as its successor is read."""
    records = three_records()
    cheaper = records[0].replace(b'"rho":0.1', b'"rho":0.05')
    with pytest.raises(LedgerBroken, match="record 1 of party a's ledger does not follow"):
        restored([cheaper, *records[1:]])


def test_a_second_debit_for_one_day_is_the_mark_of_two_writers() -> None:
    """Correctly chained, yet impossible for one process: the ledger is not trusted."""
    first = three_records()[0]
    again = json.loads(first) | {"sequence": 1, "previous": hashlib.sha256(first).hexdigest()}
    record = json.dumps(again, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(LedgerBroken, match="a second time; two processes"):
        restored([first, record])


@pytest.mark.parametrize(
    "change",
    [
        {"rho": -1.0},
        {"rho": "1"},
        {"rho": True},
        {"sequence": False},
        {"day": "x"},
        {"more": 1},
        {"party": 1},
        {"days_in_30": 0},
        {"days_in_30": 31},
        {"days_in_year": 366},
        {"days_in_year": 9.0},
    ],
)
def test_records_of_other_shapes_are_not_debits(change: dict[str, object]) -> None:
    """Types and ranges are held against each record before the chain is."""
    content = json.loads(three_records()[0]) | change
    with pytest.raises(LedgerBroken, match="record 0 of party a's ledger is not a debit"):
        restored([json.dumps(content, sort_keys=True, separators=(",", ":")).encode()])


@pytest.mark.parametrize("record", [b"", b"[]", b"1", b"{}", b"\xff", b"[" * 100_000])
def test_garbage_is_not_a_debit(record: bytes) -> None:
    """Whatever bytes lie on the topic, the error is the ledger's own."""
    with pytest.raises(LedgerBroken):
        restored([record])


def test_a_respelt_record_is_rewritten() -> None:
    """The same content in other bytes is not the record that was appended."""
    record = three_records()[0].replace(b":", b": ")
    with pytest.raises(LedgerBroken, match="was rewritten"):
        restored([record])


@given(position=st.integers(0, 2), where=st.integers(0, 10_000), bit=st.integers(0, 7))
@settings(deadline=None, max_examples=200)
def test_any_flipped_bit_before_the_last_record_is_noticed(position: int, where: int, bit: int) -> None:
    """Flip one bit anywhere in a chain: it is refused, or, in the last record, at least not as it was."""
    records = three_records()
    broken = bytearray(records[position])
    broken[where % len(broken)] ^= 1 << bit
    records[position] = bytes(broken)
    if position < 2:
        with pytest.raises(LedgerBroken):
            restored(records)
    else:
        with contextlib.suppress(LedgerBroken):
            assert restored(records).entries != restored(three_records()).entries


@given(debits=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.floats(0.01, 0.4)), max_size=30))
@settings(deadline=None, max_examples=100)
def test_no_order_of_debits_passes_the_limit(debits: list[tuple[int, int, float]]) -> None:
    """Whatever is asked for, no day is ever spent past the limit, and the records replay to the same sums."""
    ledger, records = Ledger("b", Limits.of_day(0.6)), []
    for day, measurement, rho in debits:
        try:
            record = pay(ledger, f"m{measurement}", rho, day=f"2026-11-2{day}")
        except BudgetExceeded:
            continue
        if record is not None:
            records.append(record)
    again = restored(records, party="b")
    for day in range(4):
        assert ledger.spent(f"2026-11-2{day}") <= 0.6 + 1e-9
        assert again.spent(f"2026-11-2{day}") == ledger.spent(f"2026-11-2{day}")
