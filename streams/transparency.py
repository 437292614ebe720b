"""What the public page says, read from the running system: measurements, approvals, spending, windows, retention, keys.

Every fact here has been read from a topic, from the cluster's own configuration, from the settings or from the public
keys. What could not be read is `Unread`, with the reason, and is shown as such: never a guess, never a default.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from privacy import Limits, SignedMeasurement, key_id
from privacy.approvals import is_approval
from privacy.decisions import DecisionLog
from privacy.errors import PrivacyError
from streams.control import Approved, ControlPlane, governance_keys, limits_of
from streams.errors import EvenstreamError
from streams.governance import empty_log
from streams.ledger_view import LedgerView, view_of_topic
from streams.public_topics import PublicTopics
from streams.published_windows import PublishedWindows
from streams.review_book import Review, ReviewBook
from streams.settings import Settings

T = TypeVar("T")

PARTIES = ("a", "b")
RECIPIENTS = ("attach", "a", "b")
KEPT_TOPICS = (
    "sealed",
    "shares",
    "releases-a",
    "releases-b",
    "fairness-metrics",
    "refused",
    "measurements",
    "decisions",
    "concerns",
    "ledger-a",
    "ledger-b",
    "keys",
    "member-attributes",
    "state-seal",
    "state-attach",
    "state-a",
    "state-b",
)


@dataclass(frozen=True)
class Unread:
    """What could not be read, and why."""

    why: str


@dataclass(frozen=True)
class ApprovalFacts:
    """Who approved a revision.

    Attributes:
        key_ids: the governance keys that signed its exact bytes, in the order of signing.
        needed, keys: k of n, as the settings and the pinned keys have it.
        at_ms: when the k-th approval was given, by that reviewer's clock (source "decisions"), or when the approved
            spec was written, by Kafka's record (source "measurements"); epoch milliseconds.
        source: the topic that says so.
    """

    key_ids: tuple[str, ...]
    needed: int
    keys: int
    at_ms: int
    source: str


@dataclass(frozen=True)
class RevocationFacts:
    """Who stopped a revision, when and why."""

    at_ms: int
    key_id: str
    reason: str


@dataclass(frozen=True)
class MeasurementFacts:
    """One approved revision.

    Attributes:
        state: as :meth:`streams.control.Approved.state` has it.
        windows: by level, its windows on fairness-metrics by outcome.
    """

    approved: Approved
    state: str
    approval: ApprovalFacts | Unread
    revocation: RevocationFacts | None
    windows: Mapping[str, Mapping[str, int]] | Unread


@dataclass(frozen=True)
class Facts:
    """All that the page says.

    Attributes:
        made_ms: when the page was made, epoch milliseconds.
        read: by topic, the offset after the last record that was read.
        measurements: approved revisions, in the order of their approval.
        reviews: of alarms, open ones first.
        refused_specs: records of `measurements` without effect.
        ledgers: by party.
        topics: by topic, its configuration as the cluster has it.
        epochs: by recipient, when senders stop using its present epoch key, epoch milliseconds; None where it has none.
        identities, governance: SHA-256 of the public keys, hex, by role and by key id.
    """

    settings: Settings
    limits: Limits
    made_ms: int
    read: Mapping[str, int]
    measurements: tuple[MeasurementFacts, ...] | Unread
    reviews: tuple[Review, ...] | Unread
    refused_specs: int
    ledgers: Mapping[str, LedgerView | Unread]
    topics: Mapping[str, Mapping[str, str] | Unread]
    epochs: Mapping[str, int | None] | Unread
    identities: Mapping[str, str]
    governance: Mapping[str, str]


def gather(topics: PublicTopics, now_ms: int) -> Facts:
    """Read everything; what cannot be read is `Unread`.

    Args:
        now_ms: epoch milliseconds.
    """
    settings, trusted = topics.settings, topics.trusted
    limits, threshold = limits_of(settings), settings.keys.governance_threshold
    signed: dict[bytes, tuple[SignedMeasurement, int]] = {}
    control = _attempt(lambda: _registry(topics, signed))
    decisions = _attempt(lambda: _decisions(topics))
    alarms = ReviewBook()
    windows = _attempt(lambda: _windows(topics, alarms))
    epochs = _attempt(lambda: _epochs(topics, control, now_ms))
    measurements: tuple[MeasurementFacts, ...] | Unread
    if isinstance(control, Unread):
        measurements = control
        ledgers: dict[str, LedgerView | Unread] = dict.fromkeys(PARTIES, control)
    else:
        registry = control
        measurements = tuple(
            _measurement(approved, registry, signed, decisions, windows, threshold, now_ms)
            for approved in registry.approved()
        )
        ledgers = {party: _attempt(lambda p=party: view_of_topic(topics, p, registry, now_ms)) for party in PARTIES}  # type: ignore[misc]
    return Facts(
        settings=settings,
        limits=limits,
        made_ms=now_ms,
        read=dict(topics.read),
        measurements=measurements,
        reviews=_reviews(alarms, windows, decisions, control),
        refused_specs=0 if isinstance(control, Unread) else control.refused,
        ledgers=ledgers,
        topics=_configurations(topics),
        epochs=epochs,
        identities={role: _fingerprint(key.public_bytes_raw()) for role, key in trusted.identities.keys.items()},
        governance={key_id(key): _fingerprint(key.public_bytes_raw()) for key in trusted.governance},
    )


def _attempt(read: Callable[[], T]) -> T | Unread:
    try:
        return read()
    except (EvenstreamError, PrivacyError) as error:
        return Unread(str(error))


def _fingerprint(public: bytes) -> str:
    return hashlib.sha256(public).hexdigest()


# -- measurements -----------------------------------------------------------------------------------------------------


def _registry(topics: PublicTopics, signed: dict[bytes, tuple[SignedMeasurement, int]]) -> ControlPlane:
    """The registry; ``signed`` takes each spec's own record with the time at which it was written."""
    control = ControlPlane.of(topics.trusted, topics.settings)
    for message in topics.messages("measurements"):
        value = message.value()
        control.apply_measurement(int(message.offset() or 0), value)
        try:
            record = SignedMeasurement.decode(value or b"")
        except PrivacyError:
            continue  # a revocation, or nothing that could be approved
        signed.setdefault(record.spec_digest(), (record, int(message.timestamp()[1])))
    return control


