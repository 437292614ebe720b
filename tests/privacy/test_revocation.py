"""Revocation: any one governance key stops exactly one spec of one deployment, and nobody else does."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from privacy import Revocation, RevocationError, approve, is_revocation, key_id, parse_measurement, revoke

TEXT = """
id: feed
purpose: Are all groups recommended equally often?
source: {topic: rec-events, member: m, time: ts}
cells: {decision: {field: r}}
windows: {base: 10s}
reference: white
privacy: {contribution_cap: 2, rho_member_day: 0.1}
effective_from: 2026-11-24T15:00:00Z
"""
SPEC = parse_measurement(TEXT, origin="spec.yaml")
KEYS = [Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in range(3)]
PUBLIC = {key_id(key.public_key()): key.public_key() for key in KEYS}
AT_MS = 1_800_000_000_000
GOOD = revoke(SPEC, "prod", KEYS[1], at_ms=AT_MS, reason="harm")


def test_any_one_key_is_enough() -> None:
    """A revocation by each key verifies, says what it stops, and comes back from its bytes as it was."""
    for key in KEYS:
        revocation = revoke(SPEC, "prod", key, at_ms=AT_MS, reason="harm to café owners")
        decoded = Revocation.decode(revocation.encode())
        decoded.verify(deployment="prod", governance_keys=PUBLIC)
        assert decoded == revocation
        assert (decoded.spec, decoded.at_ms, decoded.key_id) == (SPEC.digest(), AT_MS, key_id(key.public_key()))
        assert decoded.topic_key() == b"feed/1/revoked"


def test_what_is_signed_is_pinned() -> None:
    """The canonical bytes are a contract with whoever verifies offline."""
    digest = SPEC.digest().hex()
    assert GOOD.canonical_bytes() == (
        b'{"at_ms":1800000000000,"deployment":"prod","key_id":"' + GOOD.key_id.encode() + b'","kind":"revocation",'
        b'"measurement":"feed","reason":"harm","revision":1,"spec_sha256":"' + digest.encode() + b'"}'
    )
    message = b"evenstream/1/revocation\0" + b"\x04\0prod" + GOOD.canonical_bytes()
    KEYS[1].public_key().verify(GOOD.signature, message)


@pytest.mark.parametrize(
    "change",
    [
        {"measurement": "other"},
        {"revision": 2},
        {"spec_sha256": "ab" * 32},
        {"at_ms": AT_MS + 1},
        {"reason": "none"},
        {"key_id": key_id(KEYS[2].public_key())},
        {"key_id": "0" * 16},
        {"signature": bytes(64)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_field_is_signed(change: dict[str, Any]) -> None:
    """No field can be changed after signing."""
    with pytest.raises(RevocationError, match=r"did not sign|not trusted"):
        dataclasses.replace(GOOD, **change).verify(deployment="prod", governance_keys=PUBLIC)


def test_a_revocation_holds_in_one_deployment() -> None:
    """Neither as it is nor with the name changed does it stop anything in another cluster."""
    for revocation in (GOOD, dataclasses.replace(GOOD, deployment="stage")):
        with pytest.raises(RevocationError):
            revocation.verify(deployment="stage", governance_keys=PUBLIC)


def test_a_key_under_a_false_name_is_not_trusted() -> None:
    """Only a key under its own id counts."""
    forged = dataclasses.replace(GOOD, key_id="f" * 16)
    with pytest.raises(RevocationError, match="not trusted"):
        forged.verify(deployment="prod", governance_keys={"f" * 16: KEYS[1].public_key()})


def test_an_approvals_signature_revokes_nothing() -> None:
    """The domain tags differ: what a reviewer signed to approve cannot be shown as a revocation."""
    signature = approve(SPEC, "prod", KEYS[1]).signatures[0].signature
    with pytest.raises(RevocationError, match="did not sign"):
        dataclasses.replace(GOOD, signature=signature).verify(deployment="prod", governance_keys=PUBLIC)


@pytest.mark.parametrize(
    "change",
    [
        {"revision": True},
        {"revision": 0},
        {"at_ms": -1},
        {"at_ms": 1.5},
        {"at_ms": 253_402_300_800_000},
        {"reason": " "},
        {"reason": "x" * 2001},
        {"reason": "\ud800"},
        {"spec_sha256": "AB" * 32},
        {"spec_sha256": "ab"},
        {"measurement": "Feed\n"},
        {"signature": "AA=="},
        {"kind": "approval"},
        {"more": 1},
    ],
    ids=str,
)
def test_what_is_not_a_revocation_is_refused(change: dict[str, Any]) -> None:
    """Wrong types, values out of range and unknown fields all get the same clear error."""
    content = json.loads(GOOD.encode()) | change
    data = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(RevocationError, match="canonical JSON"):
        Revocation.decode(data)


@given(data=st.one_of(st.binary(max_size=200), st.integers(0, 400).map(lambda cut: GOOD.encode()[:cut])))
def test_arbitrary_bytes_are_no_revocation(data: bytes) -> None:
    """Whatever lies on the topic, reading it raises nothing but the room's own error."""
    if data != GOOD.encode():
        with pytest.raises(RevocationError):
            Revocation.decode(data)


def test_specs_and_revocations_are_told_apart() -> None:
    """By what they say they are, not by the record's key, which anyone may choose."""
    assert is_revocation(GOOD.encode())
    assert not is_revocation(approve(SPEC, "prod", KEYS[0]).encode())
    for data in (b"", b"[]", b"7", b"\xff", b"[" * 5000, b"{" + b" " * 20_000 + b"}"):
        assert not is_revocation(data)


@pytest.mark.parametrize("wrong", [{"reason": ""}, {"at_ms": -1}], ids=str)
def test_nothing_malformed_is_signed(wrong: dict[str, Any]) -> None:
    """A revocation that no role would read is refused before it is signed, with the reason."""
    terms: dict[str, Any] = {"at_ms": AT_MS, "reason": "harm"} | wrong
    with pytest.raises(RevocationError, match="'feed' cannot be signed: expected"):
        revoke(SPEC, "prod", KEYS[0], **terms)
