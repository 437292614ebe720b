"""Records of `fairness-metrics` of each kind, the same in every run."""

from __future__ import annotations

import json
import math
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from simulated_windows import race_only

from estimator import GROUPS, CellLayout, Correction, Evidence, NoiseVariance, disparities, reestimate
from estimator.moments import Moments
from estimator.recompute import pools_of
from privacy import ChannelNoise, epsilon, parse_measurement, plan_noise
from secure_agg import SCALE
from streams.records.metric import (
    Checks,
    CorrectedBy,
    Difference,
    FairnessMetric,
    NoisedMoments,
    Privacy,
    Table,
    Window,
)
from streams.roles.detecting import LevelDetectors

AXES = (("decision", 2),)
TABLE = np.array([[7000, 850, 300, 300, 50, -12.25], [3000, 150, 300, 100, 50, 8.5]], dtype=np.float64)

PRIVACY = Privacy(
    unit="one member's rows of one UTC day",
    period="day",
    rho=0.1,
    rho_limit=0.6,
    epsilon=2.75,
    epsilon_limit=7.25,
    epsilon_add_remove=2.0,
    delta=1e-9,
    noise_sigma_rows=10.0,
    noise_sigma_rows_moments=20.0,
    noise_sigma_rows_rectifier=30.0,
)
MOMENTS = Moments(np.arange(36.0).reshape(6, 6) + np.arange(36.0).reshape(6, 6).T, 12000.5, -3.25, np.arange(6.0) - 1)
DETECTORS = LevelDetectors(
    estimator="weighted",
    tolerated_gaps={"recommendation_rate": 0.02},
    names=tuple(("recommendation_rate", "all", group) for group in GROUPS[1:]),
    false_alarm_windows=1000,
)


def window(**changes: Any) -> FairnessMetric:
    """A published window's record, changed where the test needs it."""
    parts: dict[str, Any] = {
        "measurement": "feed",
        "level": "10s",
        "end_ms": 1_764_000_010_000,
        "status": "published",
        "reason": None,
        "results": disparities(
            TABLE,
            cells=CellLayout(AXES),
            noise_variance=NoiseVariance(100.0),
            reference="white",
            rows_per_member=2,
            tolerated=DETECTORS.tolerated_gaps,
        ).results,
        "table": TABLE,
        "moments": MOMENTS,
        "rectifier": -TABLE / 8,
        "privacy": PRIVACY,
    } | changes
    results, said = parts.pop("results"), parts["status"] == "published"
    evidence = Evidence.none(len(DETECTORS.names))
    for _ in range(3):
        gaps = DETECTORS.gaps(results, 0.95)
        evidence = DETECTORS.detectors.after(evidence, gaps, parts["end_ms"])
    parts.setdefault("detection", DETECTORS.said(evidence) if said else None)
    table, moments, rectifier = (parts.pop(name) for name in ("table", "moments", "rectifier"))
    return FairnessMetric(
        revision=1,
        spec_sha256="ab" * 32,
        window=Window(start_ms=1_764_000_000_000, end_ms=parts.pop("end_ms")),
        reference="white",
        confidence=0.95,
        results=DETECTORS.results(results, evidence if said else None),
        table=None if table is None else Table.of(CellLayout(AXES), GROUPS, table),
        moments=None if moments is None else NoisedMoments.of(GROUPS, moments),
        rectifier=None if rectifier is None else Table.of(CellLayout(AXES), GROUPS, rectifier),
        rows_per_member=2,
        checks=Checks(
            release_signature_a="aa" * 64, release_signature_b="bb" * 64, debit_a="cc" * 32, debit_b="dd" * 32
        ),
        **parts,
    )


def void() -> FairnessMetric:
    """A window whose releases must not be added."""
    return window(status="void", reason="coverage_differs", results=(), table=None, moments=None, rectifier=None)


def withdrawn() -> FairnessMetric:
    """A window whose measurement was revoked before its end."""
    return FairnessMetric(
        measurement="feed",
        revision=1,
        spec_sha256="ab" * 32,
        level="10s",
        window=Window(start_ms=1_764_000_000_000, end_ms=1_764_000_010_000),
        status="withdrawn",
        reason="revoked",
        reference="white",
        confidence=0.95,
        results=(),
        table=None,
        moments=None,
        rectifier=None,
        privacy=None,
        checks=None,
        supersedes="feed/10s/1764000010000/1",
    )


# -- records that follow from their own tables --------------------------------------------------------------------

SPEC = parse_measurement(
    """
id: feed
revision: 1
purpose: Is everyone recommended alike?
source: {topic: rec-events, member: member_id, time: shown_at}
cells: {score: {field: score, bins: [0.5]}, decision: {field: recommended}}
windows: {base: 1m, rollups: [1h], lateness: 1s, max_future: 1s}
groups: [one, two, three]
reference: one
privacy:
  contribution_cap: 2
  cap_rule: first
  rho_member_day: 2.0
  delta: 1.0e-9
  channel_shares: {table: 0.4, moments: 0.3, rectifier: 0.3}
detection: {tolerated_gap: 0.02, false_alarm_every: 1d}
review: {owner: o, harm_considered: h, data_used: d, retention: r}
effective_from: 2025-11-24T16:00:00Z
expires: 2100-01-01T00:00:00Z
""",
    origin="metric_records",
)
"""Of the records below: its first hour is ``hour(0)``."""

_LAYOUT = CellLayout((("score", 2), ("decision", 2)))
_GROUPS = ("one", "two", "three")
_PLAN = plan_noise(SPEC)
START_MS = 1_764_000_000_000


