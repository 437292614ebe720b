"""Approvals: who signed which terms and when, what is in force, what ends when, and what was stopped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from html import escape
from types import MappingProxyType

from privacy.decisions import Approve, DecisionLog, Proposal, Reject
from privacy.measurement import Measurement
from streams.control import Approved, ControlPlane
from streams.report import page
from streams.report.decisions import Standing, spoken_of, standing
from streams.report.numbers import moment
from streams.watch.pages.base import definitions, link, path_of
from streams.watch.pages.glossary import term
from streams.watch.pages.registry import Page, Params
from streams.watch.pages.site import Snapshot

_READING = "The log of reviewers' decisions is still being read."
_STATES = {
    "proposed": "proposed: it waits for approvals, and nothing is counted",
    "lapsed": "lapsed: it was to begin before it was approved",
    "rejected": "rejected",
    "replaced": "replaced by another proposal",
    "scheduled": "approved: it has not begun",
    "active": "in force",
    "superseded": "over: a later revision has taken over",
    "expired": "over: its end has passed",
    "revoked": "stopped by a reviewer, for good",
    "refused": "approved, and refused by the roles all the same",
    "unfounded": "in force without the approvals that the log should hold: reviewers should revoke it",
}


@dataclass(frozen=True)
class Said:
    """What is known of a revision: its proposal as it was then, and what the roles have in force of it.

    Attributes:
        spec_sha256: of the spec, hex.
        signed_ms: by key id, when each approval that stands was given, by that reviewer's clock, epoch milliseconds.
    """

    spec_sha256: str
    measurement: Measurement
    proposal: Proposal | None
    entry: Approved | None
    signed_ms: Mapping[str, int]


@dataclass(frozen=True)
class ApprovalsShown:
    """The log of decisions at a moment.

    Attributes:
        threshold, reviewers: k of n must approve.
        decisions: how many records its chain has. head: SHA-256 (hex) of the last one.
        said: by measurement and revision.
    """

    threshold: int
    reviewers: int
    decisions: int
    head: str
    said: tuple[Said, ...]

    @classmethod
    def of(cls, log: DecisionLog, control: ControlPlane) -> ApprovalsShown:
        """What a log and the registry say now, apart from either."""
        signed = _signed(log)
        return cls(
            log.threshold,
            log.reviewers,
            len(log.chain),
            log.head,
            tuple(
                Said(digest, spec, _copied(proposal), entry, MappingProxyType(signed.get(digest, {})))
                for digest, spec, proposal, entry in spoken_of(log, control)
            ),
        )


def _copied(proposal: Proposal | None) -> Proposal | None:
    if proposal is None:
        return None
    return replace(proposal, words=dict(proposal.words), revocations=list(proposal.revocations))


def _signed(log: DecisionLog) -> dict[str, dict[str, int]]:
    """By spec and key, when the approval that stands was given."""
    found: dict[str, dict[str, int]] = {}
    for entry in log.chain:
        decision, contents = entry.decision, entry.decision.contents
        if isinstance(contents, Approve):
            found.setdefault(contents.spec_sha256, {}).setdefault(decision.key_id, decision.at_ms)
        elif isinstance(contents, Reject):
            found.get(contents.spec_sha256, {}).pop(decision.key_id, None)
    return found


def render(snapshot: Snapshot, params: Params) -> Iterable[str]:
    """The page."""
    shown = snapshot.of(ApprovalsShown)
    if shown is None:
        yield page.paragraph(_READING, "notice")
        return
    yield (
        f"<p>Nothing is counted without {term('approval', 'approvals')}: {shown.threshold} of {shown.reviewers} "
        f"{term('reviewer', 'reviewers')} must sign a {term('measurement', 'measurement')}'s exact terms. Any one of "
        f"them can stop it ({term('revocation')}), for good.</p>"
    )
    yield page.paragraph(_summary(shown, snapshot.now_ms), "lead")
    for said in shown.said:
        yield from _revision(said, shown.threshold, snapshot.now_ms)
    yield page.heading("Check it yourself")
    yield page.paragraph(
        f"Every decision is a signed record, {shown.decisions:,} so far, each of which holds the hash of the one "
        "before. Whoever may read the topic can check all of it, with the public keys alone. This page has read up to:"
    )
    yield f"<p><code>{escape(shown.head)}</code></p>"
    yield "<pre><code>evenstream measurement verify</code></pre>"


def _summary(shown: ApprovalsShown, now_ms: int) -> str:
    states = [_standing(said, shown.threshold, now_ms).status for said in shown.said]
    if not states:
        return "No measurement has been proposed."
    count = sum(state in ("active", "unfounded") for state in states)
    waiting = sum(state == "proposed" for state in states)
    told = f"{count} revision{' is' if count == 1 else 's are'} in force"
    return told + (f", and {waiting} wait{'s' if waiting == 1 else ''} for approvals." if waiting else ".")


def _standing(said: Said, threshold: int, now_ms: int) -> Standing:
    return standing(said.measurement, said.proposal, said.entry, threshold, now_ms)


def _revision(said: Said, threshold: int, now_ms: int) -> Iterator[str]:
    spec, now = said.measurement, _standing(said, threshold, now_ms)
    yield page.heading(f"{spec.id}, revision {spec.revision}")
    if now.status in ("unfounded", "refused"):
        yield page.paragraph(_STATES[now.status], "notice")
    yield definitions(list(_facts(said, now)))


def _facts(said: Said, now: Standing) -> Iterator[tuple[str, str]]:
    spec, proposal = said.measurement, said.proposal
    yield "State", escape(_STATES[now.status])
    if proposal is not None:
        yield "Proposed", escape(f"{moment(proposal.at_ms)}, by {proposal.proposer}")
        given = [
            f"{approval.key_id}, {moment(said.signed_ms[approval.key_id])}"
            if approval.key_id in said.signed_ms
            else approval.key_id
            for approval in proposal.approvals
        ]
        yield f"Approved by {len(given)} of {now.threshold} that are needed", escape("; ".join(given) or "nobody yet")
        if proposal.rejections:
            yield "Rejected by", escape("; ".join(f"{key}: {why}" for key, why in proposal.rejections.items()))
        if proposal.revocation is not None:
            stopped = proposal.revocation
            yield "Stopped", escape(f"{moment(stopped.at_ms)}, by {stopped.key_id}: {stopped.reason}")
    yield "Begins", escape("not said" if spec.effective_from_ms is None else moment(spec.effective_from_ms))
    left = f" ({now.days_left:g} days from now)" if now.days_left is not None else ""
    yield "Ends", escape("no end is set" if spec.expires_ms is None else moment(spec.expires_ms) + left)
    digest = f"<code>{said.spec_sha256}</code>"
    if said.entry is not None:
        yield "Terms", f"{link(terms_path(spec), f'what was signed for {spec.id}')}, SHA-256 {digest}"
    else:
        yield "Terms", f"not in force; SHA-256 {digest}"


def terms_path(spec: Measurement) -> str:
    """Where a measurement's terms are shown."""
    return path_of("measurements", spec.id) + f"#{spec.id}-{spec.revision}"


def data(snapshot: Snapshot, params: Params) -> object:
    """The same as JSON; null while it is still being read."""
    shown = snapshot.of(ApprovalsShown)
    if shown is None:
        return {"revisions": None}
    return {
        "approvals_needed": shown.threshold,
        "reviewers": shown.reviewers,
        "decisions": shown.decisions,
        "head": shown.head,
        "revisions": [
            _standing(said, shown.threshold, snapshot.now_ms).as_json() | {"signed_ms": dict(said.signed_ms)}
            for said in shown.said
        ],
    }


PAGES = (Page("/approvals", "Approvals", render, data, nav="Approvals"),)
