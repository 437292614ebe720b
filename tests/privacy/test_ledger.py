"""The ledger: pays once for each member-day, never past the limit, and shows every tampering."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from datetime import date, timedelta
from statistics import median
from time import process_time

import pytest
from example_counts import examples
from hypothesis import given
from hypothesis import strategies as st

from privacy import BudgetExceeded, CountingDays, Exhaustion, Ledger, LedgerBroken, Limits, LiveRevision

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
        {"spec_sha256": "zz"},
        {"spec_sha256": "AB" * 32},
        {"spec_sha256": "ab" * 31 + " a"},
        {"previous": "0"},
        {"at_ms": -1},
        {"at_ms": 253_402_300_800_000},
        {"measurement": "\ud800"},
        {"measurement": "feed\n\x1b[2J"},
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
@examples(200)
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
@examples(100)
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


# -- 30 days and a year -----------------------------------------------------------------------------------------------


def day_of(number: int) -> str:
    """The UTC day so many days after DAY."""
    return f"{date.fromisoformat(DAY) + timedelta(days=number)}"


def test_each_limit_is_refused_by_its_own_reason() -> None:
    """The shortest period that would be passed is named, with what a member could then spend, and when."""
    for limits, reason, message in (
        (Limits(0.1, 0.1, 0.1), "budget_exceeded_day", "but 0.1 of 0.1 is spent"),
        (Limits(0.2, 0.1, 0.1), "budget_exceeded_30_days", "spend 0.15 from 2026-10-26 to 2026-11-24, and at most 0.1"),
        (Limits(0.2, 0.2, 0.1), "budget_exceeded_year", "from 2025-11-25 to 2026-11-24, and at most 0.1 in any 365"),
    ):
        ledger = Ledger("a", limits)
        pay(ledger, rho=0.1)
        with pytest.raises(BudgetExceeded, match=message) as caught:
            pay(ledger, "jobs", rho=0.05)
        assert caught.value.reason == reason
        assert len(ledger.entries) == 1


def test_without_rotation_thirty_days_are_soon_full() -> None:
    """Rho .1 a day under 1.0 in 30 days: ten days, then nothing until they begin to leave the window."""
    ledger = Ledger("a", Limits(0.6, 1.0, 100))
    paid = []
    for number in range(45):
        with contextlib.suppress(BudgetExceeded):
            pay(ledger, day=day_of(number))
            paid.append(number)
    assert paid == [*range(10), *range(30, 40)]
    assert ledger.spent(day_of(39), "30-days") == pytest.approx(1.0)
    assert ledger.spent(day_of(39), "year") == pytest.approx(2.0)


def test_with_rotation_every_day_is_released() -> None:
    """Five days in 30 and twenty a year at rho .1: .5 in 30 days and 2.0 in a year, however long it goes on."""
    ledger = Ledger("a", Limits(0.6, 0.5, 2.0))
    for number in range(500):
        pay(ledger, day=day_of(number), days_in_30=5, days_in_year=20)
    assert ledger.spent(day_of(499)) == 0.1
    assert ledger.spent(day_of(499), "30-days") == pytest.approx(0.5)
    assert ledger.spent(day_of(499), "year") == pytest.approx(2.0)


def test_a_replay_of_old_days_meets_the_days_that_came_after() -> None:
    """A day before and between those that are debited is judged by every window that holds it."""
    ledger = Ledger("a", Limits(0.6, 0.3, 100))
    for number in (0, 20, 40):
        pay(ledger, day=day_of(number))
    pay(ledger, day=day_of(10))
    with pytest.raises(BudgetExceeded, match="from 2026-11-15 to 2026-12-14") as caught:
        pay(ledger, day=day_of(15))
    assert caught.value.reason == "budget_exceeded_30_days"
    pay(ledger, day=day_of(45))
    with pytest.raises(BudgetExceeded):  # with 20, 40 and 45
        pay(ledger, day=day_of(30))
    pay(ledger, day=day_of(-10))  # with 0 and 10; 20 is 30 days on


def worst_person(debits: list[tuple[int, float, int, int]], first: int, days: int) -> float:
    """What the worst member spends in a window: of each rotation's days, all choices of them in plain Python."""
    spent = 0.0
    for k, y in {(k, y) for _, _, k, y in debits}:
        by_day: dict[int, float] = {}
        for day, rho, *terms in debits:
            if terms == [k, y] and first <= day < first + days:
                by_day[day] = by_day.get(day, 0.0) + rho
        by_residue: dict[int, float] = {}
        for day, rho in by_day.items():
            by_residue[day % 30] = by_residue.get(day % 30, 0.0) + rho
        spent += min(sum(sorted(by_residue.values())[-k:]), sum(sorted(by_day.values())[-y:]))
    return spent


