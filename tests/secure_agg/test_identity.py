"""Signatures: Ed25519 as RFC 8032 has it, over a message that says what it is, and nothing else verifies."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from example_counts import examples
from hypothesis import given
from hypothesis import strategies as st

from secure_agg import ROLES, Identity, PinnedIdentities, SignatureInvalid
from secure_agg.identity import SIGNATURE_BYTES

# RFC 8032, section 7.1: tests 1, 2 and 3 (secret key, public key, message, signature).
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24"
        "655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aee"
        "b00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28d"
        "c027beceea1ec40a",
    ),
]
SECRET = bytes.fromhex(RFC_8032[0][0])

_P = 2**255 - 19
_ORDER = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
_BASE_X = 15112221349535400772501151409588531511454012693041857206046113283949847762202
_BASE_Y = 4 * pow(5, -1, _P) % _P
Point = tuple[int, int, int, int]


def _add(p: Point, q: Point) -> Point:
    a, b = (p[1] - p[0]) * (q[1] - q[0]), (p[1] + p[0]) * (q[1] + q[0])
    c, d = 2 * p[3] * q[3] * _D, 2 * p[2] * q[2]
    e, f, g, h = (b - a) % _P, (d - c) % _P, (d + c) % _P, (b + a) % _P
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _times_base(scalar: int) -> bytes:
    """The encoding of scalar times the base point."""
    result: Point = (0, 1, 1, 0)
    doubled: Point = (_BASE_X, _BASE_Y, 1, _BASE_X * _BASE_Y % _P)
    while scalar:
        if scalar & 1:
            result = _add(result, doubled)
        doubled = _add(doubled, doubled)
        scalar >>= 1
    inverse = pow(result[2], -1, _P)
    x, y = result[0] * inverse % _P, result[1] * inverse % _P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def plain_ed25519(secret: bytes, message: bytes) -> tuple[bytes, bytes]:
    """Public key and signature, as RFC 8032 sections 5.1.5 and 5.1.6 write them."""
    expanded = hashlib.sha512(secret).digest()
    scalar = int.from_bytes(expanded[:32], "little") & ((1 << 254) - 8) | 1 << 254
    public = _times_base(scalar)
    nonce = int.from_bytes(hashlib.sha512(expanded[32:] + message).digest(), "little") % _ORDER
    commitment = _times_base(nonce)
    challenge = int.from_bytes(hashlib.sha512(commitment + public + message).digest(), "little")
    return public, commitment + ((nonce + challenge * scalar) % _ORDER).to_bytes(32, "little")


def framed(context: str, *parts: bytes) -> bytes:
    """What a signature covers: the context and each part, each behind its length in four little-endian bytes."""
    return b"".join(len(part).to_bytes(4, "little") + part for part in (context.encode(), *parts))


def identity(role: str = "seal", deployment: str = "t", secret: bytes = SECRET) -> Identity:
    """A role's identity with a key from the RFC."""
    return Identity(role, deployment, Ed25519PrivateKey.from_private_bytes(secret))


def pinned(*identities: Identity, deployment: str = "t") -> PinnedIdentities:
    """The operator's pins for these."""
    return PinnedIdentities(deployment, {one.role: one.private_key.public_key() for one in identities})


def refused(pins: PinnedIdentities, role: str, kind: str, signature: bytes, *parts: bytes) -> str:
    """The message with which a signature is refused, after checking that it holds no secret and no signature."""
    with pytest.raises(SignatureInvalid) as caught:
        pins.verify(role, kind, signature, *parts)
    message = str(caught.value)
    for hidden in (SECRET, signature, *parts):
        assert len(hidden) < 4 or hidden.hex() not in message
    return message


@pytest.mark.parametrize(("secret", "public", "message", "signature"), RFC_8032, ids=["1", "2", "3"])
def test_the_oracle_is_rfc_8032(secret: str, public: str, message: str, signature: str) -> None:
    """The plain implementation here gives the published keys and signatures."""
    assert plain_ed25519(bytes.fromhex(secret), bytes.fromhex(message)) == (
        bytes.fromhex(public),
        bytes.fromhex(signature),
    )


@given(vector=st.sampled_from(RFC_8032), kind=st.text(max_size=10), parts=st.lists(st.binary(max_size=80), max_size=4))
@examples(30)
def test_a_record_is_signed_as_ed25519_over_its_frame(
    vector: tuple[str, str, str, str], kind: str, parts: list[bytes]
) -> None:
    """With the RFC's keys, `sign` gives what the plain Ed25519 gives for the documented frame, and it verifies."""
    secret, public = bytes.fromhex(vector[0]), bytes.fromhex(vector[1])
    signer = identity(secret=secret)
    signature = signer.sign(kind, *parts)
    assert (public, signature) == plain_ed25519(secret, framed(f"evenstream/1/t/seal/{kind}", *parts))
    assert signature == signer.sign(kind, *parts)
    pinned(signer).verify("seal", kind, signature, *parts)


