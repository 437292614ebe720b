"""The log of decisions: who proposed, approved, rejected and revoked which measurement, and why.

Each record is signed (Ed25519, RFC 8032) by a governance key and holds the SHA-256 of the record before it, so that
none can be changed, removed or reordered without every later one showing it. Whoever has the records and the public
governance keys derives the same state, without Kafka and without trust in who handed the records over.

Two things are checked of a record, one after the other. It is *in the chain* if it is well-formed, meant for this
deployment, signed by a pinned key, and follows from the record before it. It has an *effect* if what it decides fits
what was decided before. Anyone who can write to the topic can write garbage: it is not in the chain, and changes
nothing. A threshold that changes later changes effects, never the chain.

How a revision's state comes about: it is *proposed*; each reviewer's last word counts; it is *approved* with the k-th
approval and *rejected* once k approvals have become impossible, and then stays so. A proposal that is not approved is
*replaced* by another of the same revision, with new approvals. Exact bytes can be *revoked* in any state, and also if
they were never proposed: stopping is always safe, and old signatures may have put them in force past this log.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from privacy.accountant import epsilon
from privacy.approvals import Approval, SignedMeasurement, approve, check_reviewable, is_approval, key_id
from privacy.budget import live_revisions, peak_spending
from privacy.dispositions import Disposition, SignedDisposition, is_review
from privacy.errors import ApprovalError, DecisionRefused, MeasurementError, RevocationError
from privacy.limits import PERIOD_DAYS
from privacy.measurement import Measurement
from privacy.revocation import YEAR_10000_MS, Revocation

GENESIS = "0" * 64
"""What the first record has in place of the hash of one before it."""

_MAX_BYTES = 768 * 1024
_SIGNATURE_BYTES = 64
_TAIL = len(b',"signature":""}') + 88
"""Length of the signature's part of a record, which comes last: 88 digits of base64 for 64 bytes."""
_HEX = re.compile(r"[0-9a-f]{64}")
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_CONCERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MAX_TEXT = 2000
_MAX_SEQUENCE = 1 << 53
_MAX_REVISION = 1 << 31


@dataclass(frozen=True)
class Forecast:
    """What a measurement will cost one member at most, on replacement: rho (zCDP), and epsilon at ``delta``.

    Attributes:
        rho_member_day, rho_30_days, rho_year: of one UTC day, any 30 and any 365 consecutive ones.
        epsilon_member_day, epsilon_30_days, epsilon_year: the same as (epsilon, delta); None where there is no promise.
        delta: of each epsilon.
    """

    rho_member_day: float
    rho_30_days: float
    rho_year: float
    epsilon_member_day: float | None
    epsilon_30_days: float | None
    epsilon_year: float | None
    delta: float

    @classmethod
    def of(cls, measurement: Measurement) -> Forecast:
        """By a spec's terms, and the days on which it is live and a member can count."""
        live, delta = live_revisions([measurement]), measurement.privacy.delta
        rhos = [peak_spending(live, days).rho for days in PERIOD_DAYS.values()]
        promised = [None if measurement.test_only is not None else epsilon(rho, delta) for rho in rhos]
        return cls(rhos[0], rhos[1], rhos[2], promised[0], promised[1], promised[2], delta)


@dataclass(frozen=True)
class Propose:
    """Asks reviewers for a spec: its exact canonical bytes, as text, and what it will cost."""

    spec: str
    forecast: Forecast


@dataclass(frozen=True)
class Approve:
    """A reviewer's signature over the spec's exact bytes, as a record of `measurements` holds it (base64)."""

    measurement: str
    revision: int
    spec_sha256: str
    approval: str


@dataclass(frozen=True)
class Reject:
    """A reviewer's no to exactly these bytes."""

    measurement: str
    revision: int
    spec_sha256: str
    reason: str


@dataclass(frozen=True)
class Revoke:
    """The exact text of the revocation that is on `measurements`."""

    revocation: str


