"""`publish`: adds the two parties' releases and says what they mean: a pure function of signed, first-come releases.

Two releases of one window are added only when they agree on everything and on coverage; otherwise the window is void,
with a reason, and never a number. A published table is never noised again, and nothing here draws noise: all that is
published is post-processing.

What is said last of a window does not depend on the order in which releases and revocations are read. A window that
ends after its measurement was revoked is withdrawn if both parties have released it; the window that holds the
revocation is withdrawn in any case, which tells each level's subscribers. Where numbers were published before the
revocation was read, the withdrawal takes their place.
"""

from __future__ import annotations

import hashlib
import logging
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from estimator import Correction, Disparities
from privacy import PrivacyStatement, epsilon, plan_noise
from privacy.revocation import YEAR_10000_MS
from secure_agg import SignatureInvalid
from streams.cell_layout import layout_of
from streams.control import Approved, ControlPlane
from streams.errors import RecordMalformed
from streams.records import frame
from streams.records.debit import NO_DEBIT
from streams.records.metric import (
    VERSION,
    Checks,
    CorrectedBy,
    Difference,
    FairnessMetric,
    NoisedMoments,
    Privacy,
    Status,
    Table,
    Window,
)
from streams.records.release import Release, SignedRelease
from streams.roles.channel_layout import ChannelLayout
from streams.roles.detecting import LevelEvidence, LevelName
from streams.roles.emitted import EmittedWindows, Outcome
from streams.roles.noised_window import NoisedWindow, sigma_rows

log = logging.getLogger(__name__)

WindowKey = tuple[str, str, int]
"""(measurement, level, window end)."""

COVERAGE_DIFFERS = "coverage_differs"
RELEASES_DIFFER = "releases_differ"
REVOKED = "revoked"
SECOND_RELEASE = "second_release"
NOT_IN_SPEC = "not_in_spec"
NEWER_VERSION = "newer_version"
UNATTRIBUTED = ("malformed", "signature", "unknown_measurement", NEWER_VERSION)
"""Why a release is not taken in that cannot be laid to a measurement's account."""

BUDGET_REASONS = (
    "budget_exceeded_day",
    "budget_exceeded_30_days",
    "budget_exceeded_year",
    "budget_exceeded_terms",
)
"""Why a party refuses to release: its ledger has no room for the member-day, or knows the revision on other terms."""

_OTHER_BUDGET_REASON = "budget_exceeded"

_CORRECTION_WINDOWS = 8
"""How many lengths of the longest level a correction is used for: then the proxy's bias may have become another."""


@dataclass
class _Pair:
    """What has come of one window: which parties' releases, and the one that waits for the other."""

    parties: set[str] = field(default_factory=set)
    waiting: SignedRelease | None = None
    joined: bytes | None = None
    """The spec under which both were taken."""


