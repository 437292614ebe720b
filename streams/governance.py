"""Governance on Kafka: reads `decisions` and `measurements`, and appends to both at once.

A command makes the checks that every role will make, so that a reviewer hears at once what would have no effect. What
it writes, it writes in one transaction under the one transactional id that all reviewers share: whoever begins fences
whoever was at it, and only then reads the log to its end. So no two records follow the same one, and the approval that
completes a revision is never on one topic without the other.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import KafkaError, KafkaException, Producer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from privacy import (
    ApprovalError,
    DecisionRefused,
    Measurement,
    MeasurementError,
    PrivacyError,
    Revocation,
    RevocationError,
    SignedMeasurement,
    check_reviewable,
    is_revocation,
    next_boundary_ms,
    revoke,
)
from privacy.approvals import is_approval
from privacy.decisions import (
    Answer,
    Close,
    Contents,
    DecisionLog,
    Forecast,
    Proposal,
    Propose,
    Reject,
    Revoke,
    answer_of,
    approval_of,
)
from privacy.dispositions import Disposition
from secure_agg.keyring import Trusted, load_trusted
from streams.control import ControlPlane, governance_keys, limits_of, operator_keys
from streams.errors import InputError, KafkaUnavailable, SettingsError, SkipInvalid
from streams.kafka.clients import make_producer, read_to_end, wait_for_kafka
from streams.records.skip import Skip, is_skip
from streams.report.numbers import moment
from streams.settings import Settings

log = logging.getLogger(__name__)

TAKE_OVER_LEAD_MS = 120_000
"""How long before it takes over a later revision must be approved, for every role to hear of it."""
NOTICE_MS = 60_000
"""How long reviewers have at least when the command chooses the beginning."""

_DAY_MS = 86_400_000
_ATTEMPTS = 6
_TRANSACTION_SECONDS = 30.0
_KAFKA_SECONDS = 5.0
_FENCED = frozenset(
    (KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH)  # noqa: SLF001  # its API
)


@dataclass(frozen=True)
class View:
    """What both topics hold now.

    Attributes:
        log: the log of decisions.
        control: the registry of measurements, as every role has it.
        measurements: (offset, value) of each record of `measurements`.
    """

    log: DecisionLog
    control: ControlPlane
    measurements: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True)
class Outgoing:
    """A record to be written: topic without the deployment's prefix, key, value."""

    topic: str
    key: bytes
    value: bytes


def empty_log(trusted: Trusted, threshold: int) -> DecisionLog:
    """A log before its first record.

    Raises:
        SettingsError: more approvals are demanded than there are governance keys.
    """
    if threshold > len(trusted.governance):
        raise SettingsError(
            f"{threshold} approvals are demanded (keys.governance_threshold), but only {len(trusted.governance)} "
            "governance keys are pinned: nothing could ever be approved"
        )
    return DecisionLog(trusted.deployment, governance_keys(trusted), threshold)


def starting(spec: Measurement, now_ms: int, *, days: int | None = None, notice_ms: int = NOTICE_MS) -> Measurement:
    """The spec as it can be proposed: with a beginning that leaves reviewers time, and an end.

    Args:
        now_ms: epoch milliseconds.
        days: it ends so many days after it begins; by default as the spec says.
        notice_ms: how long reviewers have at least, milliseconds, where the spec does not say when it begins.

    Raises:
        MeasurementError: beginning and end do not fit.
    """
    if spec.effective_from_ms is None:
        lead_ms = notice_ms if spec.revision == 1 else max(notice_ms, TAKE_OVER_LEAD_MS)
        spec = spec.with_effective_from(next_boundary_ms(spec, now_ms + lead_ms))
    begin_ms = spec.effective_from_ms or 0
    return spec if days is None else spec.with_expires(begin_ms + days * _DAY_MS)