@dataclass(frozen=True)
class Answer:
    """Reviewers' answer to a concern, or, under the id of an alarm's review, a disposition (:func:`disposition_of`)."""

    concern: str
    text: str


@dataclass(frozen=True)
class Close:
    """A concern is dealt with, and how."""

    concern: str
    text: str


def approval_of(measurement: Measurement, deployment: str, private_key: Ed25519PrivateKey) -> Approve:
    """Sign a spec's exact bytes for a deployment, as :func:`privacy.approve` does."""
    (approval,) = approve(measurement, deployment, private_key).signatures
    digest = measurement.digest().hex()
    return Approve(measurement.id, measurement.revision, digest, base64.b64encode(approval.signature).decode())


def answer_of(disposition: Disposition) -> Answer:
    """A disposition as what is signed."""
    return Answer(disposition.review, disposition.encode())


def disposition_of(contents: Contents) -> Disposition | None:
    """The disposition that an answer is; None where contents are anything else.

    Raises:
        DecisionRefused: it answers an alarm, and is no disposition of it.
    """
    if isinstance(contents, Answer) and is_review(contents.concern):
        return Disposition.decode(contents.concern, contents.text)
    return None


Contents = Propose | Approve | Reject | Revoke | Answer | Close
KINDS: dict[str, type[Contents]] = {
    "propose": Propose,
    "approve": Approve,
    "reject": Reject,
    "revoke": Revoke,
    "answer": Answer,
    "close": Close,
}
_KIND_OF = {contents: kind for kind, contents in KINDS.items()}


@dataclass(frozen=True)
class Decision:
    """One record of `decisions`.

    Attributes:
        at_ms: the reviewer's clock, epoch milliseconds.
        contents: what is decided; its type is the record's ``kind``.
        deployment: where it holds.
        key_id: whose signature it is.
        previous: SHA-256 (hex) of the record before it in the chain, :data:`GENESIS` for the first.
        sequence: 0, 1, 2, ...
        signature: Ed25519 over a domain tag, the deployment's name and all other fields, 64 bytes.
    """

    at_ms: int
    contents: Contents
    deployment: str
    key_id: str
    previous: str
    sequence: int
    signature: bytes

    @property
    def kind(self) -> str:
        """propose, approve, reject, revoke, answer or close."""
        return _KIND_OF[type(self.contents)]

    def encode(self) -> bytes:
        """The record's bytes: JSON with sorted keys, no spaces and only ASCII, so that the signature comes last."""
        content = asdict(self) | {"kind": self.kind, "signature": base64.b64encode(self.signature).decode()}
        return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()

    @classmethod
    def decode(cls, record: bytes) -> Decision:
        """Read a record's bytes, or raise :class:`DecisionRefused`. Verifies neither signature nor chain."""
        if len(record) > _MAX_BYTES:
            raise DecisionRefused(f"a decision has at most {_MAX_BYTES} bytes, this one has {len(record)}")
        try:
            content = json.loads(record)
            contents = _read_contents(KINDS[content.pop("kind")], content.pop("contents"))
            content["signature"] = base64.b64decode(content["signature"], validate=True)
            decision = cls(contents=contents, **content)
            _check(decision)
            if decision.encode() != record:
                raise ValueError
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
            raise DecisionRefused(
                "it is no decision: expected canonical JSON with at_ms, contents, deployment, key_id, kind, previous, "
                "sequence and signature"
            ) from None
        return decision


def _read_contents(kind: type[Contents], content: Any) -> Contents:
    if set(content) != {item.name for item in fields(kind)}:
        raise ValueError(kind.__name__)
    if kind is Propose:
        content = content | {"forecast": Forecast(**content["forecast"])}
    return kind(**content)


