"""Keys that a role derives from its state secret: HKDF-SHA-256 (RFC 5869), one for each purpose."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from example_counts import examples
from hypothesis import given
from hypothesis import strategies as st

from secure_agg import ROLES, Identity, PinnedIdentities, RoleKeys, Trusted

# RFC 8032, section 7.1, test 1: some private key.
RFC_SECRET = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"


def hkdf(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """HKDF-SHA-256 as RFC 5869 writes it."""
    key = hmac.new(salt or bytes(32), secret, hashlib.sha256).digest()
    block, stream = b"", b""
    for number in range(-(-length // 32)):
        block = hmac.new(key, block + info + bytes([number + 1]), hashlib.sha256).digest()
        stream += block
    return stream[:length]


def role_keys(secret: bytes, role: str = "a", deployment: str = "t") -> RoleKeys:
    """Keys of a role with this state secret."""
    private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(RFC_SECRET))
    trusted = Trusted(deployment, PinnedIdentities(deployment, {}), ())
    return RoleKeys(role, Identity(role, deployment, private), trusted, Path("keys"), secret)


def test_the_oracle_is_rfc_5869() -> None:
    """The plain HKDF here gives the published output of test cases 1 and 3 (with and without salt and info)."""
    secret = bytes([11]) * 22
    assert hkdf(secret, bytes(range(13)), bytes(range(0xF0, 0xFA)), 42).hex() == (
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    )
    assert hkdf(secret, b"", b"", 42).hex() == (
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    )


@given(secret=st.binary(min_size=32, max_size=32), purpose=st.text(max_size=20), role=st.sampled_from(ROLES))
@examples(50)
def test_keys_are_derived_by_hkdf(secret: bytes, purpose: str, role: str) -> None:
    """`derive` is HKDF-SHA-256 without salt over deployment, role and purpose: the same after every restart."""
    derived = role_keys(secret, role).derive(purpose)
    assert derived == hkdf(secret, b"", f"evenstream/1/t/{role}/{purpose}".encode(), 32)


def test_derived_keys_are_separate() -> None:
    """Another purpose, role, deployment or secret gives another key, and none of them is the secret itself."""
    keys = role_keys(bytes(32))
    derived = {
        keys.derive("state"),
        keys.derive("cap"),
        keys.derive(""),
        role_keys(bytes(32), "b").derive("state"),
        role_keys(bytes(32), deployment="u").derive("state"),
        role_keys(bytes(31) + b"\1").derive("state"),
        bytes(32),
    }
    assert len(derived) == 7


def test_role_keys_print_no_secret() -> None:
    """Their repr names role, folder and deployment; neither the state secret nor the identity's key is in it."""
    keys = role_keys(bytes(range(100, 132)))
    for text in (repr(keys), f"{keys}", repr(replace(keys, role="b"))):
        assert keys.state_secret.hex() not in text
        assert repr(keys.state_secret) not in text
        assert keys.identity.private_key.private_bytes_raw().hex() not in text
        assert "Identity(role='a', deployment='t')" in text