class Governance:
    """One reviewer's or command's hands on the two topics.

    Args:
        settings: of the deployment.
        trusted: the public keys; by default those of ``keys.dir``/governance.
        threshold: how many must approve; by default ``keys.governance_threshold``.

    Raises:
        SettingsError: the keys are another deployment's, or fewer than the threshold.
    """

    def __init__(self, settings: Settings, trusted: Trusted | None = None, threshold: int | None = None) -> None:
        self._settings = settings
        self._threshold = settings.keys.governance_threshold if threshold is None else threshold
        self.trusted = load_trusted(settings.keys.dir / "governance") if trusted is None else trusted
        empty_log(self.trusted, self._threshold)  # says so at once where it cannot be
        if self.trusted.deployment != settings.deployment:
            raise SettingsError(
                f"the governance keys in {settings.keys.dir} were made for deployment {self.trusted.deployment!r}, "
                f"but this is {settings.deployment!r}: set `deployment`, or point `keys.dir` to the right set"
            )

    def view(self) -> View:
        """Read both topics to their ends."""
        wait_for_kafka(self._settings, _KAFKA_SECONDS)  # so that its absence is told as such, and soon
        return self._read()

    def _read(self) -> View:
        settings = self._settings
        decisions = empty_log(self.trusted, self._threshold)
        for record in read_to_end(settings, settings.topic("decisions")):
            decisions.apply(int(record.offset() or 0), record.value())
        control = ControlPlane(
            self.trusted,
            test_cluster=settings.test_cluster,
            limits=limits_of(settings),
            threshold=self._threshold,
        )
        values: list[tuple[int, bytes]] = []
        for record in read_to_end(settings, settings.topic("measurements")):
            offset, value = int(record.offset() or 0), record.value()
            control.apply_measurement(offset, value)
            if value is not None:
                values.append((offset, value))
        return View(decisions, control, tuple(values))

    # -- decisions ------------------------------------------------------------------------------------------------

    def propose(self, spec: Measurement, key: Ed25519PrivateKey, now_ms: int) -> Proposal:
        """Ask reviewers for a spec that says when it begins (:func:`starting`).

        Raises:
            EvenstreamError, PrivacyError: it would have no effect, and why.
        """

        def decide(view: View) -> Iterator[Outgoing]:
            self.check(view, spec, now_ms)
            contents = Propose(spec.canonical_bytes().decode(), Forecast.of(spec))
            yield self._decided(view, contents, key, now_ms, _name(spec))

        return _proposal(self._append(decide), spec.id, spec.revision)

    def approve(self, proposal: Proposal, key: Ed25519PrivateKey, now_ms: int) -> Proposal:
        """Approve exactly these bytes; the k-th approval puts them on `measurements` in the same transaction.

        Raises:
            EvenstreamError, PrivacyError: it would have no effect, and why.
        """
        spec = proposal.measurement

        def decide(view: View) -> Iterator[Outgoing]:
            contents = approval_of(spec, self._settings.deployment, key)
            record = self._decided(view, contents, key, now_ms, _name(spec))
            self.check(view, spec, now_ms)
            yield record
            now = _proposal(view, spec.id, spec.revision)
            if now.state == "approved":
                signed = now.signed(self._settings.deployment)
                view.control.verify(signed)
                yield Outgoing("measurements", _name(spec), signed.encode())

        return _proposal(self._append(decide), spec.id, spec.revision)

    def reject(self, proposal: Proposal, key: Ed25519PrivateKey, reason: str, now_ms: int) -> Proposal:
        """Say no to exactly these bytes."""
        spec = proposal.measurement

        def decide(view: View) -> Iterator[Outgoing]:
            contents = Reject(spec.id, spec.revision, proposal.spec_sha256, reason)
            yield self._decided(view, contents, key, now_ms, _name(spec))

        return _proposal(self._append(decide), spec.id, spec.revision)

    def revoke(self, spec: Measurement, key: Ed25519PrivateKey, reason: str, now_ms: int) -> None:
        """Stop exactly these bytes, whatever the log says of them: their revocation goes on both topics at once.

        Where the log has one that `measurements` lacks, that one is put there.
        """

        def decide(view: View) -> Iterator[Outgoing]:
            known = view.log.revocations.get(spec.digest().hex())
            revocation = known[-1] if known else None
            if revocation is None or view.control.revocation(spec.digest()) is not None:
                revocation = revoke(spec, self._settings.deployment, key, at_ms=now_ms, reason=reason)
                yield self._decided(view, Revoke(revocation.encode().decode()), key, now_ms, _name(spec))
            yield Outgoing("measurements", revocation.topic_key(), revocation.encode())

        self._append(decide)

    def answer(self, concern: str, text: str, key: Ed25519PrivateKey, now_ms: int) -> None:
        """Answer a concern."""
        self._append(lambda view: iter([self._decided(view, Answer(concern, text), key, now_ms, _concern(concern))]))

    def close(self, concern: str, text: str, key: Ed25519PrivateKey, now_ms: int) -> None:
        """Close a concern, saying how it was dealt with."""
        self._append(lambda view: iter([self._decided(view, Close(concern, text), key, now_ms, _concern(concern))]))

    def decide(
        self,
        disposition: Disposition,
        key: Ed25519PrivateKey,
        now_ms: int,
        *,
        seen: int | None,
        check: Callable[[View], None],
    ) -> None:
        """Sign what is decided about an alarm, which the caller has found on `fairness-metrics`.

        Args:
            seen: the sequence of the last disposition of the alarm that the reviewer has seen; None: there was none.
            check: raises where nothing is to be decided about it, by what both topics hold when it is written.

        Raises:
            InputError: there is a later word than the one that the reviewer has seen.
        """
        name = f"alarm/{disposition.alarm}".encode()

        def decide(view: View) -> Iterator[Outgoing]:
            check(view)
            _check_seen(view, disposition.alarm, seen)
            yield self._decided(view, answer_of(disposition), key, now_ms, name)

        self._append(decide)

    # -- checks ---------------------------------------------------------------------------------------------------

    def check(self, view: View, spec: Measurement, now_ms: int) -> None:
        """Every check that the roles will make of a spec once it is approved, and that it is not too late for it.

        Raises:
            EvenstreamError, PrivacyError: what would be refused, and why.
        """
        check_reviewable(spec, test_cluster=self._settings.test_cluster)
        check_in_time(spec, now_ms)
        view.control.admit(spec, spec.digest(), view.control.measurements_offset)

    # -- writing --------------------------------------------------------------------------------------------------

    def _decided(self, view: View, contents: Contents, key: Ed25519PrivateKey, now_ms: int, name: bytes) -> Outgoing:
        """The next record of the log, applied to the view; DecisionRefused where it would have no effect."""
        record = view.log.sign(contents, key, now_ms)
        misfit = view.log.apply(len(view.log.chain), record)
        if misfit is not None:
            raise DecisionRefused(misfit.why)
        return Outgoing("decisions", name, record)

    def _append(self, decide: Callable[[View], Iterator[Outgoing]]) -> View:
        """Read, decide, and write in one transaction; from the beginning again where another command came between."""
        wait_for_kafka(self._settings, _KAFKA_SECONDS)
        tried: set[bytes] = set()
        for attempt in range(_ATTEMPTS):
            if attempt:  # two that fight back at once would fence each other for ever
                time.sleep(random.uniform(0.1, 0.5) * 2**attempt)  # noqa: S311  # no secret
            producer = make_producer(self._settings, self._settings.group("governance"))
            try:
                producer.init_transactions(_TRANSACTION_SECONDS)
                view = self._read()
                if any(entry.record in tried for entry in view.log.chain):
                    return view  # it was committed, and only the answer was lost
                records = list(decide(view))
                tried.update(record.value for record in records)
                self._write(producer, records)
                return view
            except KafkaException as error:
                reason = error.args[0]
                if reason.code() not in _FENCED:
                    raise KafkaUnavailable(
                        f"the decision could not be written: {reason.str()}. `evenstream measurement history` says "
                        "whether it is on the log"
                    ) from None
                log.info("another reviewer's command is at work; trying again")
        raise KafkaUnavailable(
            f"other commands wrote to {self._settings.topic('decisions')} at the same time, {_ATTEMPTS} times in a "
            "row; nothing was written, try again"
        )

    def _write(self, producer: Producer, records: list[Outgoing]) -> None:
        producer.begin_transaction()
        for record in records:
            producer.produce(self._settings.topic(record.topic), key=record.key, value=record.value, partition=0)
        producer.commit_transaction(_TRANSACTION_SECONDS)


