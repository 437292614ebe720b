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

from privacy import PrivacyStatement, epsilon, plan_noise
from secure_agg import SignatureInvalid
from streams.control import Approved, ControlPlane
from streams.errors import RecordMalformed
from streams.records.metric import (
    Checks,
    FairnessMetric,
    NoisedMoments,
    Privacy,
    Result,
    Status,
    Table,
    Window,
    result_of,
)
from streams.records.release import SignedRelease
from streams.roles.channel_layout import ChannelLayout
from streams.roles.noised_window import NoisedWindow, sigma_rows

log = logging.getLogger(__name__)

WindowKey = tuple[str, str, int]
"""(measurement, level, window end)."""

COVERAGE_DIFFERS = "coverage_differs"
RELEASES_DIFFER = "releases_differ"


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
        return self._join(approved, *((signed, other) if party == "a" else (other, signed)))

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
        axes, groups = measurement.cell_axes, measurement.group_names
        status: Status = "void" if window is None else "published"
        results: tuple[Result, ...] = ()
        if window is not None:
            results = tuple(map(result_of, window.disparities(measurement, self._confidence)))
            if all(result.value is None for result in results):
                status, reason = "suppressed", "no_group_says_anything"
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
            results=results,
            table=None if window is None else Table.of(axes, groups, window.table),
            moments=None if moments is None else NoisedMoments.of(groups, moments),
            rectifier=None if rectifier is None else Table.of(axes, groups, rectifier),
            privacy=self._privacy(approved, sigma_rows(a, b)),
            checks=Checks(release_signature_a=a.signature.hex(), release_signature_b=b.signature.hex()),
        )

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
