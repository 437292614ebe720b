"""Approvals: a spec is inert until governance keys have signed its exact bytes, for one deployment.

The signature (Ed25519, RFC 8032) covers a domain tag, the deployment's name and the spec's bytes, so an approval for
one cluster is worth nothing in another. The record already holds a list of signatures; how many must be there is the
verifier's to say.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from privacy.errors import (
    ApprovalError,
    ApprovalMalformed,
    NotEnoughApprovals,
    NotReviewable,
    TestOnlyRefused,
    WrongDeployment,
)
from privacy.measurement import Measurement

_MAX_BYTES = 256 * 1024
_MAX_APPROVALS = 64


def key_id(key: Ed25519PublicKey) -> str:
    """A governance key's name: the first 16 hexadecimal digits of SHA-256 of its raw bytes."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def verify_pinned(
    name: str,
    signature: bytes,
    message: bytes,
    keys: Mapping[str, Ed25519PublicKey],
    *,
    record: str,
    whose: str,
    error: type[Exception],
) -> None:
    """Raise ``error`` unless the key that is pinned under this name, which is its own :func:`key_id`, signed this.

    Args:
        record: what was signed, "revocation" say. whose: of whom the keys are, "governance" say; both for the message.
    """
    pinned = keys.get(name)
    if pinned is None or key_id(pinned) != name:
        raise error(
            f"expected a {record} by one of the {len(keys)} {whose} keys, got one by a key that is not trusted here"
        )
    try:
        pinned.verify(signature, message)
    except InvalidSignature:
        raise error(f"{whose} key {name} did not sign this {record}: it was changed after signing") from None


def _message(deployment: str, spec: bytes) -> bytes:
    name = deployment.encode()
    return b"evenstream/1/measurement\0" + len(name).to_bytes(2, "little") + name + spec


@dataclass(frozen=True)
class Approval:
    """One governance key's signature (64 bytes)."""

    key_id: str
    signature: bytes


@dataclass(frozen=True)
class SignedMeasurement:
    """A spec's canonical bytes with their approvals: the value of a record on `measurements`."""

    spec: bytes
    deployment: str
    signatures: tuple[Approval, ...]

    def encode(self) -> bytes:
        """JSON bytes."""
        return json.dumps(
            {
                "spec": self.spec.decode(),
                "deployment": self.deployment,
                "approvals": [
                    {"key_id": approval.key_id, "signature": base64.b64encode(approval.signature).decode()}
                    for approval in self.signatures
                ],
            },
            sort_keys=True,
        ).encode()

    @classmethod
    def decode(cls, data: bytes) -> SignedMeasurement:
        """Read JSON bytes (at most 256 KiB, 64 approvals), or raise :class:`ApprovalMalformed`. Verifies nothing."""
        if len(data) > _MAX_BYTES:
            raise ApprovalMalformed(f"a signed measurement has at most {_MAX_BYTES} bytes, this one has {len(data)}")
        try:
            content = json.loads(data)
            if set(content) != {"spec", "deployment", "approvals"} or len(content["approvals"]) > _MAX_APPROVALS:
                raise ValueError
            approvals = []
            for entry in content["approvals"]:
                if set(entry) != {"key_id", "signature"} or not isinstance(entry["key_id"], str):
                    raise ValueError
                approvals.append(Approval(entry["key_id"], base64.b64decode(entry["signature"], validate=True)))
            if not isinstance(content["deployment"], str):
                raise ValueError
            return cls(content["spec"].encode(), content["deployment"], tuple(approvals))
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
            raise ApprovalMalformed(
                "a record of measurements must be JSON with spec, deployment and approvals (key_id, signature); "
                "`evenstream measurement approve` makes it"
            ) from None

    def spec_digest(self) -> bytes:
        """SHA-256 of the spec's bytes."""
        return hashlib.sha256(self.spec).digest()


