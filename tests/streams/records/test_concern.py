"""Records of `concerns`: what one holds, and that nothing else passes for one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import InputError, RecordMalformed
from streams.records.concern import (
    MAX_BYTES,
    MAX_TEXT,
    Concern,
    decode_concern,
    encode_concern,
    midnight_ms,
    new_concern,
    normal_text,
)

NOW_MS = 1_764_072_345_678
"""2025-11-25 12:05:45.678 UTC."""
MIDNIGHT_MS = 1_764_028_800_000
GOOD = Concern(1, "0123456789abcdef" * 2, "feed", "2025-11-25", "Why so few?", "page")


def fields(**changes: Any) -> bytes:
    """A record's JSON with some fields changed; None leaves one out."""
    found: dict[str, Any] = json.loads(encode_concern(GOOD)) | changes
    return json.dumps({name: value for name, value in found.items() if value is not None}).encode()


def test_golden_bytes() -> None:
    """The record is exactly these bytes: whoever reads the topic holds to them."""
    assert encode_concern(GOOD) == (
        b'{"version":1,"id":"0123456789abcdef0123456789abcdef","measurement":"feed","day":"2025-11-25",'
        b'"text":"Why so few?","source":"page"}'
    )
    assert decode_concern(GOOD.id.encode(), encode_concern(GOOD)) == GOOD


def test_a_record_holds_the_day_and_nothing_of_the_time() -> None:
    """Two concerns of one day differ in their random ids only, and Kafka is told midnight."""
    first, second = (new_concern("feed", "x", "page", ms) for ms in (NOW_MS, NOW_MS + 1_000_000))
    assert first.id != second.id
    assert encode_concern(first).replace(first.id.encode(), b"") == encode_concern(second).replace(
        second.id.encode(), b""
    )
    assert (first.day, midnight_ms(first)) == ("2025-11-25", MIDNIGHT_MS)


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("  why?\r\nso\rfew \n", "why?\nso\nfew"),
        ("a\tb\u2028c\u0085d", "a b\nc\nd"),
        ("e\u0301", "\u00e9"),
        ("soft\u00adhyphen\ufeff", "softhyphen"),
        ("\u0645\u06cc\u200c\u062e", "\u0645\u06cc\u200c\u062e"),
        ("\N{FAMILY} \N{WOMAN}\u200d\N{MICROSCOPE}", "\N{FAMILY} \N{WOMAN}\u200d\N{MICROSCOPE}"),
        ("x" * MAX_TEXT, "x" * MAX_TEXT),
        ("\N{GRINNING FACE}" * MAX_TEXT, "\N{GRINNING FACE}" * MAX_TEXT),
    ],
)
def test_text_is_kept_in_one_form(written: str, kept: str) -> None:
    """Line ends, tabs and combined letters are made alike, invisible marks go, scripts and emoji stay whole."""
    assert normal_text(written) == kept


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("", "is empty"),
        (" \u200b\n ", "is empty"),
        ("x" * (MAX_TEXT + 1), "this one has 2,001"),
        ("x" * 1_000_000, "this one has 1,000,000"),
        ("a\x1b[2Jb", "U+001B"),
        ("a\x00b", "U+0000"),
        ("a\x9bb", "U+009B"),
        ("a\x7fb", "U+007F"),
        ("a\u202eb", "U+202E"),
        ("a\u2066b", "U+2066"),
        ("a\ud800b", "U+D800"),
    ],
)
def test_what_is_no_text_is_refused(written: str, said: str) -> None:
    """Empty and long texts, control characters, marks that turn the direction and lone surrogates: with a sentence."""
    with pytest.raises(InputError, match=said.replace("+", r"\+")):
        normal_text(written)


@given(st.text(max_size=300))
def test_normal_text_is_settled(text: str) -> None:
    """What was accepted once is accepted as it is, so a reader can check a writer."""
    try:
        found = normal_text(text)
    except InputError:
        return
    assert normal_text(found) == found
    assert (
        decode_concern(GOOD.id.encode(), encode_concern(Concern(1, GOOD.id, "feed", "2025-11-25", found, "page"))).text
        == found
    )


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"{",
        b"null",
        b"[1]",
        b"\xff\xfe",
        b"[" * 15_000,
        fields(text="a" * MAX_BYTES),
        fields(text=None),
        fields(address="10.0.0.1"),
        fields(version=2),
        fields(version="1"),
        fields(id="ABCDEF0123456789" * 2),
        fields(id="f" * 32),
        fields(measurement="No Such"),
        fields(measurement="a" * 64),
        fields(day="2025-02-30"),
        fields(day="2025-11-25T10:00:00Z"),
        fields(day="20251125"),
        fields(text=""),
        fields(text="a" * (MAX_TEXT + 1)),
        fields(text="a\u001b]0;x"),
        fields(text=" a"),
        fields(source="me"),
        encode_concern(GOOD).replace(b"Why", b"W\xff\xff"),
        encode_concern(GOOD).replace(b"Why", b"\\ud800"),
    ],
)
def test_whatever_else_is_written_is_refused(value: bytes | None) -> None:
    """Any other shape, size, field or encoding is malformed, and the error repeats nothing of it."""
    with pytest.raises(RecordMalformed) as error:
        decode_concern(GOOD.id.encode(), value)
    assert "aaaa" not in str(error.value)
    assert "10.0.0.1" not in str(error.value)


@given(st.binary(max_size=200))
def test_random_bytes_are_refused(value: bytes) -> None:
    """No bytes raise anything else."""
    with pytest.raises(RecordMalformed):
        decode_concern(GOOD.id.encode(), value)


@pytest.mark.parametrize("key", [None, b"", b"0" * 32])
def test_the_key_is_the_id(key: bytes | None) -> None:
    """A record under another key is none."""
    with pytest.raises(RecordMalformed, match="id"):
        decode_concern(key, encode_concern(GOOD))
