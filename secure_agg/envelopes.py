"""Envelopes: HPKE wraps one data key, AES-256-GCM seals the batches.

An HPKE envelope (RFC 9180; KEM MLKEM768-X25519, HKDF-SHA256, AES-256-GCM) costs 0.3 ms and 1.1 KB, so it carries one
32-byte data key for each (sender process, recipient, recipient epoch). Batches use that key with random 96-bit nonces:
NIST SP 800-38D allows 2^32 of them, and a data key lives no longer than an epoch. A nonce is never made from a
sequence number, because a replay uses the same number again for other rows.

The *purpose* of an envelope is part of both the wrapping's ``info`` and each message's associated data, so a key made
for one purpose cannot open anything else:

    members   seal   -> attach   who the rows are about
    cells     seal   -> a, b     where the rows belong
    share     attach -> a, b     a seed, or the masked values
    coverage  a      -> b        the key under which coverage is shown
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from secure_agg.errors import EnvelopeUnreadable

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
KEM_PUBLIC_BYTES: Final = 1184 + 32
KEM_PRIVATE_BYTES: Final = 64 + 32

PURPOSES: Final = {
    "members": ("seal", ("attach",)),
    "cells": ("seal", ("a", "b")),
    "share": ("attach", ("a", "b")),
    "coverage": ("a", ("b",)),
}
"""Purpose -> (sender role, recipient roles). Nothing else can be wrapped or opened."""

_SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


@dataclass(frozen=True)
class Channel:
    """Who sends what to whom: the context that both ends must agree on."""

    deployment: str
    purpose: str
    sender: str
    recipient: str

    def __post_init__(self) -> None:
        sender, recipients = PURPOSES.get(self.purpose, ("", ()))
        if self.sender != sender or self.recipient not in recipients:
            raise ValueError(f"there is no {self.purpose!r} envelope from {self.sender!r} to {self.recipient!r}")

    def binding(self) -> bytes:
        """The bytes that bind a ciphertext to this channel."""
        return f"evenstream/1/{self.deployment}/{self.purpose}/{self.sender}/{self.recipient}\0".encode()


@dataclass(frozen=True)
class DataKey:
    """An AES-256-GCM key for one channel, sender process and recipient epoch."""

    channel: Channel
    secret: bytes = field(repr=False)

    @cached_property
    def _cipher(self) -> AESGCM:
        return AESGCM(self.secret)

    @cached_property
    def _binding(self) -> bytes:
        return self.channel.binding()

    def seal(self, plaintext: bytes | bytearray | memoryview, header: bytes) -> bytes:
        """Encrypt under a fresh random nonce; ``header`` is bound as associated data. Returns nonce + ciphertext.

        An array's own memory (``array.view(np.uint8).data``) is read where it lies: no copy is left that its owner
        could not overwrite.
        """
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plaintext, self._binding + header)

    def open(self, ciphertext: bytes | memoryview, header: bytes) -> bytearray:
        """Decrypt, or raise :class:`EnvelopeUnreadable`. The plaintext is the caller's, to be overwritten after use."""
        if len(ciphertext) < NONCE_BYTES + TAG_BYTES:
            raise EnvelopeUnreadable(
                f"expected a {self.channel.purpose} envelope of at least {NONCE_BYTES + TAG_BYTES} bytes, "
                f"got {len(ciphertext)}: the record is truncated"
            )
        plain = bytearray(len(ciphertext) - NONCE_BYTES - TAG_BYTES)
        whole = memoryview(ciphertext)
        try:
            self._cipher.decrypt_into(whole[:NONCE_BYTES], whole[NONCE_BYTES:], self._binding + header, plain)
        except InvalidTag:
            raise EnvelopeUnreadable(
                f"a {self.channel.purpose} envelope from {self.channel.sender} to {self.channel.recipient} does not "
                "open with this key: the key is not the one it was sealed for, or its bytes were altered"
            ) from None
        return plain


def public_from_bytes(raw: bytes) -> MLKEM768X25519PublicKey:
    """Decode a KEM public key: ML-KEM-768 (1184 bytes) followed by X25519 (32 bytes)."""
    if len(raw) != KEM_PUBLIC_BYTES:
        raise EnvelopeUnreadable(f"a KEM public key has {KEM_PUBLIC_BYTES} bytes, this one has {len(raw)}")
    try:
        mlkem = MLKEM768PublicKey.from_public_bytes(raw[:1184])
    except ValueError:
        raise EnvelopeUnreadable("a KEM public key's first 1184 bytes are not an ML-KEM-768 key") from None
    return MLKEM768X25519PublicKey(mlkem, X25519PublicKey.from_public_bytes(raw[1184:]))


@dataclass(frozen=True)
class KemPrivateKey:
    """A recipient's hybrid private key: a 64-byte ML-KEM-768 seed and a 32-byte X25519 scalar."""

    raw: bytes = field(repr=False)

    @classmethod
    def generate(cls) -> KemPrivateKey:
        """Draw a new key."""
        mlkem = MLKEM768PrivateKey.generate()
        return cls(mlkem.private_bytes_raw() + X25519PrivateKey.generate().private_bytes_raw())

    def _parts(self) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
        if len(self.raw) != KEM_PRIVATE_BYTES:
            raise EnvelopeUnreadable(f"a KEM private key has {KEM_PRIVATE_BYTES} bytes, this one has {len(self.raw)}")
        return MLKEM768PrivateKey.from_seed_bytes(self.raw[:64]), X25519PrivateKey.from_private_bytes(self.raw[64:])

    def public_bytes(self) -> bytes:
        """The matching public key, 1216 bytes."""
        mlkem, x25519 = self._parts()
        return mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()

    def unwrap(self, wrapped: bytes, channel: Channel, context: bytes) -> DataKey:
        """Open a wrapped data key, or raise :class:`EnvelopeUnreadable`."""
        try:
            secret = _SUITE.decrypt(wrapped, MLKEM768X25519PrivateKey(*self._parts()), channel.binding() + context)
        except (InvalidTag, ValueError):
            raise EnvelopeUnreadable(
                f"a wrapped {channel.purpose} key for {channel.recipient} does not open with this epoch's private key"
            ) from None
        if len(secret) != KEY_BYTES:
            raise EnvelopeUnreadable(f"a wrapped key has {KEY_BYTES} bytes, this one has {len(secret)}")
        return DataKey(channel, secret)


def wrap(secret: bytes, public: bytes, channel: Channel, context: bytes) -> bytes:
    """Wrap a 32-byte secret for the recipient: its HPKE envelope (about 1.2 KB).

    Args:
        secret: 32 bytes.
        public: the recipient's KEM public key (1216 bytes), already authenticated by its identity's signature.
        channel: who sends what to whom.
        context: bytes that bind the wrapping to its sender process and the recipient's epoch.

    Raises:
        EnvelopeUnreadable: ``public`` is not a key that anything can be wrapped for.
    """
    key = public_from_bytes(public)
    try:
        return _SUITE.encrypt(secret, key, channel.binding() + context)
    except ValueError:
        raise EnvelopeUnreadable(
            f"nothing can be wrapped for {channel.recipient}'s public key: its X25519 point has a low order"
        ) from None


def fresh_key(channel: Channel) -> DataKey:
    """Draw a data key for ``channel``."""
    return DataKey(channel, os.urandom(KEY_BYTES))