@cache
def hour(number: int = 0, *, decided: float = 0.0) -> FairnessMetric:
    """A long window with all three parts, as publish would have said it after the hours before.

    Args:
        number: the hour, from START_MS. decided: moves rows of group two to decision 1, which widens its gaps.
    """
    people = race_only(1, weights=np.array([0.5, 0.3, 0.2]), sharpness=1.0, cells=_LAYOUT.count)
    (drawn,) = people.windows(2 + number, 1, rows=40_000, share=0.4, noise=_noise("1h"))
    table = drawn.table.copy()
    moved = decided * table[::2, 1]
    table[::2, 1] -= moved
    table[1::2, 1] += moved
    start_ms = START_MS + 3_600_000 * number
    before = hour(number - 1) if number else None
    return _said("1h", start_ms, start_ms + 3_600_000, table, drawn.moments, drawn.rectifier, before=before)


def minute(after: FairnessMetric, number: int = 0) -> FairnessMetric:
    """A short window behind a long one, which corrects it, and behind ``number`` short ones before it."""
    people = race_only(1, weights=np.array([0.5, 0.3, 0.2]), sharpness=1.0, cells=_LAYOUT.count)
    (drawn,) = people.windows(50 + number, 1, rows=20_000, share=0.4, noise=_noise("1m"))
    start_ms = after.window.end_ms + 60_000 * number
    correction = reestimate(json.loads(after.encode())).correction
    by = CorrectedBy(level=after.level, end_ms=after.window.end_ms)
    before = minute(after, number - 1) if number else None
    return _said("1m", start_ms, start_ms + 60_000, drawn.table, drawn.moments, None, correction, by, before=before)


def void_minutes(before: FairnessMetric) -> list[FairnessMetric]:
    """All minutes of the hour that ends with this record, void: with them nothing of the level is missing."""
    starts = range(before.window.start_ms, before.window.end_ms, 60_000)
    return [
        FairnessMetric(
            **_named("1m", start_ms, start_ms + 60_000),
            status="void",
            reason="coverage_differs",
            results=(),
            table=None,
            moments=None,
            rectifier=None,
            privacy=_privacy("1m"),
            checks=Checks(release_signature_a="aa" * 64, release_signature_b="bb" * 64),
        )
        for start_ms in starts
    ]


def _sigmas(level: str) -> dict[str, float]:
    return {name: math.hypot(noise.scale_units, noise.scale_units) / SCALE for name, noise in _channels(level).items()}


def _channels(level: str) -> dict[str, ChannelNoise]:
    return _PLAN.level(level).channels


def _noise(level: str) -> NoiseVariance:
    return NoiseVariance(**{name: sigma**2 for name, sigma in _sigmas(level).items()})


def _named(level: str, start_ms: int, end_ms: int) -> dict[str, Any]:
    return {
        "measurement": SPEC.id,
        "revision": SPEC.revision,
        "spec_sha256": SPEC.digest().hex(),
        "level": level,
        "window": Window(start_ms=start_ms, end_ms=end_ms),
        "reference": SPEC.reference,
        "confidence": 0.95,
    }


def _privacy(level: str) -> Privacy:
    promise, sigmas = _PLAN.statement(), _sigmas(level)
    return Privacy(
        unit=promise.unit,
        period=promise.period,
        rho=promise.rho,
        rho_limit=6.0,
        epsilon=promise.epsilon,
        epsilon_limit=epsilon(6.0, promise.delta),
        epsilon_add_remove=promise.epsilon_add_remove,
        delta=promise.delta,
        noise_sigma_rows=sigmas["table"],
        noise_sigma_rows_moments=sigmas["moments"],
        noise_sigma_rows_rectifier=sigmas.get("rectifier"),
    )


def _said(
    level: str,
    start_ms: int,
    end_ms: int,
    table: NDArray[np.float64],
    moments: Moments,
    rectifier: NDArray[np.float64] | None,
    correction: Correction | None = None,
    corrected_by: CorrectedBy | None = None,
    *,
    before: FairnessMetric | None,
) -> FairnessMetric:
    detectors = LevelDetectors.of(SPEC, level)
    found = disparities(
        table,
        cells=_LAYOUT,
        reference=SPEC.reference,
        noise_variance=_noise(level),
        moments=moments,
        rectifier=rectifier,
        correction=correction,
        pools=None if before is None else pools_of(json.loads(before.encode())),
        groups=_GROUPS,
        rows_per_member=SPEC.rows_per_member(level),
        tolerated=detectors.tolerated_gaps,
    )
    agreement = found.agreement
    seen = Evidence.none(len(detectors.names))
    if before is not None and before.detection is not None:
        seen = before.detection.evidence(detectors.names)
    evidence = detectors.detectors.after(seen, detectors.gaps(found.results, 0.95), end_ms)
    return FairnessMetric(
        **_named(level, start_ms, end_ms),
        status="published",
        reason=None,
        results=detectors.results(found.results, evidence),
        detection=detectors.said(evidence),
        table=Table.of(_LAYOUT, _GROUPS, table),
        moments=NoisedMoments.of(_GROUPS, moments),
        rectifier=None if rectifier is None else Table.of(_LAYOUT, _GROUPS, rectifier),
        corrected_by=corrected_by,
        rows_per_member=SPEC.rows_per_member(level),
        privacy=_privacy(level),
        checks=Checks(
            estimators=None if agreement is None else "agree" if agreement.agree else "disagree",
            difference=None if agreement is None else Difference.of(agreement),
            release_signature_a="aa" * 64,
            release_signature_b="bb" * 64,
        ),
    )
