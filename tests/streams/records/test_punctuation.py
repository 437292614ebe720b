"""Punctuation: its bytes, its two signatures, and that no entry of it can be changed on the way."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from known_records import (
    PASSAGE,
    PUNCTUATION,
    SOURCE,
    TRUSTED,
    accepted,
    as_hex,
    golden,
    hostile_frame,
    identity,
    of_version,
    packed,
    passed_on,
    sections_of,
    told,
    with_section,
)

from secure_agg import PinnedIdentities, SignatureInvalid, Stream
from streams.errors import RecordMalformed
from streams.records.punctuation import (
    NEVER_MS,
    Counting,
    Passage,
    Punctuation,
    SignedPunctuation,
    SourceProgress,
)

DIGESTS = st.binary(min_size=32, max_size=32)
PROCESSES = st.binary(min_size=8, max_size=8)
TIMES = st.integers(NEVER_MS, 1 << 53)
COUNTS = st.integers(0, (1 << 63) - 1)
PARTITIONS = st.integers(0, (1 << 31) - 1)
PROGRESS = st.builds(SourceProgress, DIGESTS, PARTITIONS, st.integers(1, (1 << 31) - 1), TIMES, COUNTS)
PUNCTUATIONS = st.builds(
    Punctuation,
    PROCESSES,
    PARTITIONS,
    TIMES,
    COUNTS,
    st.lists(PROGRESS, max_size=4).map(tuple),
    st.lists(st.builds(Counting, DIGESTS, DIGESTS, TIMES), max_size=3).map(tuple),
)
TOLD, PASSED = told().encode(), passed_on().encode()


def judge(value: bytes, *, passed: bool) -> SignedPunctuation:
    """Read and verify: as a party does where it was passed on, else as `attach` does."""
    signed = SignedPunctuation.decode(value)
    signed.verify(TRUSTED, passed=passed)
    return signed


@given(punctuation=PUNCTUATIONS, passage=st.builds(Passage, PROCESSES, TIMES, COUNTS))
def test_round_trip(punctuation: Punctuation, passage: Passage) -> None:
    """Punctuation comes back as it was, from `sealed` and from `shares`, and its signatures hold."""
    signed = SignedPunctuation.signed(identity("seal"), punctuation)
    assert judge(signed.encode(), passed=False) == signed
    assert signed.passage is None
    on = signed.passed_on(identity("attach"), passage)
    again = judge(on.encode(), passed=True)
    assert again == on
    assert (again.punctuation, again.passage) == (punctuation, passage)


@pytest.mark.parametrize("version", [1, 2])
def test_golden_bytes(version: int) -> None:
    """The exact bytes of punctuation on each topic are pinned for each version, and each is read and verifies."""
    with of_version(version):
        values = {"sealed": told().encode(), "shares": passed_on().encode()}
    for topic, value in values.items():
        name = f"punctuation_{topic}_{version}"
        assert as_hex(value) == as_hex(golden(name))
        signed = judge(golden(name), passed=topic == "shares")
        assert (signed.punctuation, signed.version) == (PUNCTUATION, version)
        assert signed.encode() == value


@pytest.mark.parametrize("version", [1, 2])
def test_attach_passes_seals_words_on_untouched(version: int) -> None:
    """Body and seal's signature are the same bytes in `shares`, with seal's version; attach adds its own."""
    with of_version(version):
        value = told().encode()
    before = sections_of(value)
    after = sections_of(SignedPunctuation.decode(value).passed_on(identity("attach"), PASSAGE).encode())
    assert after[:2] == [before[0], bytes((version,)) + before[1]]
    assert before[2:] == ([b"", b""] if version == 1 else [])
    assert after[2] == packed([PASSAGE.process, PASSAGE.clock_ms, PASSAGE.measurements_offset])


@pytest.mark.parametrize("version", [1, 2])
def test_punctuation_of_either_version_is_passed_on(version: int) -> None:
    """Attach writes version 2 whichever seal writes; nothing of it can be changed, the mark of seal's included."""
    with of_version(version):
        signed = told()
    passed = signed.passed_on(identity("attach"), PASSAGE)
    assert judge(passed.encode(), passed=True) == passed
    assert accepted(lambda value: judge(value, passed=True), passed.encode()) == []


def test_what_was_passed_on_does_not_count_in_sealed() -> None:
    """In `sealed` there is no passage yet: punctuation from `shares` is none of seal's records there."""
    with pytest.raises(RecordMalformed, match="holds a passage"):
        judge(PASSED, passed=False)


def test_no_change_in_shares_is_accepted() -> None:
    """Every section altered, cut or exchanged is malformed or badly signed."""
    assert accepted(lambda value: judge(value, passed=True), PASSED) == []


def test_no_change_in_sealed_is_accepted() -> None:
    """Every change of seal's two sections is noticed; in version 1 what a forger adds goes no further."""
    assert accepted(lambda value: judge(value, passed=False), TOLD) == []
    with of_version(1):
        first, on = told().encode(), passed_on()
        assert accepted(lambda value: judge(value, passed=False), first) == ["section 3 lengthened"]
        signed = judge(with_section(first, 3, b"\0"), passed=False)
        assert signed.passed_on(identity("attach"), PASSAGE) == on


