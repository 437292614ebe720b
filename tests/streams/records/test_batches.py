"""`sealed` and `shares`: pinned bytes, and that nothing of a signed batch can be changed, dropped or exchanged."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from known_records import (
    EXTENSION,
    HEADER,
    NOT_UTF8,
    TRUSTED,
    accepted,
    as_hex,
    golden,
    hostile_frame,
    identity,
    of_version,
    packed,
    sealed,
    shares,
    tampered,
    with_section,
)

from secure_agg import PinnedIdentities, SignatureInvalid
from streams.errors import RecordMalformed
from streams.records import frame
from streams.records.batches import Extension, SealedBatch, SharesBatch
from streams.records.frame import Kind
from streams.records.header import encode_header

SECTION = st.binary(max_size=64)
SEALED, SHARES = sealed().encode(), shares().encode()


def judge_sealed(value: bytes) -> SealedBatch:
    """Read and verify, as `attach` does."""
    batch = SealedBatch.decode(value)
    batch.verify(TRUSTED)
    return batch


def judge_shares(value: bytes) -> SharesBatch:
    """Read and verify, as a party does."""
    batch = SharesBatch.decode(value)
    batch.verify(TRUSTED)
    return batch


@given(members=SECTION, cells_a=SECTION, cells_b=SECTION, share_a=SECTION, share_b=SECTION)
def test_round_trip(members: bytes, cells_a: bytes, cells_b: bytes, share_a: bytes, share_b: bytes) -> None:
    """Whatever the ciphertexts are, both records come back as they were and their signatures hold."""
    batch = SealedBatch.signed(identity("seal"), HEADER, encode_header(HEADER), members, cells_a, cells_b)
    assert judge_sealed(batch.encode()) == batch
    passed = SharesBatch.signed(identity("attach"), batch, EXTENSION, share_a, share_b)
    assert judge_shares(passed.encode()) == passed


@pytest.mark.parametrize("version", [1, 2])
def test_golden_bytes(version: int) -> None:
    """The exact bytes of one batch on each topic are pinned for each version, and each is read and verifies."""
    with of_version(version):
        batch, passed = sealed(), shares()
    assert as_hex(batch.encode()) == as_hex(golden(f"sealed_{version}"))
    assert as_hex(passed.encode()) == as_hex(golden(f"shares_{version}"))
    assert judge_sealed(golden(f"sealed_{version}")) == batch
    assert judge_shares(golden(f"shares_{version}")) == passed


@pytest.mark.parametrize("version", [1, 2])
def test_a_batch_of_either_version_is_passed_on(version: int) -> None:
    """Attach writes version 2 whichever seal writes; seal's signature stays what it was and is checked as that."""
    with of_version(version):
        batch = sealed()
    passed = SharesBatch.signed(identity("attach"), batch, EXTENSION, b"seed for a", b"masked values for b")
    assert (passed.seal_version, passed.version) == (version, 2)
    assert judge_shares(passed.encode()) == passed
    assert accepted(judge_shares, passed.encode()) == []


def test_no_change_of_a_batch_of_version_1_is_accepted() -> None:
    """The first version is held to the same, also where what is changed is its version."""
    assert accepted(judge_sealed, golden("sealed_1")) == []
    assert accepted(judge_shares, golden("shares_1")) == []


def test_no_change_of_a_sealed_batch_is_accepted() -> None:
    """Every section altered, cut or exchanged is malformed or badly signed: all of it is under seal's signature."""
    assert len(list(tampered(SEALED))) > 500
    assert accepted(judge_sealed, SEALED) == []


def test_no_change_of_a_shares_batch_is_accepted() -> None:
    """Every section altered, cut or exchanged is malformed or badly signed: two signatures leave nothing open."""
    assert accepted(judge_shares, SHARES) == []


def test_seals_sections_are_passed_on_untouched() -> None:
    """Header, cells and seal's signature are the same bytes in `shares`; of the members only a digest is left."""
    before, after = sealed(), judge_shares(SHARES)
    for name in ("header", "header_bytes", "cells_a", "cells_b", "seal_signature"):
        assert getattr(after, name) == getattr(before, name)
    assert after.members_digest == hashlib.sha256(before.members).digest()
    assert before.members not in SHARES


@pytest.mark.parametrize("signer", ["attach", "a", "b", "publish"])
def test_only_seal_signs_sealed(signer: str) -> None:
    """Another role's signature is not seal's, whoever it is."""
    batch = sealed()
    forged = SealedBatch.signed(
        identity(signer), HEADER, batch.header_bytes, batch.members, batch.cells_a, batch.cells_b
    )
    with pytest.raises(SignatureInvalid):
        judge_sealed(forged.encode())


@pytest.mark.parametrize("signer", ["seal", "a", "b", "publish"])
def test_only_attach_signs_shares(signer: str) -> None:
    """`seal` cannot pass its own batch on, and neither can a party."""
    forged = SharesBatch.signed(identity(signer), sealed(), EXTENSION, b"seed for a", b"masked values for b")
    with pytest.raises(SignatureInvalid):
        judge_shares(forged.encode())


