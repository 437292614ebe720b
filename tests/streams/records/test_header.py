"""The header of a batch: its bytes, its ranges, and that no field is left out of them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from known_records import HEADER, NOT_UTF8, SOURCE, hostile_body, packed

from secure_agg import Stream
from streams.errors import RecordMalformed
from streams.records.header import Header, decode_header, digest, encode_header, source_digest

COUNTS = st.integers(0, (1 << 63) - 1)
DIGESTS = st.binary(min_size=32, max_size=32)
HEADERS = st.builds(
    Header,
    measurement=st.text(min_size=1, max_size=63),
    revision=COUNTS,
    spec=DIGESTS,
    window_end_ms=st.integers(-(1 << 53), 1 << 53),
    source=DIGESTS,
    i=st.integers(0, (1 << 31) - 1),
    j=st.integers(0, (1 << 31) - 1),
    sequence=COUNTS,
    rows=st.integers(1, 4096),
    process=st.binary(min_size=8, max_size=8),
    attach_epoch=COUNTS,
    a_epoch=COUNTS,
    b_epoch=COUNTS,
    commitment=DIGESTS,
)
GOLDEN_HEX = (
    "9e"  # an array of 14
    "a466656564" "03"  # "feed", revision
    "c420000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"  # spec
    "cf0000019ab6980f10"  # window end
    "c4205760393c7a49a64880c0e2f25f02a26247bf3ab21c6bec083a4f4fec5fad22ac"  # SHA-256 of "rec-events"
    "02" "05" "ce000f4240" "03"  # i, j, sequence, rows
    "c40870726f6365737331" "0b" "0c" "0d"  # process, epochs of attach, a and b
    "c420202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f"  # commitment
)  # fmt: skip


@given(header=HEADERS)
def test_round_trip(header: Header) -> None:
    """What is encoded is decoded as it was."""
    assert decode_header(encode_header(header)) == header


def test_golden_bytes() -> None:
    """A MessagePack array in the order of the fields, byte by byte; the source is SHA-256 of the topic's name."""
    assert encode_header(HEADER).hex() == GOLDEN_HEX
    assert decode_header(bytes.fromhex(GOLDEN_HEX)) == HEADER


@given(one=HEADERS, other=HEADERS)
def test_bytes_and_digest_tell_headers_apart(one: Header, other: Header) -> None:
    """Two headers share bytes and digest only where they are equal: a repeat is told from an equivocation by it."""
    assert (encode_header(one) == encode_header(other)) == (one == other)
    assert (digest(encode_header(one)) == digest(encode_header(other))) == (one == other)


@pytest.mark.parametrize("name", Header.__struct_fields__)
def test_every_field_is_in_the_bytes(name: str) -> None:
    """Changing one field changes the bytes, and so every signature and envelope over them."""
    value = getattr(HEADER, name)
    other = value + 1 if isinstance(value, int) else value[:-1] + (b"\xee" if isinstance(value, bytes) else "x")
    assert encode_header(msgspec.structs.replace(HEADER, **{name: other})) != encode_header(HEADER)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("measurement", ""),
        ("measurement", "x" * 64),
        ("measurement", b"feed"),
        ("measurement", None),
        ("revision", -1),
        ("revision", 1 << 63),
        ("revision", 1.5),
        ("revision", True),
        ("spec", bytes(31)),
        ("spec", bytes(33)),
        ("spec", "x" * 32),
        ("window_end_ms", (1 << 53) + 1),
        ("window_end_ms", -(1 << 53) - 1),
        ("window_end_ms", "1764000010000"),
        ("source", b""),
        ("i", -1),
        ("i", 1 << 31),
        ("j", -1),
        ("j", 1 << 31),
        ("sequence", -1),
        ("rows", 0),
        ("rows", -3),
        ("rows", 4097),
        ("rows", [3]),
        ("process", bytes(7)),
        ("process", bytes(9)),
        ("attach_epoch", -1),
        ("a_epoch", None),
        ("b_epoch", 1 << 63),
        ("commitment", bytes(64)),
    ],
)
def test_out_of_range_is_malformed(name: str, value: Any) -> None:
    """A field of another type, size or range is refused where the record is read."""
    fields = list(msgspec.structs.astuple(HEADER))
    fields[Header.__struct_fields__.index(name)] = value
    with pytest.raises(RecordMalformed, match="batch header"):
        decode_header(packed(fields))


def test_the_number_of_fields_is_fixed() -> None:
    """One field more or less, or bytes after the array, is malformed: there is one way to write a header."""
    fields = list(msgspec.structs.astuple(HEADER))
    for wrong in (packed(fields[:-1]), packed([*fields, 0]), packed(fields) + b"\0", packed(fields)[:-1], b""):
        with pytest.raises(RecordMalformed):
            decode_header(wrong)


def test_a_name_that_is_not_utf8_is_malformed() -> None:
    """Text that is not UTF-8 is malformed like anything else, and does not end the role that reads it."""
    with pytest.raises(RecordMalformed, match="utf-8"):
        decode_header(encode_header(HEADER).replace(b"feed", NOT_UTF8))


@given(body=hostile_body(encode_header(HEADER)))
def test_arbitrary_bytes_are_a_header_or_malformed(body: bytes) -> None:
    """No bytes raise anything but RecordMalformed, and what is let in is within the ranges."""
    try:
        header = decode_header(body)
    except RecordMalformed:
        return
    assert 1 <= header.rows <= 4096
    assert len(header.spec) == len(header.source) == len(header.commitment) == 32
    assert min(header.i, header.j, header.sequence, header.revision) >= 0


def test_the_stream_is_source_i_and_j() -> None:
    """Sequence numbers are counted within (source, i, j), and two topics never share a stream."""
    assert HEADER.stream == Stream(SOURCE, 2, 5)
    assert source_digest("rec-events") != source_digest("rec-events-2")
