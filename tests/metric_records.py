"""Records of `fairness-metrics` of each kind, the same in every run."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray
from simulated_windows import race_only

from estimator import GROUPS, CellLayout, Correction, Evidence, NoiseVariance, disparities, reestimate
from estimator.moments import Moments
from privacy import epsilon
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

_LAYOUT = CellLayout((("score", 2), ("decision", 2)))
_GROUPS = ("one", "two", "three")
_SIGMA = 3.0
_NOISE = NoiseVariance(_SIGMA**2, _SIGMA**2, _SIGMA**2)
START_MS = 1_764_000_000_000


def hour(number: int = 0, *, decided: float = 0.0) -> FairnessMetric:
    """A long window with all three parts, as publish would have said it after the hours before.

    Args:
        number: the hour, from START_MS. decided: moves rows of group two to decision 1, which widens its gaps.
    """
    people = race_only(1, weights=np.array([0.5, 0.3, 0.2]), sharpness=1.0, cells=_LAYOUT.count)
    (drawn,) = people.windows(2 + number, 1, rows=40_000, share=0.4, noise=_NOISE)
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
    (drawn,) = people.windows(50 + number, 1, rows=20_000, share=0.4, noise=_NOISE)
    start_ms = after.window.end_ms + 60_000 * number
    correction = reestimate(json.loads(after.encode())).correction
    by = CorrectedBy(level=after.level, end_ms=after.window.end_ms)
    before = minute(after, number - 1) if number else None
    return _said("1m", start_ms, start_ms + 60_000, drawn.table, drawn.moments, None, correction, by, before=before)


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
    found = disparities(
        table,
        cells=_LAYOUT,
        reference="one",
        noise_variance=_NOISE,
        moments=moments,
        rectifier=rectifier,
        correction=correction,
        groups=_GROUPS,
        rows_per_member=2,
        tolerated={statistic.metric: 0.02 for statistic in _LAYOUT.statistics()},
    )
    agreement = found.agreement
    detectors = LevelDetectors(
        estimator="weighted" if rectifier is None else "rectified",
        tolerated_gaps={statistic.metric: 0.02 for statistic in _LAYOUT.statistics()},
        names=tuple((each.metric, each.score_bin, group) for each in _LAYOUT.statistics() for group in _GROUPS[1:]),
        false_alarm_windows=20,
    )
    seen = Evidence.none(len(detectors.names))
    if before is not None and before.detection is not None:
        seen = before.detection.evidence(detectors.names)
    evidence = detectors.detectors.after(seen, detectors.gaps(found.results, 0.95), end_ms)
    return FairnessMetric(
        measurement="feed",
        revision=1,
        spec_sha256="ab" * 32,
        level=level,
        window=Window(start_ms=start_ms, end_ms=end_ms),
        status="published",
        reason=None,
        reference="one",
        confidence=0.95,
        results=detectors.results(found.results, evidence),
        detection=detectors.said(evidence),
        table=Table.of(_LAYOUT, _GROUPS, table),
        moments=NoisedMoments.of(_GROUPS, moments),
        rectifier=None if rectifier is None else Table.of(_LAYOUT, _GROUPS, rectifier),
        corrected_by=corrected_by,
        rows_per_member=2,
        privacy=Privacy(
            unit="one member's rows of one UTC day",
            period="member-day",
            rho=0.1,
            rho_limit=0.6,
            epsilon=epsilon(0.1, 1e-9),
            epsilon_limit=epsilon(0.6, 1e-9),
            epsilon_add_remove=None,
            delta=1e-9,
            noise_sigma_rows=_SIGMA,
            noise_sigma_rows_moments=_SIGMA,
            noise_sigma_rows_rectifier=None if rectifier is None else _SIGMA,
        ),
        checks=Checks(
            estimators=None if agreement is None else "agree" if agreement.agree else "disagree",
            difference=None if agreement is None else Difference.of(agreement),
            release_signature_a="aa" * 64,
            release_signature_b="bb" * 64,
        ),
    )