def test_seals_signature_is_checked_in_shares_too() -> None:
    """`attach` cannot invent a batch that `seal` never signed."""
    invented = SealedBatch.signed(identity("attach"), HEADER, encode_header(HEADER), b"members", b"cells", b"cells!")
    forged = SharesBatch.signed(identity("attach"), invented, EXTENSION, b"seed for a", b"masked values for b")
    with pytest.raises(SignatureInvalid, match="'seal'"):
        judge_shares(forged.encode())


def test_a_batch_of_another_deployment_is_refused() -> None:
    """The same keys in another deployment sign other bytes: a record cannot be carried over."""
    elsewhere = PinnedIdentities("elsewhere", TRUSTED.keys)
    with pytest.raises(SignatureInvalid):
        sealed().verify(elsewhere)
    with pytest.raises(SignatureInvalid):
        shares().verify(elsewhere)


def test_attachs_signature_binds_header_and_extension() -> None:
    """A share cannot be moved under another batch's header or another extension."""
    other = sealed(msgspec.structs.replace(HEADER, sequence=HEADER.sequence + 1))
    batch = shares()
    moved = SharesBatch.signed(identity("attach"), other, EXTENSION, batch.share_a, batch.share_b)
    assert moved.attach_signature != batch.attach_signature
    assert SharesBatch.binding(moved.header_bytes, b"x") != SharesBatch.binding(batch.header_bytes, b"x")
    with pytest.raises(SignatureInvalid):
        judge_shares(with_section(moved.encode(), 8, batch.attach_signature))
    renamed = SharesBatch.encode_extension(msgspec.structs.replace(EXTENSION, a_epoch=99))
    with pytest.raises(SignatureInvalid):
        judge_shares(with_section(SHARES, 5, renamed))


@pytest.mark.parametrize(
    "fields",
    [
        [b"short", 22, 23, 1, 6, 0],
        [b"nine byte", 22, 23, 1, 6, 0],
        ["process2", 22, 23, 1, 6, 0],
        [b"process2", -1, 23, 1, 6, 0],
        [b"process2", 22, 1 << 63, 1, 6, 0],
        [b"process2", 22, 23, None, 6, 0],
        [b"process2", 22, 23, 1, 6.0, 0],
        [b"process2", 22, 23, 1, 6, "0"],
        [b"process2", 22, 23, 1, 6],
        [b"process2", 22, 23, 1, 6, 0, 0],
    ],
)
def test_an_extension_out_of_range_is_malformed(fields: list[object]) -> None:
    """Fields of another type, size or number are refused where the record is read."""
    with pytest.raises(RecordMalformed, match="shares extension"):
        SharesBatch.decode(with_section(SHARES, 5, packed(fields)))


def test_extension_round_trip() -> None:
    """The extension's bytes are its fields in order, and no field is left out of them."""
    fields = msgspec.structs.astuple(EXTENSION)
    assert SharesBatch.encode_extension(EXTENSION) == packed(list(fields))
    assert len(fields) == len(Extension.__struct_fields__) == 6


@pytest.mark.parametrize(("decode", "value"), [(SealedBatch.decode, SEALED), (SharesBatch.decode, SHARES)])
def test_malformed_parts_are_named(decode: Callable[[bytes], object], value: bytes) -> None:
    """A header that is none, the other kind, another number of sections or a newer version: all RecordMalformed."""
    sections = [b"x"] * (9 if value is SHARES else 5)
    kind = frame.kind_of(value)
    for wrong, words in (
        (with_section(value, 0, b"\x90"), "header"),
        (with_section(value, 0, encode_header(HEADER).replace(b"feed", NOT_UTF8)), "header"),
        (frame.encode(Kind.RELEASE, sections), "got RELEASE"),
        (frame.encode(kind, sections[:-1]), "sections"),
        (frame.encode(kind, [*sections, b""]), "sections"),
        (value[:2] + b"\x03" + value[3:], "version 2 or an earlier one, got 3: upgrade"),
    ):
        with pytest.raises(RecordMalformed, match=words):
            decode(wrong)


@pytest.mark.parametrize("length", [0, 1, 63, 65, 4096])
def test_a_signature_of_another_length_is_invalid(length: int) -> None:
    """A signature that cannot be one is invalid like any other, and raises nothing else."""
    with pytest.raises(SignatureInvalid):
        judge_sealed(with_section(SEALED, 4, bytes(length)))
    with pytest.raises(SignatureInvalid):
        judge_shares(with_section(SHARES, 8, bytes(length)))


@given(value=hostile_frame(SEALED, 0))
def test_arbitrary_bytes_on_sealed(value: bytes) -> None:
    """No bytes raise anything but RecordMalformed or SignatureInvalid, and only seal's own are accepted."""
    try:
        assert judge_sealed(value) == sealed()
    except (RecordMalformed, SignatureInvalid):
        return


@given(value=hostile_frame(SHARES, 5) | hostile_frame(SHARES, 0))
def test_arbitrary_bytes_on_shares(value: bytes) -> None:
    """No bytes raise anything but RecordMalformed or SignatureInvalid, and only the signed ones are accepted."""
    try:
        assert judge_shares(value) == shares()
    except (RecordMalformed, SignatureInvalid):
        return
