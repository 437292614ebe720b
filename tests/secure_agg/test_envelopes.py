"""Envelopes open for whom they were sealed, with every byte of their context, and for nobody and nothing else."""

from __future__ import annotations

import itertools
import traceback
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secure_agg import Channel, DataKey, EnvelopeUnreadable, KemPrivateKey
from secure_agg.envelopes import (
    KEM_PRIVATE_BYTES,
    KEM_PUBLIC_BYTES,
    NONCE_BYTES,
    PURPOSES,
    TAG_BYTES,
    fresh_key,
    public_from_bytes,
    wrap,
)
from secure_agg.identity import ROLES

CHANNELS = [
    Channel("t", purpose, sender, recipient)
    for purpose, (sender, recipients) in PURPOSES.items()
    for recipient in recipients
]
CELLS_A = Channel("t", "cells", "seal", "a")
SECRET = bytes(range(200, 232))
CONTEXT = b"process-1/epoch-17"
RECIPIENT = KemPrivateKey(bytes(range(KEM_PRIVATE_BYTES)))
HEADER = b"header of a batch"
PLAIN = b"cells of a batch"


def flipped(data: bytes, position: int) -> bytes:
    """The data with one bit changed."""
    changed = bytearray(data)
    changed[position // 8] ^= 1 << position % 8
    return bytes(changed)


def shut(key: DataKey, ciphertext: bytes, header: bytes = HEADER) -> str:
    """Check that this does not open, and that neither the error nor its traceback tells anything secret."""
    with pytest.raises(EnvelopeUnreadable) as caught:
        key.open(ciphertext, header)
    return told_nothing(caught.value, key.secret, PLAIN, ciphertext, header)


def not_unwrapped(
    wrapped: bytes, *, key: KemPrivateKey = RECIPIENT, channel: Channel = CELLS_A, context: bytes = CONTEXT
) -> str:
    """Check that this does not unwrap, and that the error tells nothing secret."""
    with pytest.raises(EnvelopeUnreadable) as caught:
        key.unwrap(wrapped, channel, context)
    return told_nothing(caught.value, SECRET, key.raw, wrapped)


def told_nothing(error: EnvelopeUnreadable, *hidden: bytes) -> str:
    """The error's message, after a search in it and its traceback for secrets, raw or in hex."""
    text = "".join(traceback.format_exception(error))
    for secret in hidden:
        assert len(secret) < 4 or (secret.hex()[:16] not in text and repr(secret) not in text)
    return str(error)


# -- channels ---------------------------------------------------------------------------------------------------------


def test_only_the_envelopes_of_the_design_exist() -> None:
    """Of all senders, recipients and purposes, six channels can be made: no other flow can even be named."""
    made = []
    for purpose, sender, recipient in itertools.product([*PURPOSES, "table", ""], [*ROLES, ""], [*ROLES, ""]):
        try:
            made.append(Channel("t", purpose, sender, recipient))
        except ValueError as error:
            assert f"there is no {purpose!r} envelope from {sender!r} to {recipient!r}" == str(error)
    assert sorted((c.purpose, c.sender, c.recipient) for c in made) == [
        ("cells", "seal", "a"), ("cells", "seal", "b"), ("coverage", "a", "b"), ("members", "seal", "attach"),
        ("share", "attach", "a"), ("share", "attach", "b"),
    ]  # fmt: skip


def test_bindings_differ_and_are_pinned() -> None:
    """Each channel and each deployment has its own bytes, none of which begins another's."""
    bindings = [channel.binding() for channel in CHANNELS] + [replace(c, deployment="t2").binding() for c in CHANNELS]
    assert CELLS_A.binding() == b"evenstream/1/t/cells/seal/a\0"
    assert not any(one != other and other.startswith(one) for one in bindings for other in bindings)
    assert len(set(bindings)) == 2 * len(CHANNELS)


# -- batches under a data key -----------------------------------------------------------------------------------------


@given(plain=st.binary(max_size=300), header=st.binary(max_size=60), channel=st.sampled_from(CHANNELS))
@settings(deadline=None)
def test_what_is_sealed_opens(plain: bytes, header: bytes, channel: Channel) -> None:
    """Any plaintext comes back under its key and header; the envelope is longer by nonce and tag, whatever is in it."""
    key = fresh_key(channel)
    sealed = key.seal(plain, header)
    assert key.open(sealed, header) == plain
    assert len(sealed) == NONCE_BYTES + len(plain) + TAG_BYTES


def test_test_case_16_of_the_gcm_specification_opens() -> None:
    """A published AES-256-GCM vector opens when laid out as nonce, ciphertext, tag: an envelope is nothing but that."""

    class Unbound(Channel):  # the vector has associated data of its own, without our binding before it
        def binding(self) -> bytes:
            return b""

    key = DataKey(
        Unbound("t", "cells", "seal", "a"),
        bytes.fromhex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308"),
    )
    sealed = bytes.fromhex(
        "cafebabefacedbaddecaf888"
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0a"
        "bcc9f662"
        "76fc6ece0f4e1768cddf8853bb2d551b"
    )
    assert key.open(sealed, bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")).hex() == (
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657"
        "ba637b39"
    )


def test_nonces_and_keys_are_fresh() -> None:
    """The same batch sealed twice shares no nonce and no bytes; two keys of one channel are two."""
    key = fresh_key(CELLS_A)
    sealed = [key.seal(PLAIN, HEADER) for _ in range(500)]
    assert len({one[:NONCE_BYTES] for one in sealed}) == 500
    assert len({one[NONCE_BYTES:] for one in sealed}) == 500
    secrets = {fresh_key(CELLS_A).secret for _ in range(200)}
    assert len(secrets) == 200
    assert {len(secret) for secret in secrets} == {32}


def test_any_altered_bit_shuts_a_batch() -> None:
    """Each bit of nonce, ciphertext, tag and header counts."""
    key = fresh_key(CELLS_A)
    sealed = key.seal(PLAIN, HEADER)
    for position in range(8 * len(sealed)):
        shut(key, flipped(sealed, position))
    for position in range(8 * len(HEADER)):
        shut(key, sealed, flipped(HEADER, position))


def test_a_truncated_or_extended_batch_is_shut() -> None:
    """Every shorter length is refused, and too short ones say how much is missing; so is a byte too many."""
    key = fresh_key(CELLS_A)
    sealed = key.seal(PLAIN, HEADER)
    for length in range(len(sealed)):
        message = shut(key, sealed[:length])
        least = NONCE_BYTES + TAG_BYTES
        assert (f"at least {least} bytes, got {length}: the record is truncated" in message) is (length < least)
    shut(key, sealed + b"\0")
    shut(key, sealed[NONCE_BYTES:] + sealed[:NONCE_BYTES])


@pytest.mark.parametrize("header", [b"", HEADER[:-1], HEADER + b"\0", HEADER[::-1]])
def test_another_header_shuts_a_batch(header: bytes) -> None:
    """An envelope cannot be moved under another record's header."""
    key = fresh_key(CELLS_A)
    shut(key, key.seal(PLAIN, HEADER), header)


def test_swapped_headers_or_parts_shut_both_batches() -> None:
    """Two batches of one key: neither opens under the other's header, nor with the other's nonce, body or tag."""
    key = fresh_key(CELLS_A)
    one, other = key.seal(PLAIN, b"header 1"), key.seal(PLAIN[::-1], b"header 2")
    shut(key, one, b"header 2")
    shut(key, other, b"header 1")
    for first, last in ((NONCE_BYTES, len(one)), (0, NONCE_BYTES), (len(one) - TAG_BYTES, len(one))):
        shut(key, one[:first] + other[first:last] + one[last:], b"header 1")


def test_one_key_does_not_open_for_another_channel_or_deployment() -> None:
    """Even with the very same 32 bytes, each purpose, recipient and deployment opens only its own."""
    channels = CHANNELS + [replace(channel, deployment="t2") for channel in CHANNELS]
    for sealed_for, opened_as in itertools.permutations(channels, 2):
        message = shut(DataKey(opened_as, SECRET), DataKey(sealed_for, SECRET).seal(PLAIN, HEADER))
        assert f"a {opened_as.purpose} envelope from {opened_as.sender} to {opened_as.recipient}" in message


def test_another_key_shuts_a_batch() -> None:
    """A second key of the same channel, or one that differs in a single bit, opens nothing."""
    sealed = DataKey(CELLS_A, SECRET).seal(PLAIN, HEADER)
    shut(fresh_key(CELLS_A), sealed)
    for position in range(8 * len(SECRET)):
        shut(DataKey(CELLS_A, flipped(SECRET, position)), sealed)


# -- data keys under HPKE ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channel", CHANNELS)
def test_what_is_wrapped_unwraps(channel: Channel) -> None:
    """The recipient gets the same secret for the same channel, and opens with it what the sender seals."""
    wrapped = wrap(SECRET, RECIPIENT.public_bytes(), channel, CONTEXT)
    key = RECIPIENT.unwrap(wrapped, channel, CONTEXT)
    assert key == DataKey(channel, SECRET)
    assert key.open(DataKey(channel, SECRET).seal(PLAIN, HEADER), HEADER) == PLAIN


def test_another_context_channel_or_deployment_does_not_unwrap() -> None:
    """A wrapping is for one sender process, one epoch, one purpose, one recipient and one deployment."""
    wrapped = wrap(SECRET, RECIPIENT.public_bytes(), CELLS_A, CONTEXT)
    for context in (b"", b"process-2/epoch-17", b"process-1/epoch-18", CONTEXT[:-1], CONTEXT + b"\0"):
        not_unwrapped(wrapped, context=context)
    for position in range(8 * len(CONTEXT)):
        not_unwrapped(wrapped, context=flipped(CONTEXT, position))
    for channel in [*CHANNELS, replace(CELLS_A, deployment="t2")]:
        if channel != CELLS_A:
            message = not_unwrapped(wrapped, channel=channel)
            assert f"a wrapped {channel.purpose} key for {channel.recipient} does not open" in message


def test_another_recipients_key_does_not_unwrap() -> None:
    """Neither a stranger's key, nor one of which only the classical or only the post-quantum half is right."""
    wrapped = wrap(SECRET, RECIPIENT.public_bytes(), CELLS_A, CONTEXT)
    stranger = KemPrivateKey.generate()
    for key in (
        stranger,
        KemPrivateKey(RECIPIENT.raw[:64] + stranger.raw[64:]),
        KemPrivateKey(stranger.raw[:64] + RECIPIENT.raw[64:]),
    ):
        not_unwrapped(wrapped, key=key)


def test_an_altered_byte_anywhere_does_not_unwrap() -> None:
    """Each byte of the ML-KEM ciphertext, the X25519 point, the sealed key and the tag counts."""
    wrapped = wrap(SECRET, RECIPIENT.public_bytes(), CELLS_A, CONTEXT)
    for index in range(len(wrapped)):
        not_unwrapped(flipped(wrapped, 8 * index + index % 7))


@pytest.mark.parametrize("length", [0, 1, 1087, 1088, 1119, 1120, 1121, 1136, 1167])
def test_a_truncated_wrapping_does_not_unwrap(length: int) -> None:
    """Wherever it is cut, within a section or between two, the error is the room's own."""
    not_unwrapped(wrap(SECRET, RECIPIENT.public_bytes(), CELLS_A, CONTEXT)[:length])


def test_wrappings_do_not_mix() -> None:
    """The encapsulation of one wrapping with the sealed key of another opens nothing; nor do points of low order."""
    one, other = (wrap(SECRET, RECIPIENT.public_bytes(), CELLS_A, CONTEXT) for _ in range(2))
    assert one[:1120] != other[:1120]
    not_unwrapped(one[:1120] + other[1120:])
    not_unwrapped(one[:1088] + other[1088:1120] + one[1120:])
    not_unwrapped(one[:1088] + bytes(32) + one[1120:])
    not_unwrapped(bytes(len(one)))
    not_unwrapped(one + b"\0")


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_wrapped_key_of_another_length_is_refused(length: int) -> None:
    """A recipient never works with a key that is not 256 bits long."""
    wrapped = wrap(SECRET[:length].ljust(length, b"\1"), RECIPIENT.public_bytes(), CELLS_A, CONTEXT)
    assert f"a wrapped key has 32 bytes, this one has {length}" in not_unwrapped(wrapped)


def test_malformed_public_keys_are_the_rooms_own_error() -> None:
    """Another length, coefficients past the modulus, or a point of low order: unreadable, never a bare ValueError."""
    public = RECIPIENT.public_bytes()
    for raw in (
        b"",
        public[:-1],
        public + b"\0",
        public[:1184],
        b"\xff" * 1184 + public[1184:],
        public[:1184] + bytes(32),
    ):
        with pytest.raises(EnvelopeUnreadable) as caught:
            wrap(SECRET, raw, CELLS_A, CONTEXT)
        told_nothing(caught.value, SECRET, raw)
    with pytest.raises(EnvelopeUnreadable, match=f"has {KEM_PUBLIC_BYTES} bytes, this one has 0"):
        public_from_bytes(b"")


@pytest.mark.parametrize("length", [0, 64, 95, 97])
def test_a_private_key_of_another_length_is_refused(length: int) -> None:
    """A damaged private key is named by its length, not by its bytes."""
    key = KemPrivateKey(bytes(range(100, 100 + length)))
    with pytest.raises(EnvelopeUnreadable, match=f"has 96 bytes, this one has {length}") as caught:
        key.public_bytes()
    told_nothing(caught.value, key.raw)


def test_keys_are_fresh_and_print_nothing() -> None:
    """Two generated keys differ in both halves; neither a key's repr nor a data key's shows a secret."""
    one, other = KemPrivateKey.generate(), KemPrivateKey.generate()
    assert one.raw[:64] != other.raw[:64]
    assert one.raw[64:] != other.raw[64:]
    assert len(one.public_bytes()) == KEM_PUBLIC_BYTES
    assert repr(one) == "KemPrivateKey()"
    assert repr(DataKey(CELLS_A, SECRET)) == f"DataKey(channel={CELLS_A!r})"
