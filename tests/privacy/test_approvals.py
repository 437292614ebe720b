"""Approvals: a spec is inert until the right keys signed its exact bytes for this deployment."""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from reviewed import REVIEW, REVIEWED

from privacy import (
    Approval,
    ApprovalError,
    ApprovalMalformed,
    Limits,
    Measurement,
    MeasurementError,
    NotEnoughApprovals,
    NotReviewable,
    RegistryBudgetError,
    SignedMeasurement,
    TestOnlyRefused,
    WrongDeployment,
    approve,
    check_registry_budget,
    key_id,
    parse_measurement,
    verify,
)

TEXT = """
id: feed
purpose: Are all groups recommended equally often?
source: {topic: rec-events, member: m, time: ts}
cells: {decision: {field: r}, outcome: {field: o}}
windows: {base: 10s}
reference: white
privacy: {contribution_cap: 2, rho_member_day: 0.1}
effective_from: 2026-11-24T15:00:00Z
"""
DRAFT = TEXT
TEXT += REVIEWED
SPEC = parse_measurement(TEXT, origin="spec.yaml")
KEYS = [Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in range(3)]
PUBLIC = {key_id(key.public_key()): key.public_key() for key in KEYS}


def check(
    signed: SignedMeasurement,
    *,
    deployment: str = "prod",
    keys: dict[str, Ed25519PublicKey] | None = None,
    threshold: int = 1,
    test_cluster: bool = False,
) -> Measurement:
    """Verify with the test's keys."""
    return verify(
        signed,
        deployment=deployment,
        governance_keys=PUBLIC if keys is None else keys,
        threshold=threshold,
        test_cluster=test_cluster,
    )


def costing(name: str, rho: float, revision: int = 1) -> Measurement:
    """A measurement that spends ``rho``."""
    text = (
        DRAFT.replace("id: feed", f"id: {name}\nrevision: {revision}")
        .replace("0.1", repr(rho))
        .replace("T15:00", "T00:00")
    )
    return parse_measurement(text, origin="x")


def test_a_signed_spec_verifies_after_its_way_over_the_wire() -> None:
    """Signed, encoded, decoded, verified: the same measurement, named by the digest of its bytes."""
    signed = SignedMeasurement.decode(approve(SPEC, "prod", KEYS[0]).encode())
    assert check(signed) == SPEC
    assert signed.spec_digest() == SPEC.digest()
    assert signed.signatures[0].key_id == key_id(KEYS[0].public_key())


def test_key_ids_and_signatures_are_pinned() -> None:
    """Ed25519 is deterministic: the signed message's layout cannot change without this test noticing."""
    signed = approve(SPEC, "prod", KEYS[1])
    assert signed.signatures[0].key_id == "34750f98bd59fcfc"
    message = b"evenstream/1/measurement\0" + b"\x04\x00prod" + SPEC.canonical_bytes()
    assert signed.signatures[0].signature == KEYS[1].sign(message)


def test_an_approval_is_worth_nothing_elsewhere() -> None:
    """Another deployment refuses it, and relabelling does not help: the name is signed."""
    signed = approve(SPEC, "staging", KEYS[0])
    with pytest.raises(WrongDeployment, match="for deployment 'staging', not 'prod'"):
        check(signed)
    with pytest.raises(NotEnoughApprovals):
        check(dataclasses.replace(signed, deployment="prod"))


def test_a_changed_spec_is_inert() -> None:
    """Any change of the bytes after signing, a larger budget say, takes the approval away."""
    signed = approve(SPEC, "prod", KEYS[0])
    changed = dataclasses.replace(signed, spec=signed.spec.replace(b'"rho_member_day":0.1', b'"rho_member_day":0.9'))
    assert changed.spec != signed.spec
    with pytest.raises(NotEnoughApprovals, match="the spec was changed after signing"):
        check(changed)


