"""`publish`: adds the two parties' releases and says what they mean: a pure function of signed, first-come releases.

Two releases of one window are added only when they agree on everything and on coverage; otherwise the window is void,
with a reason, and never a number. A published table is never noised again, and nothing here draws noise: all that is
published is post-processing.
"""

from __future__ import annotations

import hashlib
import logging
import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from estimator import CellLayout, NoiseVariance, disparities, implausible
from privacy import PrivacyStatement, epsilon, plan_noise
from secure_agg import SCALE, SignatureInvalid
from secure_agg.ring import to_rows
from streams.control import Approved, ControlPlane
from streams.errors import RecordMalformed
from streams.records.metric import Checks, FairnessMetric, Privacy, Result, Status, Table, Window, result_of
from streams.records.release import SignedRelease

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
        reason = _disagreement(a, b)
        table: NDArray[np.float64] | None = None
        sigma_rows = math.hypot(a.release.sigma_units, b.release.sigma_units) / SCALE
        if reason is None:
            share_a, share_b = a.table, b.table
            assert share_a is not None and share_b is not None  # both are "released"
            table = to_rows(share_a + share_b)
            reason = implausible(table, sigma_rows)
        if reason is not None:
            log.error("window %s is void: %s", "/".join(map(str, a.release.key)), reason)
            return self._record(approved, a, b, "void", reason, None, sigma_rows)
        return self._record(approved, a, b, "published", None, table, sigma_rows)

    def _record(
        self,
        approved: Approved,
        a: SignedRelease,
        b: SignedRelease,
        status: Status,
        reason: str | None,
        table: NDArray[np.float64] | None,
        sigma_rows: float,
    ) -> FairnessMetric:
        measurement, release = approved.measurement, a.release
        results: tuple[Result, ...] = ()
        shown = None
        if table is not None:
            layout = CellLayout(measurement.cell_axes)
            results = tuple(
                result_of(disparity)
                for disparity in disparities(
                    table,
                    cells=layout,
                    reference=measurement.reference,
                    noise_variance=NoiseVariance(sigma_rows**2),
                    confidence=self._confidence,
                    rows_per_member=measurement.privacy.contribution_cap,
                ).results
            )
            shown = Table.of(measurement.cell_axes, table)
            if all(result.value is None for result in results):
                status, reason = "suppressed", "no_group_says_anything"
        statement = self.statement(approved)
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
            table=shown,
            privacy=Privacy(
                unit=statement.unit,
                period=statement.period,
                rho=statement.rho,
                rho_limit=self._rho_limit,
                epsilon=statement.epsilon,
                epsilon_limit=epsilon(self._rho_limit, statement.delta),
                epsilon_add_remove=statement.epsilon_add_remove,
                delta=statement.delta,
                noise_sigma_rows=sigma_rows,
            ),
            checks=Checks(release_signature_a=a.signature.hex(), release_signature_b=b.signature.hex()),
        )

    def statement(self, approved: Approved) -> PrivacyStatement:
        """What a measurement promises, worked out once."""
        statement = self._statements.get(approved.spec)
        if statement is None:
            statement = self._statements[approved.spec] = plan_noise(approved.measurement).statement()
        return statement


def _disagreement(a: SignedRelease, b: SignedRelease) -> str | None:
    """Why two releases of one window must not be added, or None."""
    for release in (a.release, b.release):
        if release.status == "refused":
            return release.reason or "refused"
    for release in (a.release, b.release):
        if release.status == "void":
            return release.reason or "void"
    if a.release.coverage != b.release.coverage:
        return COVERAGE_DIFFERS
    same = ("revision", "spec", "start_ms", "end_ms", "cells", "columns", "rho", "sigma_units")
    if any(getattr(a.release, name) != getattr(b.release, name) for name in same):
        return RELEASES_DIFFER
    return None