class PublishCore:
    """Joins releases.

    Args:
        control: approved measurements and pinned identities.
        confidence: level of the intervals.
        rho_limit: the registry's limit, shown with every epsilon.
        emitted: what `fairness-metrics` holds already; its windows are not estimated again (``emitted``).
    """

    def __init__(
        self, control: ControlPlane, *, confidence: float, rho_limit: float, emitted: EmittedWindows | None = None
    ) -> None:
        self._control = control
        self._emitted = emitted
        self._confidence = confidence
        self._rho_limit = rho_limit
        self._pairs: dict[WindowKey, _Pair] = {}
        self._taken: dict[str, set[bytes]] = {"a": set(), "b": set()}
        self._too_new: set[str] = set()
        self._statements: dict[bytes, PrivacyStatement] = {}
        self._corrections: dict[bytes, tuple[CorrectedBy, Correction]] = {}
        self._unread_corrections: dict[bytes, deque[tuple[SignedRelease, SignedRelease]]] = {}
        """By spec: long windows that were emitted before this start, whose corrections no window has asked for yet."""
        self._pools: dict[tuple[bytes, str], tuple[str, ...]] = {}
        self._evidence = LevelEvidence()
        self._withdrawn: set[WindowKey] = set()
        self._revoked: set[tuple[bytes, int]] = set()
        self.refused: dict[tuple[str, str, str], int] = {}
        """By (measurement, party, reason): releases that were not taken in, and those that a party's budget forbade.

        No measurement is named where it could not be believed: without a valid signature, or an approved spec.
        """
        self.last_release: tuple[str, str, str, int] | None = None
        """(measurement, level, party, window end) of the last release that was taken in."""
        self.last_withheld: FairnessMetric | None = None
        """What the last two releases came to, where their window was withdrawn; to be counted, never shown."""
        self.last_emitted: Outcome | None = None
        """What the last two releases came to, where their record lies on `fairness-metrics` already."""
        self.last_paid_for: tuple[Approved, int] | None = None
        """(revision, window start) of the last release of numbers that was taken in: its day is paid for."""

    @property
    def lost(self) -> set[LevelName]:
        """Levels of which a window had to go without evidence: this core is of no more use (``detecting``)."""
        return self._evidence.lost

    def apply(self, party: str, value: bytes) -> FairnessMetric | None:
        """Take in one record of a party's releases topic; the window's record once both parties are there.

        None as well where ``last_emitted`` says what it came to.
        """
        self.last_withheld = self.last_emitted = None
        digest = hashlib.sha256(value).digest()
        if digest in self._taken[party]:
            return None  # every copy of a release is the same bytes, and has been judged
        if party in self._too_new or frame.is_newer(value, party, self._control.trusted.identities):
            self._wait_for_upgrade(party, value, digest)
            return None
        try:
            signed = SignedRelease.decode(value)
            signed.verify(self._control.trusted.identities)
            if signed.release.party != party:
                raise RecordMalformed(f"a release of party {signed.release.party} lies on the topic of party {party}")
        except (RecordMalformed, SignatureInvalid) as error:
            self._taken[party].add(digest)  # judged once, however often it is read
            self._refuse("", party, "malformed" if isinstance(error, RecordMalformed) else "signature", str(error))
            return None
        release = signed.release
        approved = self._control.find(release.spec)
        if approved is None:
            self._refuse("", party, "unknown_measurement", "it names a spec that is not approved")
            return None
        self._taken[party].add(digest)
        measurement = approved.measurement
        named = (release.measurement, release.revision) == (measurement.id, measurement.revision)
        if not named or not approved.has_window(release.level, release.start_ms, release.end_ms):
            self._refuse(measurement.id, party, NOT_IN_SPEC, "its spec has no such name, revision, level or window")
            return None
        pair = self._pairs.setdefault(release.key, _Pair())
        if party in pair.parties:
            self._refuse(measurement.id, party, SECOND_RELEASE, "its window was released before; the first one stands")
            return None
        pair.parties.add(party)
        if release.status == "refused":
            reason = release.reason if release.reason in BUDGET_REASONS else _OTHER_BUDGET_REASON
            self._refuse(measurement.id, party, reason, f"the party refuses {'/'.join(map(str, release.key))}")
        elif release.status == "released":
            self.last_paid_for = (approved, release.start_ms)
        self.last_release = (release.measurement, release.level, party, release.end_ms)
        other, pair.waiting = pair.waiting, signed
        if other is None:
            return None
        pair.waiting = None
        a, b = (signed, other) if party == "a" else (other, signed)
        # What a says it is, whoever came last: should they not agree, the void record does not depend on it.
        approved = self._control.find(a.release.spec) or approved
        pair.joined = approved.spec
        withdrawn = approved.withdraws(a.release.end_ms)
        if self._emitted is not None and not withdrawn:
            self.last_emitted = self._emitted.outcome(a, b)
            if self.last_emitted is not None:
                self._remember(approved, a, b, self.last_emitted)
                return None
        joined = self._join(approved, a, b)
        if not withdrawn:
            return joined
        self.last_withheld = joined
        return self._withdraw(approved, a.release.level, a.release.end_ms)

    def _wait_for_upgrade(self, party: str, value: bytes, digest: bytes) -> None:
        """Take in nothing more of a party that writes what cannot be read here.

        No window is void for it: a later version finds all of it on the topic, in its order, and what it then says of
        the windows after it (their pools and corrections follow from those before) is what it would have said at once.
        """
        self._taken[party].add(digest)
        key = ("", party, NEWER_VERSION)
        self.refused[key] = self.refused.get(key, 0) + 1
        if party not in self._too_new:
            self._too_new.add(party)
            log.error(
                "party %s writes releases of format version %d and this role reads versions up to %d: nothing more of "
                "the party is taken in. Upgrade publish; it then publishes every window since, and none is lost",
                party,
                frame.version_of(value),
                frame.FORMAT_VERSION,
            )

    def _refuse(self, measurement: str, party: str, reason: str, text: str) -> None:
        key = (measurement, party, reason)
        self.refused[key] = self.refused.get(key, 0) + 1
        log.error("release of party %s refused (%s): %s", party, reason, text)

    # -- revocation -----------------------------------------------------------------------------------------------

    def withdrawals(self) -> list[FairnessMetric]:
        """What the revocations that were read since the last call withdraw; ask whenever the control plane changes."""
        records = []
        for approved in self._control.approved():
            moments = {(approved.spec, at_ms) for at_ms in self._control.revocation_moments(approved.spec)}
            if moments <= self._revoked:
                continue
            # Each moment marks a window of each level, so that what stands last does not depend on when each was read.
            ends = {window for _, at_ms in moments - self._revoked for window in _windows_at(approved, at_ms)}
            self._revoked |= moments
            joined = {key[1:] for key, pair in self._pairs.items() if pair.joined == approved.spec}
            for level, end_ms in sorted(ends | joined, key=lambda window: (window[1], window[0])):
                record = self._withdraw(approved, level, end_ms) if approved.withdraws(end_ms) else None
                if record is not None:
                    records.append(record)
        return records

    def _withdraw(self, approved: Approved, level: str, end_ms: int) -> FairnessMetric | None:
        """A window's withdrawal, once."""
        measurement = approved.measurement
        key = (measurement.id, level, end_ms)
        if key in self._withdrawn:
            return None
        self._withdrawn.add(key)
        name = "/".join(map(str, key))
        log.warning("window %s is withdrawn: its measurement was revoked", name)
        return FairnessMetric(
            measurement=measurement.id,
            revision=measurement.revision,
            spec_sha256=approved.spec.hex(),
            level=level,
            window=Window(start_ms=end_ms - dict(_lengths(approved))[level], end_ms=end_ms),
            status="withdrawn",
            reason=REVOKED,
            reference=measurement.reference,
            confidence=self._confidence,
            results=(),
            table=None,
            moments=None,
            rectifier=None,
            privacy=None,
            checks=None,
            # Whether it was ever written or not: that depends on what was read first, and these bytes must not.
            supersedes=f"{name}/{VERSION}",
        )

    # -- numbers --------------------------------------------------------------------------------------------------

    def _join(self, approved: Approved, a: SignedRelease, b: SignedRelease) -> FairnessMetric:
        reason = _disagreement(approved, a, b)
        window: NoisedWindow | None = None
        if reason is None:
            window = NoisedWindow.of(a, b)
            reason = window.implausible()
        if reason is not None:
            log.error("window %s is void: %s", "/".join(map(str, a.release.key)), reason)
            window = None
        return self._metric(approved, a, b, reason, window)

    def _metric(
        self, approved: Approved, a: SignedRelease, b: SignedRelease, reason: str | None, window: NoisedWindow | None
    ) -> FairnessMetric:
        measurement, release = approved.measurement, a.release
        layout, groups = layout_of(measurement), measurement.group_names
        status: Status = "void" if window is None else "published"
        found, corrected_by, evidence = Disparities(()), None, None
        detectors = self._evidence.detectors(approved, release.level)
        if window is not None:
            found, corrected_by = self._disparities(approved, release, window)
            if not approved.withdraws(release.end_ms):  # of these nothing is shown, and nothing but them comes after
                evidence = self._evidence.after(
                    approved,
                    release.level,
                    release.end_ms,
                    found.results,
                    self._confidence,
                    needed=not self._ended_without(approved, a, b),
                )
            if all(result.value is None for result in found.results):
                status, reason = "suppressed", "no_group_says_anything"
        agreement = found.agreement
        moments = None if window is None else window.moments
        rectifier = None if window is None else window.rectifier
        return FairnessMetric(
            measurement=release.measurement,
            revision=release.revision,
            spec_sha256=release.spec.hex(),
            level=release.level,
            window=Window(start_ms=release.start_ms, end_ms=release.end_ms),
            status=status,
            reason=reason,
            reference=measurement.reference,
            confidence=self._confidence,
            results=detectors.results(found.results, evidence),
            table=None if window is None else Table.of(layout, groups, window.table),
            moments=None if moments is None else NoisedMoments.of(groups, moments),
            rectifier=None if rectifier is None else Table.of(layout, groups, rectifier),
            corrected_by=corrected_by,
            rows_per_member=None if window is None else measurement.rows_per_member(release.level),
            privacy=self._privacy(approved, sigma_rows(a, b)),
            checks=Checks(
                estimators=None if agreement is None else "agree" if agreement.agree else "disagree",
                difference=None if agreement is None else Difference.of(agreement),
                release_signature_a=a.signature.hex(),
                release_signature_b=b.signature.hex(),
                debit_a=_debit(a),
                debit_b=_debit(b),
            ),
            detection=None if evidence is None else detectors.said(evidence),
        )

    def _ended_without(self, approved: Approved, a: SignedRelease, b: SignedRelease) -> bool:
        """Whether this is the last that a level says, and an earlier version has published it without evidence.

        Then it is shown without. A level that has windows to come needs the evidence for them, and soon has it.
        """
        if self._emitted is None or not self._emitted.lacks_evidence(a, b):
            return False
        return not approved.covers(self._emitted.newest_end_ms(a.release.measurement, a.release.level))

    def _disparities(
        self, approved: Approved, release: Release, window: NoisedWindow
    ) -> tuple[Disparities, CorrectedBy | None]:
        """What a window says, and the window that corrects it; both are remembered for the windows that follow.

        Both parties release a measurement's windows in the order of their ends, so which windows came before a pair of
        releases does not depend on how the two topics are read: a rebuild gives the same bytes.
        """
        measurement, spec = approved.measurement, approved.spec
        self._read_corrections(approved)
        corrected_by, correction = None, None
        if "rectifier" in measurement.channels and window.rectifier is None:
            corrected_by, correction = self._correction(approved, release.start_ms)
        found = window.disparities(
            measurement,
            release.level,
            confidence=self._confidence,
            correction=correction,
            pools=self._pools.get((spec, release.level)),
        )
        if found.pools is not None:
            self._pools[spec, release.level] = found.pools
        if found.correction is not None and found.correction.shifts:  # a poor long window leaves the one before it
            self._corrections[spec] = CorrectedBy(level=release.level, end_ms=release.end_ms), found.correction
        return found, corrected_by

    def _remember(self, approved: Approved, a: SignedRelease, b: SignedRelease, outcome: Outcome) -> None:
        """Carry over to later windows what an emitted one would have, without estimating from it."""
        if outcome.pools is not None:
            self._pools[approved.spec, a.release.level] = outcome.pools
        if outcome.status != "void":
            self._evidence.passed_over(approved, a.release.level, a.release.end_ms, outcome.detection)
        if outcome.status != "void" and a.channel("rectifier") is not None:
            # As many as a later window may ask for: older ones are too old for it.
            unread = self._unread_corrections.setdefault(approved.spec, deque(maxlen=_CORRECTION_WINDOWS))
            unread.append((a, b))

    def _read_corrections(self, approved: Approved) -> None:
        """Learn the newest correction of the windows that were passed over: a pure function of its two releases."""
        unread = self._unread_corrections.pop(approved.spec, deque())
        while unread:
            a, b = unread.pop()
            found = NoisedWindow.of(a, b).disparities(
                approved.measurement, a.release.level, confidence=self._confidence, correction=None, pools=None
            )
            if found.correction is not None and found.correction.shifts:
                by = CorrectedBy(level=a.release.level, end_ms=a.release.end_ms)
                self._corrections[approved.spec] = by, found.correction
                return

    def _correction(self, approved: Approved, start_ms: int) -> tuple[CorrectedBy | None, Correction]:
        """The newest correction that a window may use; an empty one where there is none."""
        known = self._corrections.get(approved.spec)
        if known is not None:
            age_ms, longest_ms = start_ms - known[0].end_ms, approved.measurement.levels[-1].length_ms
            if 0 <= age_ms < _CORRECTION_WINDOWS * longest_ms:
                return known
        return None, Correction()

    def _privacy(self, approved: Approved, sigmas: Mapping[str, float]) -> Privacy:
        statement = self.statement(approved)
        return Privacy(
            unit=statement.unit,
            period=statement.period,
            rho=statement.rho,
            rho_limit=self._rho_limit,
            epsilon=statement.epsilon,
            epsilon_limit=epsilon(self._rho_limit, statement.delta),
            epsilon_add_remove=statement.epsilon_add_remove,
            delta=statement.delta,
            noise_sigma_rows=sigmas["table"],
            noise_sigma_rows_moments=sigmas.get("moments"),
            noise_sigma_rows_rectifier=sigmas.get("rectifier"),
        )

    def statement(self, approved: Approved) -> PrivacyStatement:
        """What a measurement promises, worked out once."""
        statement = self._statements.get(approved.spec)
        if statement is None:
            statement = self._statements[approved.spec] = plan_noise(approved.measurement).statement()
        return statement


