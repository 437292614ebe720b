"""Wrapped keys are standard HPKE: a plain RFC 9180 written here, over published KEM vectors, opens them.

The KEM of draft-ietf-hpke-pq's MLKEM768-X25519 is X-Wing (draft-connolly-cfrg-xwing-kem), KEM identifier 0x647a.
"""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from secure_agg import Channel, KemPrivateKey
from secure_agg.envelopes import wrap

GOLDEN = Path(__file__).parent / "golden" / "xwing-08-vector-1.txt"
ENCAPSULATED_BYTES = 1088 + 32
SUITE = b"HPKE\x64\x7a\x00\x01\x00\x02"  # MLKEM768-X25519, HKDF-SHA256, AES-256-GCM


def extract(salt: bytes, key: bytes) -> bytes:
    """HKDF-Extract (RFC 5869)."""
    return hmac.new(salt or bytes(32), key, hashlib.sha256).digest()


def expand(key: bytes, info: bytes, length: int) -> bytes:
    """HKDF-Expand (RFC 5869), one block: up to 32 bytes."""
    return hmac.new(key, info + b"\x01", hashlib.sha256).digest()[:length]


def schedule(suite: bytes, shared_secret: bytes, info: bytes, key_bytes: int) -> tuple[bytes, bytes]:
    """Key and base nonce in base mode (RFC 9180, section 5.1)."""

    def labelled(salt: bytes, label: bytes, key: bytes) -> bytes:
        return extract(salt, b"HPKE-v1" + suite + label + key)

    context = b"\x00" + labelled(b"", b"psk_id_hash", b"") + labelled(b"", b"info_hash", info)
    secret = labelled(shared_secret, b"secret", b"")
    return (
        expand(secret, key_bytes.to_bytes(2, "big") + b"HPKE-v1" + suite + b"key" + context, key_bytes),
        expand(secret, (12).to_bytes(2, "big") + b"HPKE-v1" + suite + b"base_nonce" + context, 12),
    )


def decapsulate(raw: bytes, encapsulated: bytes) -> bytes:
    """X-Wing's shared secret, from a 64-byte ML-KEM seed and a 32-byte X25519 scalar."""
    post_quantum = MLKEM768PrivateKey.from_seed_bytes(raw[:64]).decapsulate(encapsulated[:1088])
    scalar = X25519PrivateKey.from_private_bytes(raw[64:])
    point = encapsulated[1088:]
    classical = scalar.exchange(X25519PublicKey.from_public_bytes(point))
    label = bytes.fromhex("5c2e2f2f5e5c")
    return hashlib.sha3_256(post_quantum + classical + point + scalar.public_key().public_bytes_raw() + label).digest()


@pytest.fixture(scope="module")
def vector() -> dict[str, bytes]:
    """X-Wing's first published vector: its fields by name."""
    lines = [line for line in GOLDEN.read_text().splitlines() if line and not line.startswith("#")]
    return {name: bytes.fromhex(value) for name, value in (line.split(" = ") for line in lines)}


def private(vector: dict[str, bytes]) -> KemPrivateKey:
    """The vector's key: X-Wing stores 32 bytes and expands them to the 96 that we store."""
    return KemPrivateKey(hashlib.shake_256(vector["sk"]).digest(96))


def test_public_keys_are_x_wings(vector: dict[str, bytes]) -> None:
    """From the published secret key, both halves of our public key are the published ones, in the same order."""
    assert private(vector).public_bytes() == vector["pk"]


def test_the_oracles_kem_is_x_wing(vector: dict[str, bytes]) -> None:
    """The plain decapsulation here gives the published shared secret."""
    assert decapsulate(private(vector).raw, vector["ct"]) == vector["ss"]


def test_the_oracles_key_schedule_is_rfc_9180() -> None:
    """The plain key schedule here gives the key and the nonce of appendix A.1.1 (X25519, AES-128-GCM)."""
    key, nonce = schedule(
        b"HPKE\x00\x20\x00\x01\x00\x01",
        bytes.fromhex("fe0e18c9f024ce43799ae393c7e8fe8fce9d218875e8227b0187c04e7d2ea1fc"),
        b"Ode on a Grecian Urn",
        16,
    )
    assert (key.hex(), nonce.hex()) == ("4531685d41d65f03dc48f6b8302c05b0", "56d890e5accaaf011cff4b7d")


def test_a_plain_hpke_opens_a_wrapped_key(vector: dict[str, bytes]) -> None:
    """Anyone with the RFC can open what `wrap` makes: encapsulation first, the binding and the context as `info`."""
    channel, secret = Channel("t", "share", "attach", "b"), bytes(range(32))
    wrapped = wrap(secret, vector["pk"], channel, b"process and epoch")
    shared_secret = decapsulate(private(vector).raw, wrapped[:ENCAPSULATED_BYTES])
    key, nonce = schedule(SUITE, shared_secret, b"evenstream/1/t/share/attach/b\0process and epoch", 32)
    assert AESGCM(key).decrypt(nonce, wrapped[ENCAPSULATED_BYTES:], b"") == secret


def test_a_plainly_made_hpke_envelope_unwraps(vector: dict[str, bytes]) -> None:
    """The published encapsulation with a key sealed by the plain HPKE here is opened by `unwrap`."""
    channel, secret = Channel("t", "share", "attach", "b"), bytes(range(32))
    key, nonce = schedule(SUITE, vector["ss"], channel.binding() + b"process and epoch", 32)
    wrapped = vector["ct"] + AESGCM(key).encrypt(nonce, secret, b"")
    assert private(vector).unwrap(wrapped, channel, b"process and epoch").secret == secret
