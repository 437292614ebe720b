"""Records of `keys`: their bytes, and that no one announces or hands over a key in another's name."""

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
    sealed,
    sections_of,
    with_section,
)

from secure_agg import EpochPublicKey, PinnedIdentities, SignatureInvalid
from secure_agg.envelopes import KEM_PUBLIC_BYTES
from streams.errors import RecordMalformed
from streams.records import frame
from streams.records.frame import Kind
from streams.records.keys import (
    EpochKey,
    WrappedKey,
    decode_key_record,
    sign_epoch_key,
    sign_wrapped_key,
    wrapping_context,
)

KEM = bytes(number % 251 for number in range(KEM_PUBLIC_BYTES))
PUBLIC = EpochPublicKey("b", 12, 1_764_000_000_000, KEM)
WRAPPED = WrappedKey("seal", b"process1", "a", 12, "cells", bytes(range(256)))
EPOCH_RECORD = sign_epoch_key(identity("b"), PUBLIC)
WRAPPED_RECORD = sign_wrapped_key(identity("seal"), WRAPPED)


def judge(value: bytes) -> EpochKey | WrappedKey:
    """Read and verify, as every role does."""
    return decode_key_record(value, TRUSTED)


@given(
    role=st.sampled_from(["attach", "a", "b"]),
    epoch=st.integers(0, (1 << 63) - 1),
    not_after_ms=st.integers(-(1 << 53), 1 << 53),
    kem=st.binary(min_size=32, max_size=32),
)
def test_epoch_keys_round_trip(role: str, epoch: int, not_after_ms: int, kem: bytes) -> None:
    """What a recipient announces is what senders read."""
    public = EpochPublicKey(role, epoch, not_after_ms, kem * (KEM_PUBLIC_BYTES // 32))
    record = sign_epoch_key(identity(role), public)
    again = judge(record.value)
    assert isinstance(again, EpochKey)
    assert again.public() == public
    assert record.key == again.topic_key() == f"epoch/{role}/{epoch}".encode()


@given(
    sender=st.sampled_from(["seal", "attach", "a"]),
    process=st.binary(min_size=8, max_size=8),
    recipient=st.sampled_from(["attach", "a", "b"]),
    epoch=st.integers(0, (1 << 63) - 1),
    purpose=st.sampled_from(["members", "cells", "share", "coverage"]),
    wrapped=st.binary(min_size=1, max_size=1300),
)
def test_wrapped_keys_round_trip(
    sender: Any, process: bytes, recipient: Any, epoch: int, purpose: Any, wrapped: bytes
) -> None:
    """What a sender hands over is what the recipient reads, bound to the sender's process and the epoch."""
    key = WrappedKey(sender, process, recipient, epoch, purpose, wrapped)
    record = sign_wrapped_key(identity(sender), key)
    assert judge(record.value) == key
    assert record.key == f"data/{sender}/{process.hex()}/{purpose}/{recipient}/{epoch}".encode()
    assert key.context() == wrapping_context(process, epoch)


@pytest.mark.parametrize(("name", "value"), [("epoch_key", EPOCH_RECORD.value), ("wrapped_key", WRAPPED_RECORD.value)])
def test_golden_bytes(name: str, value: bytes) -> None:
    """The exact bytes of one record of each kind are pinned, and are still read."""
    assert as_hex(value) == as_hex(golden(name))
    assert judge(golden(name)) == judge(value)


@pytest.mark.parametrize("value", [EPOCH_RECORD.value, WRAPPED_RECORD.value])
def test_no_change_is_accepted(value: bytes) -> None:
    """Body and signature altered, cut or exchanged are malformed or badly signed."""
    assert accepted(judge, value) == []


@pytest.mark.parametrize("signer", ["seal", "attach", "a", "publish"])
def test_no_one_announces_an_epoch_for_another(signer: str) -> None:
    """A key that b did not sign is not b's: else its rows would be sealed to someone else."""
    body = packed(["b", 12, 1_764_000_000_000, KEM])
    forged = frame.encode(Kind.EPOCH_KEY, (body, identity(signer).sign("epoch-key", body)))
    with pytest.raises(SignatureInvalid, match="'b'"):
        judge(forged)


@pytest.mark.parametrize("signer", ["attach", "a", "b", "publish"])
def test_no_one_hands_over_a_key_for_another(signer: str) -> None:
    """A data key counts only under the signature of the sender that it names."""
    body = sections_of(WRAPPED_RECORD.value)[0]
    forged = frame.encode(Kind.WRAPPED_KEY, (body, identity(signer).sign("wrapped-key", body)))
    with pytest.raises(SignatureInvalid, match="'seal'"):
        judge(forged)


@pytest.mark.parametrize("role", ["seal", "publish", "c", "", None])
def test_only_recipients_announce_epochs(role: Any) -> None:
    """A role to which nothing is sealed has no epochs, whoever signs."""
    body = packed([role, 12, 0, KEM])
    with pytest.raises(RecordMalformed, match="EPOCH_KEY"):
        judge(frame.encode(Kind.EPOCH_KEY, (body, identity("seal").sign("epoch-key", body))))


def test_a_signature_holds_for_one_kind_and_deployment() -> None:
    """What was signed as one kind of record is not the other kind, nor a record of another deployment."""
    body = sections_of(EPOCH_RECORD.value)[0]
    crossed = frame.encode(Kind.EPOCH_KEY, (body, identity("b").sign("wrapped-key", body)))
    with pytest.raises(SignatureInvalid):
        judge(crossed)
    with pytest.raises(SignatureInvalid):
        decode_key_record(EPOCH_RECORD.value, PinnedIdentities("elsewhere", TRUSTED.keys))


@pytest.mark.parametrize(
    ("record", "place", "wrong"),
    [
        (EPOCH_RECORD, 0, NOT_UTF8.decode("latin-1")),
        (EPOCH_RECORD, 1, -1),
        (EPOCH_RECORD, 2, (1 << 53) + 1),
        (EPOCH_RECORD, 3, KEM[:-1]),
        (EPOCH_RECORD, 3, KEM + b"\0"),
        (EPOCH_RECORD, 3, b""),
        (WRAPPED_RECORD, 0, "b"),
        (WRAPPED_RECORD, 0, "publish"),
        (WRAPPED_RECORD, 1, bytes(9)),
        (WRAPPED_RECORD, 2, "seal"),
        (WRAPPED_RECORD, 3, 1 << 63),
        (WRAPPED_RECORD, 4, "state"),
        (WRAPPED_RECORD, 5, b""),
        (WRAPPED_RECORD, 5, bytes(4097)),
    ],
)
def test_out_of_range_is_malformed(record: Any, place: int, wrong: Any) -> None:
    """A field of another type, size or range is refused before any signature is looked at."""
    fields = list(msgspec.msgpack.decode(sections_of(record.value)[0]))
    fields[place] = wrong
    with pytest.raises(RecordMalformed, match="_KEY"):
        judge(with_section(record.value, 0, packed(fields)))


@pytest.mark.parametrize(("value", "word"), [(EPOCH_RECORD.value, b"\xa1b"), (WRAPPED_RECORD.value, b"\xa4seal")])
def test_text_that_is_not_utf8_is_malformed(value: bytes, word: bytes) -> None:
    """Text that is not UTF-8 is malformed like anything else: `keys` is read by every role."""
    broken = value.replace(word, word[:1] + NOT_UTF8[: len(word) - 1], 1)
    assert broken != value
    with pytest.raises(RecordMalformed, match="utf-8"):
        judge(broken)


def test_other_records_do_not_belong_on_keys() -> None:
    """A sound record of another kind is refused, and the message says which kind it is."""
    with pytest.raises(RecordMalformed, match="SEALED record does not belong"):
        judge(sealed().encode())


def test_contexts_differ_by_process_and_epoch() -> None:
    """An envelope that was wrapped for one process and epoch has a context of its own."""
    contexts = {wrapping_context(process, epoch) for process in (b"process1", b"process2") for epoch in range(300)}
    assert len(contexts) == 600
    assert wrapping_context(b"process1", 258) == b"process1\x02\x01\0\0\0\0\0\0"


@given(value=hostile_frame(EPOCH_RECORD.value, 0) | hostile_frame(WRAPPED_RECORD.value, 0))
def test_arbitrary_bytes(value: bytes) -> None:
    """No bytes raise anything but RecordMalformed or SignatureInvalid, and only the signed ones are accepted."""
    try:
        assert judge(value) in (judge(EPOCH_RECORD.value), WRAPPED)
    except (RecordMalformed, SignatureInvalid):
        return
