"""Which alarms open a review, until when, and what ends it."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest
from alarmed import ALARM_MS, as_signed, record, result
from reviewed import REVIEWED

from privacy import parse_measurement
from privacy.dispositions import Disposition, SignedDisposition
from streams.control import Approved
from streams.records.metric import FairnessMetric
from streams.report import alarms
from streams.review_book import Review, ReviewBook

SPEC = parse_measurement(
    """
id: feed
purpose: x
source: {topic: t, member: m, time: ts}
cells: {score: {field: s, bins: [0.5]}, decision: {field: r}, outcome: {field: o}}
windows: {base: 10s}
reference: white
privacy: {contribution_cap: 2, rho_member_day: 0.1}
detection: {review_within: 3d}
"""
    + REVIEWED,
    origin="x",
)
GOLDEN = Path(__file__).parent / "records" / "golden" / "fairness_metric.json"
DIGEST = bytes(range(32))
BEGIN_MS = ALARM_MS - 60_000
WITHIN_MS = 3 * 86_400_000
ALARM = f"feed/10s/tpr/all/black/{ALARM_MS}"


def approved(revoked_at_ms: int | None = None) -> Approved:
    """The revision whose windows the records are."""
    return Approved(SPEC, DIGEST, b"", BEGIN_MS, 1 << 60, 0, revoked_at_ms)


def word(decision: str, sequence: int = 0, alarm: str = ALARM, at_ms: int = ALARM_MS + 3_600_000) -> SignedDisposition:
    """A reviewer's word on the alarm."""
    return SignedDisposition(Disposition(alarm, "unknown", decision, "look"), sequence, at_ms, "ab" * 8)


def reviews(
    book: ReviewBook, *words: SignedDisposition, revoked_at_ms: int | None = None, known: bool = True
) -> list[Review]:
    """What the book says beside some words on the alarm."""
    dispositions: dict[str, list[SignedDisposition]] = {}
    for one in words:
        dispositions.setdefault(one.disposition.alarm, []).append(one)
    return book.reviews(dispositions, [approved(revoked_at_ms)] if known else [])


def book_of(*records: tuple[bytes, bytes]) -> ReviewBook:
    """A book that has read these."""
    book = ReviewBook()
    for key, value in records:
        book.read(as_signed(key, value))
    return book


def test_an_alarm_opens_one_review() -> None:
    """Not another where it goes on, and none where there is none or where the record says nothing of one."""
    later = ALARM_MS + 10_000
    book = book_of(
        record(result(), result("hispanic", None), result("api", None, alarm_since_ms=ALARM_MS)),
        record(result(), end_ms=later),
        record(result("native", later, alarm=None), end_ms=later + 10_000),
    )
    (review,) = reviews(book)
    assert review.alarm.id == ALARM
    assert (review.alarm.reference, review.alarm.estimator) == ("white", "weighted")
    assert review.alarm.gap == (-0.1, -0.13, -0.07)
    assert review.deadline_ms == ALARM_MS + WITHIN_MS
    assert review.is_open
    assert [review.state(ALARM_MS + WITHIN_MS + late) for late in (0, 1)] == ["open", "overdue"]


TELLING = (
    record(result()),
    record(result(gap=None), end_ms=ALARM_MS + 10_000),
    record(result(gap=None), end_ms=ALARM_MS + 20_000),
)
"""The window with which an alarm begins, and two with which it goes on."""


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_in_any_order_the_earliest_record_tells(order: tuple[int, ...]) -> None:
    """A level's windows lie on several partitions."""
    (review,) = reviews(book_of(*(TELLING[place] for place in order)))
    assert (review.alarm.id, review.alarm.gap) == (ALARM, (-0.1, -0.13, -0.07))


def test_an_alarm_whose_first_record_is_not_there_has_its_review() -> None:
    """Written before there were detectors, or no longer kept: the next record that names it opens the same one."""
    old = record(result(since_ms=None, alarm=None))
    for book in (book_of(*TELLING[1:]), book_of(old, *TELLING[1:]), book_of(*TELLING[1:], old)):
        (review,) = reviews(book)
        assert (review.alarm.id, review.is_open, review.deadline_ms) == (ALARM, True, ALARM_MS + WITHIN_MS)
        assert review.alarm.gap is None


def test_a_withdrawal_of_all_windows_takes_the_review() -> None:
    """In whatever order the withdrawals and what they withdraw are read."""
    gone = [record(status="withdrawn", reason="revoked", end_ms=ALARM_MS + 10_000 * late) for late in range(3)]
    whole = [(one, late) for late in range(3) for one in (TELLING[late], gone[late])]
    for order in permutations(whole):
        if all(order.index((TELLING[late], late)) < order.index((gone[late], late)) for late in range(3)):
            assert reviews(book_of(*(one for one, _ in order))) == []


@pytest.mark.parametrize(
    "changed",
    [
        record(result("nobody")),
        record(result("white")),
        record(result(metric="position_exposure")),
        record(result(score_bin="1")),
        record(result(), level="1h"),
        record(result(since_ms=ALARM_MS - 1)),
        record(result(since_ms=BEGIN_MS)),
    ],
    ids=["group", "reference", "metric", "bin", "level", "no end of a window", "before the first window"],
)
def test_a_review_is_of_a_detector_and_window_that_were_approved(changed: tuple[bytes, bytes]) -> None:
    """Whatever else a record names has nothing to decide, whoever has signed it."""
    key = json.loads(changed[1])
    (review,) = reviews(book_of((f"feed/{key['level']}/{ALARM_MS}".encode(), changed[1])))
    assert (review.is_open, review.over) == (False, "the approved measurement has no such detector or window")


