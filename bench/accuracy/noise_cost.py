"""What privacy costs: the half-width of an interval against epsilon and the rows of a window, by estimator.

Every number is read from the *expected* window (no draw, no chance): the mean table, moments and rectifier of the
`direct` world, with the variance of each channel's noise. So the curves are smooth, and say what a typical window of
that length would show.
"""

from __future__ import annotations

import numpy as np

from bench.accuracy.worlds import LAYOUT, NO_NOISE, Inhabited, Window, noise_of
from estimator import Moments, NoiseVariance, disparities
from privacy import epsilon

RHOS = tuple(0.003 * 10**step for step in np.arange(0, 2.76, 0.25).tolist())
ROWS = tuple(round(1000 * 10**step) for step in np.arange(0, 3.1, 0.25).tolist())
CURVES = (10_000, 100_000, 1_000_000)
DELTA = 1e-9
EPSILONS = (0.02, 0.1, 0.5)
"""rho of the curves over rows."""
METRICS = ("recommendation_rate", "predictive_parity")


def run(inhabited: Inhabited) -> dict[str, object]:
    """Points: rho, epsilon (null without noise), rows, estimator, metric, half-width of the black-white gap or null."""
    unit = inhabited.expected(1)
    points = sorted({(rho, rows) for rho in RHOS for rows in CURVES} | {(rho, n) for rho in EPSILONS for n in ROWS})
    found: list[list[object]] = []
    for rho, rows in points:
        found += [[rho, epsilon(rho, DELTA), rows, *row] for row in _half_widths(unit, rows, noise_of(rho, 1))]
    for rows in sorted({*ROWS, *CURVES}):
        found += [[0.0, None, rows, *row] for row in _half_widths(unit, rows, NO_NOISE)]
    return {"delta": DELTA, "points": found}


def _half_widths(unit: Window, rows: int, noise: NoiseVariance) -> list[list[object]]:
    """Estimator, metric, half-width of the black-white gap in a window of so many rows; null where it is hidden."""
    one = unit.moments
    moments = Moments(rows * one.products, rows * one.rows, rows * one.self_id_rows, rows * one.residual_squares)
    results = disparities(
        rows * unit.table,
        cells=LAYOUT,
        reference="white",
        noise_variance=noise,
        moments=moments,
        rectifier=rows * unit.rectifier,
    ).results
    shown = {(r.estimator, r.metric): r.gap for r in results if r.group == "black"}
    return [
        [estimator, metric, None if gap is None else (gap.upper - gap.lower) / 2]
        for estimator in ("weighted", "corrected", "rectified")
        for metric in METRICS
        for gap in (shown.get((estimator, metric)),)
    ]