@pytest.mark.parametrize("length", [0, 1, 63, 65])
def test_a_signature_of_the_wrong_length_is_no_signature(length: int) -> None:
    """Malformed signatures count as absent; they do not crash a role."""
    bad = Approval(key_id(KEYS[0].public_key()), bytes(length))
    with pytest.raises(NotEnoughApprovals):
        check(SignedMeasurement(SPEC.canonical_bytes(), "prod", (bad,)))


def test_strangers_do_not_count() -> None:
    """A valid signature by a key that is not pinned is worth nothing, under its own or a pinned id."""
    stranger = Ed25519PrivateKey.from_private_bytes(b"\x09" * 32)
    signed = approve(SPEC, "prod", stranger)
    with pytest.raises(NotEnoughApprovals):
        check(signed)
    posing = Approval(key_id(KEYS[0].public_key()), signed.signatures[0].signature)
    with pytest.raises(NotEnoughApprovals):
        check(dataclasses.replace(signed, signatures=(posing,)))


def test_k_of_n_counts_keys_not_signatures() -> None:
    """Two signatures by one key are one approval; by two keys they are two."""
    first, second = (approve(SPEC, "prod", key).signatures[0] for key in KEYS[:2])
    twice = SignedMeasurement(SPEC.canonical_bytes(), "prod", (first, first))
    with pytest.raises(NotEnoughApprovals, match=r"by 2 of the 3 governance keys, found 1"):
        check(twice, threshold=2)
    assert check(dataclasses.replace(twice, signatures=(first, second)), threshold=2) == SPEC


def test_no_approval_is_never_enough() -> None:
    """A threshold of zero is a mistake in the settings, not a way around governance."""
    unsigned = SignedMeasurement(SPEC.canonical_bytes(), "prod", ())
    for threshold in (0, -1):
        with pytest.raises(ValueError, match="at least 1"):
            check(unsigned, threshold=threshold)


def test_one_key_under_two_names_is_refused() -> None:
    """Pinned ids must be the keys' own, or one person could be two of n."""
    public = KEYS[0].public_key()
    with pytest.raises(ValueError, match="pin each key under its own id"):
        check(approve(SPEC, "prod", KEYS[0]), keys={key_id(public): public, "0" * 16: public}, threshold=2)


def test_test_noise_stays_in_test_clusters() -> None:
    """A test-only spec verifies in a test cluster and nowhere else, however well it is signed."""
    spec = parse_measurement(DRAFT + "test_only: {noise_scale_units: 0.01}\n", origin="x")
    signed = approve(spec, "prod", KEYS[0])
    assert check(signed, test_cluster=True) == spec
    with pytest.raises(TestOnlyRefused, match="protects nobody"):
        check(signed)


@pytest.mark.parametrize(
    ("more", "missing"),
    [
        ("", "has no review and no expires"),
        (REVIEW, "has no expires"),
        (REVIEWED.replace(REVIEW, ""), "has no review:"),
    ],
)
def test_what_nobody_can_judge_is_refused(more: str, missing: str) -> None:
    """A spec without owner, harm, data and retention, or without an end, is inert however well it is signed."""
    signed = approve(parse_measurement(DRAFT + more, origin="x"), "prod", KEYS[0])
    for test_cluster in (False, True):
        with pytest.raises(NotReviewable, match=missing):
            check(signed, test_cluster=test_cluster)


def test_signed_nonsense_is_refused() -> None:
    """A governance key cannot bless bytes that are not a canonical spec."""
    spec = b'{"id": "feed"}'
    message = b"evenstream/1/measurement\0\x04\x00prod" + spec
    approval = Approval(key_id(KEYS[0].public_key()), KEYS[0].sign(message))
    with pytest.raises(MeasurementError):
        check(SignedMeasurement(spec, "prod", (approval,)))


def test_a_spec_without_a_start_cannot_be_signed() -> None:
    """When it takes effect is part of what is approved."""
    draft = parse_measurement(TEXT.replace("effective_from", "# effective_from"), origin="x")
    with pytest.raises(ApprovalError, match="set effective_from first"):
        approve(draft, "prod", KEYS[0])


