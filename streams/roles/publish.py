"""`publish`: adds the two parties' releases and says what they mean: a pure function of signed, first-come releases.

Two releases of one window are added only when they agree on everything and on coverage; otherwise the window is void,
with a reason, and never a number. A published table is never noised again, and nothing here draws noise: all that is
published is post-processing.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from estimator import Correction, Disparities
from privacy import PrivacyStatement, epsilon, plan_noise
from secure_agg import SignatureInvalid
from streams.cell_layout import layout_of
from streams.control import Approved, ControlPlane
from streams.errors import RecordMalformed
from streams.records.debit import NO_DEBIT
from streams.records.metric import (
    Checks,
    CorrectedBy,
    Difference,
    FairnessMetric,
    NoisedMoments,
    Privacy,
    Status,
    Table,
    Window,
    result_of,
)
from streams.records.release import Release, SignedRelease
from streams.roles.channel_layout import ChannelLayout
from streams.roles.noised_window import NoisedWindow, sigma_rows

log = logging.getLogger(__name__)

WindowKey = tuple[str, str, int]
"""(measurement, level, window end)."""

COVERAGE_DIFFERS = "coverage_differs"
RELEASES_DIFFER = "releases_differ"

_CORRECTION_WINDOWS = 8
"""How many lengths of the longest level a correction is used for: then the proxy's bias may have become another."""


@dataclass
class _Pair:
    """What has come of one window: which parties' releases, and the one that waits for the other."""

    parties: set[str] = field(default_factory=set)
    waiting: SignedRelease | None = None


class PublishCore:
    """Joins releases.

    Args:
        control: approved measurements and pinned identities.
        confidence: level of the intervals.
        rho_limit: the registry's limit, shown with every epsilon.
    """

    def __init__(self, control: ControlPlane, *, confidence: float, rho_limit: float) -> None:
        self._control = control
        self._confidence = confidence
        self._rho_limit = rho_limit
        self._pairs: dict[WindowKey, _Pair] = {}
        self._taken: dict[str, set[bytes]] = {"a": set(), "b": set()}
        self._statements: dict[bytes, PrivacyStatement] = {}
        self._corrections: dict[bytes, tuple[CorrectedBy, Correction]] = {}
        self._pools: dict[tuple[bytes, str], tuple[str, ...]] = {}
        self.refused: dict[str, int] = {}
        """Releases that were not taken in, by reason."""
        self.last_release: tuple[str, str, str, int] | None = None
        """(measurement, level, party, window end) of the last release that was taken in."""

    def apply(self, party: str, value: bytes) -> FairnessMetric | None:
        """Take in one record of a party's releases topic; the window's record once both parties are there."""
        digest = hashlib.sha256(value).digest()
        if digest in self._taken[party]:
            return None  # every copy of a release is the same bytes, and has been judged
        try:
            signed = SignedRelease.decode(value)
            signed.verify(self._control.trusted.identities)
            if signed.release.party != party:
                raise RecordMalformed(f"a release of party {signed.release.party} lies on the topic of party {party}")
        except (RecordMalformed, SignatureInvalid) as error:
            self._taken[party].add(digest)  # judged once, however often it is read
            self._refuse("malformed" if isinstance(error, RecordMalformed) else "signature", str(error))
            return None
        approved = self._control.find(signed.release.spec)
        if approved is None:
            self._refuse("unknown_measurement", f"a release of {party} names a spec that is not approved")
            return None
        pair = self._pairs.setdefault(signed.release.key, _Pair())
        self._taken[party].add(digest)
        if party in pair.parties:
            self._refuse("second_release", f"party {party} released one window twice; the first one stands")
            return None
        pair.parties.add(party)
        self.last_release = (signed.release.measurement, signed.release.level, party, signed.release.end_ms)
        other, pair.waiting = pair.waiting, signed
        if other is None:
            return None
        pair.waiting = None
        a, b = (signed, other) if party == "a" else (other, signed)
        # What a says it is, whoever came last: should they not agree, the void record does not depend on it.
        return self._join(self._control.find(a.release.spec) or approved, a, b)

    def _refuse(self, reason: str, text: str) -> None:
        self.refused[reason] = self.refused.get(reason, 0) + 1
        log.error("release refused: %s", text)

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
        found, corrected_by = Disparities(()), None
        if window is not None:
            found, corrected_by = self._disparities(approved, release, window)
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
            results=tuple(map(result_of, found.results)),
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
        )

    def _disparities(
        self, approved: Approved, release: Release, window: NoisedWindow
    ) -> tuple[Disparities, CorrectedBy | None]:
        """What a window says, and the window that corrects it; both are remembered for the windows that follow.

        Both parties release a measurement's windows in the order of their ends, so which windows came before a pair of
        releases does not depend on how the two topics are read: a rebuild gives the same bytes.
        """
        measurement, spec = approved.measurement, approved.spec
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
    # A level that the measurement does not have, or channels in another shape: neither agrees with the spec.
    if a.release.level not in (level.name for level in approved.measurement.levels):
        return RELEASES_DIFFER
    expected = ChannelLayout.of(approved.measurement).released(a.release.level)
    if {channel.name: channel.shape for channel in a.release.channels} != expected:
        return RELEASES_DIFFER
    return None