def _check(decision: Decision) -> None:
    """Raise ``ValueError`` where a field is not what it must be."""
    _typed(decision, {"at_ms": int, "sequence": int, "signature": bytes, "contents": type(decision.contents)})
    if not (0 <= decision.at_ms < YEAR_10000_MS and 0 <= decision.sequence < _MAX_SEQUENCE):
        raise ValueError("at_ms")
    if not _HEX.fullmatch(decision.previous) or len(decision.signature) != _SIGNATURE_BYTES:
        raise ValueError("previous")
    contents = decision.contents
    _typed(contents, {"revision": int, "forecast": Forecast})
    if isinstance(contents, Propose):
        for name, value in asdict(contents.forecast).items():
            absent = value is None and name.startswith("epsilon")
            if not absent and not (type(value) is float and math.isfinite(value) and value >= 0):
                raise ValueError(name)
    elif isinstance(contents, Approve | Reject):
        if not (_ID.fullmatch(contents.measurement) and _HEX.fullmatch(contents.spec_sha256)):
            raise ValueError("measurement")
        if not 1 <= contents.revision < _MAX_REVISION:
            raise ValueError("revision")
        if isinstance(contents, Approve):
            base64.b64decode(contents.approval, validate=True)
        else:
            _check_text(contents.reason)
    elif isinstance(contents, Answer | Close):
        if not _CONCERN.fullmatch(contents.concern):
            raise ValueError("concern")
        _check_text(contents.text)


def _typed(value: Any, kinds: Mapping[str, type]) -> None:
    """Raise ``ValueError`` unless each field has its type, and text is text: half a character has no bytes."""
    for item in fields(value):
        content = getattr(value, item.name)
        if type(content) is not kinds.get(item.name, str):
            raise ValueError(item.name)
        if isinstance(content, str):
            content.encode()


def _check_text(text: str) -> None:
    if not 1 <= len(text.strip()) <= len(text) <= _MAX_TEXT:
        raise ValueError("text")


def _message(deployment: str, record: bytes) -> bytes:
    """What is signed: a tag, the deployment's name, and the record without its signature."""
    name = deployment.encode()
    return b"evenstream/1/decision\0" + len(name).to_bytes(2, "little") + name + record[:-_TAIL] + b"}"


def record_digest(record: bytes) -> str:
    """SHA-256 (hex) of a record's bytes, signature included: ``previous`` of the next one."""
    return hashlib.sha256(record).hexdigest()


@dataclass
class Proposal:
    """A proposed revision and what reviewers said of it.

    Attributes:
        sequence: of its record in the chain. at_ms, proposer: of that record.
        measurement: the spec. spec: its exact bytes. spec_sha256: their SHA-256, hex.
        forecast: what the proposer said that it would cost.
        words: each reviewer's last word, by key id: an Approval, or the reason of a rejection.
        state: proposed, approved, rejected, revoked or replaced.
        approved_at_ms: when it became approved, by that reviewer's clock; None where it never was.
        revocations: the records that revoked it, each with an earlier ``at_ms`` than the one before.
    """

    sequence: int
    at_ms: int
    proposer: str
    measurement: Measurement
    spec: bytes
    forecast: Forecast
    words: dict[str, Approval | str] = field(default_factory=dict)
    state: str = "proposed"
    approved_at_ms: int | None = None
    revocations: list[Revocation] = field(default_factory=list)

    @property
    def revocation(self) -> Revocation | None:
        """The one that stands: of several the one with the earliest ``at_ms``."""
        return self.revocations[-1] if self.revocations else None

    @property
    def spec_sha256(self) -> str:
        """SHA-256 of the spec's bytes, hex."""
        return hashlib.sha256(self.spec).hexdigest()

    @property
    def approvals(self) -> tuple[Approval, ...]:
        """Who says yes, in the order of saying it."""
        return tuple(word for word in self.words.values() if isinstance(word, Approval))

    @property
    def rejections(self) -> dict[str, str]:
        """Who says no, and why."""
        return {key: word for key, word in self.words.items() if isinstance(word, str)}

    def signed(self, deployment: str) -> SignedMeasurement:
        """The spec with its approvals: what belongs on `measurements` once there are enough."""
        return SignedMeasurement(self.spec, deployment, self.approvals)


