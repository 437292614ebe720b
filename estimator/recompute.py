"""A published record held against its own noised parts (``reestimate``): every number, bit for bit.

Equal means the same double precision numbers, which JSON carries exactly. That is so with the versions that published
them and the same build of numpy; another linear algebra library may sum in another order, and then last digits differ,
and with them, at a limit, whether a group is pooled or suppressed. For the first there is a tolerance.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from estimator.detection import BETS, DetectorName, Detectors, Deviations, Evidence, Gaps
from estimator.disparity import Disparities
from estimator.errors import RecordUnusable
from estimator.reestimate import Record, layout_of, rectified_elsewhere, reestimate

_ULP = 2.0**-52
_RESULT = ("metric", "score_bin", "group", "estimator")
_NUMBERS = ("value", "gap", "ratio", "suppressed")
_GATHERED = ("log_evidence", "alarm", "alarm_since_ms")
TERMS = ("estimator", "false_alarm_windows", "tolerated_gaps")
"""What a `detection` says that its revision's spec settles: the same in every record of the level."""


@dataclass(frozen=True)
class Discrepancy:
    """Where a record says something else than its parts: a path as in ``results[3].gap.lower``, and both numbers."""

    where: str
    published: object
    recomputed: object

    def __str__(self) -> str:
        return f"{self.where}: published {self.published!r}, recomputed {self.recomputed!r}"


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
    terms: Record | None = None,
    tolerance_ulp: int = 0,
) -> Recomputation:
    """Work a record out again from its own noised parts, and compare every number, bit for bit.

    Args:
        record: any record of `fairness-metrics`, as JSON gives it.
        corrected_by: the record that it names so; without it `rectified` results of such a window stay unchecked.
        previous: the last record with a `detection` before this one, of the same level and revision: evidence goes on
            from it. Without it the record is taken for the first, and where it is not, it stays unchecked whether its
            evidence follows from the windows before; what follows from its own state is compared.
        terms: ``TERMS`` as the approved spec has them, or any other record of the level and revision; by default those
            of ``previous``. Without either they are taken as the record has them.
        tolerance_ulp: how many units of 2^-52 two numbers may differ by, of 1 or of the larger one if that is above 1;
            0 unless another build of numpy published them.

    Raises:
        RecordUnusable: it is no such record, or another record is not the one that it names.
    """
    if _field(record, "status") not in ("published", "suppressed"):
        return Recomputation(0)
    try:
        found = reestimate(record, corrected_by)
        missing = rectified_elsewhere(record) and record.get("corrected_by") is not None and corrected_by is None
    except ValueError as error:  # parts that do not fit; its own reference or confidence, that cannot be
        raise RecordUnusable(f"the record's parts do not fit together: {error}") from None
    compared = _Compared(tolerance_ulp)
    unchecked: list[str] = []
    if missing:
        by = record["corrected_by"]
        unchecked.append(f"rectified results: the record of {by['level']} that ends at {by['end_ms']} is not at hand")
    compared.results(record["results"], found, leave_out="rectified" if missing else None)
    compared.excess(record, found)
    compared.checks(record["checks"], found)
    says_nothing = all(result["value"] is None for result in record["results"])
    compared.value("status", record["status"], "suppressed" if says_nothing else "published")
    try:
        unchecked += _evidence(record, previous, terms, compared)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise RecordUnusable(f"the record's detection is not in order: {type(error).__name__} at {error}") from None
    return Recomputation(compared.count, tuple(compared.discrepancies), tuple(unchecked), found)


def _field(record: Record, name: str) -> Any:
    try:
        return record[name]
    except (KeyError, TypeError):
        raise RecordUnusable(f"this is no record of fairness-metrics: it has no {name}") from None


def _evidence(record: Record, previous: Record | None, terms: Record | None, compared: _Compared) -> list[str]:
    """Compare what a level's detectors say after the window; returns what could not be."""
    said = record.get("detection")
    if said is None:  # of a version before detectors, or a window that came after a later one
        compared.gathered(record["results"], {}, said)
        return []
    layout, groups = layout_of(record), record["table"]["groups"]
    statistics = [(statistic.metric, statistic.score_bin) for statistic in layout.statistics()]
    names = [(*statistic, group) for statistic in statistics for group in groups if group != record["reference"]]
    before = None if previous is None else previous.get("detection")
    _terms(record, said, before if terms is None else terms, compared)
    tolerated = np.array([said["tolerated_gaps"][metric] for metric, _, _ in names])
    detectors = Detectors(tolerated, said["false_alarm_windows"], len(names))
    compared.value("detection.detectors", said["detectors"], len(names))
    compared.value("detection.log_threshold", said["log_threshold"], detectors.log_threshold)
    compared.value("detection.bets", list(said["bets"]), list(BETS))
    seen = Evidence.of_states(() if before is None else before["state"], names)
    after = detectors.after(seen, _gaps(record, said["estimator"], names), record["window"]["end_ms"])
    state, unchecked = list(after.states(names)), []
    if before is None and state != said["state"]:
        # What came before is not here to judge the state by: it is believed, and what it says compared with the rest.
        unchecked.append("evidence: the record of the level's window before is not at hand")
        after = Evidence.of_states(said["state"], names)
        state = list(after.states(names))
        _stands(said["state"], names, after, detectors, compared)
    compared.value("detection.state", said["state"], state)
    compared.gathered(record["results"], after.said(names), said["estimator"])
    return unchecked


