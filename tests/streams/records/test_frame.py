"""The frame around binary records: its layout, and that it takes nothing apart that is not whole."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from known_records import TRUSTED, identity, later

from streams.errors import ProtocolStop, RecordMalformed
from streams.records import frame
from streams.records.frame import Kind

KINDS = st.sampled_from(Kind)
SECTIONS = st.lists(st.binary(max_size=40), max_size=6)


@given(kind=KINDS, sections=SECTIONS)
def test_round_trip(kind: Kind, sections: list[bytes]) -> None:
    """What is put into a frame comes out of it, empty sections included."""
    value = frame.encode(kind, sections)
    assert frame.kind_of(value) is kind
    assert frame.decode(value, kind, len(sections)) == sections


def test_layout() -> None:
    """Magic, version, kind, a little-endian count, and little-endian lengths before the sections: byte by byte."""
    value = frame.encode(Kind.RELEASE, [b"abc", b"", b"x" * 258])
    assert value[:6] == b"ES\x02\x04\x03\x00"
    assert value[6:] == b"\x03\0\0\0abc" + b"\0\0\0\0" + b"\x02\x01\0\0" + b"x" * 258


def test_kinds_keep_their_numbers() -> None:
    """The number of a kind is part of the wire format and never changes."""
    assert {kind.name: kind.value for kind in Kind} == {
        "SEALED": 1,
        "SHARES": 2,
        "PUNCTUATION": 3,
        "RELEASE": 4,
        "EPOCH_KEY": 5,
        "WRAPPED_KEY": 6,
        "DEBIT": 7,
        "LAYOUT": 8,
        "KEY_DESTROYED": 9,
    }


@given(kind=KINDS, one=SECTIONS, other=SECTIONS)
def test_no_two_contents_share_bytes(kind: Kind, one: list[bytes], other: list[bytes]) -> None:
    """Different sections give different frames: no byte can move from one section to its neighbour."""
    assert (frame.encode(kind, one) == frame.encode(kind, other)) == (one == other)


@given(kind=KINDS, sections=SECTIONS, data=st.data())
def test_a_frame_cut_anywhere_is_malformed(kind: Kind, sections: list[bytes], data: st.DataObject) -> None:
    """No beginning of a frame is a frame."""
    value = frame.encode(kind, sections)
    length = data.draw(st.integers(0, len(value) - 1))
    with pytest.raises(RecordMalformed):
        frame.decode(value[:length], kind, len(sections))


@given(kind=KINDS, sections=SECTIONS, more=st.binary(min_size=1, max_size=8))
def test_nothing_may_follow(kind: Kind, sections: list[bytes], more: bytes) -> None:
    """Bytes after the last section are malformed, and the message says how many."""
    with pytest.raises(RecordMalformed, match=f"{len(more)} bytes after its last section"):
        frame.decode(frame.encode(kind, sections) + more, kind, len(sections))


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"", "at least 6 bytes, got 0"),
        (b"ES\x01\x01\x00", "at least 6 bytes, got 5"),
        (b"SE\x01\x01\0\0", "magic"),
        (b"es\x01\x01\0\0", "magic"),
        (b"ES\x00\x01\0\0", "there is no format version 0"),
        (b"ES\x03\x01\0\0", "expected format version 2 or an earlier one, got 3: upgrade this role"),
        (b"ES\x02\x05\0\0", "expected format version 1 or an earlier one, got 2: upgrade this role"),
        (b"ES\x63\xee\0\0", "expected format version 2 or an earlier one, got 99"),
        (b"ES\x01\x00\0\0", "unknown record kind 0"),
        (b"ES\x01\x63\0\0", "unknown record kind 99"),
        (b"ES\x01\xff\0\0", "unknown record kind 255"),
        (b"ES\x01\x02\0\0", "expected a SEALED record, got SHARES"),
        (b"ES\x01\x01\x01\0", "has 0 sections, this one has 1"),
        (b"ES\x01\x01\xff\xff", "has 0 sections, this one has 65535"),
    ],
)
def test_a_wrong_head_is_named(head: bytes, words: str) -> None:
    """Magic, version, kind and number of sections are checked before anything else is read."""
    with pytest.raises(RecordMalformed, match=words):
        frame.decode(head, Kind.SEALED, 0)


@pytest.mark.parametrize("length", [4, 5, 1 << 16, (1 << 32) - 1])
@pytest.mark.parametrize("number", [0, 1])
def test_a_section_that_claims_more_than_there_is(number: int, length: int) -> None:
    """A length beyond the record's end is malformed, wherever it stands and however large it is."""
    value = bytearray(frame.encode(Kind.SEALED, [b"abc", b"xyz"]))
    # The first section could reach into the second: then what is left is no whole section.
    struct.pack_into("<I", value, 6 + 7 * number, length)
    with pytest.raises(RecordMalformed, match="cut off"):
        frame.decode(bytes(value), Kind.SEALED, 2)