@given(
    asked=st.lists(
        st.tuples(
            st.integers(0, 420),
            st.integers(0, 2),
            st.sampled_from([0.02, 0.05, 0.1]),
            st.sampled_from([(30, 365), (5, 65), (5, 12)]),
        ),
        min_size=20,
        max_size=50,
    )
)
@examples(15)
def test_no_order_of_debits_passes_a_limit_for_any_person(asked: list[tuple[int, int, float, tuple[int, int]]]) -> None:
    """Days in any order, measurements of several rotations: no member, in no window, spends past any limit."""
    limits = Limits(0.12, 0.4, 0.8)
    ledger = Ledger("a", limits)
    taken: list[tuple[int, float, int, int]] = []
    for day, name, rho, (k, y) in asked:
        key = (day_of(day), f"m{name}", 1)
        if ledger.covers(*key):
            continue
        before = list(taken)
        taken.append((day, rho, k, y))
        with contextlib.suppress(BudgetExceeded):
            pay(ledger, f"m{name}", rho, day=day_of(day), days_in_30=k, days_in_year=y)
            continue
        # What is refused would have passed a limit for someone: nothing is refused in vain.
        assert any(
            worst_person(taken, first, days) > limit + 1e-9
            for days, limit in ((1, limits.rho_member_day), (30, limits.rho_30_days), (365, limits.rho_year))
            for first in range(day - days + 1, day + 1)
        )
        taken = before
    for days, limit in ((1, limits.rho_member_day), (30, limits.rho_30_days), (365, limits.rho_year)):
        for first in {day for day, *_ in taken} | {day - days + 1 for day, *_ in taken}:
            assert worst_person(taken, first, days) <= limit + 1e-9


def test_years_of_debits_stay_quick() -> None:
    """Four years of two measurements: debits at the end take no longer than they did once a window was full."""
    ledger = Ledger("a", Limits(1, 10, 100))
    seconds = []
    for number in range(1500):
        began = process_time()
        for name in ("feed", "jobs"):
            pay(ledger, name, 0.01, day=day_of(number), days_in_30=5, days_in_year=60)
        seconds.append(process_time() - began)
    # By medians: one pause of the machine's, or of Python's collector, says nothing.
    assert median(seconds[-200:]) < 3 * median(seconds[400:600])


# -- the forecast -----------------------------------------------------------------------------------------------------


def live(name: str, rho: float, first: int, end: int | None, *, k: int = 30, y: int = 365) -> LiveRevision:
    """A revision that is live from so many days after DAY."""
    start = (date.fromisoformat(DAY) - date(1970, 1, 1)).days
    return LiveRevision(name, 1, rho, CountingDays(k, y), start + first, None if end is None else start + end)


@pytest.mark.parametrize(
    ("revisions", "limits", "expected"),
    [
        ([live("feed", 0.1, 0, None)], Limits(0.6, 1.0, 9), (10, "feed", "budget_exceeded_30_days")),
        ([live("feed", 0.1, 0, 10)], Limits(0.6, 1.0, 9), None),
        ([live("feed", 0.1, 0, None, k=5, y=20)], Limits(0.6, 1.0, 2.0), None),
        ([live("feed", 0.1, 0, None, k=5)], Limits(0.6, 1.0, 2.0), (120, "feed", "budget_exceeded_year")),
        (
            [live("feed", 0.4, 0, None), live("jobs", 0.4, 3, None)],
            Limits(0.6, 99, 999),
            (3, "jobs", "budget_exceeded_day"),
        ),
        ([live("feed", 0.1, 500, None)], Limits(0.01, 1.0, 9), None),
        ([], Limits(0.6, 1.0, 2.0), None),
    ],
)
def test_the_forecast_is_what_then_happens(
    revisions: list[LiveRevision], limits: Limits, expected: tuple[int, str, str] | None
) -> None:
    """It names the day, the measurement and the reason, and debiting day by day comes to the same refusal."""
    ledger = Ledger("a", limits)
    found = ledger.forecast(revisions, DAY)
    assert found == (None if expected is None else Exhaustion(day_of(expected[0]), expected[1], 1, expected[2]))
    assert not ledger.entries
    start = date.fromisoformat(DAY)
    refused = None
    for number in range(400):
        for one in revisions:
            if refused is None and one.is_live((start - date(1970, 1, 1)).days + number):
                try:
                    pay(
                        ledger,
                        one.measurement,
                        one.rho,
                        day=day_of(number),
                        days_in_30=one.counting.in_30,
                        days_in_year=one.counting.in_year,
                    )
                except BudgetExceeded as error:
                    refused = (number, one.measurement, error.reason)
    assert refused == expected


def test_the_forecast_goes_on_from_what_is_spent() -> None:
    """Days that are paid for stay so, and what was spent before counts in every window."""
    ledger = Ledger("a", Limits(0.6, 1.0, 9))
    for number in range(-5, 1):
        pay(ledger, day=day_of(number))
    assert ledger.forecast([live("feed", 0.1, -5, None)], DAY) == Exhaustion(
        day_of(5), "feed", 1, "budget_exceeded_30_days"
    )
