"""The log of decisions in words: where each measurement stands, and how it came to that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from privacy import Revocation
from privacy.decisions import (
    Answer,
    Approve,
    Close,
    Decision,
    DecisionLog,
    Proposal,
    Propose,
    Reject,
    Revoke,
    disposition_of,
)
from privacy.measurement import Measurement
from streams.control import Approved, ControlPlane
from streams.report.numbers import moment
from streams.report.terminal import terminal_line

_DAY_MS = 86_400_000


@dataclass(frozen=True)
class Standing:
    """Where a revision stands now.

    Attributes:
        measurement: the spec.
        proposal: of these bytes; None where they are in force and nobody proposed them.
        status: proposed, lapsed (it was to begin before it was approved), rejected, revoked, scheduled, active,
            superseded, expired, refused where it is approved and the roles refuse it all the same, or unfounded where
            the roles have it in force and the log did not approve it.
        why: what a reader should know beside the status; None where it says all.
        threshold: how many approvals it takes.
        days_left: until it expires, from now or from its beginning; None where it does not, or is over.
        open_concerns: how many are open; None where nobody has counted them.
    """

    measurement: Measurement
    proposal: Proposal | None
    status: str
    why: str | None
    threshold: int
    days_left: float | None
    open_concerns: int | None

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        spec, said = self.measurement, self.proposal
        return {
            "measurement": spec.id,
            "revision": spec.revision,
            "status": self.status,
            "why": self.why,
            "spec_sha256": spec.digest().hex(),
            "approvals": [] if said is None else [approval.key_id for approval in said.approvals],
            "approvals_needed": self.threshold,
            "rejections": {} if said is None else said.rejections,
            "revoked": None if said is None or said.revocation is None else said.revocation.reason,
            "effective_from": _utc(spec.effective_from_ms),
            "expires": _utc(spec.expires_ms),
            "days_left": self.days_left,
            "open_concerns": self.open_concerns,
        }

    def __str__(self) -> str:
        spec, said = self.measurement, self.proposal
        words = [f"{spec.id} revision {spec.revision}: {self.status}"]
        if said is not None and self.status in ("proposed", "lapsed"):
            words[0] += f" ({len(said.approvals)} of {self.threshold} approvals)"
        if self.why is not None:
            words.append(self.why)
        words.append(f"from {_utc(spec.effective_from_ms)} to {_utc(spec.expires_ms) or 'no end'}")
        if self.days_left is not None:
            words.append(f"{self.days_left:.1f} days until it expires")
        if said is not None:
            if said.approvals:
                words.append(f"approved by {', '.join(approval.key_id for approval in said.approvals)}")
            words += [f"rejected by {key}: {reason}" for key, reason in said.rejections.items()]
            if said.revocation is not None:
                words.append(f"revoked by {said.revocation.key_id}: {said.revocation.reason}")
        if self.open_concerns is not None:
            words.append(f"{self.open_concerns} open concern{'' if self.open_concerns == 1 else 's'}")
        return terminal_line("; ".join(words))


def standings(
    log: DecisionLog, control: ControlPlane, now_ms: int, open_concerns: Mapping[str, int] | None = None
) -> list[Standing]:
    """The newest proposal of every revision, and what the roles have in force; in the order of names and revisions.

    Args:
        control: the registry as the roles have it.
        now_ms: epoch milliseconds.
        open_concerns: how many are open, by measurement, where somebody has counted.
    """
    found = []
    for _, spec, proposal, entry in spoken_of(log, control):
        concerns = None if open_concerns is None else open_concerns.get(spec.id, 0)
        found.append(standing(spec, proposal, entry, log.threshold, now_ms, concerns))
    return found


def spoken_of(
    log: DecisionLog, control: ControlPlane
) -> list[tuple[str, Measurement, Proposal | None, Approved | None]]:
    """What there is to say something of: the newest proposal of every revision, and what the roles have in force.

    Each with the SHA-256 of the spec, hex.
    """
    entries = {entry.spec.hex(): entry for entry in control.approved()}
    proposals = {proposal.spec_sha256: proposal for proposal in log.proposals}
    specs = {digest: entry.measurement for digest, entry in entries.items()}
    for name in {proposal.measurement.id for proposal in log.proposals}:
        specs |= {proposal.spec_sha256: proposal.measurement for proposal in log.revisions(name)}
    return [
        (digest, spec, proposals.get(digest), entries.get(digest))
        for digest, spec in sorted(specs.items(), key=lambda item: (item[1].id, item[1].revision, item[0]))
    ]


def standing(
    spec: Measurement,
    proposal: Proposal | None,
    entry: Approved | None,
    threshold: int,
    now_ms: int,
    open_concerns: int | None = None,
) -> Standing:
    """Where one revision stands: by its proposal, and by what the roles have in force of it."""
    status, why = _status(proposal, entry, now_ms)
    left = _days_left(spec, now_ms) if status in ("proposed", "scheduled", "active", "unfounded") else None
    return Standing(spec, proposal, status, why, threshold, left, open_concerns)


def _status(proposal: Proposal | None, entry: Approved | None, now_ms: int) -> tuple[str, str | None]:
    """(status, what else to know): what the roles have in force counts, whatever the log says."""
    state = "nothing of it" if proposal is None else proposal.state
    if entry is not None:
        now = entry.state(now_ms)
        if entry.revoked or state == "approved":
            return now, None
        return "unfounded", f"in force ({now}), though the log says {state}: revoke it"
    assert proposal is not None  # it is from the one or the other
    spec = proposal.measurement
    if state == "proposed" and spec.source.arrival == "live" and (spec.effective_from_ms or 0) <= now_ms:
        return "lapsed", None
    return ("refused" if state == "approved" else state), None


def _days_left(spec: Measurement, now_ms: int) -> float | None:
    return None if spec.expires_ms is None else round(max(spec.expires_ms - now_ms, 0) / _DAY_MS, 1)


def history(log: DecisionLog, measurement: str | None = None) -> Iterator[str]:
    """The chain in words, a line a record, oldest first. Of what had no effect it says why, and quotes nothing.

    Args:
        measurement: only of this one; its concerns, and proposals and revocations without effect, are not told apart,
            and left out.
    """
    misfits = {misfit.offset: misfit.why for misfit in log.misfits if misfit.in_chain}
    for entry in log.chain:
        why = misfits.get(entry.offset)
        if measurement is None or _about(entry.decision, why) == measurement:
            yield _line(entry.decision, why)


def _line(decision: Decision, why: str | None) -> str:
    told = _told(decision) if why is None else f"{decision.kind} without effect: {why}"
    return terminal_line(f"{decision.sequence:>4}  {moment(decision.at_ms)}  {decision.key_id}  {told}")


def _about(decision: Decision, why: str | None) -> str | None:
    """Which measurement it is about, as far as the log itself could read it."""
    contents = decision.contents
    if isinstance(contents, Approve | Reject):
        return contents.measurement
    if why is not None:
        return None
    if isinstance(contents, Propose):
        return Measurement.from_canonical(contents.spec.encode()).id
    disposition = disposition_of(contents)
    if disposition is not None:
        return disposition.measurement
    return Revocation.decode(contents.revocation.encode()).measurement if isinstance(contents, Revoke) else None


def _told(decision: Decision) -> str:
    """What a decision that had its effect says."""
    contents = decision.contents
    if isinstance(contents, Propose):
        spec, cost = Measurement.from_canonical(contents.spec.encode()), contents.forecast
        return (
            f"proposes {spec.id} revision {spec.revision} (spec {spec.digest().hex()[:16]}; rho "
            f"{cost.rho_member_day:.4g} a member-day, {cost.rho_30_days:.4g} any 30 days, {cost.rho_year:.4g} a year)"
        )
    if isinstance(contents, Approve):
        return f"approves {contents.measurement} revision {contents.revision} (spec {contents.spec_sha256[:16]})"
    if isinstance(contents, Reject):
        return f"rejects {contents.measurement} revision {contents.revision}: {contents.reason}"
    if isinstance(contents, Revoke):
        revocation = Revocation.decode(contents.revocation.encode())
        return f"revokes {revocation.measurement} revision {revocation.revision}: {revocation.reason}"
    disposition = disposition_of(contents)
    if disposition is not None:
        return (
            f"decides on alarm {disposition.alarm}: cause {disposition.cause}, decision {disposition.decision}; "
            f"follow-up: {disposition.follow_up}" + (f"; found: {disposition.reason}" if disposition.reason else "")
        )
    verb = "answers" if isinstance(contents, Answer) else "closes"
    assert isinstance(contents, Answer | Close)
    return f"{verb} concern {contents.concern}: {contents.text}"


def _utc(moment_ms: int | None) -> str | None:
    return None if moment_ms is None else moment(moment_ms)