def _check_seen(view: View, alarm: str, seen: int | None) -> None:
    """Raise :class:`InputError` unless the last word on an alarm is the one that the reviewer has seen."""
    said = view.log.dispositions.get(alarm, [])
    last = said[-1] if said else None
    if seen == (None if last is None else last.sequence):
        return
    if last is None:
        raise InputError(f"record {seen} is no word on {alarm}: nobody has decided about it; leave --after out")
    raise InputError(
        f"the last word on {alarm} is record {last.sequence}, by reviewer {last.key_id}: cause "
        f"{last.disposition.cause}, decision {last.disposition.decision}. Whoever has not seen it would sign over it: "
        f"look again with `evenstream review show`, and say --after {last.sequence} to put yours behind it"
    )


def check_in_time(spec: Measurement, now_ms: int) -> None:
    """Raise :class:`InputError` where a revision's first windows would be void, since it is too late for them.

    A replayed log's own times (``record_time``) may well be past.
    """
    begin_ms = spec.effective_from_ms or 0
    name = f"revision {spec.revision} of {spec.id!r}"
    if spec.revision > 1 and begin_ms < now_ms + TAKE_OVER_LEAD_MS:
        raise InputError(
            f"{name} would take over at {moment(begin_ms)}, which is past or less than {TAKE_OVER_LEAD_MS // 60_000} "
            "minutes away: rows of the old revision are already on their way. Propose it anew without effective_from; "
            "it then begins at the next UTC day"
        )
    if spec.source.arrival == "live" and begin_ms <= now_ms:
        raise InputError(
            f"{name} was to begin at {moment(begin_ms)}, which has passed: its windows until now would be void. "
            "Propose it anew without effective_from, or with a later one, and have that approved"
        )