def test_punctuation_without_a_passage_does_not_count_in_shares() -> None:
    """Where attach has to have passed it on, seal's record alone is refused, even if attach signed an empty passage."""
    with of_version(1):
        first = told()
    for signed in (told(), first):
        with pytest.raises(SignatureInvalid, match="'attach'"):
            judge(signed.encode(), passed=True)
    empty = identity("attach").sign("punctuation", first.body, b"")
    with pytest.raises(RecordMalformed, match="lacks the passage"):
        judge(with_section(first.encode(), 3, empty), passed=True)
    with pytest.raises(RecordMalformed):
        judge(with_section(PASSED, 2, b""), passed=True)


@pytest.mark.parametrize("signer", ["attach", "a", "b", "publish"])
def test_only_seal_punctuates(signer: str) -> None:
    """No other role can move time."""
    with pytest.raises(SignatureInvalid):
        judge(SignedPunctuation.signed(identity(signer), PUNCTUATION).encode(), passed=False)


@pytest.mark.parametrize("signer", ["seal", "a", "b", "publish"])
def test_only_attach_passes_on(signer: str) -> None:
    """No other role can say how far attach has come."""
    with pytest.raises(SignatureInvalid):
        judge(told().passed_on(identity(signer), PASSAGE).encode(), passed=True)


def test_a_signature_belongs_to_one_punctuation_and_deployment() -> None:
    """Attach's signature holds for the words it was given with, and in its own deployment."""
    other = SignedPunctuation.signed(identity("seal"), msgspec.structs.replace(PUNCTUATION, clock_ms=1))
    with pytest.raises(SignatureInvalid):
        judge(with_section(with_section(PASSED, 0, other.body), 1, b"\x02" + other.seal_signature), passed=True)
    with pytest.raises(SignatureInvalid):
        told().verify(PinnedIdentities("elsewhere", TRUSTED.keys), passed=False)


SOUND: list[Any] = [b"process1", 5, 0, 0, [[SOURCE, 2, 4, 0, 7]], [[bytes(32), SOURCE, 0]]]


@pytest.mark.parametrize(
    ("place", "wrong"),
    [
        (0, bytes(7)),
        (0, "process1"),
        (1, -1),
        (1, 1 << 31),
        (2, (1 << 53) + 1),
        (2, -(1 << 53) - 1),
        (2, 0.5),
        (3, -1),
        (4, None),
        (4, [[]]),
        (4, [[SOURCE[:-1], 2, 4, 0, 7]]),
        (4, [[SOURCE, -1, 4, 0, 7]]),
        (4, [[SOURCE, 2, 0, 0, 7]]),
        (4, [[SOURCE, 2, 4, 1 << 54, 7]]),
        (4, [[SOURCE, 2, 4, 0, -1]]),
        (4, [[SOURCE, 2, 4, 0, 7, 0]]),
        (4, [[SOURCE, 2, 4, 0, 7], 1]),
        (5, {}),
        (5, [[bytes(32), SOURCE]]),
        (5, [[bytes(32), bytes(31), 0]]),
    ],
)
def test_out_of_range_is_malformed(place: int, wrong: Any) -> None:
    """A field of another type, size or range is refused where the record is read, in any entry."""
    SignedPunctuation.decode(with_section(TOLD, 0, packed(SOUND)))
    with pytest.raises(RecordMalformed, match="punctuation"):
        SignedPunctuation.decode(with_section(TOLD, 0, packed([*SOUND[:place], wrong, *SOUND[place + 1 :]])))


@pytest.mark.parametrize(
    "passage",
    [[bytes(7), 0, 0], [bytes(8), 1 << 54, 0], [bytes(8), 0], [bytes(8), 0, -1], [bytes(8), 0, 0, 0], [None, 0, 0]],
)
def test_a_passage_out_of_range_is_malformed(passage: list[object]) -> None:
    """The same holds for what attach adds."""
    with pytest.raises(RecordMalformed, match="punctuation"):
        SignedPunctuation.decode(with_section(PASSED, 2, packed(passage)))


def test_entries_speak_of_streams_of_their_partition() -> None:
    """An entry is about (source, i) and the j that the punctuation was written to."""
    assert [PUNCTUATION.stream(progress) for progress in PUNCTUATION.sources] == [
        Stream(SOURCE, 2, 5),
        Stream(SOURCE, 3, 5),
    ]
    assert min(progress.arrival_ms for progress in PUNCTUATION.sources) > NEVER_MS


@given(value=hostile_frame(PASSED, 0) | hostile_frame(PASSED, 2))
def test_arbitrary_bytes(value: bytes) -> None:
    """No bytes raise anything but RecordMalformed or SignatureInvalid, and only the signed ones are accepted."""
    try:
        assert judge(value, passed=True) == passed_on()
    except (RecordMalformed, SignatureInvalid):
        return
