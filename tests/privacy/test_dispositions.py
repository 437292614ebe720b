"""Dispositions on the log of decisions: who may sign, which one stands, and what is none."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from privacy import DecisionRefused, key_id
from privacy.decisions import KINDS, Answer, Close, DecisionLog, answer_of
from privacy.dispositions import CAUSES, DECISIONS, MAX_FREE_TEXT, Disposition, is_review, review_of

ALARM = "feed/1h/tpr/all/black/1764000000000"
OTHER = "feed/1h/tpr/all/hispanic/1764000000000"
KEYS = [Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in range(1, 4)]
STRANGER = Ed25519PrivateKey.from_private_bytes(b"\x77" * 32)


def said(alarm: str = ALARM, **changes: str) -> Disposition:
    """A disposition that holds."""
    return Disposition(**({"alarm": alarm, "cause": "input", "decision": "change", "follow_up": "mend it"} | changes))


def empty() -> DecisionLog:
    """A log of nothing, of three reviewers."""
    return DecisionLog("prod", {key_id(key.public_key()): key.public_key() for key in KEYS}, 2)


def write(log: DecisionLog, answer: Answer, key: Ed25519PrivateKey = KEYS[0]) -> bytes:
    """Append an answer, which must have its effect."""
    record = log.sign(answer, key, 1000 + len(log.chain))
    assert log.apply(len(log.chain), record) is None
    return record


def test_several_may_stand_and_the_last_counts() -> None:
    """By any one reviewer, each with who signed it and when; concerns stay as they are."""
    log = empty()
    write(log, answer_of(said(decision="investigate", cause="unknown")), KEYS[0])
    write(log, answer_of(said(OTHER)), KEYS[1])
    write(log, answer_of(said()), KEYS[2])
    first, last = log.dispositions[ALARM]
    assert not first.disposition.closes
    assert last.disposition == said()
    assert last.disposition.closes
    assert (last.sequence, last.at_ms, last.key_id) == (2, 1002, key_id(KEYS[2].public_key()))
    assert [signed.disposition for signed in log.dispositions[OTHER]] == [said(OTHER)]
    assert log.concerns == {}


def test_a_clock_that_is_behind_the_log_is_told() -> None:
    """A word cannot have been signed before what lies before it on the chain: lateness is not hidden by an old date.

    Nor by a second record that is as old as the first.
    """
    log = empty()
    for at_ms, key in ((5000, KEYS[0]), (4000, KEYS[1]), (4000, KEYS[1]), (5000, KEYS[2]), (5001, KEYS[1])):
        assert log.apply(len(log.chain), log.sign(answer_of(said()), key, at_ms)) is None
    assert [signed.is_behind for signed in log.dispositions[ALARM]] == [False, True, True, False, False]
    assert [signed.is_premature for signed in log.dispositions[ALARM]] == [True] * 5
    assert said().since_ms == 1_764_000_000_000


def test_to_a_reader_that_knows_none_it_is_an_answer() -> None:
    """Only kinds that every version knows, and fields that fit its limits: the chain goes on in an older reader too."""
    assert set(KINDS) == {"propose", "approve", "reject", "revoke", "answer", "close"}
    longest = "m" * 63 + "/" + "/".join(["x" * 60] * 4) + "/253402300799999"
    content = json.loads(write(empty(), answer_of(said(longest, follow_up="f" * 500, reason="r" * 500))))
    assert content["kind"] == "answer"
    assert set(content["contents"]) == {"concern", "text"}
    assert len(content["contents"]["text"]) <= 2000
    assert len(content["contents"]["concern"]) <= 64
    assert not is_review("0123456789abcdef" * 2)


def test_forged_unsigned_and_repeated_records_are_not_in_the_chain() -> None:
    """A stranger's key, a changed word, no signature, the same record again: none of them changes anything."""
    log = empty()
    record = write(log, answer_of(said()))
    forged = log.sign(answer_of(said(decision="watch")), STRANGER, 5)
    good = log.sign(answer_of(said(decision="watch")), KEYS[1], 5)
    changed = good.replace(b"watch", b"stopp", 1)
    bare = json.dumps(json.loads(good) | {"signature": ""}, sort_keys=True, separators=(",", ":")).encode()
    for offset, bad in enumerate((forged, changed, bare, record), 1):
        misfit = log.apply(offset, bad)
        assert misfit is not None
        assert not misfit.in_chain
    assert [signed.disposition for signed in log.dispositions[ALARM]] == [said()]
    assert log.apply(9, good) is None


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Answer(review_of(OTHER), said().encode()), "another alarm's id"),
        (Answer(review_of(ALARM), "looks fine"), "is no disposition"),
        (Answer(review_of(ALARM), "[]"), "is no disposition"),
        (Answer(review_of(ALARM), said().encode() + " "), "is no disposition"),
        (Answer(review_of(ALARM), said().encode().replace('"input"', '"gods"')), "cause is one of"),
        (Answer(review_of(ALARM), said().encode().replace('"input"', "[]")), "cause is text"),
        (Close(review_of(ALARM), "done"), "closed by a disposition"),
    ],
)
def test_what_is_signed_and_no_disposition_has_no_effect(answer: Answer | Close, why: str) -> None:
    """It stays in the chain, says why, and opens or closes nothing."""
    log = empty()
    misfit = log.apply(0, log.sign(answer, KEYS[0], 1))
    assert misfit is not None
    assert misfit.in_chain
    assert why in misfit.why
    assert log.dispositions == log.concerns == {}


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: said("feed"), "MEASUREMENT/LEVEL"),
        (lambda: said(ALARM + "\n"), "MEASUREMENT/LEVEL"),
        (lambda: said("feed/1h/tpr/all/black/253402300800000"), "MEASUREMENT/LEVEL"),  # the year 10000
        (lambda: said(cause="bias"), "cause is one of recommender, "),
        (lambda: said(decision="rollback"), "decision is one of investigate, "),
        (lambda: said(follow_up=" "), "follow-up has 1 to 500"),
        (lambda: said(follow_up="x" * 501), "follow-up has 1 to 500"),
        (lambda: said(cause="other"), "reason has 1 to 500"),
        (lambda: said(reason="\x1b[2J"), "reason is plain text"),
        (lambda: said(follow_up="a\u202eb"), "follow-up is plain text"),
        (lambda: said(follow_up='"' * 500, reason='"' * 500), "at most 2000 characters in all"),
    ],
)
def test_what_cannot_be_signed_says_why(make: Callable[[], Disposition], why: str) -> None:
    """Words outside the vocabulary, texts that are empty, long or no text."""
    with pytest.raises(DecisionRefused, match=why):
        make()


_ANYTHING = st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=2))
_FIELDS = dict.fromkeys(("alarm", "cause", "decision", "follow_up", "reason"), _ANYTHING)


@given(st.text(max_size=30) | st.fixed_dictionaries({}, optional=_FIELDS).map(json.dumps) | st.just("[" * 100_000))
def test_any_text_is_a_disposition_or_refused(text: str) -> None:
    """Nothing else comes out, whatever a reviewer has signed under the name of a review."""
    with pytest.raises(DecisionRefused):
        Disposition.decode(review_of(ALARM), text)


@given(
    st.sampled_from(sorted(CAUSES)),
    st.sampled_from(sorted(DECISIONS)),
    st.text("abc é\n\N{SNOWMAN}\N{PILE OF POO}<>&", min_size=1, max_size=MAX_FREE_TEXT // 2).filter(str.strip),
)
def test_what_is_written_is_read(cause: str, decision: str, text: str) -> None:
    """Through the record and back, whatever the words."""
    disposition = said(cause=cause, decision=decision, follow_up=text, reason=text)
    log = empty()
    write(log, answer_of(disposition))
    assert log.dispositions[ALARM][0].disposition == disposition
