"""What is remembered of a signature vouches for nothing but the very same claim."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from secure_agg import Identity, SignatureInvalid
from streams.verified_once import Verified, VerifiedOnce

KEY = Ed25519PrivateKey.generate()
ME = Identity("seal", "here", KEY)


def pinned(verified: set[Verified], key: Ed25519PrivateKey = KEY, deployment: str = "here") -> VerifiedOnce:
    """Both roles have this key, so that a signature is told from another by all else that it covers."""
    return VerifiedOnce(deployment, {"seal": key.public_key(), "attach": key.public_key()}, verified)


def test_only_the_same_claim_is_remembered() -> None:
    """Of five readers one verifies; any other key, deployment, role, kind, signature or part is refused as before."""
    verified: set[Verified] = set()
    signature = ME.sign("frame", b"ab", b"c")
    for _ in range(5):
        pinned(verified).verify("seal", "frame", signature, b"ab", b"c")
    assert len(verified) == 1
    other = bytes([signature[0] ^ 1]) + signature[1:]
    for reader, claim in (
        (pinned(verified, Ed25519PrivateKey.generate()), ("seal", "frame", signature, b"ab", b"c")),
        (pinned(verified, deployment="there"), ("seal", "frame", signature, b"ab", b"c")),
        (pinned(verified), ("attach", "frame", signature, b"ab", b"c")),
        (pinned(verified), ("seal", "release", signature, b"ab", b"c")),
        (pinned(verified), ("seal", "frame", other, b"ab", b"c")),
        (pinned(verified), ("seal", "frame", signature, b"a", b"bc")),
        (pinned(verified), ("publish", "frame", signature, b"ab", b"c")),
    ):
        for _ in range(2):  # a refusal is not remembered either
            with pytest.raises(SignatureInvalid):
                reader.verify(*claim)  # type: ignore[arg-type]  # a role, a kind, a signature, parts
    assert len(verified) == 1