def _terms(record: Record, said: Record, terms: Record | None, compared: _Compared) -> None:
    """Nothing in a record shows what its detectors tolerate; but it is the same in all of its revision."""
    own = "weighted" if record["rectifier"] is None else "rectified"
    compared.value("detection.estimator", said["estimator"], own)
    if terms is not None:
        for name in TERMS:
            compared.value(f"detection.{name}", said[name], terms[name])


def _stands(
    states: Sequence[Record], names: Sequence[DetectorName], after: Evidence, detectors: Detectors, compared: _Compared
) -> None:
    """A state with evidence at the threshold is in alarm, whatever was before it."""
    evidence = dict(zip(names, after.log_evidence.tolist(), strict=True))
    for number, state in enumerate(states):
        found = evidence[state["metric"], state["score_bin"], state["group"]]
        if state["alarm_since_ms"] is None and found >= detectors.log_threshold:
            compared.value(f"detection.state[{number}].alarm_since_ms", None, "an alarm, by its evidence")


def _gaps(record: Record, estimator: str, names: Sequence[DetectorName]) -> Gaps:
    found = {
        (result["metric"], result["score_bin"], result["group"]): result
        for result in record["results"]
        if result["estimator"] == estimator
    }
    gaps, excess = np.full((len(names), 3), np.nan), np.full((len(names), 2), np.nan)
    for place, name in enumerate(names):
        if name not in found:
            continue
        gap, beyond = found[name]["gap"], found[name].get("excess")
        if gap is not None:
            gaps[place] = [gap[end] for end in ("estimate", "lower", "upper")]
        if beyond is not None:
            excess[place] = [beyond[side] for side in ("above", "below")]
    return Gaps(gaps[:, 0], gaps[:, 1], gaps[:, 2], record["confidence"], Deviations(excess[:, 0], excess[:, 1]))


class _Compared:
    """Counts what is compared, and keeps what is not equal."""

    def __init__(self, tolerance_ulp: int) -> None:
        self.count = 0
        self.discrepancies: list[Discrepancy] = []
        self._tolerance = tolerance_ulp * _ULP

    def value(self, where: str, published: Any, recomputed: Any) -> None:
        """Compare two values of JSON, in depth."""
        if isinstance(published, Mapping) and isinstance(recomputed, Mapping):
            for name, part in recomputed.items():
                self.value(f"{where}.{name}", published.get(name), part)
            return
        if isinstance(published, list) and isinstance(recomputed, list) and len(published) == len(recomputed):
            for number, part in enumerate(recomputed):
                self.value(f"{where}[{number}]", published[number], part)
            return
        self.count += 1
        if not self._same(published, recomputed):
            self.discrepancies.append(Discrepancy(where, published, recomputed))

    def _same(self, one: Any, other: Any) -> bool:
        if _is_number(one) and _is_number(other):
            return bool(one == other or abs(one - other) <= self._tolerance * max(1.0, abs(one), abs(other)))
        return bool(one == other)

    def results(self, published: Sequence[Record], found: Disparities, *, leave_out: str | None) -> None:
        """Every result in its place, by name."""
        expected = [(n, r) for n, r in enumerate(published) if r["estimator"] != leave_out]
        self.value("results: how many", len(expected), len(found.results))
        for (number, result), again in zip(expected, found.results, strict=False):
            where = f"results[{number}]"
            for name in _RESULT:
                self.value(f"{where}.{name}", result[name], getattr(again, name))
            for name in _NUMBERS:
                part = getattr(again, name)
                self.value(f"{where}.{name}", result[name], part if isinstance(part, str | None) else asdict(part))

    def gathered(
        self, results: Sequence[Record], said: Mapping[DetectorName, Mapping[str, Any]], estimator: str | None
    ) -> None:
        """What the detectors say in the results: of those that they watch, and nothing of the others."""
        for number, result in enumerate(results):
            name = result["metric"], result["score_bin"], result["group"]
            expected = said.get(name) if result["estimator"] == estimator else None
            for field in _GATHERED:
                if expected is not None or result.get(field) is not None:
                    self.value(f"results[{number}].{field}", result.get(field), (expected or {}).get(field))

    def excess(self, record: Record, found: Disparities) -> None:
        """What the detectors took in of this window: of the estimator that they watch, and nothing of the others."""
        said = record.get("detection")
        estimator = None if said is None else said["estimator"]
        again = {(each.metric, each.score_bin, each.group, each.estimator): each.excess for each in found.results}
        for number, result in enumerate(record["results"]):
            own = again.get(tuple(result[name] for name in _RESULT)) if result["estimator"] == estimator else None
            if own is not None or result.get("excess") is not None:
                self.value(f"results[{number}].excess", result.get("excess"), None if own is None else asdict(own))

    def checks(self, published: Record, found: Disparities) -> None:
        """Whether corrected and rectified agree, and where they differ most."""
        for name, part in _checks(found):
            self.value(f"checks.{name}", published.get(name), part)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _checks(found: Disparities) -> Iterator[tuple[str, Any]]:
    agreement = found.agreement
    if agreement is None:
        yield from (("estimators", None), ("difference", None))
        return
    yield "estimators", "agree" if agreement.agree else "disagree"
    yield "difference", asdict(agreement.largest) | {"limit": agreement.limit, "comparisons": agreement.comparisons}
