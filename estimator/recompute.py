"""A published record held against its own noised parts (``reestimate``): every number, bit for bit.

Equal means the same double precision numbers, which JSON carries exactly. That is so with the versions that published
them and the same build of numpy; another linear algebra library may sum in another order, and then last digits differ,
and with them, at a limit, whether a group is pooled or suppressed. For the first there is a tolerance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from estimator.comparison import Comparison, Discrepancy
from estimator.disparity import NOT_SEPARABLE, Disparities
from estimator.errors import RecordUnusable
from estimator.evidence_check import TERMS, check_evidence
from estimator.reestimate import Record, rectified_elsewhere, reestimate

__all__ = ["TERMS", "Discrepancy", "Recomputation", "recompute"]

_SILENT = {
    "void": "status: why a window is void shows in its two releases alone",
    "withdrawn": "status: that a window is withdrawn follows from a revocation alone",
}
_NOTHING_SAID = "no_group_says_anything"


@dataclass(frozen=True)
class Recomputation:
    """What became of working a record out again.

    Attributes:
        compared: how many published values were compared; 0 for a window that says nothing.
        discrepancies: all that are not equal, in the record's order.
        unchecked: what could not be worked out, and why; empty where everything was.
        found: what the record's parts say; None where it has none.
    """

    compared: int
    discrepancies: tuple[Discrepancy, ...] = ()
    unchecked: tuple[str, ...] = ()
    found: Disparities | None = None

    @property
    def equal(self) -> bool:
        """Whether everything that was compared is equal."""
        return not self.discrepancies


def recompute(
    record: Record,
    corrected_by: Record | None = None,
    previous: Record | None = None,
    *,
    first: bool = False,
    pools: tuple[str, ...] | None = None,
    terms: Record | None = None,
    tolerance_ulp: int = 0,
) -> Recomputation:
    """Work a record out again from its own noised parts, and compare every number, bit for bit.

    Taken as the record has them: its parts, reference, confidence, cap, noise and what else a spec or a setting of
    `publish` settles (``streams.recomputation`` holds them against the spec).

    Args:
        record: any record of `fairness-metrics`, as JSON gives it.
        corrected_by: the record that it names so; without it `rectified` results of such a window stay unchecked.
        previous: the last record before this one, of the same level and revision, that is neither void nor withdrawn,
            with no window missing between: evidence and the pools of `corrected` go on from it. Without it they stay
            unchecked, but for what follows from this record alone.
        first: there is none such, as the spec's beginning shows: evidence and pools begin here.
        pools: of the last window before that had any (:func:`pools_of`), () where none had; by default those of
            ``previous``.
        terms: ``TERMS`` as the approved spec has them, or any other record of the level and revision; by default those
            of ``previous``. Without either they are taken as the record has them.
        tolerance_ulp: how many units of 2^-52 two numbers may differ by, of 1 or of the larger one if that is above 1;
            0 unless another build of numpy published them.

    Raises:
        RecordUnusable: it is no such record, or another record is not the one that it names.
    """
    compared = Comparison(tolerance_ulp)
    status = _field(record, "status")
    if status not in ("published", "suppressed"):
        for part in ("results", "table", "moments", "rectifier", "detection"):
            if record.get(part):
                compared.holds(False, part, "there", f"nothing: the window is {status}")
        unknown = (_SILENT.get(status, f"status: {status!r} is none that is known here"),)
        return Recomputation(compared.count, tuple(compared.discrepancies), unknown)
    if pools is None and (first or previous is not None):
        pools = pools_of(previous) if previous is not None else ()
    try:
        found = reestimate(record, corrected_by, pools=pools)
        missing = rectified_elsewhere(record) and record.get("corrected_by") is not None and corrected_by is None
    except ValueError as error:  # parts that do not fit; its own reference or confidence, that cannot be
        raise RecordUnusable(f"the record's parts do not fit together: {error}") from None
    unchecked: list[str] = []
    if missing:
        by = record["corrected_by"]
        unchecked.append(f"rectified results: the record of {by['level']} that ends at {by['end_ms']} is not at hand")
    if pools is None and record["moments"] is not None:
        unchecked.append("pools of corrected: those of the level's window before are not at hand")
    compared.results(record["results"], found, leave_out="rectified" if missing else None)
    for name, part in _checks(found):
        compared.value(f"checks.{name}", record["checks"].get(name), part)
    says_nothing = all(result["value"] is None for result in record["results"])
    compared.value("status", status, "suppressed" if says_nothing else "published")
    compared.value("reason", record.get("reason"), _NOTHING_SAID if says_nothing else None)
    try:
        unchecked += check_evidence(record, found, previous, compared, first=first, terms=terms)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise RecordUnusable(f"the record's detection is not in order: {type(error).__name__} at {error}") from None
    return Recomputation(compared.count, tuple(compared.discrepancies), tuple(unchecked), found)


def pools_of(record: Record) -> tuple[str, ...] | None:
    """The groups of `corrected`; None where it separates none, and those of an earlier window stay."""
    corrected = [result for result in record["results"] if result["estimator"] == "corrected"]
    if not corrected or corrected[0]["suppressed"] == NOT_SEPARABLE:
        return None
    return tuple(dict.fromkeys(result["group"] for result in corrected))


def _field(record: Record, name: str) -> Any:
    try:
        return record[name]
    except (KeyError, TypeError):
        raise RecordUnusable(f"this is no record of fairness-metrics: it has no {name}") from None


def _checks(found: Disparities) -> Iterator[tuple[str, Any]]:
    agreement = found.agreement
    if agreement is None:
        yield from (("estimators", None), ("difference", None))
        return
    yield "estimators", "agree" if agreement.agree else "disagree"
    yield "difference", asdict(agreement.largest) | {"limit": agreement.limit, "comparisons": agreement.comparisons}
