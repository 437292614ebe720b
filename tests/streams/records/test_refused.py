"""Records of `refused`: where an event lies and why it did not count, and nothing of what it held."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from known_records import brief

from streams.errors import RecordMalformed
from streams.records.refused import Refused, decode_refused, encode_refused
from streams.roles.decoding import REASONS

REFUSED = Refused("late", "rec-events", 3, 1_000_000, "feed")


@given(
    reason=st.sampled_from(REASONS),
    topic=st.text(max_size=249),
    partition=st.integers(0, (1 << 31) - 1),
    offset=st.integers(0, (1 << 63) - 1),
    measurement=st.none() | st.text(max_size=63),
)
def test_round_trip(reason: str, topic: str, partition: int, offset: int, measurement: str | None) -> None:
    """What is written is read back, whatever the topic is called."""
    refused = Refused(reason, topic, partition, offset, measurement)
    assert decode_refused(encode_refused(refused)) == refused


def test_golden_bytes() -> None:
    """The exact bytes are pinned: they hold a reason and a place, and no field for a payload or a member."""
    golden = b'{"reason":"late","topic":"rec-events","partition":3,"offset":1000000,"measurement":"feed"}'
    assert encode_refused(REFUSED) == golden
    assert decode_refused(golden) == REFUSED
    unread = encode_refused(Refused("too_large", "t", 0, 0, None))
    assert unread == b'{"reason":"too_large","topic":"t","partition":0,"offset":0,"measurement":null}'


@pytest.mark.parametrize("name", Refused.__struct_fields__)
def test_every_field_is_needed(name: str) -> None:
    """A record that leaves one out, or has it of another type, is malformed."""
    fields = json.loads(encode_refused(REFUSED))
    for wrong in ({key: value for key, value in fields.items() if key != name}, fields | {name: [1]}):
        with pytest.raises(RecordMalformed, match=name):
            decode_refused(json.dumps(wrong).encode())


def test_nothing_can_be_added() -> None:
    """A field that the format does not know is malformed, and the message does not show what it held."""
    fields = json.loads(encode_refused(REFUSED)) | {"payload": "secret"}
    with pytest.raises(RecordMalformed, match="unknown field") as caught:
        decode_refused(json.dumps(fields).encode())
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("value", [b"", b"null", b"[]", b"{", b'{"reason":"\xff"}', b"[" * 100_000], ids=brief)
def test_what_is_not_such_a_record_is_malformed(value: bytes) -> None:
    """Empty, cut, deeply nested or not UTF-8: malformed, and nothing else is raised."""
    with pytest.raises(RecordMalformed):
        decode_refused(value)


@given(
    value=st.binary(max_size=80)
    | st.tuples(st.integers(0, 90), st.binary(max_size=4)).map(
        lambda cut: encode_refused(REFUSED)[: cut[0]] + cut[1] + encode_refused(REFUSED)[cut[0] + len(cut[1]) :]
    )
)
def test_arbitrary_bytes(value: bytes) -> None:
    """No bytes raise anything but RecordMalformed."""
    try:
        assert isinstance(decode_refused(value), Refused)
    except RecordMalformed:
        return