def _decisions(topics: PublicTopics) -> DecisionLog:
    log = empty_log(topics.trusted, topics.settings.keys.governance_threshold)
    for message in topics.messages("decisions"):
        log.apply(int(message.offset() or 0), message.value())
    return log


def _measurement(
    approved: Approved,
    control: ControlPlane,
    signed: Mapping[bytes, tuple[SignedMeasurement, int]],
    decisions: DecisionLog | Unread,
    windows: Mapping[bytes, Mapping[str, Mapping[str, int]]] | Unread,
    threshold: int,
    now_ms: int,
) -> MeasurementFacts:
    revocation = control.revocation(approved.spec)
    return MeasurementFacts(
        approved=approved,
        state=approved.state(now_ms),
        approval=_approval(approved, control, signed, decisions, threshold),
        revocation=None
        if revocation is None
        else RevocationFacts(revocation.at_ms, revocation.key_id, revocation.reason),
        windows=windows if isinstance(windows, Unread) else windows.get(approved.spec, {}),
    )


def _approval(
    approved: Approved,
    control: ControlPlane,
    signed: Mapping[bytes, tuple[SignedMeasurement, int]],
    decisions: DecisionLog | Unread,
    threshold: int,
) -> ApprovalFacts | Unread:
    """Who approved a revision: by the log of decisions where it was approved there; else by the spec's own record."""
    keys = governance_keys(control.trusted)
    if not isinstance(decisions, Unread):
        for proposal in decisions.proposals:
            if bytes.fromhex(proposal.spec_sha256) == approved.spec and proposal.approved_at_ms is not None:
                approvers = tuple(approval.key_id for approval in proposal.approvals)
                return ApprovalFacts(approvers, decisions.threshold, len(keys), proposal.approved_at_ms, "decisions")
    if approved.spec not in signed:
        return Unread("its approvals are on no record that was read")
    record, at_ms = signed[approved.spec]
    good = (a.key_id for a in record.signatures if is_approval(a, record.spec, record.deployment, keys))
    return ApprovalFacts(tuple(dict.fromkeys(good)), threshold, len(keys), at_ms, "measurements")


# -- windows ----------------------------------------------------------------------------------------------------------


_DIGEST = re.compile("[0-9a-f]{64}")


class _Outcome(msgspec.Struct):
    """What is counted of a record of fairness-metrics; its numbers are passed over."""

    spec_sha256: str
    level: str
    status: str
    reason: str | None


_outcome = msgspec.json.Decoder(_Outcome)


def _windows(topics: PublicTopics, alarms: ReviewBook) -> dict[bytes, dict[str, dict[str, int]]]:
    """By spec and level, how many windows came out how; ``alarms`` takes those that began in them."""
    latest: dict[bytes, _Outcome] = {}
    signed = PublishedWindows(topics.trusted.identities)
    for record in signed.records(topics.messages("fairness-metrics")):
        alarms.read(record)
        try:
            outcome = _outcome.decode(record.value)
        except (msgspec.MsgspecError, RecursionError):
            continue  # not ours: subscribers' schema has these fields
        if _DIGEST.fullmatch(outcome.spec_sha256):
            latest[record.key] = outcome
    counted: dict[bytes, dict[str, dict[str, int]]] = {}
    for outcome in latest.values():
        levels = counted.setdefault(bytes.fromhex(outcome.spec_sha256), {})
        by_outcome = levels.setdefault(outcome.level, {})
        name = outcome_of(outcome.status, outcome.reason)
        by_outcome[name] = by_outcome.get(name, 0) + 1
    return counted


def outcome_of(status: str, reason: str | None) -> str:
    """A window's outcome as the page counts it: what the budget forbade is "refused", and not merely void."""
    return "refused" if status == "void" and (reason or "").startswith("budget_exceeded") else status


def _reviews(
    alarms: ReviewBook, windows: object, decisions: DecisionLog | Unread, control: ControlPlane | Unread
) -> tuple[Review, ...] | Unread:
    for read in (windows, decisions, control):
        if isinstance(read, Unread):
            return read
    assert isinstance(decisions, DecisionLog)
    assert isinstance(control, ControlPlane)
    return tuple(alarms.reviews(decisions.dispositions, control.approved()))


# -- what is kept, and until when -------------------------------------------------------------------------------------


def _epochs(topics: PublicTopics, control: ControlPlane | Unread, now_ms: int) -> dict[str, int | None]:
    known = control if isinstance(control, ControlPlane) else ControlPlane.of(topics.trusted, topics.settings)
    keys = topics.add_keys(known)
    found = {role: keys.epoch_public(role, now_ms) for role in RECIPIENTS}
    return {role: None if public is None else public.not_after_ms for role, public in found.items()}


def _configurations(topics: PublicTopics) -> dict[str, Mapping[str, str] | Unread]:
    found = _attempt(lambda: topics.configurations(KEPT_TOPICS))
    if isinstance(found, Unread):
        return dict.fromkeys(KEPT_TOPICS, found)
    missing = Unread("the cluster shows no such topic, or does not let it be described")
    return {name: found.get(name) or missing for name in KEPT_TOPICS}
