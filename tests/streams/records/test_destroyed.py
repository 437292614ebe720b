"""KEY_DESTROYED: its bytes, and that no role can say it of another's key."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from known_records import (
    NOT_UTF8,
    TRUSTED,
    accepted,
    as_hex,
    golden,
    hostile_frame,
    identity,
    packed,
    sections_of,
    with_section,
)

from privacy import Limits
from secure_agg import SignatureInvalid, Trusted
from streams.control import ControlPlane
from streams.errors import RecordMalformed
from streams.records.destroyed import KeyDestroyed, decode_key_destroyed, sign_key_destroyed
from streams.records.keys import KeyRecord

RECORD = sign_key_destroyed(identity("b"), "epoch", 12, 1_764_000_000_000)


def value_of(record: KeyRecord) -> bytes:
    """The record's bytes."""
    assert record.value is not None
    return record.value


VALUE = value_of(RECORD)


def judge(value: bytes) -> KeyDestroyed:
    """Read and verify, as every role does."""
    return decode_key_destroyed(value, TRUSTED)


@given(
    role=st.sampled_from(["seal", "attach", "a", "b"]),
    kind=st.sampled_from(["epoch", "state"]),
    number=st.integers(0, (1 << 63) - 1),
    at_ms=st.integers(-(1 << 53), 1 << 53),
)
def test_round_trip(role: str, kind: Any, number: int, at_ms: int) -> None:
    """What a role says of its key is what everyone reads."""
    record = sign_key_destroyed(identity(role), kind, number, at_ms)
    assert judge(value_of(record)) == KeyDestroyed(role, kind, number, at_ms)  # type: ignore[arg-type]


def test_golden_bytes() -> None:
    """The wire format is pinned."""
    assert as_hex(VALUE) == as_hex(golden("key_destroyed"))
    assert RECORD.key == b"destroyed/b/epoch/12"


def test_nothing_damaged_is_accepted() -> None:
    """Cut, lengthened or altered anywhere, it is refused."""
    assert accepted(judge, VALUE) == []


@given(hostile_frame(VALUE, 0))
def test_hostile_bytes_are_refused(value: bytes) -> None:
    """Whatever is put in its place raises one of the two errors for strangers' bytes."""
    try:
        judge(value)
    except (RecordMalformed, SignatureInvalid):
        return
    assert value == VALUE


@pytest.mark.parametrize("role", ["publish", "nobody", 7])
def test_only_roles_that_hold_keys_say_so(role: Any) -> None:
    """Publish has neither epochs nor state; others do not exist."""
    with pytest.raises(RecordMalformed):
        judge(with_section(VALUE, 0, packed([role, "epoch", 12, 0])))


def test_text_that_is_not_utf8_is_refused() -> None:
    """It raises RecordMalformed like any other."""
    with pytest.raises(RecordMalformed):
        judge(with_section(VALUE, 0, msgspec.msgpack.encode(["b", "epoch", 12, 0]).replace(b"epoch", NOT_UTF8 + b"h")))


def test_no_one_says_it_for_another() -> None:
    """A record that names a but that b signed is refused, and has no effect on whoever reads it."""
    other = msgspec.msgpack.encode(["a", "epoch", 12, 1_764_000_000_000])
    forged = with_section(VALUE, 0, other)
    assert sections_of(forged)[1] == sections_of(VALUE)[1]
    with pytest.raises(SignatureInvalid):
        judge(forged)
    control = ControlPlane(Trusted("golden", TRUSTED, ()), test_cluster=False, limits=Limits.of_day(1.0))
    control.apply_key(forged)
    assert control.refused == 1
    assert control.destroyed("a", "epoch", 12) is None


def test_the_first_word_stands() -> None:
    """A role that says it again later changes nothing."""
    control = ControlPlane(Trusted("golden", TRUSTED, ()), test_cluster=False, limits=Limits.of_day(1.0))
    for at_ms in (5, 9):
        control.apply_key(sign_key_destroyed(identity("seal"), "state", 3, at_ms).value)
    said = control.destroyed("seal", "state", 3)
    assert said is not None
    assert said.at_ms == 5
    assert control.destroyed("seal", "epoch", 3) is None
