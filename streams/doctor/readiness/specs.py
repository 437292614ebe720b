"""Check: which measurements are in force, who has approved them, until when; and can what this role sends be opened?

That nothing is approved yet, or that a recipient has never announced a key, is how every deployment begins: it is said,
and is no fault. It is one where this role runs and waits for it.
"""

from __future__ import annotations

from collections.abc import Iterator

from privacy import SignedMeasurement
from privacy.errors import PrivacyError
from streams.acl import TABLE
from streams.control import Approved, governance_keys
from streams.doctor.findings import Finding, Verdict
from streams.doctor.readiness.subject import Subject
from streams.report.numbers import moment

CHECK = "specs"

RECIPIENTS = {"seal": ("attach",), "attach": ("a", "b")}
"""To whose epochs a role seals."""

_SOON_MS = 7 * 86_400_000
_DECIDE = ("governance", "operator")
"""Whose task it is that an approval goes on: of the others it would hold up what they are started for."""


def check(subject: Subject) -> Iterator[Finding]:
    """One finding a measurement (its newest revisions that count), one for those without effect, one a recipient."""
    if "measurements" not in TABLE[subject.role].reads:
        return
    if not subject.has_trusted:
        yield Finding(CHECK, "unseen", "without a trusted.json no measurement can be believed", "name one: --trusted")
        return
    entries = tuple(subject.control.approved())
    approvals = _approvals(subject)
    for name in dict.fromkeys(entry.measurement.id for entry in entries):
        for entry in _telling(subject, [e for e in entries if e.measurement.id == name]):
            yield _told(subject, entry, approvals.get(entry.spec, 0))
    if not entries:
        yield Finding(CHECK, "ok", "no measurement is approved yet: nothing is measured until one is")
    if subject.control.refused:
        yield Finding(
            CHECK,
            "ok" if entries else "wrong",
            f"{subject.control.refused} records of `measurements` or `keys` have no effect here",
            "`evenstream measurement status` says which and why",
        )
    yield from _recipients(subject, entries)


def _approvals(subject: Subject) -> dict[bytes, int]:
    """How many of the pinned keys have signed, by spec. That they sign its very bytes was verified with the spec."""
    pinned = governance_keys(subject.trusted)
    found: dict[bytes, int] = {}
    for message in subject.measurements:
        try:
            signed = SignedMeasurement.decode(message.value() or b"")
        except PrivacyError:  # a revocation, a skip, or nothing
            continue
        count = len({approval.key_id for approval in signed.signatures} & pinned.keys())
        found[signed.spec_digest()] = max(count, found.get(signed.spec_digest(), 0))
    return found


def _telling(subject: Subject, revisions: list[Approved]) -> list[Approved]:
    """Those that count or will; where none does, the last, which says why."""
    alive = [entry for entry in revisions if entry.state(subject.now_ms) in ("active", "scheduled")]
    return alive or revisions[-1:]


def _told(subject: Subject, entry: Approved, approved: int) -> Finding:
    measurement, state = entry.measurement, entry.state(subject.now_ms)
    reviewers = len(subject.trusted.governance)
    says = f"{measurement.id} revision {measurement.revision}, approved by {approved} of {reviewers}: {state}"
    ends = entry.until_ms == measurement.expires_ms and measurement.source.arrival != "record_time"
    if state == "scheduled":
        return Finding(CHECK, "ok", f"{says}, starts {moment(entry.from_ms)}")
    if state != "active" or not ends:
        return Finding(CHECK, "ok", says)
    if entry.until_ms - subject.now_ms >= _SOON_MS:
        return Finding(CHECK, "ok", f"{says}, expires {moment(entry.until_ms)}")
    days = (entry.until_ms - subject.now_ms) / 86_400_000
    verdict: Verdict = "wrong" if subject.role in _DECIDE else "ok"
    return Finding(
        CHECK,
        verdict,
        f"{says}, expires in {days:.1f} days, {moment(entry.until_ms)}",
        "have the next revision approved: docs/runbooks/EvenstreamApprovalExpiring.md",
    )


def _recipients(subject: Subject, entries: tuple[Approved, ...]) -> Iterator[Finding]:
    """Whether those that this role seals to have announced an epoch that is valid now."""
    active = any(entry.state(subject.now_ms) == "active" for entry in entries)
    for recipient in RECIPIENTS.get(subject.role, ()):
        known = subject.control.epoch_public(recipient, subject.now_ms)
        if known is not None:
            yield Finding(
                CHECK, "ok", f"{recipient} has announced an epoch key, valid until {moment(known.not_after_ms)}"
            )
            continue
        says = (
            f"{recipient} has announced no epoch key that is valid now: {subject.role} waits for it, and loses nothing"
        )
        waits = subject.runs and active
        yield Finding(CHECK, "wrong" if waits else "ok", says, f"start {recipient}")