def _windows_at(approved: Approved, at_ms: int) -> Iterator[tuple[str, int]]:
    """(level, end) of the windows that hold a moment, or the first ones where it is before them."""
    for level, length in _lengths(approved):
        start_ms = max(at_ms, approved.from_ms) // length * length
        if approved.covers(start_ms) and start_ms + length < YEAR_10000_MS:
            yield level, start_ms + length


def _lengths(approved: Approved) -> list[tuple[str, int]]:
    return [(level.name, level.length_ms) for level in approved.measurement.levels]


def _debit(signed: SignedRelease) -> str | None:
    """The debit that pays for a release, hex; None where nothing was released."""
    return None if signed.release.debit == NO_DEBIT else signed.release.debit.hex()


def _disagreement(approved: Approved, a: SignedRelease, b: SignedRelease) -> str | None:
    """Why two releases of one window must not be added, or None."""
    for release in (a.release, b.release):
        if release.status == "refused":
            return release.reason or "refused"
    for release in (a.release, b.release):
        if release.status == "void":
            return release.reason or "void"
    if a.release.coverage != b.release.coverage:
        return COVERAGE_DIFFERS
    same = ("revision", "spec", "start_ms", "end_ms", "channels")
    if any(getattr(a.release, name) != getattr(b.release, name) for name in same):
        return RELEASES_DIFFER
    # Channels in another shape do not agree with the spec.
    expected = ChannelLayout.of(approved.measurement).released(a.release.level)
    if {channel.name: channel.shape for channel in a.release.channels} != expected:
        return RELEASES_DIFFER
    return None