def test_the_frame_is_pinned() -> None:
    """Signatures outlive versions: these bytes never change by accident."""
    signature = identity().sign("batch", b"header", b"")
    assert len(signature) == SIGNATURE_BYTES
    assert signature.hex() == (
        "892cb572e59750a5286eb13428b60e8a2aeee228d8870fe81589a72c00f48dfb9e0756f0a470d510a0d9bd358b6ad42c3b5ce2a120f36e808ae7"
        "b9436c6c5e0a"
    )


def test_any_altered_bit_is_refused() -> None:
    """Each bit of the signature, of each part, and of the kind counts."""
    signer = identity()
    parts = (b"header", b"digest")
    signature = signer.sign("batch", *parts)
    for position in range(8 * len(signature)):
        broken = bytearray(signature)
        broken[position // 8] ^= 1 << position % 8
        refused(pinned(signer), "seal", "batch", bytes(broken), *parts)
    for number, part in enumerate(parts):
        for position in range(8 * len(part)):
            changed = bytearray(part)
            changed[position // 8] ^= 1 << position % 8
            refused(pinned(signer), "seal", "batch", signature, *parts[:number], bytes(changed), *parts[number + 1 :])


@given(
    parts=st.lists(st.binary(max_size=6), max_size=4),
    others=st.lists(st.binary(max_size=6), max_size=4),
)
@examples(80)
def test_only_the_same_parts_in_the_same_cut_verify(parts: list[bytes], others: list[bytes]) -> None:
    """Lengths are signed: ("ab", "c"), ("a", "bc"), a swap, a part more or less are all other messages."""
    signer = identity()
    signature = signer.sign("batch", *parts)
    joined = b"".join(parts)
    candidates = [others, [joined], [joined[:1], joined[1:]], parts[::-1], [*parts, b""], parts[:-1]]
    for candidate in candidates:
        if candidate == parts:
            pinned(signer).verify("seal", "batch", signature, *candidate)
        else:
            refused(pinned(signer), "seal", "batch", signature, *candidate)


@pytest.mark.parametrize("length", [0, 1, 32, 63, 65, 128])
def test_a_signature_of_another_length_is_refused(length: int) -> None:
    """Truncated, extended or empty signatures get the room's own error."""
    signer = identity()
    signature = signer.sign("batch", b"x")
    refused(pinned(signer), "seal", "batch", (signature + bytes(64))[:length], b"x")


def test_a_signature_has_one_spelling() -> None:
    """S plus the group's order is the same number, but not a valid signature (RFC 8032, section 5.1.7)."""
    signer = identity()
    signature = signer.sign("batch", b"x")
    respelt = int.from_bytes(signature[32:], "little") + _ORDER
    refused(pinned(signer), "seal", "batch", signature[:32] + respelt.to_bytes(32, "little"), b"x")


def test_a_signature_counts_for_one_kind_role_and_deployment() -> None:
    """Even under one and the same key, bytes signed as one thing cannot be passed off as another."""
    everyone = [identity(role) for role in ROLES]
    signature = identity("seal").sign("batch", b"x")
    assert "batch record signed by the pinned identity of 'attach'" in refused(
        pinned(*everyone), "attach", "batch", signature, b"x"
    )
    for kind in ("punctuation", "batc", "batch\0", "", "Batch"):
        refused(pinned(*everyone), "seal", kind, signature, b"x")
    assert "deployment 'u'" in refused(pinned(*everyone, deployment="u"), "seal", "batch", signature, b"x")


def test_another_key_is_refused() -> None:
    """A valid signature of the same record by a key that is not the pinned one does not count."""
    stranger = identity(secret=bytes.fromhex(RFC_8032[1][0]))
    refused(pinned(identity()), "seal", "batch", stranger.sign("batch", b"x"), b"x")


def test_a_role_that_is_not_pinned_is_refused() -> None:
    """No pin, no trust: the error says what to do about it."""
    signer = identity("publish")
    message = refused(pinned(identity("seal")), "publish", "release", signer.sign("release", b"x"), b"x")
    assert "no identity is pinned for role 'publish'" in message
    assert "trusted.json" in message


def test_an_identity_prints_no_key() -> None:
    """Its repr and str name role and deployment only."""
    for text in (repr(identity()), str(identity()), f"{[identity()]}"):
        assert text.strip("[]") == "Identity(role='seal', deployment='t')"


def test_the_roles_are_pinned() -> None:
    """Their names are in signatures, bindings and folders: a new one is a new protocol."""
    assert ROLES == ("seal", "attach", "a", "b", "publish")