@dataclass
class HandledConcern:
    """What reviewers said to a concern: texts of answers, and of its closing (None while it is open)."""

    answers: list[str] = field(default_factory=list)
    closed: str | None = None


@dataclass(frozen=True)
class Misfit:
    """A record without effect.

    Attributes:
        offset: where it lies.
        why: in words.
        in_chain: whether a governance key signed it in its place, so that it is part of the log all the same.
    """

    offset: int
    why: str
    in_chain: bool


@dataclass(frozen=True)
class Entry:
    """A record of the chain: where it lies, its exact bytes, what they say."""

    offset: int
    record: bytes
    decision: Decision


class DecisionLog:
    """The state that a sequence of records comes to.

    Args:
        deployment: this deployment's name.
        governance_keys: the pinned keys, by :func:`privacy.key_id`.
        threshold: how many different keys must approve, at least 1.

    Raises:
        ValueError: the threshold is out of range, or a key is pinned under an id that is not its own.
    """

    def __init__(self, deployment: str, governance_keys: Mapping[str, Ed25519PublicKey], threshold: int) -> None:
        if not 1 <= threshold <= len(governance_keys):
            raise ValueError(f"expected a threshold of 1 to {len(governance_keys)} keys, got {threshold}")
        if any(name != key_id(key) for name, key in governance_keys.items()):
            raise ValueError("pin each governance key under its own id")
        self._deployment = deployment
        self._keys = dict(governance_keys)
        self.threshold = threshold
        self.chain: list[Entry] = []
        """Every record of the chain, oldest first."""
        self._before_ms = 0  # the latest time that any record of the chain says, but for its last one
        self.misfits: list[Misfit] = []
        """Every record without effect, oldest first."""
        self.proposals: list[Proposal] = []
        """Every proposal that had an effect, oldest first."""
        self.concerns: dict[str, HandledConcern] = {}
        """Concerns that reviewers answered or closed, by id."""
        self.dispositions: dict[str, list[SignedDisposition]] = {}
        """What reviewers decided about alarms, by the alarm's id, oldest first: the last one stands."""
        self.revocations: dict[str, list[Revocation]] = {}
        """By the SHA-256 (hex) of the spec that it stops, proposed or not."""
        self._current: dict[tuple[str, int], Proposal] = {}
        self._effects: dict[type[Contents], Callable[[Decision, Any], None]] = {
            Propose: self._propose,
            Approve: self._approve,
            Reject: self._reject,
            Revoke: self._revoke,
            Answer: self._answer,
            Close: self._close,
        }

    @property
    def reviewers(self) -> int:
        """n: how many keys are pinned."""
        return len(self._keys)

    @property
    def head(self) -> str:
        """SHA-256 (hex) of the chain's last record: two who see the same head have seen the same log."""
        return record_digest(self.chain[-1].record) if self.chain else GENESIS

    def current(self, measurement: str, revision: int) -> Proposal | None:
        """The newest proposal of a revision."""
        return self._current.get((measurement, revision))

    def revisions(self, measurement: str) -> list[Proposal]:
        """The newest proposal of each revision of a measurement, in the order of revisions."""
        return [self._current[key] for key in sorted(self._current) if key[0] == measurement]

    def sign(self, contents: Contents, private_key: Ed25519PrivateKey, at_ms: int) -> bytes:
        """The record that would come next. It is not applied: what is on the topic decides.

        Raises:
            DecisionRefused: a text is empty or too long, or a name is none.
        """
        unsigned = Decision(
            at_ms=at_ms,
            contents=contents,
            deployment=self._deployment,
            key_id=key_id(private_key.public_key()),
            previous=self.head,
            sequence=len(self.chain),
            signature=bytes(_SIGNATURE_BYTES),
        )
        try:
            _check(unsigned)
        except ValueError as error:
            what = "text that is not UTF-8" if isinstance(error, UnicodeError) else error
            raise DecisionRefused(
                f"this {unsigned.kind} cannot be signed: {what} is not what it must be (a reason or text has 1 to "
                f"{_MAX_TEXT} characters)"
            ) from None
        signature = private_key.sign(_message(self._deployment, unsigned.encode()))
        return Decision(
            **{item.name: getattr(unsigned, item.name) for item in fields(Decision)} | {"signature": signature}
        ).encode()

    def apply(self, offset: int, record: bytes | None) -> Misfit | None:
        """Take in the next record of the topic; returns why it has no effect, or None."""
        misfit = self._applied(offset, record)
        if misfit is not None:
            self.misfits.append(misfit)
        return misfit

    def _applied(self, offset: int, record: bytes | None) -> Misfit | None:
        if record is None:
            return Misfit(offset, "it has no value", in_chain=False)
        try:
            decision = Decision.decode(record)
            self._check_place(decision, record)
        except DecisionRefused as error:
            return Misfit(offset, str(error), in_chain=False)
        if self.chain:
            self._before_ms = max(self._before_ms, self.chain[-1].decision.at_ms)
        self.chain.append(Entry(offset, record, decision))
        try:
            self._effects[type(decision.contents)](decision, decision.contents)
        except (ApprovalError, MeasurementError, RevocationError) as error:
            return Misfit(offset, str(error), in_chain=True)
        except Exception as error:  # one key must not stop whoever follows the log; effects change state last
            return Misfit(offset, f"what it decides cannot be read ({type(error).__name__})", in_chain=True)
        return None

    def _check_place(self, decision: Decision, record: bytes) -> None:
        if decision.deployment != self._deployment:
            raise DecisionRefused(f"it was signed for deployment {decision.deployment!r}, not {self._deployment!r}")
        key = self._keys.get(decision.key_id)
        if key is None:
            raise DecisionRefused(f"{decision.key_id!r} is none of the {len(self._keys)} governance keys")
        try:
            key.verify(decision.signature, _message(self._deployment, record))
        except InvalidSignature:
            raise DecisionRefused(f"governance key {decision.key_id} did not sign it") from None
        if (decision.sequence, decision.previous) != (len(self.chain), self.head):
            raise DecisionRefused(
                f"it says that it is record {decision.sequence} after {decision.previous[:16]}, but record "
                f"{len(self.chain)} after {self.head[:16]} is due: records were removed, repeated or reordered"
            )

    # -- effects --------------------------------------------------------------------------------------------------

    def _propose(self, decision: Decision, contents: Propose) -> None:
        spec = contents.spec.encode()
        measurement = Measurement.from_canonical(spec)
        check_reviewable(measurement, test_cluster=True)  # whether this is one is for roles to say
        name = f"revision {measurement.revision} of {measurement.id!r}"
        if measurement.effective_from_ms is None:
            raise DecisionRefused(f"{name} does not say when it takes effect")
        known = self._current.get((measurement.id, measurement.revision))
        if known is not None and known.state in ("approved", "revoked"):
            raise DecisionRefused(f"{name} is already {known.state}; raise the revision number")
        if measurement.digest().hex() in self.revocations:
            raise DecisionRefused(f"{name} was revoked with the same contents; change it")
        if any(proposal.spec == spec for proposal in self.proposals):
            raise DecisionRefused(
                f"{name} was proposed before with the same contents; approve or reject that, or change it"
            )
        if known is not None and known.state == "proposed":
            known.state = "replaced"
        proposal = Proposal(decision.sequence, decision.at_ms, decision.key_id, measurement, spec, contents.forecast)
        self.proposals.append(proposal)
        self._current[measurement.id, measurement.revision] = proposal

    def _open(self, contents: Approve | Reject) -> Proposal:
        """The proposal that is spoken of, if it is still to be decided."""
        name = f"revision {contents.revision} of {contents.measurement!r}"
        proposal = self._current.get((contents.measurement, contents.revision))
        if proposal is None:
            raise DecisionRefused(f"{name} was never proposed; `evenstream measurement propose` does")
        if proposal.spec_sha256 != contents.spec_sha256:
            raise DecisionRefused(
                f"{name} is proposed as spec {proposal.spec_sha256[:16]}, and this is about spec "
                f"{contents.spec_sha256[:16]}: another proposal replaced it; review that one"
            )
        if proposal.state != "proposed":
            mends = {"approved": "to stop it, revoke it", "revoked": "raise the revision number"}
            mend = mends.get(proposal.state, "propose it anew, changed")
            raise DecisionRefused(f"{name} is already {proposal.state}; {mend}")
        return proposal

    def _approve(self, decision: Decision, contents: Approve) -> None:
        proposal = self._open(contents)
        approval = Approval(decision.key_id, base64.b64decode(contents.approval))
        if not is_approval(approval, proposal.spec, self._deployment, self._keys):
            raise DecisionRefused(f"governance key {decision.key_id} did not sign the spec's exact bytes")
        if isinstance(proposal.words.get(decision.key_id), Approval):
            raise DecisionRefused(
                f"governance key {decision.key_id} has already approved revision {contents.revision} of "
                f"{contents.measurement!r}; the other approvals must come from other reviewers"
            )
        proposal.words.pop(decision.key_id, None)  # so that words stand in the order of saying them
        proposal.words[decision.key_id] = approval
        if len(proposal.approvals) >= self.threshold:
            proposal.state, proposal.approved_at_ms = "approved", decision.at_ms

    def _reject(self, decision: Decision, contents: Reject) -> None:
        proposal = self._open(contents)
        if isinstance(proposal.words.get(decision.key_id), str):
            raise DecisionRefused(
                f"governance key {decision.key_id} has already rejected revision {contents.revision} of "
                f"{contents.measurement!r}"
            )
        proposal.words.pop(decision.key_id, None)
        proposal.words[decision.key_id] = contents.reason
        if self.reviewers - len(proposal.rejections) < self.threshold:
            proposal.state = "rejected"

    def _revoke(self, decision: Decision, contents: Revoke) -> None:
        revocation = Revocation.decode(contents.revocation.encode())
        revocation.verify(deployment=self._deployment, governance_keys=self._keys)
        if revocation.key_id != decision.key_id:
            raise DecisionRefused(f"the revocation in it is by {revocation.key_id}; each reviewer signs for themselves")
        name = f"revision {revocation.revision} of {revocation.measurement!r}"
        known = self.revocations.get(revocation.spec_sha256, [])
        if known and known[-1].at_ms <= revocation.at_ms:
            raise DecisionRefused(f"{name} is already revoked as spec {revocation.spec_sha256[:16]}")
        self.revocations[revocation.spec_sha256] = [*known, revocation]
        for proposal in self.proposals:
            if proposal.spec_sha256 == revocation.spec_sha256:
                proposal.state, proposal.revocations = "revoked", self.revocations[revocation.spec_sha256]

    def _answer(self, decision: Decision, contents: Answer) -> None:
        disposition = disposition_of(contents)
        if disposition is not None:
            signed = SignedDisposition(disposition, decision.sequence, decision.at_ms, decision.key_id, self._before_ms)
            self.dispositions.setdefault(disposition.alarm, []).append(signed)
            return
        self._concern(contents.concern).answers.append(contents.text)

    def _close(self, decision: Decision, contents: Close) -> None:
        self._concern(contents.concern).closed = contents.text

    def _concern(self, concern: str) -> HandledConcern:
        if is_review(concern):
            raise DecisionRefused("an alarm's review is closed by a disposition; `evenstream review decide` signs one")
        handled = self.concerns.get(concern, HandledConcern())
        if handled.closed is not None:
            raise DecisionRefused(f"concern {concern} is already closed")
        return self.concerns.setdefault(concern, handled)