def approve(measurement: Measurement, deployment: str, private_key: Ed25519PrivateKey) -> SignedMeasurement:
    """Sign a measurement's canonical bytes for a deployment (Ed25519).

    Raises:
        ApprovalError: it does not say when it takes effect.
    """
    if measurement.effective_from_ms is None:
        raise ApprovalError(f"{measurement.id!r} does not say when it takes effect; set effective_from first")
    spec = measurement.canonical_bytes()
    signature = private_key.sign(_message(deployment, spec))
    return SignedMeasurement(spec, deployment, (Approval(key_id(private_key.public_key()), signature),))


def is_approval(
    approval: Approval, spec: bytes, deployment: str, governance_keys: Mapping[str, Ed25519PublicKey]
) -> bool:
    """Whether one of the pinned keys, by their ids, signed exactly these spec bytes for this deployment."""
    pinned = governance_keys.get(approval.key_id)
    if pinned is None:
        return False
    try:
        pinned.verify(approval.signature, _message(deployment, spec))
    except InvalidSignature:
        return False
    return True


def verify(
    signed: SignedMeasurement,
    *,
    deployment: str,
    governance_keys: Mapping[str, Ed25519PublicKey],
    threshold: int,
    test_cluster: bool,
) -> Measurement:
    """Check approvals and read the spec.

    Args:
        signed: what was on `measurements`.
        deployment: this deployment's name.
        governance_keys: the pinned keys, by :func:`key_id`.
        threshold: how many different keys must have signed, at least 1.
        test_cluster: whether ``test_only`` specs are let in.

    Raises:
        WrongDeployment: it was approved for another deployment.
        NotEnoughApprovals: too few of the pinned keys signed exactly these bytes for it.
        TestOnlyRefused: it is ``test_only`` and this is no test cluster.
        NotReviewable: it lacks what reviewers judge, or an end.
        MeasurementError: the signed bytes are not a valid spec, or not in canonical form.
        ValueError: the threshold is below 1, or a key is pinned under an id that is not its own.
    """
    if threshold < 1:
        raise ValueError(f"expected a governance threshold of at least 1, got {threshold}: no approval is no approval")
    for name, key in governance_keys.items():
        if name != key_id(key):  # one key under two names would count as two
            raise ValueError(f"governance key {key_id(key)} is pinned as {name!r}; pin each key under its own id")
    if signed.deployment != deployment:
        raise WrongDeployment(f"this measurement was approved for deployment {signed.deployment!r}, not {deployment!r}")
    good = {
        approval.key_id
        for approval in signed.signatures
        if is_approval(approval, signed.spec, deployment, governance_keys)
    }
    if len(good) < threshold:
        raise NotEnoughApprovals(
            f"expected valid approvals by {threshold} of the {len(governance_keys)} governance keys, found {len(good)}"
            ": the spec was changed after signing, or signed with keys that are not trusted here"
        )
    measurement = Measurement.from_canonical(signed.spec)
    check_reviewable(measurement, test_cluster=test_cluster)
    return measurement


def check_reviewable(measurement: Measurement, *, test_cluster: bool) -> None:
    """Whether a spec may be approved here at all, whoever signs it.

    Raises:
        TestOnlyRefused: it is ``test_only`` and this is no test cluster.
        NotReviewable: it lacks what reviewers judge, or an end, and is not ``test_only``.
    """
    if measurement.test_only is not None:
        if not test_cluster:
            raise TestOnlyRefused(
                f"{measurement.id!r} is marked test_only: its noise protects nobody. It is refused outside a test "
                "cluster (setting test_cluster)"
            )
        return
    missing = [name for name in ("review", "expires") if getattr(measurement, name) is None]
    if missing:
        raise NotReviewable(
            f"{measurement.id!r} has no {' and no '.join(missing)}: nobody can judge what does not say who answers for "
            "it, what harm was considered, which data it uses, what is kept and when it ends. Add review (owner, "
            "harm_considered, data_used, retention) and expires to the spec; `evenstream measurement propose --days N` "
            "sets expires"
        )