def test_a_copy_of_what_was_withdrawn_opens_nothing() -> None:
    """Publish has signed it, so anyone who may write can put it behind its withdrawal."""
    book = book_of(record(result()), record(status="withdrawn", reason="revoked"), record(result()))
    assert reviews(book) == []


def test_what_is_signed_before_the_alarm_decides_nothing() -> None:
    """One key could else close a review before there is anything to look at; it is shown, and said to be so."""
    early, timely = word("watch", 0, at_ms=ALARM_MS - 1), word("change", 1)
    (review,) = reviews(book_of(record(result())), early)
    assert (review.state(0), review.standing) == ("open", None)
    assert "(signed before the alarm, decides nothing), reviewer" in alarms.disposition_in_words(early)
    assert "--after 0 --key" in alarms.command(review)
    for order in ((early, timely), (timely, early)):
        (review,) = reviews(book_of(record(result())), *order)
        assert (review.state(0), review.standing, review.dispositions) == ("decided", timely, order)
        assert not review.is_disputed


@pytest.mark.parametrize(
    ("decisions", "keys", "disputed"),
    [
        (("change", "watch"), "ab", True),
        (("change", "watch"), "aa", False),
        (("change", "change"), "ab", False),
        (("change", "investigate"), "ab", True),
        (("investigate", "change"), "ab", False),
        (("change", "watch", "watch"), "abb", False),
        (("change",), "a", False),
    ],
)
def test_a_word_over_another_reviewers_is_told(decisions: tuple[str, ...], keys: str, disputed: bool) -> None:
    """The last word stands, and whoever looks sees that it took the place of another's."""
    said = [replace(word(each, n), key_id=keys[n] * 16) for n, each in enumerate(decisions)]
    (review,) = reviews(book_of(record(result())), *said)
    assert review.is_disputed == disputed
    assert ("another reviewer had decided otherwise" in alarms.state_in_words(review, 0)) == disputed
    assert alarms.as_json(review, 0)["disputed"] == disputed


def test_the_record_of_the_contract_opens_one() -> None:
    """From its bytes, as a command reads them, and as publish has it: the same alarm."""
    value = GOLDEN.read_bytes()
    window = FairnessMetric.decode(value)
    made, read = ReviewBook(), book_of((window.topic_key(), value))
    made.window(window)
    assert list(made.alarms()) == list(read.alarms())
    began = [(result.metric, result.score_bin, result.group) for result in window.results if result.alarm]
    assert sorted(alarm.id for alarm in read.alarms()) == sorted(
        f"feed/10s/{'/'.join(which)}/{window.window.end_ms}" for which in began
    )
    assert ("recommendation_rate", "all", "black") in began
    assert made.version == read.version == 1
    made.window(window)
    assert made.version == 1


def test_the_last_disposition_stands_and_all_are_shown() -> None:
    """`investigate` leaves it open, and opens it again after another word."""
    book = book_of(record(result()))
    for decisions, state in (
        (("investigate",), "open"),
        (("investigate", "watch"), "decided"),
        (("watch", "investigate"), "open"),
    ):
        (review,) = reviews(book, *(word(decision, number) for number, decision in enumerate(decisions)))
        assert review.state(0) == state
        assert [signed.disposition.decision for signed in review.dispositions] == list(decisions)


def test_a_withdrawn_window_takes_its_alarm_with_it() -> None:
    """Its record says no number any more. What was signed about it is still shown."""
    book = book_of(record(result()), record(status="withdrawn", reason="revoked"))
    assert reviews(book) == []
    (review,) = reviews(book, word("investigate"))
    assert review.alarm.id == ALARM
    assert review.state(0) == "over"
    assert "withdrawn" in str(review.over)


def test_a_revoked_measurement_has_nothing_to_decide() -> None:
    """Also of windows before the revocation, which stay published; nor has one that nobody approved."""
    book = book_of(record(result()))
    (review,) = reviews(book, revoked_at_ms=ALARM_MS + 1)
    assert (review.is_open, review.over) == (False, "the measurement was revoked")
    (review,) = reviews(book, known=False)
    assert not review.is_open


def test_open_ones_come_first_by_their_deadlines() -> None:
    """Then what is decided, the newest first."""
    ends = [ALARM_MS + 10_000 * number for number in range(4)]
    book = book_of(*(record(result(since_ms=end), end_ms=end) for end in ends))
    ids = [f"feed/10s/tpr/all/black/{end}" for end in ends]
    found = reviews(book, word("watch", 0, ids[0]), word("watch", 1, ids[2]))
    assert [review.alarm.id for review in found] == [ids[1], ids[3], ids[2], ids[0]]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"feed/10s/1", record(result())[1]),
        (b"x", b"\xff"),
        record(result(), spec_sha256="no"),
        record(result(alarm_since_ms="soon")),
        record(result("x; rm")),
        record(result("black\n")),
        record(result(metric="a/b")),
        record(result(), reference="\u202ewhite"),
        record(result(since_ms=ALARM_MS + 1)),
        record(result(since_ms=ALARM_MS), measurement="Feed"),
        record(result(since_ms=1 << 60), end_ms=1 << 60),
        record(result(since_ms=-10_000), end_ms=-10_000),
    ],
)
def test_what_is_no_record_of_a_window_opens_nothing(key: bytes, value: bytes) -> None:
    """Another key, garbage."""
    book = ReviewBook()
    book.read(as_signed(key, value))
    assert list(book.alarms()) == []
    assert book.version == 0