GOOD = json.loads(approve(SPEC, "prod", KEYS[0]).encode())


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"not json",
        b"1",
        b"[]",
        b"null",
        b"[" * 100_000,
        b"\xff\xfe\x00",
        json.dumps(GOOD | {"extra": 1}).encode(),
        json.dumps({key: value for key, value in GOOD.items() if key != "spec"}).encode(),
        json.dumps(GOOD | {"spec": 1}).encode(),
        json.dumps(GOOD | {"spec": "\ud800"}).encode(),
        json.dumps(GOOD | {"deployment": 7}).encode(),
        json.dumps(GOOD | {"approvals": None}).encode(),
        json.dumps(GOOD | {"approvals": [1]}).encode(),
        json.dumps(GOOD | {"approvals": [{"key_id": "a", "signature": "*"}]}).encode(),
        json.dumps(GOOD | {"approvals": [{"key_id": 1, "signature": ""}]}).encode(),
        json.dumps(GOOD | {"approvals": [{"key_id": "a", "signature": "", "more": 1}]}).encode(),
        json.dumps(GOOD | {"approvals": GOOD["approvals"] * 65}).encode(),
        json.dumps(GOOD | {"spec": "x" * 300_000}).encode(),
    ],
)
def test_records_that_are_not_ours_are_refused(record: bytes) -> None:
    """Whatever lies on the topic, reading it ends in one kind of error."""
    with pytest.raises(ApprovalMalformed):
        SignedMeasurement.decode(record)


def test_the_registry_shares_one_budget() -> None:
    """Measurements add up to the limit and no further; the message says who holds what and what is left."""
    check_registry_budget([costing("a", 0.1), costing("b", 0.5)], Limits.of_day(0.6))
    with pytest.raises(RegistryBudgetError) as caught:
        check_registry_budget([costing("a", 0.1), costing("b", 0.4), costing("c", 0.2)], Limits.of_day(0.6))
    assert str(caught.value) == (
        "'c' asks for rho 0.2 a member-day, but only 0.1 of 0.6 is left (a 0.1, b 0.4) on 2026-11-24: lower its "
        "rho_member_day, let it begin later or expire sooner, or have the registry's limit raised"
    )


def test_the_latest_revision_counts_in_whatever_order_they_come() -> None:
    """An older revision neither adds to a newer one nor hides it."""
    check_registry_budget([costing("a", 0.5, 1), costing("a", 0.1, 2), costing("b", 0.5)], Limits.of_day(0.6))
    for order in ([costing("a", 0.5, 2), costing("a", 0.1, 1)], [costing("a", 0.1, 1), costing("a", 0.5, 2)]):
        with pytest.raises(RegistryBudgetError, match=r"'a' asks for rho 0\.5 a member-day, but only 0.2 of 0.2"):
            check_registry_budget(order, Limits.of_day(0.2))


def test_what_has_expired_is_free_again() -> None:
    """A budget is a day's: measurements that share no UTC day may each have all of it, and those that do may not."""
    first = lasting("a", "2026-11-01T00:00:00Z", "2026-11-10T12:00:00Z")
    check_registry_budget([first, lasting("b", "2026-11-11T00:00:00Z", "2026-12-01T00:00:00Z")], Limits.of_day(0.6))
    with pytest.raises(RegistryBudgetError, match="'b' asks for rho"):
        # Their hours do not overlap, but a member's day does.
        check_registry_budget([first, lasting("b", "2026-11-10T12:00:00Z", "2026-12-01T00:00:00Z")], Limits.of_day(0.6))
    with pytest.raises(RegistryBudgetError, match="'c' asks for rho"):
        check_registry_budget([first, lasting("c", "2026-10-01T00:00:00Z", "2027-01-01T00:00:00Z")], Limits.of_day(0.6))


def lasting(name: str, begin: str, end: str) -> Measurement:
    """A measurement of rho 0.5 with a beginning and an end."""
    spec = costing(name, 0.5)
    dates = {"effective_from": datetime.fromisoformat(begin), "expires": datetime.fromisoformat(end)}
    return spec.model_copy(update=dates)
