"""What a published record's own noised parts say: by every estimator, and about another reference or statistic too.

A record is a value of `fairness-metrics` as JSON gives it (docs/protocol.md). Nothing else of the system is needed, and
nothing more is spent: everything here is post-processing of what is published.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from estimator.cells import CellLayout, Statistic
from estimator.disparity import Correction, Disparities, disparities
from estimator.errors import RecordUnusable
from estimator.moments import Moments
from estimator.rates import NoiseVariance

Record = Mapping[str, Any]


def reestimate(
    record: Record,
    corrected_by: Record | None = None,
    *,
    reference: str | None = None,
    confidence: float | None = None,
    statistics: Sequence[Statistic] | None = None,
    pools: tuple[str, ...] | None = None,
) -> Disparities:
    """What a record's noised parts say, by every estimator that they allow.

    Args:
        record: a published or suppressed window.
        corrected_by: the record that it names so. Without it such a window has no `rectified` results.
        reference, confidence, statistics: in place of the record's own (:meth:`estimator.CellLayout.statistic`).
        pools: of `corrected` in the level's window before, () where there was none; by default the record's own.

    Raises:
        RecordUnusable: it carries no table, its parts do not fit, or ``corrected_by`` is not the record that it names.
        ValueError: no such reference or confidence.
    """
    try:
        table = record["table"]
        if table is None:
            raise RecordUnusable(f"a {record['status']} window carries no table: there is nothing to estimate from")
        privacy = record["privacy"]
        sigmas = {
            name: privacy.get("noise_sigma_rows" + part) or 0.0
            for name, part in (("table", ""), ("moments", "_moments"), ("rectifier", "_rectifier"))
        }
        values = np.array(table["values"], dtype=np.float64)
        cells = layout_of(record)
        groups = tuple(table["groups"])
        moments, rectifier = _moments(record), record["rectifier"]
        noise = NoiseVariance(**{name: sigma**2 for name, sigma in sigmas.items()})
        own = {
            "reference": reference or record["reference"],
            "confidence": record["confidence"] if confidence is None else confidence,
            "rows_per_member": record["rows_per_member"],
        }
        correction = _correction(record, corrected_by, own["confidence"], statistics)
        said = record.get("detection") or {}
        tolerated = {str(metric): float(gap) for metric, gap in said.get("tolerated_gaps", {}).items()}
        if pools is None:
            pools = tuple(dict.fromkeys(r["group"] for r in record["results"] if r["estimator"] == "corrected"))
    except (KeyError, TypeError, AttributeError) as error:
        raise RecordUnusable(f"this is no record of fairness-metrics: {type(error).__name__} at {error}") from None
    return disparities(
        values,
        cells=cells,
        noise_variance=noise,
        moments=moments,
        rectifier=None if rectifier is None else np.array(rectifier["values"], dtype=np.float64),
        correction=correction,
        pools=pools or None,
        groups=groups,
        statistics=statistics,
        tolerated=tolerated,
        **own,
    )


def layout_of(record: Record) -> CellLayout:
    """The cells of a record's table, which must be there."""
    table = record["table"]
    exposure = table.get("exposure")
    axes = tuple((str(name), int(size)) for name, size in table["axes"])
    return CellLayout(axes, None if exposure is None else tuple(exposure))


def _moments(record: Record) -> Moments | None:
    found = record["moments"]
    if found is None:
        return None
    squares = np.array(found["residual_squares"], dtype=np.float64)
    return Moments(np.array(found["products"], dtype=np.float64), found["rows"], found["self_id_rows"], squares)


def rectified_elsewhere(record: Record) -> bool:
    """Whether the window has `rectified` results, but no rectifier of its own."""
    return record["rectifier"] is None and any(r["estimator"] == "rectified" for r in record["results"])


def _correction(
    record: Record, corrected_by: Record | None, confidence: float, statistics: Sequence[Statistic] | None
) -> Correction | None:
    """What corrects a window without a rectifier; an empty one where no window did, None where it is not known."""
    if not rectified_elsewhere(record):
        return None
    named = record.get("corrected_by")
    if named is None:
        return Correction()
    if corrected_by is None:
        return None
    other = {name: corrected_by[name] for name in ("measurement", "spec_sha256", "level")}
    other |= {"end_ms": corrected_by["window"]["end_ms"]}
    wanted = {"measurement": record["measurement"], "spec_sha256": record["spec_sha256"], **named}
    if other != wanted:
        raise RecordUnusable(f"expected the record that corrects this one, {wanted}, got {other}")
    return reestimate(corrected_by, confidence=confidence, statistics=statistics).correction