def discrepancies(view: View, trusted: Trusted) -> list[tuple[int | None, str]]:
    """Where `measurements` holds anything but what the log approved and revoked: (offset if there is one, what)."""
    found: list[tuple[int | None, str]] = []
    keys = governance_keys(trusted)
    approved = {p.spec: p for p in view.log.proposals if p.approved_at_ms is not None}
    revoked = {one.encode(): one for revocations in view.log.revocations.values() for one in revocations}
    seen: set[bytes] = set()
    for offset, value in view.measurements:
        if is_skip(value):  # an operator's, who is no reviewer, so the log does not hold it
            what = _unsigned_skip(value, trusted)
            found += [] if what is None else [(offset, what)]
            continue
        what = _unfounded(value, approved, revoked, trusted.deployment, keys, view.log.threshold)
        if what is None and value in seen:
            what = "it is there a second time"
        if what is not None:
            found.append((offset, what))
            continue
        seen.add(value)
    present = {SignedMeasurement.decode(value).spec for value in seen if not is_revocation(value)}
    for spec, proposal in approved.items():
        if spec not in present:
            name = f"revision {proposal.measurement.revision} of {proposal.measurement.id!r}"
            found.append((None, f"{name} is approved on the log and is missing"))
    for record, revocation in revoked.items():
        if record not in seen:
            name = f"revision {revocation.revision} of {revocation.measurement!r}"
            found.append((None, f"the revocation of {name} is on the log and is missing"))
    return found


def _unsigned_skip(value: bytes, trusted: Trusted) -> str | None:
    try:
        Skip.decode(value).verify(deployment=trusted.deployment, operator_keys=operator_keys(trusted))
    except SkipInvalid as error:
        return str(error)
    return None


def _unfounded(
    value: bytes,
    approved: Mapping[bytes, Proposal],
    revoked: Mapping[bytes, Revocation],
    deployment: str,
    keys: Mapping[str, Ed25519PublicKey],
    threshold: int,
) -> str | None:
    """Why a record of `measurements` is not what the log decided, or None."""
    try:
        if is_revocation(value):
            Revocation.decode(value)
            return None if value in revoked else "it is a revocation that is not on the log"
        signed = SignedMeasurement.decode(value)
    except (ApprovalError, MeasurementError, RevocationError) as error:
        return str(error)
    if signed.deployment != deployment or signed.spec not in approved:
        return "it holds a spec that the log did not approve"
    good = {a.key_id for a in signed.signatures if is_approval(a, signed.spec, deployment, keys)}
    return None if len(good) >= threshold else f"it has {len(good)} of {threshold} approvals"


def read_records(path: Path) -> list[bytes]:
    """The records of an exported log, one a line.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        return path.read_bytes().splitlines()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None


def refusals(governance: Governance, view: View, spec: Measurement, now_ms: int) -> str | None:
    """What would be refused of a spec if it were proposed or approved now; None where nothing would."""
    try:
        governance.check(view, spec, now_ms)
    except (PrivacyError, InputError) as error:
        return str(error)
    return None


def _proposal(view: View, measurement: str, revision: int) -> Proposal:
    proposal = view.log.current(measurement, revision)
    assert proposal is not None  # what was just decided is about one
    return proposal


def _name(spec: Measurement) -> bytes:
    return f"{spec.id}/{spec.revision}".encode()


def _concern(concern: str) -> bytes:
    return f"concern/{concern}".encode()