@given(value=st.binary(max_size=60) | st.binary(max_size=60).map(lambda rest: b"ES\x01" + rest), kind=KINDS)
def test_arbitrary_bytes_are_a_frame_or_malformed(value: bytes, kind: Kind) -> None:
    """Whatever lies on a topic, taking it apart gives a frame that encodes to the same bytes, or RecordMalformed."""
    count = value[4] if len(value) > 4 else 0
    try:
        sections = frame.decode(value, kind, count)
    except RecordMalformed:
        return
    assert frame.encode(kind, sections, frame.version_of(value)) == value


def test_keys_and_debits_keep_their_version() -> None:
    """A recipient announces keys to senders that are upgraded after it: they must be able to read what it writes."""
    first = {kind for kind in Kind if frame.newest_version(kind) == 1}
    assert first == {Kind.EPOCH_KEY, Kind.WRAPPED_KEY, Kind.DEBIT, Kind.LAYOUT, Kind.KEY_DESTROYED}
    assert {frame.newest_version(kind) for kind in set(Kind) - first} == {frame.FORMAT_VERSION} == {2}


@pytest.mark.parametrize("version", [3, 4, 99, 255])
@pytest.mark.parametrize("kind", [1, 2, 3, 4, 8, 255])
def test_a_later_version_signed_by_the_writer_is_told(kind: int, version: int) -> None:
    """Whatever a later version holds, and of whatever kind, its writer's signature is found, and no other's."""
    value = later(identity("seal"), kind, version)
    assert frame.is_newer(value, "seal", TRUSTED)
    assert not frame.is_newer(value, "attach", TRUSTED)
    with pytest.raises(ProtocolStop, match=f"format version {version} by seal.* upgrade attach first"):
        frame.stop_at_newer(value, "seal", TRUSTED)
    assert [change for change, altered in tampered_later(value) if frame.is_newer(altered, "seal", TRUSTED)] == []


def tampered_later(value: bytes) -> Iterator[tuple[str, bytes]]:
    """Every bit of it flipped but for those of the magic bytes, every cut, and something behind it."""
    for place in range(2, len(value)):
        for bit in range(8):
            yield f"{place}.{bit}", value[:place] + bytes((value[place] ^ 1 << bit,)) + value[place + 1 :]
    for length in range(len(value)):
        yield f"cut to {length}", value[:length]
    yield "longer", value + b"\0"


def test_the_versions_of_today_are_not_newer() -> None:
    """What can be read is judged as what it is."""
    for version in (1, 2):
        assert not frame.is_newer(later(identity("seal"), 1, version), "seal", TRUSTED)


@given(value=st.binary(max_size=80).map(lambda rest: b"ES" + rest))
def test_arbitrary_bytes_stop_nobody(value: bytes) -> None:
    """Who does not hold the writer's key cannot stop a partition, whatever version the bytes claim."""
    assert not frame.is_newer(value, "seal", TRUSTED)
    frame.stop_at_newer(value, "seal", TRUSTED)


@pytest.mark.parametrize("sections", [[], [b""], [bytes(64)]])
def test_a_later_version_without_a_signature_stops_nobody(sections: list[bytes]) -> None:
    """No section at all, and sections that are no signature."""
    assert not frame.is_newer(frame.encode(Kind.SEALED, sections, 3), "seal", TRUSTED)
