"""Records of `fairness-metrics` of each kind, the same in every run."""

from __future__ import annotations

from typing import Any

import numpy as np

from estimator import GROUPS, CellLayout, NoiseVariance, disparities
from estimator.moments import Moments
from streams.records.metric import Checks, FairnessMetric, NoisedMoments, Privacy, Table, Window, result_of

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


def window(**changes: Any) -> FairnessMetric:
    """A published window's record, changed where the test needs it."""
    parts: dict[str, Any] = {
        "measurement": "feed",
        "level": "10s",
        "end_ms": 1_764_000_010_000,
        "status": "published",
        "reason": None,
        "results": disparities(
            TABLE, cells=CellLayout(AXES), noise_variance=NoiseVariance(100.0), reference="white", rows_per_member=2
        ).results,
        "table": TABLE,
        "moments": MOMENTS,
        "rectifier": -TABLE / 8,
        "privacy": PRIVACY,
    } | changes
    table, moments, rectifier = (parts.pop(name) for name in ("table", "moments", "rectifier"))
    return FairnessMetric(
        revision=1,
        spec_sha256="ab" * 32,
        window=Window(start_ms=1_764_000_000_000, end_ms=parts.pop("end_ms")),
        reference="white",
        confidence=0.95,
        results=tuple(map(result_of, parts.pop("results"))),
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
